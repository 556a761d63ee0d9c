/* SPDX-License-Identifier: MIT */
/* pheap.c - page heap: cuts runs of pages out of huge pages.
 *
 * Problem     A huge page pays off only while it is nearly full; breaking one up costs every page
 *             left in it.
 * Idea        Serve each request from the region where it fits most tightly (shortest longest-free
 *             run, then most pages in use), so that sparse regions drain and go back whole; else
 *             from a hole that crosses two of them. What fits nowhere starts in the free tail of
 *             the region before, so that runs of odd lengths lie end to end, and what is left of
 *             the last region serves smaller requests.
 * State       struct hm_heap, its part "the page heap".
 * Locking     heap->lock is held by the caller.
 * Invariants  I1 those of fit.c. I2 a kept region is in the kept list. I3 a closed region has no
 *             bits set. I4 in_use of an extent has the bits of its open regions. hm_pheap_check()
 *             proves them.
 * Sources     A. H. Hunter et al., "Beyond malloc efficiency to fleet efficiency: a hugepage-aware
 *             memory allocator", OSDI 2021.
 */
#include "heap/pheap.h"

#include <errno.h>

#include "base/check.h"
#include "heap/extent.h"
#include "heap/fit.h"
#include "heap/giant.h"
#include "heap/heal.h"
#include "heap/hide.h"
#include "heap/nodes.h"
#include "heap/place.h"
#include "heap/purge.h"
#include "heap/stash.h"

/* --- lists ------------------------------------------------------------------------------------ */

void
hm_pheap_unkeep(struct hm_heap *heap, struct hm_region *region)
{
    if (region->giant_shift != 0) {
        heap->giant_kept_count--;
        return;
    }
    if (region->next != NULL)
        region->next->prev = region->prev;
    else
        heap->kept_last = region->prev;
    if (region->prev != NULL)
        region->prev->next = region->next;
    else
        heap->kept = region->next;
    heap->kept_count--;
}

/* --- opening regions -------------------------------------------------------------------------- */

/* Region structs are zero until first used, so that reserving many touches nothing. */
struct hm_region *
hm_pheap_region_at(const struct hm_heap *heap, struct hm_extent *extent, size_t idx)
{
    struct hm_region *region = hm_extent_region(extent, idx);

    if (region->extent == NULL) {
        region->extent = extent;
        region->addr = extent->addr + (idx << heap->geom.region_shift);
        region->longest_free_pages = heap->region_pages;
    }
    return region;
}

static void
mark_open(struct hm_heap *heap, struct hm_region *region)
{
    if (region->state == HM_REGION_KEPT)
        hm_pheap_unkeep(heap, region);
    region->state = HM_REGION_OPEN;
    hm_heal_reopened(heap, region);
    hm_bitmap_set_run(region->extent->in_use, hm_region_idx(region, &heap->geom), 1);
    heap->open_count++;
    if (hm_backing_is_base(region->backing)) {
        heap->base_regions++;
        heap->dirty_free_pages += region->dirty_pages;
    } else if (region->backing == HM_BACKING_THP) {
        heap->huge_free_pages += heap->region_pages;
    }
    hm_hide_undo(heap, region);
    hm_fit_link(heap, region);
}

/* Give the closed regions among [from_idx, to_idx) memory, a stretch at a time, and open all. */
static int
open_regions(struct hm_heap *heap, struct hm_extent *extent, size_t from_idx, size_t to_idx,
             size_t heap_bytes)
{
    size_t idx = from_idx;

    if (hm_backing_has_pool(&heap->backing))
        hm_giant_open(heap, extent, from_idx, to_idx, heap_bytes);
    while (idx < to_idx) {
        size_t first_idx = idx;
        enum hm_backing_kind kind = HM_BACKING_4K;
        struct hm_range range;
        int rc;

        if (hm_pheap_region_at(heap, extent, idx)->state != HM_REGION_CLOSED) {
            idx++;
            continue;
        }
        while (idx < to_idx && hm_pheap_region_at(heap, extent, idx)->state == HM_REGION_CLOSED)
            idx++;
        range = hm_extent_range(extent, &heap->geom, first_idx, idx);
        range.is_placed = hm_nodes_may_place(heap);
        range.node = (uint8_t)extent->node;
        rc = hm_backing_obtain(&heap->backing, &range, heap_bytes, &kind);
        idx = first_idx + (range.len_bytes >> heap->geom.region_shift);
        hm_extent_note(extent, &range, idx, rc == 0);
        if (rc != 0)
            return -ENOMEM;
        for (size_t i = first_idx; i < idx; i++) {
            struct hm_region *region = hm_pheap_region_at(heap, extent, i);

            region->backing = (uint8_t)kind;
            region->state = HM_REGION_KEPT;
            hm_heal_opened(heap, region);
            hm_purge_keep(heap, region);
        }
    }
    for (idx = from_idx; idx < to_idx; idx++) {
        struct hm_region *region = hm_pheap_region_at(heap, extent, idx);

        if (region->state == HM_REGION_KEPT)
            mark_open(heap, region);
    }
    return 0;
}

