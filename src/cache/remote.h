/* SPDX-License-Identifier: MIT */
/* remote.h - slots freed by a thread that does not own their span. */
#ifndef HM_CACHE_REMOTE_H
#define HM_CACHE_REMOTE_H

#include "cache/tcache.h"

/* Free the slot at `addr` of a span that the caller does not own. Aborts if it is no live block. */
void hm_remote_free(struct hm_pool *pool, struct hm_span *span, uintptr_t addr);

/* Merge what other threads freed in spans of this cache, as far as they told. Owner thread only. */
void hm_remote_collect(struct hm_tcache *cache);

/* --- what the owner does; or whoever holds heap->lock, if the span is an orphan --------------- */

/* From now on slots may be taken from the span; it is not held yet. Returns its state as it was: if
 * that has CLAIMED, another thread is giving it back or has, and nothing may be done with it but
 * hm_remote_unhold; if frees are counted, they want merging. */
HM_INLINE uint64_t
hm_remote_hold(struct hm_span *span)
{
    return __atomic_fetch_add(&span->remote_state, HM_REMOTE_HELD + HM_REMOTE_TURN,
                              __ATOMIC_ACQ_REL);
}

/* No slot is ready any more. Returns the number of frees by others that are not merged. */
HM_INLINE uint32_t
hm_remote_unhold(struct hm_span *span)
{
    /* HELD is set, so that subtracting clears it. */
    uint64_t state = __atomic_sub_fetch(&span->remote_state, HM_REMOTE_HELD, __ATOMIC_ACQ_REL);

    return (uint32_t)(state & HM_REMOTE_COUNT);
}

/* Frees by others that are not merged. */
HM_INLINE uint32_t
hm_remote_count(const struct hm_span *span)
{
    return (uint32_t)(hm_load(&span->remote_state) & HM_REMOTE_COUNT);
}

/* The same, in the order of all that happened to the span: for after `hidden` and `alarm` changed.
 * Who counted before that may have read other values, and told nobody. */
HM_INLINE uint32_t
hm_remote_recount(struct hm_span *span)
{
    return (uint32_t)(__atomic_fetch_add(&span->remote_state, 0, __ATOMIC_ACQ_REL)
                      & HM_REMOTE_COUNT);
}

/* Merge them. Returns false, and nothing may be done with the span, if another thread is giving it
 * back or has. */
bool hm_remote_merge(struct hm_span *span);

/* Merge those that are not counted, too: no other thread is left that could do it. */
void hm_remote_merge_all(struct hm_span *span);

/* hm_remote_merge, and put the span where it belongs now. */
void hm_remote_settle(struct hm_tcache *cache, struct hm_span *span);

/* After a free by the owner of a span whose `owner` was cleared: see to it that the frees of both
 * are noticed when they are all. */
void hm_remote_watch(struct hm_tcache *cache, struct hm_span *span);

/* --- heap->lock is held ----------------------------------------------------------------------- */

/* If all blocks of a span that nobody holds were freed by others, give it back, whoever owns it. */
void hm_remote_reclaim(struct hm_pool *pool, struct hm_span *span);

/* Send all spans on a cache's list of pending ones to where they belong now. */
void hm_remote_reroute(struct hm_tcache *cache);

#endif
