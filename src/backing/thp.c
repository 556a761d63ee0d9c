/* SPDX-License-Identifier: MIT */
/* thp.c - the backing `thp`: transparent huge pages by advice.
 *
 * Problem     Where THP is set to "madvise", nobody gets a huge page who has not asked; and one
 *             base page touched before the advice keeps its whole block small.
 * Idea        Advise whole, aligned regions before their first touch. The first touch then takes
 *             the huge page by one fault, or base pages if the kernel finds none: never a signal.
 */
#include "backing/backing.h"

int
hm_thp_obtain(struct hm_backing *backing, struct hm_range *inout_range, enum hm_reason *out_reason)
{
    int rc = hm_backing_advise(backing, inout_range, HM_BACKING_THP);

    if (rc != 0) {
        *out_reason = HM_REASON_ADVICE_FAILED;
        return rc;
    }
    rc = hm_backing_commit(backing, inout_range);
    if (rc != 0)
        *out_reason = HM_REASON_COMMIT_FAILED;
    return rc;
}