/* --- taking ----------------------------------------------------------------------------------- */

/* Enter [page_idx, page_idx + len_pages) of an extent as in use; all of its regions are open. */
static void
take_pages(struct hm_heap *heap, struct hm_extent *extent, size_t page_idx, size_t len_pages,
           struct hm_run *out_run)
{
    size_t left_pages = len_pages;
    size_t dirty_pages = 0;

    out_run->addr = extent->addr + (page_idx << heap->geom.page_shift);
    out_run->len_pages = len_pages;
    out_run->region = hm_pheap_region_at(heap, extent, hm_heap_region_of(heap, page_idx));
    heap->used_pages += len_pages;
    while (left_pages > 0) {
        struct hm_region *region
            = hm_pheap_region_at(heap, extent, hm_heap_region_of(heap, page_idx));
        size_t in_region_idx = hm_heap_page_of(heap, page_idx);
        size_t part_pages = heap->region_pages - in_region_idx;
        uint32_t were_dirty;

        if (part_pages > left_pages)
            part_pages = left_pages;
        hm_fit_unlink(heap, region);
        were_dirty = hm_region_take(region, heap->region_pages, (uint32_t)in_region_idx,
                                    (uint32_t)part_pages);
        hm_fit_link(heap, region);
        if (hm_backing_is_base(region->backing)) {
            heap->dirty_free_pages -= were_dirty;
            hm_heal_note(heap, region);
        } else if (region->backing == HM_BACKING_THP) {
            hm_purge_lower(heap, part_pages);
        }
        if (were_dirty > 0) {
            if (dirty_pages == 0)
                out_run->stale_addr = region->addr + (in_region_idx << heap->geom.page_shift);
            out_run->stale_end_addr
                = region->addr + ((in_region_idx + part_pages) << heap->geom.page_shift);
        }
        dirty_pages += were_dirty;
        page_idx += part_pages;
        left_pages -= part_pages;
    }
    out_run->is_zero = dirty_pages == 0;
    hm_demand_note(&heap->demand, heap->used_pages);
}

int
hm_pheap_take_at(struct hm_heap *heap, struct hm_extent *extent, size_t page_idx, size_t len_pages,
                 struct hm_run *out_run)
{
    size_t heap_bytes = hm_heap_bytes(heap) + hm_pages_to_bytes(&heap->geom, len_pages);

    if (open_regions(heap, extent, hm_heap_region_of(heap, page_idx),
                     hm_heap_region_of(heap, page_idx + len_pages - 1) + 1, heap_bytes)
        != 0)
        return -ENOMEM;
    take_pages(heap, extent, page_idx, len_pages, out_run);
    return 0;
}

/* A run that fits into no free run of the open regions. */
static int
take_new(struct hm_heap *heap, unsigned node, size_t len_pages, size_t align_pages,
         struct hm_run *out_run)
{
    struct hm_place place = { 0 };

    if (hm_place_find(heap, node, len_pages, align_pages, &place) != 0)
        return -ENOMEM;
    return hm_pheap_take_at(heap, place.extent, place.page_idx, len_pages, out_run);
}

/* The free run of the open regions of a node into which a request fits: its region and page, or
 * NULL. */
static struct hm_region *
find_open(const struct hm_heap *heap, unsigned node, size_t len_pages, size_t align_pages,
          size_t *out_page_idx)
{
    struct hm_region *region = NULL;

    if (len_pages <= heap->region_pages)
        region = hm_fit_find(heap, node, len_pages, align_pages, out_page_idx);
    if (region == NULL)
        region = hm_fit_find_seam(heap, node, len_pages, align_pages, out_page_idx);
    return region;
}

static int
take_on(struct hm_heap *heap, unsigned node, size_t len_pages, size_t align_pages,
        struct hm_run *out_run)
{
    size_t page_idx = 0;
    struct hm_region *region = find_open(heap, node, len_pages, align_pages, &page_idx);

