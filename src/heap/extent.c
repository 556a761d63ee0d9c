/* SPDX-License-Identifier: MIT */
/* extent.c - how much address space to reserve at a time, and when it goes back (see extent.h).
 *
 * Problem     Few and large reservations cost least. But RLIMIT_AS counts them, and what the heap
 *             holds in reserve is lacking where the program maps a file or starts a thread, or the
 *             heap itself wants a mapping of another kind; and where vm.max_map_count is used up,
 *             the next reservation may be the last.
 * Idea        A share of what is there, no more than a small share of RLIMIT_AS, and much where
 *             mappings are scarce. What is refused is asked for again in half the size; then what
 *             the extents have behind their last region in use is unmapped, if it is RLIMIT_AS that
 *             binds, and all is tried once more. Metadata for the new regions is mapped along,
 *             while the kernel still gives mappings.
 * Invariants  The structs of an extent without address space are zero like new ones, and lie in the
 *             list of their size. So there are never more of a size than were needed at one time.
 */
#include "heap/extent.h"

#include <errno.h>
#include <string.h>

#include "backing/hugetlb.h"
#include "base/check.h"
#include "heap/giant.h"
#include "heap/hide.h"
#include "heap/nodes.h"
#include "heap/stash.h"

/* Reserve this much at least, and an eighth of what is there: few extents. */
#define EXTENT_MIN_REGIONS 16
#define EXTENT_MAX_REGIONS 512

/* The share of RLIMIT_AS that is reserved at a time. */
#define LIMIT_SHARE 64

/* Metadata that a region full of spans takes, at most about: spans of 32 KiB, 256 bytes each. */
#define SPAN_SHARE 128

/* --- structs ---------------------------------------------------------------------------------- */

/* The list of the smallest room for so many regions. */
static unsigned
room_idx(size_t region_count)
{
    unsigned idx = 0;

    while ((size_t)1 << idx < region_count)
        idx++;
    hm_assert(idx < HM_EXTENT_ROOMS);
    return idx;
}

/* An extent for a range, not yet linked; NULL if there is no memory. */
static struct hm_extent *
obtain(struct hm_heap *heap, uintptr_t addr, size_t len_bytes)
{
    unsigned idx = room_idx(len_bytes >> heap->geom.region_shift);
    struct hm_extent *extent = heap->idle_extents[idx];

    if (extent != NULL)
        heap->idle_extents[idx] = extent->next;
    else
        extent = hm_extent_create(&heap->meta, &heap->geom, (size_t)1 << idx);
    if (extent != NULL)
        hm_extent_place(extent, &heap->geom, addr, len_bytes);
    return extent;
}

static void
release(struct hm_heap *heap, struct hm_extent *extent)
{
    unsigned idx = room_idx(extent->room_count);

    extent->region_count = 0;
    extent->next = heap->idle_extents[idx];
    heap->idle_extents[idx] = extent;
}

/* --- taking ----------------------------------------------------------------------------------- */

