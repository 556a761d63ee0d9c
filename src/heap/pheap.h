/* SPDX-License-Identifier: MIT */
/* pheap.h - page heap: cuts runs of base pages out of huge pages, and takes them back.
 *
 * Locking     All functions: heap->lock is held by the caller.
 */
#ifndef HM_HEAP_PHEAP_H
#define HM_HEAP_PHEAP_H

#include "heap/heap.h"

struct hm_run {
    uintptr_t addr;
    size_t len_pages;
    struct hm_region *region; /* where it starts */
    bool is_zero;             /* every byte reads as zero */
    uintptr_t stale_addr;     /* if not: all that may not lies from here on, */
    uintptr_t stale_end_addr; /* ... and before this */
};

/* Take a run of contiguous pages.
 *
 *   len_pages    at least 1; may exceed a region
 *   align_pages  power of two; the run's address is a multiple of it. Beyond a region only for
 *                heaps that get no mapping: it takes as much more for a moment, of what
 *                address space they have
 *   out_run      [out] the run
 *
 * Returns 0, or -ENOMEM with the heap unchanged except for regions that were opened on the way and
 * are kept as empty. Next on the allocation walk: hm_extent_add (heap/extent.c) for address
 * space, hm_backing_obtain (backing/backing.c) for memory. */
int hm_pheap_take(struct hm_heap *heap, size_t len_pages, size_t align_pages,
                  struct hm_run *out_run);

/* The same just there: free pages of an extent, in regions open or not. */
int hm_pheap_take_at(struct hm_heap *heap, struct hm_extent *extent, size_t page_idx,
                     size_t len_pages, struct hm_run *out_run);

/* Give pages back that hm_pheap_take gave out; also the tail of a run. May return memory to the
 * kernel. Next on the free walk: hm_purge_emptied (heap/purge.c).
 *   region  any region of the extent in which `addr` lies */
void hm_pheap_give(struct hm_heap *heap, struct hm_region *region, uintptr_t addr,
                   size_t len_pages);

/* Enter pages as free that are not counted as used any more, and do no more than that. Returns the
 * number of regions that became empty; they are the first of the kept ones. */
size_t hm_pheap_free(struct hm_heap *heap, struct hm_region *region, uintptr_t addr,
                     size_t len_pages);

/* Give whole regions back whose pages were moved elsewhere. */
void hm_pheap_vacate(struct hm_heap *heap, struct hm_region *region, uintptr_t addr,
                     size_t len_pages);

/* How long a run to ask for, if it may be shorter than wished: before another region is opened, the
 * longest free run in those that are, if that has min_pages. */
size_t hm_pheap_fit_pages(struct hm_heap *heap, size_t min_pages, size_t len_pages);

/* Lengthen a run in place by `more_pages`, at least one, if they are free and in the extent.
 * Returns false if they are not, or there is no memory: nothing changed then, except for regions
 * that were opened on the way and are kept as empty. */
bool hm_pheap_extend(struct hm_heap *heap, const struct hm_region *region, uintptr_t end_addr,
                     size_t more_pages);

/* The region of that index, which may be one that was never used. */
struct hm_region *hm_pheap_region_at(const struct hm_heap *heap, struct hm_extent *extent,
                                     size_t idx);

/* Take an empty region off the list of kept ones; purge and take do this. */
void hm_pheap_unkeep(struct hm_heap *heap, struct hm_region *region);

/* Walk all regions that ever held memory: NULL for the first call, NULL after the last. */
struct hm_region *hm_pheap_next_region(const struct hm_heap *heap, const struct hm_region *region);

/* Prove the invariants of region.h and pheap.c. Returns NULL, or the name of the first that is
 * broken. */
const char *hm_pheap_check(const struct hm_heap *heap);

#endif
