/* SPDX-License-Identifier: MIT */
/* thread.h - birth and death of caches, and the spans that dead threads leave behind. */
#ifndef HM_CACHE_THREAD_H
#define HM_CACHE_THREAD_H

#include "cache/tcache.h"

/* What the threads of one heap share. */
struct hm_pool {
    struct hm_heap *heap;                   /* const */
    struct hm_tcache *caches;               /* every cache ever made; heap->lock */
    struct hm_tcache *idle;                 /* those without a thread; heap->lock */
    struct hm_list orphans[HM_CLASS_COUNT]; /* spans of ended threads; heap->lock */
    struct hm_list mixed;                   /* mixed spans that nobody holds; heap->lock */
    size_t orphan_count;                    /* in all lists; atomic, written under heap->lock */
    size_t clean_count;                     /* of these: since a reset without a block; atomic */
    uint32_t open_count;                    /* for new caches: see hm_tcache_close; heap->lock */
    uint32_t cache_count;                   /* caches ever made; heap->lock */
    uint64_t adopted_count;                 /* orphans that found an owner; heap->lock */
};

void hm_pool_init(struct hm_pool *pool, struct hm_heap *heap);

/* A cache for a thread: one that a dead thread left, or a new one. NULL if there is no memory.
 * Takes heap->lock.
 *   id  hm_thread_id() of the thread, or 0 if the fast path of free() is not for it */
struct hm_tcache *hm_tcache_acquire(struct hm_pool *pool, uintptr_t id);

/* The same with storage of the caller's, in a pool that nobody else knows of yet. */
void hm_tcache_enter(struct hm_pool *pool, struct hm_tcache *cache, uintptr_t id);

/* Let an idle cache serve again, as it was made. heap->lock is held. */
void hm_tcache_revive(struct hm_tcache *cache);

/* The thread ends. Empty spans go back; those with live blocks become orphans, for other threads to
 * adopt. Takes heap->lock. */
void hm_tcache_retire(struct hm_tcache *cache);

/* An orphan of the class, now owned by `cache` and in none of its lists; NULL if there is none. It
 * may be full. Takes heap->lock if there are orphans at all. */
struct hm_span *hm_pool_adopt(struct hm_pool *pool, struct hm_tcache *cache, unsigned class_idx);

/* Whether the span is as a reset left it. In heap->spans, no large block and no other span of slots
 * comes behind one that is: so a reset costs what was used since the one before, whatever there is
 * besides. heap->lock is held. */
HM_INLINE bool
hm_pool_is_at_rest(const struct hm_span *span)
{
    return span->kind == HM_SPAN_SLOTS && hm_load(&span->carved) == 0
           && hm_load(&span->home) == NULL;
}

/* All blocks of all spans are free at once. Spans of slots stay as they are, for those who need one
 * of the class; the caches have none. No thread uses the heap meanwhile. heap->lock is held. */
void hm_pool_reset(struct hm_pool *pool);

/* Give back the pages of some spans that a reset has emptied, at least len_pages if there are as
 * many. Takes heap->lock if there are any at all. */
void hm_pool_make_way(struct hm_pool *pool, size_t len_pages);

/* An orphan whose last block was freed: give its pages back. heap->lock is held. */
void hm_pool_drop_orphan(struct hm_pool *pool, struct hm_span *span);

/* Find out what is free in the orphans that fork() made, and give back those without a block in
 * use. heap->lock is held. */
void hm_pool_mend(struct hm_pool *pool);

/* Give back the spans of any thread of which other threads freed every block, should some be left:
 * who frees gives them back, unless it and the owner freed the last ones at the same moment.
 * heap->lock is held. */
void hm_pool_reclaim(struct hm_pool *pool);

/* What must hold of all spans, and does not: the broken invariant as a sentence that would be true,
 * or NULL. heap->lock is held, and no thread uses the heap.
 *   out_addr  [out] where the span lies; 0: it is no one span */
const char *hm_pool_check(const struct hm_pool *pool, uintptr_t *out_addr);

/* In a forked child, whose only thread uses `self` (or NULL): the caches of all other threads
 * become idle and their spans orphans. heap->lock was held over the fork and still is. */
void hm_pool_after_fork(struct hm_pool *pool, struct hm_tcache *self);

#endif