    if (region == NULL && hm_stash_flush(heap))
        region = find_open(heap, node, len_pages, align_pages, &page_idx);
    if (region == NULL)
        return take_new(heap, node, len_pages, align_pages, out_run);
    page_idx += hm_region_idx(region, &heap->geom) * heap->region_pages;
    take_pages(heap, region->extent, page_idx, len_pages, out_run);
    return 0;
}

static int
take_near(struct hm_heap *heap, size_t len_pages, size_t align_pages, struct hm_run *out_run)
{
    unsigned node = hm_nodes_here(heap);
    int rc;

    if (hm_pages_to_bytes(&heap->geom, len_pages) > hm_heap_left_bytes(heap))
        return -ENOMEM;
    rc = take_on(heap, node, len_pages, align_pages, out_run);
    /* There is no address space for more: what other nodes have is better than nothing. */
    for (unsigned i = 0; rc != 0 && i < hm_nodes_count(heap); i++)
        if (i != node)
            rc = take_on(heap, i, len_pages, align_pages, out_run);
    if (rc != 0)
        return -ENOMEM;
    hm_heal_visit(heap);
    hm_purge_visit(heap);
    return 0;
}

/* At a multiple of more than a region: from a run with room for that, whose ends go back. No
 * address space is reserved for it but what there is. */
static HM_LATER int
take_far(struct hm_heap *heap, size_t len_pages, size_t align_pages, struct hm_run *out_run)
{
    size_t more_pages = align_pages - heap->region_pages;
    struct hm_extent *extent;
    size_t before_pages;
    uintptr_t end_addr;

    if (len_pages + more_pages > heap->extent_regions * heap->region_pages
        || take_near(heap, len_pages + more_pages, heap->region_pages, out_run) != 0)
        return -ENOMEM;
    extent = out_run->region->extent;
    before_pages = (size_t)(-out_run->addr >> heap->geom.page_shift) & (align_pages - 1);
    if (before_pages > 0)
        hm_pheap_give(heap, out_run->region, out_run->addr, before_pages);
    out_run->addr += hm_pages_to_bytes(&heap->geom, before_pages);
    out_run->len_pages = len_pages;
    out_run->region = hm_pheap_region_at(heap, extent,
                                         (out_run->addr - extent->addr) >> heap->geom.region_shift);
    end_addr = out_run->addr + hm_pages_to_bytes(&heap->geom, len_pages);
    if (more_pages > before_pages)
        hm_pheap_give(heap, out_run->region, end_addr, more_pages - before_pages);
    out_run->stale_addr = out_run->addr;
    out_run->stale_end_addr = end_addr;
    return 0;
}

int
hm_pheap_take(struct hm_heap *heap, size_t len_pages, size_t align_pages, struct hm_run *out_run)
{
    if (HM_LIKELY(align_pages <= heap->region_pages))
        return take_near(heap, len_pages, align_pages, out_run);
    return take_far(heap, len_pages, align_pages, out_run);
}

size_t
hm_pheap_fit_pages(struct hm_heap *heap, size_t min_pages, size_t len_pages)
{
    unsigned node = hm_nodes_here(heap);
    const struct hm_fits *fits = &heap->fits[node];
    size_t list_count = heap->region_pages + 1;
    size_t fit_pages = 0;
    size_t longer_pages = hm_bitmap_next_set(fits->runs_map, list_count, min_pages);

    while (longer_pages < list_count) {
        fit_pages = longer_pages;
        if (fit_pages >= len_pages)
            return len_pages;
        longer_pages = hm_bitmap_next_set(fits->runs_map, list_count, fit_pages + 1);
    }
    return fit_pages > 0 ? fit_pages : len_pages;
}

/* Whether the pages [page_idx, end_idx) of an extent are free, in regions open or not. */
static bool
is_free(struct hm_heap *heap, struct hm_extent *extent, size_t page_idx, size_t end_idx)
{
    if (end_idx > extent->region_count * heap->region_pages)
        return false;
    while (page_idx < end_idx) {
        struct hm_region *region
            = hm_pheap_region_at(heap, extent, hm_heap_region_of(heap, page_idx));
        size_t in_region_idx = hm_heap_page_of(heap, page_idx);
        size_t part_pages = heap->region_pages - in_region_idx;

        if (part_pages > end_idx - page_idx)
            part_pages = end_idx - page_idx;
        if (hm_bitmap_next_set(region->bits, in_region_idx + part_pages, in_region_idx)
            != in_region_idx + part_pages)
            return false;
        page_idx += part_pages;
    }
    return true;
}

