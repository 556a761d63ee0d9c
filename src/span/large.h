/* SPDX-License-Identifier: MIT */
/* large.h - blocks over the largest size class: one span each.
 *
 * Problem     Medium blocks must be packed into huge pages at the grain of a base page; the largest
 *             want a mapping of their own.
 * Idea        A span struct without slots describes the block, on a run of the page heap or a
 *             mapping.
 * Locking     All functions take heap->lock.
 */
#ifndef HM_SPAN_LARGE_H
#define HM_SPAN_LARGE_H

#include "span/span.h"

/* Allocate a block of at least `size_bytes` (at least 1) at a multiple of `align_bytes` (a power of
 * two).
 *   out_is_zero  [out] whether every byte reads as zero; may be NULL
 * Returns NULL if there is no memory. Next on the allocation walk: hm_pheap_take (heap/pheap.c) or
 * hm_direct_map (heap/direct.c). */
void *hm_large_alloc(struct hm_heap *heap, size_t size_bytes, size_t align_bytes,
                     bool *out_is_zero);

/* Free the block at `addr`, whose span was found to be `span`. Aborts if it is no live block. Next
 * on the free walk: hm_pheap_give (heap/pheap.c) or hm_direct_unmap (heap/direct.c). */
void hm_large_free(struct hm_heap *heap, struct hm_span *span, uintptr_t addr);

/* Resize without copying, if that can be done. Returns the block, which may have moved, or NULL and
 * nothing changed. Aborts if `addr` is no live block. */
void *hm_large_resize(struct hm_heap *heap, struct hm_span *span, uintptr_t addr,
                      size_t size_bytes);

#endif
