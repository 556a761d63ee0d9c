/* SPDX-License-Identifier: MIT */
/* sized.h - frees that tell the size of the block.
 *
 * Problem     C++ compilers emit a sized delete for nearly every delete, and C23 has free_sized. A
 *             wrong size is a fault of the program that glibc never shows: often an object deleted
 *             through a class that is not its own.
 * Idea        Counted and reported, not fatal, since programs with that fault run under glibc. A
 *             size is wrong if no fresh request for it gets a room as large as the block's: another
 *             size class, or for large blocks another number of pages, alignment considered. After
 *             realloc(), which may leave a block where it is, sizes from half of the room on are
 *             right too. Wrong is also an alignment that the address does not have.
 *             A block that realloc() left alone since there was no memory to shrink it is taken for
 *             wrong: it is not known which those are.
 */
#ifndef HM_API_SIZED_H
#define HM_API_SIZED_H

#include "api/process.h"

/* free() for a block of operator new, whose size the caller tells. Beside free() in malloc.c: one
 * look-up of the span serves both. */
void hm_free_sized(void *ptr, size_t size_bytes);

/* Count if the size or the alignment is wrong for the block at `addr`, which is in `span`. Whether
 * it is a block at all is left to free().
 *   align_bytes      what was asked for; rounded up to a power of two, as memalign() does
 *   may_be_resized   whether realloc() may have had a hand in it */
void hm_sized_check(const struct hm_span *span, uintptr_t addr, size_t size_bytes,
                    size_t align_bytes, bool may_be_resized);

/* The same for callers that have no span; NULL and foreign pointers pass. */
HM_INLINE void
hm_sized_look(void *ptr, size_t size_bytes, size_t align_bytes, bool may_be_resized)
{
    const struct hm_span *span = hm_pagemap_get(&hm_process.pagemap, (uintptr_t)ptr);

    if (HM_LIKELY(span != NULL))
        hm_sized_check(span, (uintptr_t)ptr, size_bytes, align_bytes, may_be_resized);
}

#endif
