/* SPDX-License-Identifier: MIT */
/* extent.h - the address space of a heap: more of it, in steps, and less.
 *
 * Locking     heap->lock is held by the caller.
 */
#ifndef HM_HEAP_EXTENT_H
#define HM_HEAP_EXTENT_H

#include "heap/heap.h"

/* Reserve at least `region_count` neighbouring regions for a node, all closed. May trim others.
 * Returns the extent, the last of the heap's list, or NULL. Next on the allocation walk:
 * os->reserve (os/os_map.c). */
struct hm_extent *hm_extent_add(struct hm_heap *heap, size_t region_count, unsigned node);

/* Make whole regions of address space that is the heap's already, such as a mapping that the kernel
 * would not unmap, an extent of their own. All of it reads as zero. Returns 0 or -ENOMEM. */
int hm_extent_adopt(struct hm_heap *heap, uintptr_t addr, size_t len_bytes);

/* Under RLIMIT_AS, unmap what the extents have behind their last region in use, kept regions
 * included: an extent without any goes whole. Where there is no such limit it stays: address space
 * costs nothing, and where mappings are scarce it is all that there is. So does what has a guard
 * behind it. No pointer to a region that is not in use may be held. Returns whether there was
 * something. */
bool hm_extent_trim(struct hm_heap *heap);

/* The kernel refused address space with `rc`: trim, if that can help. Returns whether it is worth
 * another try. Not so where a sandbox forbids the call: what is given back would be lost. */
bool hm_extent_make_room(struct hm_heap *heap, int rc);

#endif
