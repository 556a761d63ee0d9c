/* SPDX-License-Identifier: MIT */
/* place.c - where a run goes that fits into no open region (see place.h).
 *
 * Problem     Regions must be opened for it, and each may stay for long: those that have memory
 *             come first, and what is left over at the ends is to be used.
 * Idea        A region that was kept, the lowest of the latest, for what fits into one; else a gap
 *             between regions in use, that with the fewest regions without memory. There a run
 *             starts in the free tail of the region before it and ends in the free head of the one
 *             behind, so that runs of odd lengths lie end to end.
 * Locking     heap->lock is held by the caller.
 */
#include "heap/place.h"

#include <errno.h>

#include "base/check.h"
#include "heap/extent.h"

/* Look at so many kept regions before one is opened. */
#define KEPT_CHOICE 64

/* Look at so many gaps from the first that fits. */
#define GAP_CHOICE 64

/* Regions [from_idx, to_idx) of an extent, none of them open. */
struct stretch {
    size_t from_idx;
    size_t to_idx;
};

/* Where an aligned run of len_pages can start so that it ends within a stretch and the free pages
 * at its edges. A run of whole regions keeps to the stretch. Page index in the extent, or
 * HM_BITMAP_NONE. */
static size_t
place_across(const struct hm_heap *heap, const struct hm_extent *extent,
             struct stretch free_regions, size_t len_pages, size_t align_pages)
{
    size_t start_idx = free_regions.from_idx * heap->region_pages;
    size_t end_idx = free_regions.to_idx * heap->region_pages;
    size_t align_bytes = align_pages << heap->geom.page_shift;
    uintptr_t addr;

    if (hm_heap_page_of(heap, len_pages) != 0) {
        if (free_regions.from_idx > 0
            && hm_bitmap_count_run(extent->in_use, free_regions.from_idx - 1, 1) != 0)
            start_idx -= hm_bitmap_trailing_clear(
                hm_extent_region(extent, free_regions.from_idx - 1)->bits, heap->region_pages);
        if (free_regions.to_idx < extent->region_count)
            end_idx += hm_bitmap_leading_clear(hm_extent_region(extent, free_regions.to_idx)->bits,
                                               heap->region_pages);
    }
    addr = hm_align_up(extent->addr + (start_idx << heap->geom.page_shift), align_bytes);
    start_idx = (addr - extent->addr) >> heap->geom.page_shift;
    if (start_idx >= end_idx || end_idx - start_idx < len_pages)
        return HM_BITMAP_NONE;
    return start_idx;
}

/* How many regions a run would open that have no memory. */
static size_t
count_closed(const struct hm_heap *heap, const struct hm_extent *extent, size_t page_idx,
             size_t len_pages)
{
    size_t end_idx = hm_heap_region_of(heap, page_idx + len_pages - 1) + 1;
    size_t idx = hm_heap_region_of(heap, page_idx);
    size_t count = 0;

    for (; idx < end_idx && idx < extent->tail_idx; idx++)
        count += hm_extent_region(extent, idx)->state == HM_REGION_CLOSED;
    return count + end_idx - idx;
}

/* The best place so far, how many regions it opens that have no memory, and how many more gaps are
 * worth a look. */
struct choice {
    struct hm_place place;
    size_t closed_count;
    unsigned left_count;
};

/* Take the place at page_idx if a run there opens fewer regions without memory than the best. */
static void
weigh(const struct hm_heap *heap, struct hm_extent *extent, size_t page_idx, size_t len_pages,
      struct choice *inout_best)
{
    size_t closed_count = count_closed(heap, extent, page_idx, len_pages);

    if (closed_count < inout_best->closed_count) {
        inout_best->place = (struct hm_place){ extent, page_idx };
        inout_best->closed_count = closed_count;
    }
}

/* A run starts where a gap does: what is left of it stays in one piece. */
static void
search_extent(const struct hm_heap *heap, struct hm_extent *extent, size_t len_pages,
              size_t align_pages, struct choice *inout_best)
{
    struct stretch gap = { 0, 0 };

    while (inout_best->left_count > 0 && gap.to_idx < extent->region_count) {
        size_t page_idx = HM_BITMAP_NONE;

        gap.from_idx = hm_bitmap_next_clear(extent->in_use, extent->region_count, gap.to_idx);
        gap.to_idx = hm_bitmap_next_set(extent->in_use, extent->region_count, gap.from_idx);
        if (gap.from_idx < gap.to_idx)
            page_idx = place_across(heap, extent, gap, len_pages, align_pages);
        if (page_idx != HM_BITMAP_NONE)
            weigh(heap, extent, page_idx, len_pages, inout_best);
        if (inout_best->closed_count == 0)
            inout_best->left_count = 0;
        else if (inout_best->place.extent != NULL)
            inout_best->left_count--;
    }
}

/* The place for a run of any length that opens the fewest regions without memory: in the first gap
 * that fits and a few behind it, if any region is kept; else in a new extent. */
static int
find_across(struct hm_heap *heap, unsigned node, size_t len_pages, size_t align_pages,
            struct hm_place *out_place)
{
    struct choice best = { .closed_count = SIZE_MAX };
    struct hm_extent *extent = heap->extents;

    best.left_count = heap->kept_count > 0 ? GAP_CHOICE : 1;
    for (; extent != NULL; extent = extent->next)
        if (extent->node == node)
            search_extent(heap, extent, len_pages, align_pages, &best);
    if (best.place.extent == NULL) {
        extent = hm_extent_add(heap, hm_heap_region_of(heap, len_pages + heap->region_pages - 1),
                               node);
        if (extent == NULL)
            return -ENOMEM;
        search_extent(heap, extent, len_pages, align_pages, &best);
        hm_assert(best.place.extent != NULL);
    }
    *out_place = best.place;
    return 0;
}

/* The lowest of the regions of the node kept last: what fills up from below leaves the fewest
 * holes. NULL if none is kept. */
static struct hm_region *
pick_kept(const struct hm_heap *heap, unsigned node)
{
    struct hm_region *lowest = NULL;
    struct hm_region *region = heap->kept;

    for (unsigned i = 0; i < KEPT_CHOICE && region != NULL; i++, region = region->next)
        if (region->extent->node == node && (lowest == NULL || region->addr < lowest->addr))
            lowest = region;
    return lowest;
}

int
hm_place_find(struct hm_heap *heap, unsigned node, size_t len_pages, size_t align_pages,
              struct hm_place *out_place)
{
    struct hm_region *region = pick_kept(heap, node);
    struct stretch free_regions;

    if (region == NULL || len_pages > heap->region_pages)
        return find_across(heap, node, len_pages, align_pages, out_place);
    free_regions.from_idx = hm_region_idx(region, &heap->geom);
    free_regions.to_idx = free_regions.from_idx + 1;
    out_place->extent = region->extent;
    out_place->page_idx = place_across(heap, region->extent, free_regions, len_pages, align_pages);
    hm_assert(out_place->page_idx != HM_BITMAP_NONE);
    return 0;
}
