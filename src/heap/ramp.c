/* SPDX-License-Identifier: MIT */
/* ramp.c - late collapse of the regions that a heap began with.
 *
 * Problem     A process starts on base pages so that small ones stay small. When the heap has
 *             grown, its first regions, often the busiest, would stay on base pages for good:
 *             advice does not change pages that are already there.
 * Idea        Whenever a new region is opened past the ramp, collapse one of the old ones that is
 *             nearly full. A collapse copies a huge page's worth of memory, so it is rationed by
 *             the time that collapses took so far.
 * Locking     heap->lock is held by the caller.
 */
#include "heap/ramp.h"

#include <errno.h>

#include "heap/pheap.h"

/* Collapses may take this share of the time since the heap was made. */
#define TIME_SHARE 10

/* A region is full enough when no more than this share of it is free. */
#define FREE_SHARE 8

/* Regions on base pages are the oldest: the walk ends when it has seen all of them. */
static struct hm_region *
find_candidate(const struct hm_heap *heap)
{
    uint32_t enough_pages = heap->region_pages - heap->region_pages / FREE_SHARE;
    size_t left_count = heap->base_regions;
    struct hm_region *region = NULL;

    while (left_count > 0 && (region = hm_pheap_next_region(heap, region)) != NULL) {
        if (region->state != HM_REGION_OPEN || region->backing != HM_BACKING_4K)
            continue;
        if (region->used_pages >= enough_pages && !region->is_refused)
            return region;
        left_count--;
    }
    return NULL;
}

void
hm_ramp_collapse_one(struct hm_heap *heap)
{
    const struct hm_os *os = heap->os;
    struct hm_region *region;
    uint64_t begin_ns;
    int rc;

    if (heap->base_regions == 0 || !hm_backing_wants_huge(&heap->backing, hm_heap_bytes(heap)))
        return;
    begin_ns = os->now_ns(os->ctx);
    if (heap->collapse_ns > (begin_ns - heap->start_ns) / TIME_SHARE)
        return;
    region = find_candidate(heap);
    if (region == NULL)
        return;
    rc = hm_backing_collapse(&heap->backing, region->addr, hm_region_bytes(&heap->geom));
    if (rc == 0) {
        region->backing = HM_BACKING_THP;
        heap->base_regions--;
        heap->dirty_free_pages -= region->dirty_pages - region->used_pages;
        heap->huge_free_pages += heap->region_pages - region->used_pages;
        heap->collapse_count++;
    } else if (rc == -EINVAL) {
        region->is_refused = true;
    }
    heap->collapse_ns += os->now_ns(os->ctx) - begin_ns;
}
