/* SPDX-License-Identifier: MIT */
/* arena.h - a private arena: a heap of its own, and all that is done with its blocks.
 *
 * Problem     A program wants heaps besides malloc's: with other memory, with a limit, or to free
 *             everything in one go. Each has the size classes, the cutoff and the speed of malloc.
 * Idea        The same heap and the same threads' pool as malloc's, in a struct. Only here and in
 *             api/ is there anything that belongs to the arena rather than to the heap. An arena
 *             for one thread has its cache in the struct. Fast paths are the caller's: these
 *             functions are what is left when they fail.
 * Locking     heap.lock, taken where needed. hm_arena_reset and hm_arena_fini: no other thread uses
 *             the arena meanwhile.
 * Invariants  No cache of an arena has a mixed span (cache/mixing.h).
 */
#ifndef HM_ARENA_ARENA_H
#define HM_ARENA_ARENA_H

#include "arena/closed.h"
#include "cache/thread.h"
#include "span/realloc.h"

/* The cutoff moves as glibc's does; every other value is a fixed one, SIZE_MAX: no block is
 * direct. */
#define HM_CUTOFF_MOVES ((size_t)0)

struct hm_arena {
    struct hm_tcache own;     /* of the only thread, if there is one */
    struct hm_heap heap;      /* ... */
    struct hm_pool pool;      /* ... */
    struct hm_conf conf;      /* const */
    size_t ahead_bytes;       /* of regions opened at the beginning; const */
    size_t reset_peak_bytes;  /* what was in use at the largest reset */
    bool is_supplied;         /* its memory is the program's; const */
    const struct hm_os *real; /* const */
    struct hm_os closed;      /* see hm_arena_close */
};

/* Where an arena lives. */
struct hm_arena_site {
    struct hm_pagemap *pagemap; /* outlives it */
    const struct hm_os *os;
    const struct hm_geom *geom;
};

/* Make an empty arena.
 *   conf          is copied
 *   cutoff_bytes  HM_CUTOFF_MOVES, or a size
 *   own_id        what spans of the only thread have as owner; 0: each thread has a cache, which
 *                 it acquires itself
 * Returns 0 or -ENOMEM. */
int hm_arena_init(struct hm_arena *arena, const struct hm_arena_site *site,
                  const struct hm_conf *conf, size_t cutoff_bytes, uintptr_t own_id);

/* Give everything back, blocks in use included.
 *   has_memory  false: it was left out of this forked child, and others may be where it was */
void hm_arena_fini(struct hm_arena *arena, bool has_memory);

/* Let a new arena have the whole pages of a range of the program's for its blocks, and nothing from
 * the kernel but metadata. Returns as hm_supply_enter (heap/supply.h). */
int hm_arena_supply(struct hm_arena *arena, void *mem, size_t len_bytes);

/* Open memory ahead: a run of the length, to be handed to hm_arena_settle, after which it is free
 * memory that stays. It may be touched before.
 *   os  the kernel's services, but for this call
 * Returns 0 or -ENOMEM. */
int hm_arena_open(struct hm_arena *arena, const struct hm_os *os, size_t len_bytes,
                  struct hm_run *out_run);
void hm_arena_settle(struct hm_arena *arena, const struct hm_run *run);

/* Make metadata, and have resident what of it blocks in the memory opened ahead will need. No block
 * is in use. */
void hm_arena_equip(struct hm_arena *arena);

/* From now on the arena does without the kernel: what it has is all that it will have, metadata
 * for it included. What is resident then stays so. hm_arena_reopen undoes that for a while, as
 * across a fork; heap.lock is held or no other thread uses the arena. The kernel is never told of
 * memory of the program's. */
void hm_arena_close(struct hm_arena *arena);
void hm_arena_reopen(struct hm_arena *arena);

/* Allocate at a multiple of `align_bytes`, a power of two. NULL if there is no memory, or the limit
 * is met. errno is left alone.
 *   cache  the calling thread's; NULL: it has none
 * Next on the allocation walk: hm_tcache_alloc (cache/tcache.h) or hm_large_alloc
 * (span/large.c). */
void *hm_arena_alloc(struct hm_arena *arena, struct hm_tcache *cache, size_t size_bytes,
                     size_t align_bytes);

/* The same with all bytes zero, at malloc's alignment. */
void *hm_arena_calloc(struct hm_arena *arena, struct hm_tcache *cache, size_t size_bytes);

/* Resize the live block at `ptr`, which lies in `span`: in place where that can be, by moving its
 * pages else, or its bytes. NULL if there is no memory; then the block is as it was. One that
 * shrinks stays if there is no memory for a smaller one. */
void *hm_arena_realloc(struct hm_arena *arena, struct hm_tcache *cache, struct hm_span *span,
                       void *ptr, size_t size_bytes);

/* Free a block of a span of the arena. Aborts if `addr` is no live block. */
void hm_arena_free(struct hm_arena *arena, struct hm_tcache *cache, struct hm_span *span,
                   uintptr_t addr);

/* Free all blocks. The memory stays for those to come, but for mappings that large blocks had to
 * themselves. */
void hm_arena_reset(struct hm_arena *arena);

/* Return all memory that can be returned, and what resets have kept. Returns its length in bytes.
 *   cache  the calling thread's, or NULL */
size_t hm_arena_trim(struct hm_arena *arena, struct hm_tcache *cache);

/* Tell the kernel of all memory for blocks whether a child of a fork is to have it:
 * HM_ADVICE_NO_FORK or HM_ADVICE_FORK. What the kernel refuses to leave out, the child has, and
 * nobody uses it there. heap.lock is held. */
void hm_arena_advise_fork(struct hm_arena *arena, enum hm_advice advice);

/* In a forked child, where threads that it does not have may have been at work.
 *   self  the cache of its own thread, or NULL; not that of an arena for one thread, which any
 *         thread may have used
 * heap.lock is held. */
void hm_arena_after_fork(struct hm_arena *arena, struct hm_tcache *self);

#endif
