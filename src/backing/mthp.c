/* SPDX-License-Identifier: MIT */
/* mthp.c - the backing `mthp`: transparent huge pages smaller than a PMD.
 *
 * Problem     There is one advice for all sizes, and of those that the administrator enabled the
 *             kernel takes the largest that fits. It is asked for where huge pages of PMD size are
 *             off, or so large that a heap would be a small part of one.
 * Idea        Where they are too large, one base page of each aligned block of that size is kept
 *             out of the advice: then no huge page fits there, neither at a fault nor by
 *             khugepaged. It costs two mappings for each, so that it is done for regions only.
 * Sources     Linux mm/memory.c, alloc_anon_folio (6.12). docs/decisions/0043.
 */
#include "backing/backing.h"

/* Returns 0 or a negative errno. */
static int
keep_small(struct hm_backing *backing, const struct hm_range *range)
{
    const struct hm_os *os = backing->os;
    size_t hpage_bytes = (size_t)1 << backing->geom.hpage_shift;
    uintptr_t end = range->addr + range->len_bytes + range->rest_bytes;
    int rc = 0;

    if (hpage_bytes <= hm_region_bytes(&backing->geom))
        return 0;
    for (uintptr_t addr = hm_align_up(range->addr, hpage_bytes); rc == 0 && addr < end;
         addr += hpage_bytes)
        rc = os->advise(os->ctx, addr, hm_page_bytes(&backing->geom), HM_ADVICE_BASE);
    return rc;
}

int
hm_mthp_obtain(struct hm_backing *backing, struct hm_range *inout_range, enum hm_reason *out_reason)
{
    bool is_told = inout_range->advised == HM_BACKING_MTHP;
    int rc = hm_backing_advise(backing, inout_range, HM_BACKING_MTHP);

    if (rc == 0 && !is_told)
        rc = keep_small(backing, inout_range);
    if (rc != 0) {
        inout_range->advised = HM_BACKING_KINDS;
        *out_reason = HM_REASON_ADVICE_FAILED;
        return rc;
    }
    rc = hm_backing_commit(backing, inout_range);
    if (rc != 0)
        *out_reason = HM_REASON_COMMIT_FAILED;
    return rc;
}
