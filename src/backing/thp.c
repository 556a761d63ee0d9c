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
hm_thp_obtain(struct hm_backing *backing, uintptr_t addr, size_t len_bytes,
              enum hm_reason *out_reason)
{
    const struct hm_os *os = backing->os;
    int rc = os->commit(os->ctx, addr, len_bytes);

    if (rc == 0)
        rc = os->advise(os->ctx, addr, len_bytes, HM_ADVICE_HUGE);
    if (rc != 0)
        *out_reason = HM_REASON_ADVICE_FAILED;
    return rc;
}
