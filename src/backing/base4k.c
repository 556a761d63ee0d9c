/* SPDX-License-Identifier: MIT */
/* base4k.c - the backing `4k`: base pages, the start of every heap and the last resort of every
 * chain.
 *
 * Problem     Where THP is set to "always", memory without advice turns into huge pages by itself,
 *             and a small process would grow by megabytes.
 * Idea        Say explicitly that base pages are wanted. The advice may fail (a kernel without THP
 *             does not know it), and then there is nothing to prevent.
 */
#include "backing/backing.h"

int
hm_base4k_obtain(struct hm_backing *backing, uintptr_t addr, size_t len_bytes,
                 enum hm_reason *out_reason)
{
    const struct hm_os *os = backing->os;
    int rc = os->commit(os->ctx, addr, len_bytes);

    (void)out_reason;
    if (rc == 0)
        (void)os->advise(os->ctx, addr, len_bytes, HM_ADVICE_BASE);
    return rc;
}
