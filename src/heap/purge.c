/* SPDX-License-Identifier: MIT */
/* purge.c - gives memory back: whole empty regions first, loose base pages second.
 *
 * Problem     Memory that the program freed should leave the process, but taking it back from the
 *             kernel costs more than anything else an allocator does, and releasing a part of a
 *             huge page splits it without the kernel getting the memory.
 * Idea        A few empty regions are kept for the next request; what exceeds them goes back at
 *             once, the oldest first. In regions on base pages, free pages are returned when there
 *             are many of them. Huge pages that are partly in use stay whole.
 * Locking     heap->lock is held by the caller.
 * Invariants  A region that was discarded is closed: its next use asks anew for a backing.
 */
#include "heap/purge.h"

#include "heap/extent.h"
#include "heap/pheap.h"

/* Empty regions kept: this many bytes of them, at least one, and one for KEPT_SHARE in use. */
#define KEPT_MIN_BYTES (8 * HM_MIB)
#define KEPT_SHARE 32

/* ... and no more than this share of what the memory cgroup has left. */
#define ROOM_SHARE 4

/* Free base pages kept in open regions: this many bytes, or this share of the heap if that is
 * more. */
#define DIRTY_MIN_BYTES (4 * HM_MIB)
#define DIRTY_SHARE 16

void
hm_purge_keep(struct hm_heap *heap, struct hm_region *region)
{
    region->prev = NULL;
    region->next = heap->kept;
    if (heap->kept != NULL)
        heap->kept->prev = region;
    else
        heap->kept_last = region;
    heap->kept = region;
    heap->kept_count++;
}

static int
discard(struct hm_heap *heap, uintptr_t addr, size_t len_bytes)
{
    int rc = heap->os->advise(heap->os->ctx, addr, len_bytes, HM_ADVICE_DISCARD);

    if (rc == 0) {
        heap->discarded_bytes += len_bytes;
        heap->discard_calls++;
    }
    return rc;
}

/* Give an empty region's memory back. If the kernel refuses, it stays kept: nothing is lost. */
static size_t
close_region(struct hm_heap *heap, struct hm_region *region)
{
    size_t region_bytes = hm_region_bytes(&heap->geom);
    size_t was_dirty_bytes = hm_pages_to_bytes(&heap->geom, region->dirty_pages);

    if (region->dirty_pages > 0 && discard(heap, region->addr, region_bytes) != 0)
        return 0;
    hm_pheap_unkeep(heap, region);
    region->state = HM_REGION_CLOSED;
    region->dirty_pages = 0;
    hm_bitmap_clear_run(hm_region_dirty_bits(region, heap->region_pages), 0, heap->region_pages);
    return was_dirty_bytes;
}

/* Return the free pages of an open region on base pages. */
static size_t
discard_free_pages(struct hm_heap *heap, struct hm_region *region)
{
    uint64_t *dirty = hm_region_dirty_bits(region, heap->region_pages);
    size_t start_idx = 0;
    size_t given_pages = 0;

    for (;;) {
        size_t end_idx;
        size_t dirty_count;

        start_idx = hm_bitmap_next_clear(region->bits, heap->region_pages, start_idx);
        if (start_idx >= heap->region_pages)
            break;
        end_idx = hm_bitmap_next_set(region->bits, heap->region_pages, start_idx);
        dirty_count = hm_bitmap_count_run(dirty, start_idx, end_idx - start_idx);
        if (dirty_count > 0
            && discard(heap, region->addr + hm_pages_to_bytes(&heap->geom, start_idx),
                       hm_pages_to_bytes(&heap->geom, end_idx - start_idx))
                   == 0) {
            hm_bitmap_clear_run(dirty, start_idx, end_idx - start_idx);
            region->dirty_pages -= (uint32_t)dirty_count;
            given_pages += dirty_count;
        }
        start_idx = end_idx;
    }
    heap->dirty_free_pages -= given_pages;
    return hm_pages_to_bytes(&heap->geom, given_pages);
}

static size_t
discard_loose_pages(struct hm_heap *heap)
{
    struct hm_region *region = NULL;
    size_t given_bytes = 0;

    while ((region = hm_pheap_next_region(heap, region)) != NULL)
        if (region->state == HM_REGION_OPEN && region->backing == HM_BACKING_4K)
            given_bytes += discard_free_pages(heap, region);
    return given_bytes;
}

/* How many empty regions may stay: more if the program set a higher trim threshold. Near the limit
 * of a memory cgroup they are lacking where they cannot serve: in mappings of their own, and
 * outside of the heap. */
static size_t
keep_limit(const struct hm_heap *heap)
{
    size_t min_count = KEPT_MIN_BYTES >> heap->geom.region_shift;
    size_t keep_count = (min_count > 0 ? min_count : 1) + heap->open_count / KEPT_SHARE;
    size_t floor_count = heap->cutoff.keep_bytes >> heap->geom.region_shift;
    uint64_t room_bytes = hm_backing_room_bytes(&heap->backing, hm_heap_bytes(heap));
    uint64_t room_count = room_bytes / ROOM_SHARE >> heap->geom.region_shift;

    if (keep_count < floor_count)
        keep_count = floor_count;
    return keep_count < room_count ? keep_count : (size_t)room_count;
}

/* Close kept regions, the oldest first, until `keep_count` are left or the kernel refuses. */
static size_t
close_oldest(struct hm_heap *heap, size_t keep_count)
{
    size_t given_bytes = 0;

    while (heap->kept_count > keep_count) {
        size_t before_count = heap->kept_count;

        given_bytes += close_region(heap, heap->kept_last);
        if (heap->kept_count == before_count)
            break;
    }
    return given_bytes;
}

void
hm_purge_emptied(struct hm_heap *heap, size_t emptied_count)
{
    size_t keep_bytes = hm_heap_bytes(heap) / DIRTY_SHARE;

    /* Past the ramp an empty region on base pages is worth more closed: it comes back huge. */
    for (size_t i = 0; i < emptied_count && heap->kept->backing == HM_BACKING_4K; i++) {
        size_t before_count = heap->kept_count;

        if (heap->cutoff.keep_bytes != SIZE_MAX
            && hm_backing_wants_huge(&heap->backing, hm_heap_bytes(heap)))
            (void)close_region(heap, heap->kept);
        if (heap->kept_count == before_count || heap->kept == NULL)
            break;
    }
    if (emptied_count > 0)
        (void)close_oldest(heap, keep_limit(heap));
    if (keep_bytes < DIRTY_MIN_BYTES)
        keep_bytes = DIRTY_MIN_BYTES;
    if (hm_pages_to_bytes(&heap->geom, heap->dirty_free_pages) > keep_bytes
        && hm_pages_to_bytes(&heap->geom, heap->dirty_free_pages) > heap->cutoff.keep_bytes)
        (void)discard_loose_pages(heap);
}

size_t
hm_purge_all(struct hm_heap *heap)
{
    size_t given_bytes = discard_loose_pages(heap);

    given_bytes += close_oldest(heap, 0);
    (void)hm_extent_trim(heap);
    return given_bytes;
}
