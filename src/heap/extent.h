/* SPDX-License-Identifier: MIT */
/* extent.h - the address space of a heap: more of it, in steps.
 *
 * Locking     heap->lock is held by the caller.
 */
#ifndef HM_HEAP_EXTENT_H
#define HM_HEAP_EXTENT_H

#include "heap/heap.h"

/* Reserve at least `region_count` neighbouring regions, all closed. Returns the extent, the last of
 * the heap's list, or NULL. Next on the allocation walk: hm_extent_create (heap/region.c). */
struct hm_extent *hm_extent_add(struct hm_heap *heap, size_t region_count);

/* Make whole regions of address space that is the heap's already, such as a mapping that the kernel
 * would not unmap, an extent of their own. All of it reads as zero. Returns 0 or -ENOMEM. */
int hm_extent_adopt(struct hm_heap *heap, uintptr_t addr, size_t len_bytes);

#endif
