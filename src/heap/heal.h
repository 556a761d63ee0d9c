/* SPDX-License-Identifier: MIT */
/* heal.h - regions that lie on base pages become huge pages again, within a budget of time.
 *
 * Locking     heap->lock is held by the caller, except where a function says that it takes it.
 */
#ifndef HM_HEAP_HEAL_H
#define HM_HEAP_HEAL_H

#include "heap/heap.h"

/* Part of hm_heap_init. */
void hm_heal_init(struct hm_heap *heap);

/* A closed region was given memory, of the kind that `backing` says. */
void hm_heal_opened(struct hm_heap *heap, struct hm_region *region);

/* A region that was kept, or was just opened, is to be used. */
void hm_heal_reopened(struct hm_heap *heap, struct hm_region *region);

/* A mapping on huge pages was made, or is so much longer now. */
void hm_heal_mapped(struct hm_heap *heap, size_t more_bytes);

/* A mapping is to have huge pages from now on; the pages that it has may be base pages. */
void hm_heal_promoted(struct hm_heap *heap, uintptr_t addr);

/* Pages of a region on base pages were taken or given back, or its state or backing changed: is it
 * a candidate now? Whoever puts a region on base pages calls this. */
void hm_heal_note(struct hm_heap *heap, struct hm_region *region);

/* The process is about to fork. */
void hm_heal_forking(struct hm_heap *heap);

void hm_heal_visit_slow(struct hm_heap *heap);
void hm_heal_poll_slow(struct hm_heap *heap);

/* Spend some of the budget, if there is anything to do. */
HM_INLINE void
hm_heal_visit(struct hm_heap *heap)
{
    if (HM_UNLIKELY(hm_load(&heap->heal.is_due)))
        hm_heal_visit_slow(heap);
}

/* The same for those who do not hold heap->lock: it is taken if need be. errno is preserved. */
HM_INLINE void
hm_heal_poll(struct hm_heap *heap)
{
    if (HM_UNLIKELY(hm_load(&heap->heal.is_due)))
        hm_heal_poll_slow(heap);
}

#endif
