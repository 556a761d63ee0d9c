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
hm_base4k_obtain(struct hm_backing *backing, struct hm_range *inout_range,
                 enum hm_reason *out_reason)
{
    (void)out_reason;
    (void)hm_backing_advise(backing, inout_range, HM_BACKING_4K);
    return hm_backing_commit(backing, inout_range);
}
