/* SPDX-License-Identifier: MIT */
/* tcache.h - a thread's spans: where nearly every malloc and free begins and ends.
 *
 * Problem     malloc and free should take a few dozen instructions, without a lock, whatever the
 *             number of threads.
 * Idea        Each thread owns spans, and per size class one of them is current. malloc takes a
 *             ready slot of the current span; free() puts the block on its span's list if the span
 *             is the thread's own. Everything else is a slow path. Empty spans go back, but for a
 *             few in a thread that was seen to want them anew each time.
 * State       struct hm_tcache, one per thread, made by cache/thread.c. Never unmapped, so that a
 *             late remote free may still look at one whose thread is gone.
 * Locking     Only the owner thread touches a cache, except for `pending` and `is_dead`
 *             (cache/remote.c).
 * Invariants  I1 every span with home == this cache is current in its class, or in room[class], or
 *             in full[class], or a spare; only a current one is in no list. I2 no table of spans
 *             ever holds NULL: without a span it holds one that has no slots. I3 by_size[] and
 *             by_class[] hold the current span, or none in a class that is closed to the fast path.
 */
#ifndef HM_CACHE_TCACHE_H
#define HM_CACHE_TCACHE_H

#include "span/mixed.h"

/* Requests up to here find their span by one table look-up, without computing the class. */
#define HM_BY_SIZE_MAX_BYTES ((size_t)1024)
#define HM_BY_SIZE_COUNT (HM_BY_SIZE_MAX_BYTES / 16 + 1)
#define HM_BY_SIZE_CLASSES 32 /* classes of up to so many bytes */

struct hm_pool;

struct hm_tcache {
    struct hm_span *by_size[HM_BY_SIZE_COUNT]; /* [ceil(size / 16)]: the class's current one */
    struct hm_span *by_class[HM_CLASS_COUNT];  /* the current one, for malloc's fast path */
    struct hm_span *current[HM_CLASS_COUNT];
    struct hm_list room[HM_CLASS_COUNT];  /* spans with enough free slots, not current */
    struct hm_list full[HM_CLASS_COUNT];  /* spans with few or none, the latest first */
    uint32_t owned_count[HM_CLASS_COUNT]; /* spans of the class */
    struct hm_span *mixed;                /* where first blocks lie, or NULL (cache/mixing.h) */
    uint8_t mixed_left[HM_MIXED_CLASSES]; /* units of 16 bytes that the class may take there */
    uint32_t open_count;                  /* classes from here on are closed to malloc */
    unsigned sweep_idx;                   /* the class whose current span is next to be let go */
    struct hm_list spares;                /* empty spans, the latest first */
    size_t spare_bytes;                   /* of the spares */
    size_t credit_bytes;                  /* up to so many spares stay: see tcache.c */
    uint32_t spare_count;                 /* spares */
    uint8_t missed_count[HM_CLASS_COUNT]; /* spans given back and not made anew since */
    uintptr_t id;                         /* what its spans have as owner; const while in use */
    struct hm_pool *pool;                 /* const */
    struct hm_tcache *next;               /* in pool->caches, for good; const */
    struct hm_tcache *idle_next;          /* in pool->idle; heap->lock */

    /* written by other threads: a cache line of its own */
    _Alignas(HM_CACHE_LINE_BYTES) struct hm_span *pending; /* spans with remote frees; atomic */
    uint32_t is_dead;                                      /* no thread will collect; atomic */
};

/* A cache without spans, for threads that have none of their own yet. Never written to. */
extern const struct hm_tcache hm_tcache_empty HM_HIDDEN;

/* A span without free slots. Never written to. */
extern const struct hm_span hm_span_none HM_HIDDEN;

/* The slow halves of malloc and free.
 * alloc_slow: the current span of the class has no ready slot. NULL with ENOMEM: no memory. Next on
 * the allocation walk: hm_span_create (span/span.c).
 * free_slow: `span` has slots, but is not open to the fast path of `cache`, or `addr` is no live
 * block in it; then the program ends with one line about it. Next on the free walk: hm_remote_free
 * (cache/remote.c).
 * alarm: the frees that somebody wanted to be told of have come. Next on the free walk:
 * hm_span_destroy (span/span.c). */
void *hm_tcache_alloc_slow(struct hm_tcache *cache, unsigned class_idx);
void hm_tcache_free_slow(struct hm_pool *pool, struct hm_tcache *cache, struct hm_span *span,
                         uintptr_t addr);
void hm_tcache_alarm(struct hm_span *span);

/* After slots of `span`, which belongs to `cache`, became free by other means than free(): put it
 * where it belongs now. */
void hm_tcache_resort(struct hm_tcache *cache, struct hm_span *span);

/* The class has no current span any more: it stands with those that have room, or is given back if
 * no block of it is in use. */
void hm_tcache_let_go(struct hm_tcache *cache, unsigned class_idx);

/* Give back what the thread itself can spare: remote frees are merged, and current spans without a
 * block in use go back. Owner thread only. */
void hm_tcache_trim(struct hm_tcache *cache);

/* Close the classes from open_count on to malloc's fast path, and open the spans to that of free()
 * for the thread `id`; 0: close them. */
void hm_tcache_close(struct hm_tcache *cache, unsigned open_count, uintptr_t id);

/* Forget all spans: the state of a new cache. */
void hm_tcache_clear(struct hm_tcache *cache);

/* Allocate a slot of the class. Next on the allocation walk: hm_tcache_alloc_slow
 * (cache/tcache.c). */
HM_INLINE void *
hm_tcache_alloc(struct hm_tcache *cache, unsigned class_idx)
{
    void *mem = hm_span_pop(cache->current[class_idx]);

    return HM_LIKELY(mem != NULL) ? mem : hm_tcache_alloc_slow(cache, class_idx);
}

/* Free a slot of a span whose owner is the calling thread. Returns false, and does nothing, if
 * `addr` is no live block. Next on the free walk: hm_tcache_alarm (cache/tcache.c). */
HM_INLINE bool
hm_tcache_free(struct hm_span *span, uintptr_t addr)
{
    struct hm_slot *slot = (struct hm_slot *)addr;

    if (HM_UNLIKELY(!hm_span_has_slot(span, addr)) || HM_UNLIKELY(slot->mark == span))
        return false;
    hm_span_put(span, slot);
    if (HM_UNLIKELY(hm_count_down(&span->alarm)))
        hm_tcache_alarm(span);
    return true;
}

#endif
