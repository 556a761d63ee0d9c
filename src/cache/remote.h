/* SPDX-License-Identifier: MIT */
/* remote.h - slots freed by a thread that does not own their span. */
#ifndef HM_CACHE_REMOTE_H
#define HM_CACHE_REMOTE_H

#include "cache/tcache.h"

/* Free the slot at `addr` of a span that the caller does not own. Aborts if it is no live block. */
void hm_remote_free(struct hm_pool *pool, struct hm_span *span, uintptr_t addr);

/* Merge what other threads freed in spans of this cache. Owner thread only. */
void hm_remote_collect(struct hm_tcache *cache);

/* Merge the remote frees of a span that nobody else may write to now: the caller owns it, or holds
 * heap->lock and it is an orphan. Only for who found it on a list of pending spans, or is the one
 * who would have to put it there. */
void hm_remote_merge(struct hm_span *span);

/* Send all spans on a cache's list of pending ones to where they belong now. heap->lock is held. */
void hm_remote_reroute(struct hm_tcache *cache);

#endif
