/* SPDX-License-Identifier: MIT */
/* supply.h - memory that the program gives to a heap.
 *
 * Locking     heap->lock is held by the caller.
 */
#ifndef HM_HEAP_SUPPLY_H
#define HM_HEAP_SUPPLY_H

#include "heap/heap.h"

/* Make the whole pages of a range the memory of a heap that has none yet, and never asks the kernel
 * for any: heap->os refuses it. Returns 0; -EINVAL: a block of a heap is there; -ENOMEM: there is
 * no whole page, or no memory for metadata. */
int hm_supply_enter(struct hm_heap *heap, uintptr_t addr, size_t len_bytes);

#endif
