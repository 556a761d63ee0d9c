/* SPDX-License-Identifier: MIT */
/* fmt.h - text into a caller's buffer, drained to a file descriptor when it is full.
 *
 * Problem     Reports and error lines are written where stdio and malloc are out of reach.
 * Idea        A buffer, a fill mark and an optional descriptor. Without a descriptor (fd < 0) the
 *             text is cut at the end of the buffer and stays NUL-terminated.
 */
#ifndef HM_BASE_FMT_H
#define HM_BASE_FMT_H

#include "base/compiler.h"

struct hm_fmt {
    char *buf;        /* the caller's; const */
    size_t cap_bytes; /* size of buf; const */
    size_t len_bytes; /* filled part of buf, the closing NUL not counted */
    int fd;           /* where a full buffer goes; -1: nowhere */
    bool is_lost;     /* a write failed; what follows is dropped */
};

struct hm_fmt hm_fmt_init(char *buf, size_t cap_bytes, int fd);
void hm_fmt_str(struct hm_fmt *out, const char *str);
void hm_fmt_u64(struct hm_fmt *out, uint64_t value);
void hm_fmt_hex(struct hm_fmt *out, uint64_t value);

/* `value` right-aligned in at least `width` columns. */
void hm_fmt_u64_wide(struct hm_fmt *out, uint64_t value, unsigned width);

/* part / whole as a percentage with one decimal, e.g. "98.4"; "0.0" when whole is 0. */
void hm_fmt_percent(struct hm_fmt *out, uint64_t part, uint64_t whole);

/* A JSON string with its quotes; control characters, quotes and backslashes escaped. */
void hm_fmt_json_str(struct hm_fmt *out, const char *str);

/* Write what is buffered to the descriptor; short writes are continued, an error ends the
 * output. */
void hm_fmt_flush(struct hm_fmt *out);

#endif
