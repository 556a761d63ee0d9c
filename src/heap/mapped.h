/* SPDX-License-Identifier: MIT */
/* mapped.h - which mappings there are apart from the regions, for those who look after huge pages.
 *
 * Locking     All functions: heap->lock is held by the caller.
 */
#ifndef HM_HEAP_MAPPED_H
#define HM_HEAP_MAPPED_H

#include "heap/heap.h"

/* Note a mapping that was made; its note says where it is and how long from then on. NULL if there
 * is no memory: it is not healed then. */
struct hm_mapped *hm_mapped_add(struct hm_heap *heap, uintptr_t addr, size_t len_bytes);

/* It is gone. */
void hm_mapped_remove(struct hm_heap *heap, struct hm_mapped *note);

/* Some of its pages may be base pages: look at it as after a fork. */
void hm_mapped_doubt(struct hm_heap *heap, struct hm_mapped *note);

/* The next huge page of a mapping that may be split; 0: none is left in this pass. If
 * it has to be looked at again, say so before the next call. */
uintptr_t hm_mapped_next(struct hm_heap *heap);
void hm_mapped_wait(struct hm_heap *heap);

/* Begin a new pass. */
void hm_mapped_rewind(struct hm_heap *heap);

#endif
