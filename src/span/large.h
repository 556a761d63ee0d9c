/* SPDX-License-Identifier: MIT */
/* large.h - blocks over the largest size class, and direct ones of any size: one span each.
 *
 * Problem     Medium blocks must be packed into huge pages at the grain of a base page; the largest
 *             want a mapping of their own. And glibc's notion of a mapped block (heap/cutoff.h)
 *             must hold whichever of both it is.
 * Idea        A span struct without slots describes the block, on a run of the page heap or a
 *             mapping. It says apart from that whether the block is direct, and keeps that through
 *             every resize.
 * Locking     All functions take heap->lock unless they say otherwise.
 */
#ifndef HM_SPAN_LARGE_H
#define HM_SPAN_LARGE_H

#include "heap/direct.h"
#include "span/span.h"

/* The part of what was asked for that may hold something other than zeros; none of it if both are
 * the same. */
struct hm_stale {
    size_t from_off;
    size_t to_off;
};

/* Bytes of a block that could not be moved without a copy. */
struct hm_rest {
    uintptr_t from_addr;
    uintptr_t to_addr;
    size_t len_bytes;
    struct hm_region *region; /* in the pages' extent; NULL: they are those of the mapping */
    struct hm_mapping map;
};

/* Allocate a block of at least `size_bytes` at a multiple of `align_bytes` (a power of two): a
 * direct one if the cutoff says so.
 *   out_stale  [out] what does not read as zero for sure; may be NULL
 * Returns NULL if there is no memory. Next on the allocation walk: hm_pheap_take (heap/pheap.c) or
 * hm_direct_map (heap/direct.c). */
void *hm_large_alloc(struct hm_heap *heap, size_t size_bytes, size_t align_bytes,
                     struct hm_stale *out_stale);

/* A block of malloc's alignment where one of just its length was freed lately; NULL if there is no
 * such place, and hm_large_alloc is to be asked. It may hold anything. Leaves errno alone. */
void *hm_large_alloc_again(struct hm_heap *heap, size_t size_bytes);

/* As hm_large_alloc, with malloc's alignment, for a block that realloc moves because it grows, by
 * `step_bytes`: it may go on growing. */
void *hm_large_alloc_grown(struct hm_heap *heap, size_t size_bytes, size_t step_bytes);

/* Free the block at `addr`, whose span was found to be `span`. Aborts if it is no live block. May
 * move the cutoff. Next on the free walk: hm_stash_give (heap/stash.h), else
 * hm_pheap_give (heap/pheap.c) or hm_direct_unmap (heap/direct.c). */
void hm_large_free(struct hm_heap *heap, struct hm_span *span, uintptr_t addr);

/* Resize without copying, if that can be done. A direct block stays one; another that grows past
 * the cutoff becomes one. Returns the block, which may have moved, or NULL and nothing changed.
 * Aborts if `addr` is no live block.
 *   out_rest  [out] what the caller has to copy whether it succeeded or not, and to hand to
 *             hm_large_give_rest then; its length may be 0 */
void *hm_large_resize(struct hm_heap *heap, struct hm_span *span, uintptr_t addr, size_t size_bytes,
                      struct hm_rest *out_rest);
void hm_large_give_rest(struct hm_heap *heap, const struct hm_rest *rest);

/* Where hm_large_resize returned NULL: may the block not be exchanged for a new one, because
 * allocating that would decide anew whether it is direct? Then the bytes go to pages from
 * hm_large_obtain, and hm_large_replace makes them the block. Takes no lock: for who holds the
 * block. */
bool hm_large_must_stay(const struct hm_heap *heap, const struct hm_span *span, size_t size_bytes);

/* A block that is not direct, whatever the cutoff says; NULL if there is no memory.
 *   step_bytes  what it has grown by; 0: it has not */
void *hm_large_obtain(struct hm_heap *heap, size_t size_bytes, size_t step_bytes);

/* The block at `new_addr`, from hm_large_obtain, takes the place of the one at `addr`, which is
 * freed without moving the cutoff. Aborts if `addr` is no live block. */
void hm_large_replace(struct hm_heap *heap, struct hm_span *span, uintptr_t addr,
                      uintptr_t new_addr, size_t size_bytes);

#endif
