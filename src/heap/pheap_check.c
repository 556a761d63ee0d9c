/* SPDX-License-Identifier: MIT */
/* pheap_check.c - proves the invariants of the page heap.
 *
 * Problem     A page heap that miscounts works for a long time, and then hands out a page twice.
 * Idea        Count everything anew from the bitmaps, and compare. Tests call it after every step.
 */
#include "heap/nodes.h"
#include "heap/pheap.h"

static const char *
check_region(const struct hm_heap *heap, const struct hm_region *region)
{
    uint32_t page_count = heap->region_pages;
    const uint64_t *dirty = region->bits + HM_BITMAP_WORDS(page_count);
    size_t idx = hm_region_idx(region, &heap->geom);
    bool is_open = region->state == HM_REGION_OPEN;

    if (hm_bitmap_count_run(region->bits, 0, page_count) != region->used_pages)
        return "used_pages is the number of pages in use";
    if (hm_bitmap_longest_clear_run(region->bits, page_count) != region->longest_free_pages)
        return "longest_free_pages is the longest free run";
    if (hm_bitmap_count_run(dirty, 0, page_count) != region->dirty_pages)
        return "dirty_pages is the number of dirty pages";
    for (size_t word = 0; word < HM_BITMAP_WORDS(page_count); word++)
        if ((region->bits[word] & ~dirty[word]) != 0)
            return "a page in use is dirty";
    if (is_open != (region->used_pages > 0))
        return "a region is open while pages are in use";
    if (is_open != (hm_bitmap_count_run(region->extent->in_use, idx, 1) == 1))
        return "in_use has the bits of open regions";
    if (region->state == HM_REGION_CLOSED && (region->dirty_pages != 0 || region->giant_shift != 0))
        return "a closed region is not dirty, and part of no page";
    return NULL;
}

/* The free run across the border behind a region, as fit.c must have noted it. */
static const char *
check_seam(const struct hm_heap *heap, const struct hm_region *region)
{
    size_t idx = hm_region_idx(region, &heap->geom);
    const struct hm_region *after = NULL;
    size_t before_pages = hm_bitmap_trailing_clear(region->bits, heap->region_pages);
    size_t after_pages = 0;

    if (idx + 1 < region->extent->region_count)
        after = hm_extent_region(region->extent, idx + 1);
    if (after != NULL && region->state == HM_REGION_OPEN && after->state == HM_REGION_OPEN)
        after_pages = hm_bitmap_leading_clear(after->bits, heap->region_pages);
    if (before_pages == 0 || after_pages == 0)
        before_pages = after_pages = 0;
    if (region->seam_pages != before_pages + after_pages)
        return "seam_pages is the free run across the end of a region";
    return NULL;
}

/* Take the regions that are listed by their seams off *inout_count. */
static const char *
check_seams(const struct hm_heap *heap, const struct hm_fits *fits, size_t *inout_count)
{
    for (size_t seam = 1; seam <= 2 * heap->region_pages; seam++) {
        if ((hm_bitmap_count_run(fits->seams_map, seam, 1) == 1) != (fits->seams[seam] != NULL))
            return "seams_map has the bits of the lists that are not empty";
        for (const struct hm_region *region = fits->seams[seam]; region != NULL;
             region = region->seam_next, --*inout_count)
            if (region->seam_pages != seam || &heap->fits[region->extent->node] != fits)
                return "a seam is in the list of its length and node";
    }
    return NULL;
}

/* The same by their longest free runs. */
static const char *
check_runs(const struct hm_heap *heap, const struct hm_fits *fits, size_t *inout_count)
{
    for (size_t fit = 1; fit <= heap->region_pages; fit++) {
        if ((hm_bitmap_count_run(fits->runs_map, fit, 1) == 1) != (fits->runs[fit] != NULL))
            return "runs_map has the bits of the lists that are not empty";
        for (const struct hm_region *region = fits->runs[fit]; region != NULL;
             region = region->next, --*inout_count)
            if (region->longest_free_pages != fit || &heap->fits[region->extent->node] != fits)
                return "an open region is in the list of its longest free run and node";
    }
    return NULL;
}

/* So many regions have free pages, and so many a seam. */
static const char *
check_lists(const struct hm_heap *heap, size_t run_count, size_t seam_count)
{
    unsigned node_count = heap->nodes != NULL ? heap->nodes->count : 1;

    for (unsigned node = 0; node < node_count; node++) {
        const char *broken = check_runs(heap, &heap->fits[node], &run_count);

        if (broken == NULL)
            broken = check_seams(heap, &heap->fits[node], &seam_count);
        if (broken != NULL)
            return broken;
    }
    if (run_count != 0)
        return "every open region with free pages is in one list";
    return seam_count != 0 ? "every seam is in one list" : NULL;
}

static const char *
check_extents(const struct hm_heap *heap)
{
    const struct hm_extent *last = NULL;
    size_t region_count = 0;

    for (const struct hm_extent *extent = heap->extents; extent != NULL; extent = extent->next) {
        if (extent->region_count == 0 || extent->region_count > extent->room_count
            || extent->tail_idx > extent->region_count)
            return "an extent has regions, and structs for them";
        region_count += extent->region_count;
        last = extent;
    }
    if (last != heap->last_extent || region_count != heap->extent_regions)
        return "last_extent and extent_regions are those of the list";
    for (int i = 0; i < HM_EXTENT_ROOMS; i++)
        for (const struct hm_extent *extent = heap->idle_extents[i]; extent != NULL;
             extent = extent->next)
            if (extent->region_count != 0 || extent->room_count != (size_t)1 << i)
                return "an idle extent has no regions, and is in the list of its size";
    return NULL;
}

const char *
hm_pheap_check(const struct hm_heap *heap)
{
    const char *broken_extent = check_extents(heap);
    size_t used_pages = 0;
    size_t open_count = 0;
    size_t kept_count = 0;
    size_t giant_kept_count = 0;
    size_t listed_count = 0;
    size_t dirty_free_pages = 0;
    size_t huge_free_pages = 0;
    size_t seam_count = 0;
    struct hm_region *region = NULL;

    if (broken_extent != NULL)
        return broken_extent;
    while ((region = hm_pheap_next_region(heap, region)) != NULL) {
        const char *broken = check_region(heap, region);

        if (broken == NULL)
            broken = check_seam(heap, region);
        if (broken != NULL)
            return broken;
        seam_count += region->seam_pages > 0;
        used_pages += region->used_pages;
        open_count += region->state == HM_REGION_OPEN;
        if (region->state == HM_REGION_KEPT)
            *(region->giant_shift == 0 ? &kept_count : &giant_kept_count) += 1;
        listed_count += region->state == HM_REGION_OPEN && region->longest_free_pages > 0;
        if (region->state == HM_REGION_OPEN && hm_backing_is_base(region->backing))
            dirty_free_pages += region->dirty_pages - region->used_pages;
        else if (region->state == HM_REGION_OPEN && region->backing == HM_BACKING_THP)
            huge_free_pages += heap->region_pages - region->used_pages;
    }
    if (used_pages != heap->used_pages + heap->stash.pages + heap->outside_pages)
        return "used_pages of the heap, the stash and what is outside are the sum over the regions";
    if (open_count != heap->open_count || kept_count != heap->kept_count
        || giant_kept_count != heap->giant_kept_count)
        return "regions are counted by state";
    if (dirty_free_pages != heap->dirty_free_pages || huge_free_pages != heap->huge_free_pages)
        return "free pages of open regions are counted by backing";
    return check_lists(heap, listed_count, seam_count);
}
