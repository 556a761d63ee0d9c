/* SPDX-License-Identifier: MIT */
/* nodes.h - NUMA nodes as programs name them, by libnuma. */
#ifndef HM_API_NODES_H
#define HM_API_NODES_H

#include "conf/conf.h"

/* Obey a node string of huma_arena_options. Returns 0, or a negative errno: EINVAL, ENOSYS.
 *   out_why  [out] what is wrong, for people */
int hm_nodes_read(const char *text, struct hm_conf *inout_conf, const char **out_why);

/* How many nodes there are: the highest number and 1; 0: that cannot be told. */
unsigned hm_nodes_number(void);

/* Add what of a range is in memory to bytes[n], for the node n that has it, if it is below `count`.
 * Returns 0 or a negative errno. */
int hm_nodes_add_bytes(uintptr_t addr, size_t len_bytes, size_t page_bytes, uint64_t *bytes,
                       unsigned count);

#endif
