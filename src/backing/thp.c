/* SPDX-License-Identifier: MIT */
/* thp.c - the backing `thp`: transparent huge pages by advice.
 *
 * Problem     Where THP is set to "madvise", nobody gets a huge page who has not asked; and one
 *             base page touched before the advice keeps its whole block small.
 * Idea        Advise whole, aligned regions before their first touch. The first touch then takes
 *             the huge page by one fault, or base pages if the kernel finds none: never a signal.
 */
#include "backing/backing.h"

/* A huge page larger than a region comes only where all of it is open when it is first touched.
 * What is behind the range and never opened may join it; if the kernel refuses, there are base
 * pages. */
static void
open_huge_page(struct hm_backing *backing, const struct hm_range *range)
{
    const struct hm_os *os = backing->os;
    size_t hpage_bytes = (size_t)1 << backing->geom.hpage_shift;
    uintptr_t end = hm_align_up(range->addr + range->len_bytes, hpage_bytes);

    if (hpage_bytes > hm_region_bytes(&backing->geom)
        && end - range->addr <= range->len_bytes + range->rest_bytes)
        (void)os->commit(os->ctx, range->addr, end - range->addr);
}

int
hm_thp_obtain(struct hm_backing *backing, struct hm_range *inout_range, enum hm_reason *out_reason)
{
    int rc = hm_backing_advise(backing, inout_range, HM_BACKING_THP);

    if (rc != 0) {
        *out_reason = HM_REASON_ADVICE_FAILED;
        return rc;
    }
    open_huge_page(backing, inout_range);
    rc = hm_backing_commit(backing, inout_range);
    if (rc != 0)
        *out_reason = HM_REASON_COMMIT_FAILED;
    return rc;
}

void
hm_thp_part(struct hm_backing *backing, uintptr_t addr)
{
    const struct hm_os *os = backing->os;

    if (backing->geom.hpage_shift > backing->geom.region_shift)
        (void)os->advise(os->ctx, addr, hm_page_bytes(&backing->geom), HM_ADVICE_COLD);
}