/* Whether spans anywhere in an extent can be entered in the page map. */
static bool
has_page_map(struct hm_heap *heap, const struct hm_extent *extent)
{
    return hm_pagemap_prepare(heap->pagemap, extent->addr,
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

/* Reserve just so many regions, at a multiple of so many. Returns 0 or a negative errno. */
static int
reserve(struct hm_heap *heap, size_t region_count, size_t align_count,
        struct hm_extent **out_extent)
{
    size_t len_bytes = region_count << heap->geom.region_shift;
    struct hm_extent *extent;
    uintptr_t addr = 0;
    int rc = hm_heap_reserve(heap, len_bytes, align_count << heap->geom.region_shift, &addr);

    if (rc != 0)
        return rc;
    extent = obtain(heap, addr, len_bytes);
    if (extent != NULL && has_page_map(heap, extent)) {
        *out_extent = extent;
        return 0;
    }
    if (extent != NULL)
        release(heap, extent);
    (void)hm_heap_unreserve(heap, addr, len_bytes);
    return -ENOMEM;
}

/* Reserve as much as is wished for. Under RLIMIT_AS that may be too much where the need is not, or
 * leave no room for the page map. */
static int
reserve_wish(struct hm_heap *heap, size_t region_count, struct hm_extent **out_extent)
{
    size_t wish_count = wish_for(heap);
    size_t giant_count = hm_giant_regions(heap, region_count);
    int rc;

    if (giant_count > 1) {
        size_t count = wish_count > region_count ? wish_count : region_count;

        rc = reserve(heap, hm_align_up(count, giant_count), giant_count, out_extent);
        if (rc == 0 || hm_hugetlb_needs_giants(&heap->backing))
            return rc;
    }
    for (;;) {
        if (wish_count < region_count)
            wish_count = region_count;
        rc = reserve(heap, wish_count, 1, out_extent);
        if (rc == 0 || wish_count == region_count)
            return rc;
        wish_count /= 2;
    }
}

struct hm_extent *
hm_extent_add(struct hm_heap *heap, size_t region_count, unsigned node)
{
    struct hm_extent *extent = NULL;
    int rc = reserve_wish(heap, region_count, &extent);

    if (rc != 0 && hm_extent_make_room(heap, rc))
        rc = reserve_wish(heap, region_count, &extent);
    if (rc != 0)
        return NULL;
    extent->node = (uint8_t)node;
    hm_nodes_place(heap, extent->addr, extent->end_addr - extent->addr, node);
    heap->os->name(heap->os->ctx, extent->addr, extent->end_addr - extent->addr,
                   heap->backing.conf->name);
    if (heap->extents != NULL)
        hm_meta_prepare(&heap->meta,
                        extent->region_count * (hm_region_bytes(&heap->geom) / SPAN_SHARE));
    link_extent(heap, extent);
    return extent;
}

HM_LATER int
hm_extent_adopt(struct hm_heap *heap, uintptr_t addr, size_t len_bytes)
{
    struct hm_extent *extent;

    if (len_bytes >> heap->geom.region_shift == 0)
        return -ENOMEM;
    extent = obtain(heap, addr, len_bytes);
    if (extent == NULL)
        return -ENOMEM;
    if (!has_page_map(heap, extent)) {
        release(heap, extent);
        return -ENOMEM;
    }
    extent->node = (uint8_t)hm_nodes_here(heap);
    hm_nodes_place(heap, addr, len_bytes, extent->node);
    extent->tail_idx = extent->region_count;
    link_extent(heap, extent);
    return 0;
}

/* --- giving back ------------------------------------------------------------------------------ */

/* Forget the regions from `from_idx` on, whose address space is gone; none was in use. */
static void
forget_regions(struct hm_heap *heap, struct hm_extent *extent, size_t from_idx)
{
    size_t given_bytes = 0;

    for (size_t idx = from_idx; idx < extent->region_count; idx++) {
        struct hm_region *region = hm_extent_region(extent, idx);

        if (region->extent == NULL)
            continue;
        if (region->state == HM_REGION_KEPT)
            hm_pheap_unkeep(heap, region);
        given_bytes += region->dirty_pages > 0 ? hm_region_bytes(&heap->geom) : 0;
        memset(region, 0, extent->stride_bytes);
    }
    heap->heal.cursor = NULL; /* may be one of them */
    heap->discarded_bytes += given_bytes;
    heap->discard_calls += given_bytes > 0;
    heap->extent_regions -= extent->region_count - from_idx;
    extent->region_count = from_idx;
    if (extent->tail_idx > from_idx)
        extent->tail_idx = from_idx;
}

/* Unmap what lies behind the last region in use. munmap can fail when it would split a mapping and
 * vm.max_map_count is used up: then nothing changes. */
static bool
cut(struct hm_heap *heap, struct hm_extent *extent)
{
    size_t keep_count
        = extent->region_count - hm_bitmap_trailing_clear(extent->in_use, extent->region_count);
    uintptr_t addr;

    keep_count = hm_giant_end(extent, &heap->geom, keep_count);
    addr = extent->addr + (keep_count << heap->geom.region_shift);
    if (keep_count == extent->region_count
        || heap->os->unmap(heap->os->ctx, addr, extent->end_addr - addr) != 0)
        return false;
    extent->end_addr = addr;
    hm_hide_forget(heap, extent, keep_count);
    forget_regions(heap, extent, keep_count);
    return true;
}

HM_LATER bool
hm_extent_trim(struct hm_heap *heap)
{
    struct hm_extent **link = &heap->extents;
    bool is_trimmed = false;

    if (heap->os->address_limit(heap->os->ctx) == SIZE_MAX || hm_heap_guard_bytes(heap) != 0)
        return false;
    heap->last_extent = NULL;
    while (*link != NULL) {
        struct hm_extent *extent = *link;

        is_trimmed |= cut(heap, extent);
        if (extent->region_count > 0) {
            heap->last_extent = extent;
            link = &extent->next;
        } else {
            *link = extent->next;
            release(heap, extent);
        }
    }
    return is_trimmed;
}

bool
hm_extent_make_room(struct hm_heap *heap, int rc)
{
    if (rc != -ENOMEM)
        return false;
    (void)hm_stash_flush(heap);
    return hm_extent_trim(heap);
}
