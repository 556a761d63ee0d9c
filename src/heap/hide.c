/* SPDX-License-Identifier: MIT */
/* hide.c - stretches of regions that core dumps leave out (see hide.h). */
#include "heap/hide.h"

#define STRETCH_REGIONS 16

/* Each takes up to two mappings; the kernel allows some 65,000. */
#define HIDDEN_MAX 4096

static bool
is_hidden(const struct hm_extent *extent, size_t stretch_idx)
{
    return hm_bitmap_count_run(extent->hidden, stretch_idx, 1) != 0;
}

static int
advise(struct hm_heap *heap, const struct hm_extent *extent, size_t stretch_idx,
       enum hm_advice advice)
{
    size_t from_idx = stretch_idx * STRETCH_REGIONS;
    size_t left_count = extent->region_count - from_idx;
    size_t region_count = left_count < STRETCH_REGIONS ? left_count : STRETCH_REGIONS;

    return heap->os->advise(heap->os->ctx, extent->addr + (from_idx << heap->geom.region_shift),
                            region_count << heap->geom.region_shift, advice);
}

static bool
is_in_use(const struct hm_extent *extent, size_t stretch_idx)
{
    size_t from_idx = stretch_idx * STRETCH_REGIONS;
    size_t end_idx = from_idx + STRETCH_REGIONS;

    if (end_idx > extent->region_count)
        end_idx = extent->region_count;
    return hm_bitmap_next_set(extent->in_use, end_idx, from_idx) < end_idx;
}

void
hm_hide_try(struct hm_heap *heap, const struct hm_region *region)
{
    struct hm_extent *extent = region->extent;
    size_t stretch_idx = hm_region_idx(region, &heap->geom) / STRETCH_REGIONS;

    if (heap->hidden_count == HIDDEN_MAX || is_hidden(extent, stretch_idx)
        || is_in_use(extent, stretch_idx) || advise(heap, extent, stretch_idx, HM_ADVICE_HIDE) != 0)
        return;
    hm_bitmap_set_run(extent->hidden, stretch_idx, 1);
    heap->hidden_count++;
}

/* If the kernel refuses, the dump will lack it; the next region that is opened tries again. */
void
hm_hide_undo(struct hm_heap *heap, const struct hm_region *region)
{
    struct hm_extent *extent = region->extent;
    size_t stretch_idx;

    if (heap->hidden_count == 0)
        return;
    stretch_idx = hm_region_idx(region, &heap->geom) / STRETCH_REGIONS;
    if (!is_hidden(extent, stretch_idx) || advise(heap, extent, stretch_idx, HM_ADVICE_SHOW) != 0)
        return;
    hm_bitmap_clear_run(extent->hidden, stretch_idx, 1);
    heap->hidden_count--;
}

HM_LATER void
hm_hide_forget(struct hm_heap *heap, struct hm_extent *extent, size_t from_idx)
{
    size_t end_idx = (extent->region_count + STRETCH_REGIONS - 1) / STRETCH_REGIONS;
    size_t first_idx = (from_idx + STRETCH_REGIONS - 1) / STRETCH_REGIONS;

    heap->hidden_count -= hm_bitmap_count_run(extent->hidden, first_idx, end_idx - first_idx);
    hm_bitmap_clear_run(extent->hidden, first_idx, end_idx - first_idx);
}
