/* SPDX-License-Identifier: MIT */
/* supply.c - memory that the program gives to a heap (see supply.h).
 *
 * Problem     A heap has whole regions, and memory of the program's begins and ends anywhere, may
 *             be shorter than a region, holds anything, and is neither unmapped nor advised by us.
 * Idea        An extent of all regions that the memory touches. Pages of them that lie outside are
 *             in use for ever. None is zero. Metadata lies elsewhere, so that all of the memory is
 *             for blocks.
 * State       heap->supply_addr, heap->supply_bytes, heap->outside_pages.
 */
#include "heap/supply.h"

#include <errno.h>

#include "heap/extent.h"
#include "heap/heal.h"
#include "heap/pheap.h"
#include "heap/purge.h"

/* As if it had been opened before, written to, and freed. */
static void
keep_region(struct hm_heap *heap, struct hm_region *region)
{
    region->backing = HM_BACKING_4K;
    region->state = HM_REGION_KEPT;
    hm_bitmap_set_run(hm_region_dirty_bits(region, heap->region_pages), 0, heap->region_pages);
    region->dirty_pages = heap->region_pages;
    hm_heal_opened(heap, region);
    hm_purge_keep(heap, region);
}

/* All regions have memory: this cannot fail. */
static void
close_off(struct hm_heap *heap, uintptr_t addr, size_t len_bytes)
{
    struct hm_extent *extent = heap->extents;
    size_t len_pages = len_bytes >> heap->geom.page_shift;
    struct hm_run run;

    if (len_pages == 0)
        return;
    (void)hm_pheap_take_at(heap, extent, (addr - extent->addr) >> heap->geom.page_shift, len_pages,
                           &run);
    heap->used_pages -= len_pages;
    heap->outside_pages += len_pages;
}

/* Whether blocks of other heaps with this page map are there. */
static bool
is_taken(const struct hm_heap *heap, uintptr_t from_addr, uintptr_t to_addr)
{
    for (uintptr_t addr = from_addr; addr < to_addr; addr += hm_page_bytes(&heap->geom))
        if (hm_pagemap_get(heap->pagemap, addr) != NULL)
            return true;
    return false;
}

int
hm_supply_enter(struct hm_heap *heap, uintptr_t addr, size_t len_bytes)
{
    uintptr_t from_addr = hm_align_up(addr, hm_page_bytes(&heap->geom));
    uintptr_t to_addr = hm_align_down(addr + len_bytes, hm_page_bytes(&heap->geom));
    uintptr_t base = hm_align_down(from_addr, hm_region_bytes(&heap->geom));
    uintptr_t end_addr = hm_align_up(to_addr, hm_region_bytes(&heap->geom));

    if (is_taken(heap, from_addr, to_addr))
        return -EINVAL;
    if (from_addr >= to_addr || hm_extent_adopt(heap, base, end_addr - base) != 0)
        return -ENOMEM;
    for (size_t i = 0; i < heap->extents->region_count; i++)
        keep_region(heap, hm_pheap_region_at(heap, heap->extents, i));
    close_off(heap, base, from_addr - base);
    close_off(heap, to_addr, end_addr - to_addr);
    heap->supply_addr = from_addr;
    heap->supply_bytes = to_addr - from_addr;
    return 0;
}
