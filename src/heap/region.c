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
    };

    if (to_idx > extent->tail_idx)
        range.rest_bytes = (extent->region_count - to_idx) << geom->region_shift;
    if (from_idx == extent->tail_idx)
        range.advised = extent->tail_advice;
    return range;
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

uint32_t
hm_region_take(struct hm_region *region, uint32_t page_count, uint32_t page_idx, uint32_t len_pages)
{
    uint64_t *dirty = hm_region_dirty_bits(region, page_count);
    uint32_t were_dirty = (uint32_t)hm_bitmap_count_run(dirty, page_idx, len_pages);

    hm_assert(hm_bitmap_count_run(region->bits, page_idx, len_pages) == 0);
    hm_bitmap_set_run(region->bits, page_idx, len_pages);
    hm_bitmap_set_run(dirty, page_idx, len_pages);
    region->used_pages += len_pages;
    region->dirty_pages += len_pages - were_dirty;
    region->longest_free_pages = (uint32_t)hm_bitmap_longest_clear_run(region->bits, page_count);
    return were_dirty;
}

void
hm_region_give(struct hm_region *region, uint32_t page_count, uint32_t page_idx, uint32_t len_pages)
{
    hm_assert(hm_bitmap_count_run(region->bits, page_idx, len_pages) == len_pages);
    hm_bitmap_clear_run(region->bits, page_idx, len_pages);
    region->used_pages -= len_pages;
    region->longest_free_pages = (uint32_t)hm_bitmap_longest_clear_run(region->bits, page_count);
}
