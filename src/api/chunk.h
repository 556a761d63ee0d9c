/* SPDX-License-Identifier: MIT */
/* chunk.h - what glibc's malloc writes before a block, and whether two words can be that.
 *
 * Problem     A block of another allocator has no entry in our pagemap; all that tells of it are
 *             the words before it, which may as well be anything.
 * Idea        glibc's header has little freedom: a size that is a multiple of 16 with three flags
 *             below it, and either the header of a neighbour at its end or, where the block has a
 *             mapping of its own, the borders of pages around it. Pure functions over words that
 *             the caller has read.
 * Sources     glibc 2.36, malloc/malloc.c ("Chunk representations") and malloc/arena.c.
 */
#ifndef HM_API_CHUNK_H
#define HM_API_CHUNK_H

#include "base/units.h"

/* Between the start of a chunk and the block that its user holds: prev_bytes and head. */
#define HM_CHUNK_HEADER_BYTES ((size_t)16)

enum hm_chunk_kind {
    HM_CHUNK_NONE,   /* no header of glibc's */
    HM_CHUNK_MAIN,   /* of a main arena: on the brk heap where the kernel has room for that */
    HM_CHUNK_ARENA,  /* of a thread's arena */
    HM_CHUNK_MAPPED, /* in a mapping of its own */
};

struct hm_chunk {
    uintptr_t addr;    /* of the block */
    size_t prev_bytes; /* first word: for a mapped chunk, what lies before it in its mapping */
    size_t head;       /* second word: size and flags */
};

/* What the words can be, without regard to where they lie. */
enum hm_chunk_kind hm_chunk_kind(const struct hm_chunk *chunk, size_t page_bytes);

/* For a chunk of the kind HM_CHUNK_MAPPED: the borders of its mapping, whole pages. */
uintptr_t hm_chunk_map_start(const struct hm_chunk *chunk);
uintptr_t hm_chunk_map_end(const struct hm_chunk *chunk);

/* For one of the other kinds: where the next chunk starts. */
uintptr_t hm_chunk_next(const struct hm_chunk *chunk);

/* Whether the chunk behind one in use can have this head. Its size may reach past the memory that
 * it lies in, while another thread gives the end of that back. */
bool hm_chunk_is_next(size_t head);

/* Size from a head, without its flags. */
size_t hm_chunk_bytes(size_t head);

/* What the user of the block may write. */
size_t hm_chunk_room_bytes(const struct hm_chunk *chunk, enum hm_chunk_kind kind);

/* The start of the memory of one arena heap, as glibc fills it in. */
struct hm_arena_heap {
    uintptr_t arena; /* the arena's struct: behind this one, or in an earlier heap */
    uintptr_t prev;  /* the earlier heap of the same arena, or 0 */
    size_t len_bytes;
};

/* Whether `heap`, read at `base`, can be one.
 *   span_bytes  to which arena heaps are aligned, and which they never exceed */
bool hm_arena_heap_is_plausible(const struct hm_arena_heap *heap, uintptr_t base, size_t span_bytes,
                                size_t page_bytes);

#endif
