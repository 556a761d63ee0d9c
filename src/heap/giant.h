/* SPDX-License-Identifier: MIT */
/* giant.h - hugetlb pages that hold many regions, such as those of 1 GiB.
 *
 * Locking     All functions: heap->lock is held by the caller.
 */
#ifndef HM_HEAP_GIANT_H
#define HM_HEAP_GIANT_H

#include "heap/heap.h"

/* How many regions the largest page has that a heap is to get which grows by `more_regions`; 1 if
 * it is to get none that is larger than a region. */
size_t hm_giant_regions(const struct hm_heap *heap, size_t more_regions);

/* Before the regions [from_idx, to_idx) of an extent are opened: those that lie in pages wholly
 * closed get such pages, as far as there are any. Their regions are kept then.
 *   heap_bytes  size of the heap with the request in it
 * Next on the allocation walk: hm_hugetlb_obtain_page (backing/hugetlb.c). */
void hm_giant_open(struct hm_heap *heap, struct hm_extent *extent, size_t from_idx, size_t to_idx,
                   size_t heap_bytes);

/* A region on such a page has become empty. If it was the last of the page, that goes back, unless
 * as much free memory is to be kept. */
void hm_giant_emptied(struct hm_heap *heap, struct hm_region *region);

/* Give hugetlb pages of any size back, of which nothing is in use. Returns false, and nothing
 * changed, if the kernel refuses. */
bool hm_giant_release(struct hm_heap *heap, uintptr_t addr, size_t len_bytes, unsigned node);

/* Give back all that are empty. Returns their length in bytes. */
size_t hm_giant_close_all(struct hm_heap *heap);

/* The end of the page that the regions [.., region_idx) of an extent end in, as an index. */
size_t hm_giant_end(const struct hm_extent *extent, const struct hm_geom *geom, size_t region_idx);

/* Have all regions of such pages shared with the child of a fork of which one is. */
void hm_giant_share(struct hm_heap *heap);

#endif
