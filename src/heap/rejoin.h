/* SPDX-License-Identifier: MIT */
/* rejoin.h - huge pages that were split become whole again.
 *
 * Locking     All functions: heap->lock is held by the caller.
 */
#ifndef HM_HEAP_REJOIN_H
#define HM_HEAP_REJOIN_H

#include "heap/heal.h"

/* Part of hm_heal_init. */
void hm_rejoin_init(struct hm_heap *heap);

/* The process is about to fork. */
void hm_rejoin_forking(struct hm_heap *heap);

/* Something of an older fork is in use again: look at it, too. */
void hm_rejoin_suspect(struct hm_heap *heap);

/* A mapping is to have huge pages from now on; the pages that it has may be base pages. */
void hm_rejoin_promoted(struct hm_heap *heap, struct hm_mapped *note);

/* Look at the next region that may be split, or the next huge page of a mapping, and join it. */
enum hm_heal_outcome hm_rejoin_next(struct hm_heap *heap, uint64_t now_ns);

#endif