HM_LATER bool
hm_pheap_extend(struct hm_heap *heap, const struct hm_region *region, uintptr_t end_addr,
                size_t more_pages)
{
    struct hm_extent *extent = region->extent;
    size_t page_idx = (end_addr - extent->addr) >> heap->geom.page_shift;
    size_t end_idx = page_idx + more_pages;
    struct hm_run run;

    if (hm_pages_to_bytes(&heap->geom, more_pages) > hm_heap_left_bytes(heap))
        return false;
    if (!is_free(heap, extent, page_idx, end_idx)
        && !(hm_stash_flush(heap) && is_free(heap, extent, page_idx, end_idx)))
        return false;
    if (hm_pheap_take_at(heap, extent, page_idx, more_pages, &run) != 0)
        return false;
    hm_heal_visit(heap);
    hm_purge_visit(heap);
    return true;
}

/* --- giving ----------------------------------------------------------------------------------- */

static void
mark_empty(struct hm_heap *heap, struct hm_region *region)
{
    hm_bitmap_clear_run(region->extent->in_use, hm_region_idx(region, &heap->geom), 1);
    heap->open_count--;
    if (hm_backing_is_base(region->backing)) {
        heap->base_regions--;
        heap->dirty_free_pages -= region->dirty_pages;
    } else if (region->backing == HM_BACKING_THP) {
        hm_purge_lower(heap, heap->region_pages);
    }
    region->state = HM_REGION_KEPT;
    hm_fit_settle_seams(heap, region);
    if (region->giant_shift == 0)
        hm_purge_keep(heap, region);
    else
        heap->giant_kept_count++;
}

size_t
hm_pheap_free(struct hm_heap *heap, struct hm_region *region, uintptr_t addr, size_t len_pages)
{
    struct hm_extent *extent = region->extent;
    size_t page_idx = (addr - extent->addr) >> heap->geom.page_shift;
    size_t emptied_count = 0;

    while (len_pages > 0) {
        size_t in_region_idx = hm_heap_page_of(heap, page_idx);
        size_t part_pages = heap->region_pages - in_region_idx;

        region = hm_pheap_region_at(heap, extent, hm_heap_region_of(heap, page_idx));
        if (part_pages > len_pages)
            part_pages = len_pages;
        hm_fit_unlink(heap, region);
        hm_region_give(region, heap->region_pages, (uint32_t)in_region_idx, (uint32_t)part_pages);
        if (hm_backing_is_base(region->backing)) {
            heap->dirty_free_pages += part_pages;
            hm_heal_note(heap, region);
        } else if (region->backing == HM_BACKING_THP) {
            heap->huge_free_pages += part_pages;
        }
        if (region->used_pages == 0) {
            mark_empty(heap, region);
            if (region->giant_shift == 0)
                emptied_count++;
            else
                hm_giant_emptied(heap, region);
        } else {
            hm_fit_link(heap, region);
        }
        page_idx += part_pages;
        len_pages -= part_pages;
    }
    return emptied_count;
}

void
hm_pheap_give(struct hm_heap *heap, struct hm_region *region, uintptr_t addr, size_t len_pages)
{
    heap->used_pages -= len_pages;
    hm_demand_note(&heap->demand, heap->used_pages);
    hm_purge_emptied(heap, hm_pheap_free(heap, region, addr, len_pages));
    hm_heal_visit(heap);
}

HM_LATER void
hm_pheap_vacate(struct hm_heap *heap, struct hm_region *region, uintptr_t addr, size_t len_pages)
{
    heap->used_pages -= len_pages;
    hm_demand_note(&heap->demand, heap->used_pages);
    hm_purge_vacated(heap, hm_pheap_free(heap, region, addr, len_pages));
}

/* --- walking ---------------------------------------------------------------------------------- */

struct hm_region *
hm_pheap_next_region(const struct hm_heap *heap, const struct hm_region *region)
{
    struct hm_extent *extent = region != NULL ? region->extent : heap->extents;
    size_t idx = region != NULL ? hm_region_idx(region, &heap->geom) + 1 : 0;

    for (; extent != NULL; extent = extent->next, idx = 0) {
        for (; idx < extent->region_count; idx++) {
            struct hm_region *next = hm_extent_region(extent, idx);

            if (next->extent != NULL)
                return next;
        }
    }
    return NULL;
}
