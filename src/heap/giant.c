/* SPDX-License-Identifier: MIT */
/* giant.c - hugetlb pages that hold many regions (see giant.h).
 *
 * Problem     The books are kept by regions, and such a page comes and goes only as a whole.
 * Idea        Where a region is to be opened and its page is closed altogether, all of the page is
 *             opened, and its other regions are kept: they have memory, and serve next. They stand
 *             in no list of kept regions, as those go back one by one: the page goes back when its
 *             last region falls empty. A heap gets the first such page when it is as large as one.
 * State       region->giant_shift, heap->giant_kept_count.
 * Invariants  All regions of such a page have its giant_shift, and none of them is closed.
 */
#include "heap/giant.h"

#include "backing/hugetlb.h"
#include "heap/heal.h"
#include "heap/hide.h"
#include "heap/nodes.h"
#include "heap/pheap.h"

/* Which pages a request is to have. */
struct wish {
    unsigned shift;
    unsigned place; /* in the chain */
    size_t heap_bytes;
};

/* The regions of one page. */
struct page {
    struct hm_extent *extent;
    size_t first_idx;
    size_t count;
    unsigned shift;
};

/* --- which pages ------------------------------------------------------------------------------ */

/* The page around a region, which may begin or end beside the extent. */
static struct page
page_around(struct hm_extent *extent, const struct hm_geom *geom, size_t idx, unsigned shift)
{
    size_t page_bytes = (size_t)1 << shift;
    uintptr_t addr = hm_align_down(extent->addr + (idx << geom->region_shift), page_bytes);

    /* The index is below 0, and so wraps around, if the page begins before the extent. */
    return (struct page){ extent, (size_t)((intptr_t)(addr - extent->addr) >> geom->region_shift),
                          page_bytes >> geom->region_shift, shift };
}

static bool
is_in_extent(const struct page *page)
{
    return page->first_idx < page->extent->region_count
           && page->count <= page->extent->region_count - page->first_idx;
}

/* The page that a region is a part of. */
static struct page
page_of(const struct hm_heap *heap, const struct hm_region *region)
{
    return page_around(region->extent, &heap->geom, hm_region_idx(region, &heap->geom),
                       region->giant_shift);
}

static bool
is_closed(const struct hm_heap *heap, const struct page *page)
{
    for (size_t i = 0; i < page->count; i++)
        if (hm_pheap_region_at(heap, page->extent, page->first_idx + i)->state != HM_REGION_CLOSED)
            return false;
    return true;
}

size_t
hm_giant_regions(const struct hm_heap *heap, size_t more_regions)
{
    size_t heap_bytes = hm_heap_bytes(heap) + (more_regions << heap->geom.region_shift);
    size_t count = 1;

    for (unsigned i = 0; i < hm_hugetlb_places(&heap->backing); i++) {
        unsigned shift = hm_hugetlb_giant_shift(&heap->backing, i, heap_bytes);

        if (shift != 0 && (size_t)1 << (shift - heap->geom.region_shift) > count)
            count = (size_t)1 << (shift - heap->geom.region_shift);
    }
    return count;
}

/* --- open ------------------------------------------------------------------------------------- */

/* Returns false if there is none. */
static bool
open_page(struct hm_heap *heap, const struct page *page, unsigned place, size_t heap_bytes)
{
    struct hm_range range = hm_extent_range(page->extent, &heap->geom, page->first_idx,
                                            page->first_idx + page->count);

    /* What is hidden by parts cannot be shown by parts of such a page. */
    for (size_t i = 0; i < page->count; i++)
        hm_hide_undo(heap, hm_pheap_region_at(heap, page->extent, page->first_idx + i));
    range.is_placed = hm_nodes_may_place(heap);
    range.node = page->extent->node;
    if (hm_hugetlb_obtain_page(&heap->backing, &range, heap_bytes, place) != 0)
        return false;
    hm_extent_note(page->extent, &range, page->first_idx + page->count, true);
    for (size_t i = 0; i < page->count; i++) {
        struct hm_region *region = hm_pheap_region_at(heap, page->extent, page->first_idx + i);

        region->backing = HM_BACKING_HUGETLB;
        region->giant_shift = (uint8_t)page->shift;
        region->state = HM_REGION_KEPT;
        hm_heal_opened(heap, region);
    }
    heap->giant_kept_count += page->count;
    return true;
}

