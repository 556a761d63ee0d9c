/* SPDX-License-Identifier: MIT */
/* print.h - the picture of stats.h as text for people and as JSON for programs. */
#ifndef HM_STATS_PRINT_H
#define HM_STATS_PRINT_H

#include "base/fmt.h"
#include "stats/stats.h"

void hm_stats_print_text(const struct hm_stats *stats, struct hm_fmt *out);

/* One object; sizes in bytes, counts as integers, names as in struct hm_stats. */
void hm_stats_print_json(const struct hm_stats *stats, uint64_t pid, struct hm_fmt *out);

#endif
