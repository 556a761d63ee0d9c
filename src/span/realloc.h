/* SPDX-License-Identifier: MIT */
/* realloc.h - what realloc decides before it copies: whether a block may stay, or its pages move.
 *
 * Locking     Functions that change something take heap->lock. The caller has the block.
 */
#ifndef HM_SPAN_REALLOC_H
#define HM_SPAN_REALLOC_H

#include "span/large.h"

/* Whether a block in a slot of `room_bytes` stays there with its new size: while that needs at
 * least half of the room, or a slot as large. One that shrinks never becomes direct. */
bool hm_realloc_fits_slot(const struct hm_heap *heap, size_t room_bytes, size_t size_bytes);

/* Resize the large block at `ptr`, whose span is `span`, if its pages can be kept, or if it must
 * remain what it is, direct or not. Returns false, and nothing changed, if it is to be exchanged
 * for a new block. errno is preserved.
 *   out_mem  [out] the block; NULL if there is no memory, and the old one is as it was */
bool hm_realloc_large(struct hm_heap *heap, struct hm_span *span, void *ptr, size_t size_bytes,
                      void **out_mem);

#endif
