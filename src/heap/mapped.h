/* SPDX-License-Identifier: MIT */
/* mapped.h - which mappings there are apart from the regions, for those who look after huge pages.
 *
 * Locking     All functions: heap->lock is held by the caller.
 */
#ifndef HM_HEAP_MAPPED_H
#define HM_HEAP_MAPPED_H

#include "heap/heap.h"

/* A mapping was made, resized or moved, or is gone. One that cannot be noted for want of memory is
 * not healed. */
void hm_mapped_add(struct hm_heap *heap, uintptr_t addr, size_t len_bytes);
void hm_mapped_move(struct hm_heap *heap, uintptr_t addr, uintptr_t new_addr, size_t new_bytes);
void hm_mapped_remove(struct hm_heap *heap, uintptr_t addr);

/* Some of its pages may be base pages: look at it as after a fork. */
void hm_mapped_doubt(struct hm_heap *heap, uintptr_t addr);

/* The next huge page of a mapping that may be split; 0: none is left in this pass. If
 * it has to be looked at again, say so before the next call. */
uintptr_t hm_mapped_next(struct hm_heap *heap);
void hm_mapped_wait(struct hm_heap *heap);

/* Begin a new pass. */
void hm_mapped_rewind(struct hm_heap *heap);

#endif
