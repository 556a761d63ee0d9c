/* SPDX-License-Identifier: MIT */
/* mixing.h - the first blocks of a thread, of all classes, lie in mixed spans (span/mixed.h).
 *
 * Idea        Until a class has a span of its own, its blocks come from the mixed span that the
 *             cache holds; but only so many bytes of each class in the life of a cache. So a short
 *             program and a thread that sleeps with a few blocks have few pages, and a class that
 *             is in use soon has its fast path.
 *             A mixed span that has no room is let go of, and so is that of a thread that ends.
 *             Where blocks were freed in one of these, the next thread that needs one takes it.
 */
#ifndef HM_CACHE_MIXING_H
#define HM_CACHE_MIXING_H

#include "cache/thread.h"

/* The cache has no mixed span, and wants none. */
void hm_mixing_clear(struct hm_tcache *cache);

/* From now on it does: for caches that will serve a thread for more than a call. */
void hm_mixing_start(struct hm_tcache *cache);

/* A block of a class that has no current span and none with room. NULL if it shall come from a span
 * of its class. May take heap->lock. */
void *hm_mixing_alloc(struct hm_tcache *cache, unsigned class_idx);

/* Free a block of a mixed span, whoever holds that. Aborts if it is no live block. May take
 * heap->lock. */
void hm_mixing_free(struct hm_pool *pool, struct hm_span *span, uintptr_t addr);

/* Let go of the mixed span if no block in it is in use. Takes heap->lock. */
void hm_mixing_trim(struct hm_tcache *cache);

/* Let go of it, since the thread ends. heap->lock is held. */
void hm_mixing_retire(struct hm_tcache *cache);

/* In a forked child, whose only thread uses `self` (or NULL). heap->lock is held. */
void hm_mixing_after_fork(struct hm_pool *pool, const struct hm_tcache *self, struct hm_span *span);

#endif
