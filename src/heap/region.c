/* SPDX-License-Identifier: MIT */
/* region.c - the state of one region's pages, and how regions are born (see region.h). */
#include "heap/region.h"

#include "base/check.h"

struct hm_extent *
hm_extent_create(struct hm_meta *meta, const struct hm_geom *geom, size_t room_count)
{
    uint32_t page_count = hm_region_pages(geom);
    size_t stride_bytes
        = sizeof(struct hm_region) + 2 * HM_BITMAP_WORDS(page_count) * sizeof(uint64_t);
    size_t words_bytes = 2 * HM_BITMAP_WORDS(room_count) * sizeof(uint64_t);
    size_t head_bytes = hm_align_up(sizeof(struct hm_extent) + words_bytes, HM_CACHE_LINE_BYTES);
    struct hm_extent *extent
        = hm_meta_alloc(meta, head_bytes + room_count * stride_bytes, HM_CACHE_LINE_BYTES);

    if (extent == NULL)
        return NULL;
    extent->room_count = room_count;
    extent->stride_bytes = stride_bytes;
    extent->in_use = (uint64_t *)(void *)(extent + 1);
    extent->hidden = extent->in_use + HM_BITMAP_WORDS(room_count);
    extent->regions = (char *)extent + head_bytes;
    return extent;
}

void
hm_extent_place(struct hm_extent *extent, const struct hm_geom *geom, uintptr_t addr,
                size_t len_bytes)
{
    hm_assert(len_bytes >> geom->region_shift <= extent->room_count);
    extent->next = NULL;
    extent->addr = addr;
    extent->end_addr = addr + len_bytes;
    extent->region_count = len_bytes >> geom->region_shift;
    extent->tail_idx = 0;
    extent->tail_advice = HM_BACKING_KINDS;
}

struct hm_range
hm_extent_range(const struct hm_extent *extent, const struct hm_geom *geom, size_t from_idx,
                size_t to_idx)
{
    struct hm_range range = {
        .addr = extent->addr + (from_idx << geom->region_shift),
        .len_bytes = (to_idx - from_idx) << geom->region_shift,
        .advised = HM_BACKING_KINDS,
        .is_regions = true,
    };

    if (to_idx > extent->tail_idx)
        range.rest_bytes = (extent->region_count - to_idx) << geom->region_shift;
    if (from_idx == extent->tail_idx)
        range.advised = extent->tail_advice;
    return range;
}

enum hm_backing_kind
hm_extent_backing(const struct hm_extent *extent, size_t from_idx, size_t to_idx)
{
    uint8_t kind = hm_extent_region(extent, from_idx)->backing;

    while (++from_idx < to_idx)
        if (hm_extent_region(extent, from_idx)->backing != kind)
            return HM_BACKING_KINDS;
    return (enum hm_backing_kind)kind;
}

void
hm_extent_note(struct hm_extent *extent, const struct hm_range *range, size_t to_idx,
               bool is_opened)
{
    if (to_idx <= extent->tail_idx)
        return;
    extent->tail_advice = is_opened ? range->advised : HM_BACKING_KINDS;
    if (is_opened)
        extent->tail_idx = to_idx;
}

/* Clear bits on both sides of [page_idx, end_idx). */
static void
look_around(const struct hm_region *region, uint32_t page_count, uint32_t page_idx,
            uint32_t end_idx, uint32_t out_pages[2])
{
    if (region->used_pages == 0) {
        out_pages[0] = page_idx;
        out_pages[1] = page_count - end_idx;
        return;
    }
    out_pages[0] = (uint32_t)hm_bitmap_trailing_clear(region->bits, page_idx);
    out_pages[1] = (uint32_t)hm_bitmap_next_set(region->bits, page_count, end_idx) - end_idx;
}

/* The longest run after pages were taken out of a run of run_pages, and part_pages of it are left
 * in one piece at most. It is as before if another run was longer, and it is that piece if all
 * other free pages together are fewer. */
static void
shorten_longest(struct hm_region *region, uint32_t page_count, uint32_t run_pages,
                uint32_t part_pages)
{
    uint32_t other_pages = page_count - region->used_pages - part_pages;

    if (run_pages < region->longest_free_pages)
        return;
    if (part_pages >= other_pages)
        region->longest_free_pages = part_pages;
    else
        region->longest_free_pages
            = (uint32_t)hm_bitmap_longest_clear_run(region->bits, page_count);
}

uint32_t
hm_region_take(struct hm_region *region, uint32_t page_count, uint32_t page_idx, uint32_t len_pages)
{
    uint64_t *dirty = hm_region_dirty_bits(region, page_count);
    uint32_t were_dirty = (uint32_t)hm_bitmap_count_run(dirty, page_idx, len_pages);
    uint32_t side_pages[2];

    hm_assert(hm_bitmap_count_run(region->bits, page_idx, len_pages) == 0);
    look_around(region, page_count, page_idx, page_idx + len_pages, side_pages);
    hm_bitmap_set_run(region->bits, page_idx, len_pages);
    hm_bitmap_set_run(dirty, page_idx, len_pages);
    region->used_pages += len_pages;
    region->dirty_pages += len_pages - were_dirty;
    shorten_longest(region, page_count, side_pages[0] + len_pages + side_pages[1],
                    side_pages[0] > side_pages[1] ? side_pages[0] : side_pages[1]);
    return were_dirty;
}

void
hm_region_give(struct hm_region *region, uint32_t page_count, uint32_t page_idx, uint32_t len_pages)
{
    uint32_t side_pages[2];
    uint32_t run_pages;

    hm_assert(hm_bitmap_count_run(region->bits, page_idx, len_pages) == len_pages);
    hm_bitmap_clear_run(region->bits, page_idx, len_pages);
    region->used_pages -= len_pages;
    look_around(region, page_count, page_idx, page_idx + len_pages, side_pages);
    run_pages = side_pages[0] + len_pages + side_pages[1];
    if (run_pages > region->longest_free_pages)
        region->longest_free_pages = run_pages;
}
