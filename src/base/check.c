/* SPDX-License-Identifier: MIT */
/* check.c - one line on stderr, then abort.
 *
 * Problem     The heap may be damaged, so neither stdio nor malloc may be used to tell of it.
 * Idea        Format into a small buffer on the stack and write(2) it in one call.
 */
#include "base/check.h"

#include <stdlib.h>

#include "base/fmt.h"

void
hm_fail(const char *what, uintptr_t addr, const char *why)
{
    char buf[256];
    struct hm_fmt out = hm_fmt_init(buf, sizeof(buf), 2);

    hm_fmt_str(&out, "huma: ");
    hm_fmt_str(&out, what);
    hm_fmt_str(&out, " ");
    hm_fmt_hex(&out, addr);
    hm_fmt_str(&out, ": ");
    hm_fmt_str(&out, why);
    hm_fmt_str(&out, "\n");
    hm_fmt_flush(&out);
    abort();
}

void
hm_fail_plain(const char *what)
{
    char buf[256];
    struct hm_fmt out = hm_fmt_init(buf, sizeof(buf), 2);

    hm_fmt_str(&out, "huma: ");
    hm_fmt_str(&out, what);
    hm_fmt_str(&out, "\n");
    hm_fmt_flush(&out);
    abort();
}

void
hm_assert_fail(const char *cond, const char *file, int line)
{
    char buf[256];
    struct hm_fmt out = hm_fmt_init(buf, sizeof(buf), 2);

    hm_fmt_str(&out, "huma: assertion failed: ");
    hm_fmt_str(&out, cond);
    hm_fmt_str(&out, " at ");
    hm_fmt_str(&out, file);
    hm_fmt_str(&out, ":");
    hm_fmt_u64(&out, (uint64_t)line);
    hm_fmt_str(&out, "\n");
    hm_fmt_flush(&out);
    abort();
}
