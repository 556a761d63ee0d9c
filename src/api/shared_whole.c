/* SPDX-License-Identifier: MIT */
/* shared_whole.c - what a shared arena holds, and what is done with all of it.
 *
 * Idea        All is counted when it is asked for, from the words that everybody shares; who is
 *             alive is asked of the kernel.
 */
#include <errno.h>

#include "api/said.h"
#include "api/shareds.h"

/* --- the whole -------------------------------------------------------------------------------- */

HM_EXPORT int
huma_shared_recover(huma_shared *shared)
{
    struct huma_shared *found = hm_shareds_enter(shared, "huma_shared_recover()");
    unsigned count;

    if (found == NULL)
        return -1;
    hm_lock_take(&found->view.lock);
    count = hm_shared_recover(&found->view);
    hm_lock_give(&found->view.lock);
    return (int)count;
}

HM_EXPORT size_t
huma_shared_trim(huma_shared *shared)
{
    struct huma_shared *found = hm_shareds_enter(shared, "huma_shared_trim()");

    return found != NULL ? hm_shared_trim(&found->view) : 0;
}

#define INFO_MIN_BYTES (offsetof(struct huma_shared_state, risks) + sizeof(unsigned))

/* Of taken seats, how many are of living processes; the caller's own is not locked for it. */
static unsigned
count_alive(const struct huma_shared *shared)
{
    unsigned count = 0;

    for (unsigned seat = 1; seat <= shared->view.geom.seat_count; seat++)
        if ((hm_load(&hm_shared_seat_of(&shared->view, seat)->state) & HM_SEAT_TAKEN) != 0
            && (seat == shared->view.seat || shared->fd < 0
                || hm_os_shared_is_held(shared->fd, seat)))
            count++;
    return count;
}

static unsigned
find_risks(const struct huma_shared *shared)
{
    struct hm_os_shared_file file = { .is_sealed = false };
    unsigned risks = 0;

    if (shared->kind != HUMA_SHARED_MEMORY)
        (void)hm_os_shared_stat(shared->fd, &file);
    if (!file.is_sealed)
        risks |= HUMA_SHARED_MAY_BE_CUT;
    if (!file.is_write_sealed)
        risks |= HUMA_SHARED_MAY_BE_ZEROED;
    if (!file.is_write_sealed && file.page_bytes > hm_page_bytes(&hm_arenas.geom))
        risks |= HUMA_SHARED_MAY_BE_HOLED;
    if (!file.is_write_sealed || shared->is_read_only)
        risks |= HUMA_SHARED_MAY_CHANGE;
    return risks;
}

static void
fill_info(const struct huma_shared *shared, const struct hm_shared_sums *sums,
          struct huma_shared_state *out_info)
{
    const struct hm_shared_geom *geom = &shared->view.geom;
    struct hm_residency residency = { 0 };

    out_info->private_bytes = sums->private_bytes;
    out_info->published_bytes = sums->published_bytes;
    out_info->heap_bytes = sums->span_bytes;
    out_info->ready_bytes = sums->ready_bytes;
    out_info->limit_bytes = (uint64_t)geom->span_count << HM_SHARED_SPAN_SHIFT;
    out_info->page_bytes = (uint64_t)1 << geom->page_shift;
    out_info->process_count = count_alive(shared);
    out_info->dead_count = sums->seat_count > out_info->process_count
                               ? sums->seat_count - out_info->process_count
                               : 0;
    out_info->kind = shared->kind;
    out_info->risks = find_risks(shared);
    if (hm_os_scan(NULL, (uintptr_t)shared->base, geom->end_off, &residency) == 0) {
        out_info->resident_bytes = residency.resident_bytes;
        out_info->huge_bytes = residency.huge_bytes;
    }
}

HM_EXPORT int
huma_shared_info(huma_shared *shared, struct huma_shared_state *info)
{
    static const char call[] = "huma_shared_info()";
    const struct huma_shared *found = hm_shareds_find(shared, call);
    struct hm_shared_sums sums;
    int saved_errno = errno;

    if (found == NULL)
        return -1;
    if (info == NULL || info->struct_size < INFO_MIN_BYTES) {
        hm_said(EINVAL, call,
                "info is NULL, or its struct_size wrong; begin with "
                "HUMA_SHARED_STATE_INIT");
        return -1;
    }
    (void)hm_shared_verify(&found->view, &sums);
    fill_info(found, &sums, info);
    errno = saved_errno;
    return 0;
}

HM_EXPORT int
huma_shared_verify(huma_shared *shared)
{
    static const char call[] = "huma_shared_verify()";
    const struct huma_shared *found = hm_shareds_find(shared, call);
    struct hm_shared_sums sums;
    const char *fault;

    if (found == NULL)
        return -1;
    fault = hm_shared_verify(&found->view, &sums);
    if (fault == NULL)
        return 0;
    hm_said(EUCLEAN, call, fault);
    return -1;
}
