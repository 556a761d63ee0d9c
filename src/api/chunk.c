/* SPDX-License-Identifier: MIT */
/* chunk.c - the tests of chunk.h.
 *
 * Problem     Who takes a chunk for misuse ends a right program; who takes anything for a chunk
 *             hides a bug.
 * Idea        Ask for all that glibc itself asks for in free(), and for nothing that may differ
 *             between its releases or change under another thread's hands.
 */
#include "api/chunk.h"

#define PREV_IN_USE ((size_t)1)
#define IS_MAPPED ((size_t)2)
#define IS_OF_ARENA ((size_t)4)
#define FLAGS (PREV_IN_USE | IS_MAPPED | IS_OF_ARENA)
#define ALIGN_BYTES ((size_t)16)
#define CHUNK_MIN_BYTES ((size_t)32)
#define CHUNK_MAX_BYTES ((size_t)1 << 56) /* all addresses that a process can have */

/* Where fences close off a part of the heap, a chunk is a bare header. */
#define FENCE_BYTES HM_CHUNK_HEADER_BYTES

/* An arena's struct follows the start of its first heap, which grew over time. */
#define HEAP_HEADER_MAX_BYTES ((size_t)256)

size_t
hm_chunk_bytes(size_t head)
{
    return head & ~FLAGS;
}

uintptr_t
hm_chunk_map_start(const struct hm_chunk *chunk)
{
    /* The lowest bit of the first word may be a flag for huge pages. */
    return chunk->addr - HM_CHUNK_HEADER_BYTES - (chunk->prev_bytes & ~(size_t)1);
}

/* The size may leave out the last word, which is then nobody's. */
uintptr_t
hm_chunk_map_end(const struct hm_chunk *chunk)
{
    return hm_align_up(hm_chunk_next(chunk), ALIGN_BYTES);
}

uintptr_t
hm_chunk_next(const struct hm_chunk *chunk)
{
    return chunk->addr - HM_CHUNK_HEADER_BYTES + hm_chunk_bytes(chunk->head);
}

static bool
can_be_mapped(const struct hm_chunk *chunk, size_t page_bytes)
{
    size_t in_page_bytes = chunk->addr & (page_bytes - 1);

    return (chunk->head & IS_OF_ARENA) == 0 && chunk->prev_bytes <= chunk->addr / 2
           && hm_chunk_map_start(chunk) % page_bytes == 0
           && hm_chunk_map_end(chunk) % page_bytes == 0
           && (in_page_bytes == 0 || hm_is_pow2(in_page_bytes));
}

enum hm_chunk_kind
hm_chunk_kind(const struct hm_chunk *chunk, size_t page_bytes)
{
    size_t bytes = hm_chunk_bytes(chunk->head);

    if (chunk->addr % ALIGN_BYTES != 0 || chunk->addr < page_bytes || bytes < CHUNK_MIN_BYTES
        || bytes > CHUNK_MAX_BYTES || hm_chunk_next(chunk) < chunk->addr)
        return HM_CHUNK_NONE;
    if ((chunk->head & IS_MAPPED) != 0)
        return can_be_mapped(chunk, page_bytes) ? HM_CHUNK_MAPPED : HM_CHUNK_NONE;
    if (bytes % ALIGN_BYTES != 0)
        return HM_CHUNK_NONE;
    return (chunk->head & IS_OF_ARENA) != 0 ? HM_CHUNK_ARENA : HM_CHUNK_MAIN;
}

bool
hm_chunk_is_next(size_t head)
{
    size_t bytes = hm_chunk_bytes(head);

    return (head & PREV_IN_USE) != 0 && (head & IS_MAPPED) == 0 && bytes >= FENCE_BYTES
           && bytes % ALIGN_BYTES == 0 && bytes <= CHUNK_MAX_BYTES;
}

/* A chunk in use reaches into the first word of its neighbour; a mapped one has none. */
size_t
hm_chunk_room_bytes(const struct hm_chunk *chunk, enum hm_chunk_kind kind)
{
    if (kind == HM_CHUNK_MAPPED)
        return hm_chunk_map_end(chunk) - chunk->addr;
    return hm_chunk_bytes(chunk->head) - sizeof(chunk->head);
}

bool
hm_arena_heap_is_plausible(const struct hm_arena_heap *heap, uintptr_t base, size_t span_bytes,
                           size_t page_bytes)
{
    uintptr_t offset_bytes = heap->arena & (span_bytes - 1);

    return heap->len_bytes != 0 && heap->len_bytes % page_bytes == 0
           && heap->len_bytes <= span_bytes && heap->prev % span_bytes == 0
           && heap->arena % ALIGN_BYTES == 0 && offset_bytes != 0
           && offset_bytes <= HEAP_HEADER_MAX_BYTES
           && (heap->prev == 0) == (heap->arena - offset_bytes == base);
}
