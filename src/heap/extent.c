/* SPDX-License-Identifier: MIT */
/* extent.c - how much address space to reserve at a time (see extent.h).
 *
 * Problem     Few and large reservations cost least. But RLIMIT_AS counts them, and what the heap
 *             holds in reserve is lacking where the program maps a file or starts a thread; and
 *             where vm.max_map_count is used up, the next reservation may be the last.
 * Idea        A share of what is there, no more than a small share of RLIMIT_AS, and much where
 *             mappings are scarce. What is refused is asked for again in half the size. Metadata
 *             for the new regions is mapped along, while the kernel still gives mappings.
 */
#include "heap/extent.h"

#include <errno.h>

/* Reserve this much at least, and an eighth of what is there: few extents. */
#define EXTENT_MIN_REGIONS 16
#define EXTENT_MAX_REGIONS 512

/* The share of RLIMIT_AS that is reserved at a time. */
#define LIMIT_SHARE 64

/* Metadata that a region full of spans takes, at most about: spans of 32 KiB, 256 bytes each. */
#define SPAN_SHARE 128

/* Whether spans anywhere in an extent can be entered in the page map. */
static bool
has_page_map(struct hm_heap *heap, const struct hm_extent *extent)
{
    return hm_pagemap_prepare(&heap->pagemap, &heap->meta, extent->addr,
                              extent->region_count << heap->geom.region_shift)
           == 0;
}

/* Oldest first: requests fill old address space before new. */
static void
link_extent(struct hm_heap *heap, struct hm_extent *extent)
{
    if (heap->last_extent != NULL)
        heap->last_extent->next = extent;
    else
        heap->extents = extent;
    heap->last_extent = extent;
    heap->extent_regions += extent->region_count;
}

static size_t
wish_for(const struct hm_heap *heap)
{
    size_t limit_count
        = heap->os->address_limit(heap->os->ctx) / LIMIT_SHARE >> heap->geom.region_shift;
    size_t wish_count = heap->extent_regions / 8;

    if (wish_count < EXTENT_MIN_REGIONS)
        wish_count = EXTENT_MIN_REGIONS;
    if (wish_count > EXTENT_MAX_REGIONS || heap->backing.is_crowded)
        wish_count = EXTENT_MAX_REGIONS;
    return wish_count < limit_count ? wish_count : limit_count;
}

struct hm_extent *
hm_extent_add(struct hm_heap *heap, size_t region_count)
{
    size_t wish_count = wish_for(heap);
    struct hm_extent *extent;

    for (;;) {
        extent = hm_extent_create(heap->os, &heap->meta, &heap->geom, region_count, wish_count);
        if (extent == NULL)
            return NULL;
        if (has_page_map(heap, extent))
            break;
        /* Under RLIMIT_AS the wish may leave no room for the page map. The structs of an extent
         * that is given up, a few hundred bytes, are not used again. */
        (void)heap->os->unmap(heap->os->ctx, extent->addr,
                              extent->region_count << heap->geom.region_shift);
        if (extent->region_count <= region_count)
            return NULL;
        wish_count = extent->region_count / 2;
    }
    if (heap->extents != NULL)
        hm_meta_prepare(&heap->meta,
                        extent->region_count * (hm_region_bytes(&heap->geom) / SPAN_SHARE));
    link_extent(heap, extent);
    return extent;
}

int
hm_extent_adopt(struct hm_heap *heap, uintptr_t addr, size_t len_bytes)
{
    size_t region_count = len_bytes >> heap->geom.region_shift;
    struct hm_extent *extent;

    if (region_count == 0)
        return -ENOMEM;
    extent = hm_extent_build(&heap->meta, &heap->geom, addr, region_count);
    if (extent == NULL || !has_page_map(heap, extent))
        return -ENOMEM;
    extent->tail_idx = region_count;
    link_extent(heap, extent);
    return 0;
}