static void
open_pages(struct hm_heap *heap, struct hm_extent *extent, size_t from_idx, size_t to_idx,
           struct wish wish)
{
    size_t idx = from_idx;

    while (idx < to_idx) {
        struct page page = page_around(extent, &heap->geom, idx, wish.shift);

        idx = page.first_idx + page.count;
        if (is_in_extent(&page) && is_closed(heap, &page)
            && !open_page(heap, &page, wish.place, wish.heap_bytes))
            return;
    }
}

void
hm_giant_open(struct hm_heap *heap, struct hm_extent *extent, size_t from_idx, size_t to_idx,
              size_t heap_bytes)
{
    for (unsigned i = 0; i < hm_hugetlb_places(&heap->backing); i++) {
        struct wish wish = { hm_hugetlb_giant_shift(&heap->backing, i, heap_bytes), i, heap_bytes };

        if (wish.shift != 0)
            open_pages(heap, extent, from_idx, to_idx, wish);
    }
}

/* --- close ------------------------------------------------------------------------------------ */

bool
hm_giant_release(struct hm_heap *heap, uintptr_t addr, size_t len_bytes, unsigned node)
{
    if (hm_hugetlb_release(&heap->backing, addr, len_bytes) != 0)
        return false;
    hm_nodes_place(heap, addr, len_bytes, node);
    heap->discarded_bytes += len_bytes;
    heap->discard_calls++;
    return true;
}

static bool
close_page(struct hm_heap *heap, const struct page *page)
{
    struct hm_extent *extent = page->extent;
    uintptr_t addr = extent->addr + (page->first_idx << heap->geom.region_shift);
    size_t page_bytes = (size_t)1 << page->shift;

    if (hm_bitmap_count_run(extent->in_use, page->first_idx, page->count) != 0
        || !hm_giant_release(heap, addr, page_bytes, extent->node))
        return false;
    for (size_t i = 0; i < page->count; i++) {
        struct hm_region *region = hm_pheap_region_at(heap, extent, page->first_idx + i);

        region->giant_shift = 0;
        region->state = HM_REGION_CLOSED;
        region->dirty_pages = 0;
        hm_bitmap_clear_run(hm_region_dirty_bits(region, heap->region_pages), 0,
                            heap->region_pages);
        hm_hide_try(heap, region);
    }
    heap->giant_kept_count -= page->count;
    return true;
}

void
hm_giant_emptied(struct hm_heap *heap, struct hm_region *region)
{
    struct page page = page_of(heap, region);

    if (heap->giant_kept_count << heap->geom.region_shift > heap->cutoff.keep_bytes)
        (void)close_page(heap, &page);
}

HM_LATER size_t
hm_giant_close_all(struct hm_heap *heap)
{
    struct hm_region *region = NULL;
    size_t given_bytes = 0;

    while ((region = hm_pheap_next_region(heap, region)) != NULL) {
        struct page page;

        if (region->giant_shift == 0)
            continue;
        page = page_of(heap, region);
        if (close_page(heap, &page))
            given_bytes += (size_t)1 << page.shift;
        region = hm_pheap_region_at(heap, page.extent, page.first_idx + page.count - 1);
    }
    return given_bytes;
}

size_t
hm_giant_end(const struct hm_extent *extent, const struct hm_geom *geom, size_t region_idx)
{
    const struct hm_region *region = hm_extent_region(extent, region_idx);
    uintptr_t end_addr;

    if (region_idx == extent->region_count || region->giant_shift == 0)
        return region_idx;
    end_addr = hm_align_up(region->addr, (size_t)1 << region->giant_shift);
    return (end_addr - extent->addr) >> geom->region_shift;
}

/* --- fork ------------------------------------------------------------------------------------- */

HM_LATER void
hm_giant_share(struct hm_heap *heap)
{
    struct hm_region *region = NULL;

    while ((region = hm_pheap_next_region(heap, region)) != NULL) {
        struct page page;

        if (region->giant_shift == 0 || !region->is_shared)
            continue;
        page = page_of(heap, region);
        for (size_t i = 0; i < page.count; i++)
            hm_pheap_region_at(heap, page.extent, page.first_idx + i)->is_shared = true;
        region = hm_pheap_region_at(heap, page.extent, page.first_idx + page.count - 1);
    }
}
