/* SPDX-License-Identifier: MIT */
/* mallopt.c - glibc's parameters of malloc, set by the program or by its environment.
 *
 * Problem     See heap/cutoff.h and conf/glibc.h. mallopt must answer as glibc's does, which takes
 *             nearly everything: also values out of range and parameters that it does not know.
 * Idea        Both ways lead to hm_process_tune. What glibc takes and means nothing here (fast
 *             bins, arenas, the check action) is taken without effect.
 * Sources     mallopt(3); glibc 2.36, observed.
 */
#include <errno.h>
#include <malloc.h>

#include "api/process.h"

/* The largest size that glibc takes for M_MXFAST, which is all that it checks. */
#define MXFAST_MAX_BYTES (80 * sizeof(size_t) / 4)

void
hm_process_tune(const struct hm_glibc *glibc)
{
    struct hm_heap *heap = &hm_process.heap;

    hm_lock_take(&heap->lock);
    if (glibc->mmap_threshold.is_given)
        hm_cutoff_set_mmap_threshold(&heap->cutoff, glibc->mmap_threshold.value);
    if (glibc->trim_threshold.is_given)
        hm_cutoff_set_trim_threshold(&heap->cutoff, glibc->trim_threshold.value);
    if (glibc->mmap_max.is_given)
        hm_cutoff_set_mmap_max(&heap->cutoff, (int)glibc->mmap_max.value);
    if (glibc->top_pad.is_given)
        hm_cutoff_freeze(&heap->cutoff);
    hm_lock_give(&heap->lock);
    hm_process_set_small_end(hm_load(&heap->cutoff.first_direct_bytes));
    if (glibc->perturb.is_given)
        hm_process_set_perturb((int)glibc->perturb.value);
}

/* Returns 1, as glibc does for all but a wrong M_MXFAST; 0 also if there is no memory for a heap.
 */
HM_EXPORT HM_LATER int
mallopt(int param, int val)
{
    int saved_errno = errno;
    struct hm_glibc_setting setting = { .is_given = true, .value = (uint64_t)(int64_t)val };
    struct hm_glibc glibc = { 0 };

    if (param == M_MXFAST)
        return setting.value <= MXFAST_MAX_BYTES;
    if (!hm_process_configure())
        return 0;
    if (param == M_MMAP_THRESHOLD)
        glibc.mmap_threshold = setting;
    else if (param == M_TRIM_THRESHOLD)
        glibc.trim_threshold = setting;
    else if (param == M_TOP_PAD)
        glibc.top_pad = setting;
    else if (param == M_MMAP_MAX)
        glibc.mmap_max = setting;
    else if (param == M_PERTURB)
        glibc.perturb = setting;
    hm_process_tune(&glibc);
    errno = saved_errno;
    return 1;
}
