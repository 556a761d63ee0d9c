/* SPDX-License-Identifier: MIT */
/* heal.h - regions that lie on base pages become huge pages again, within a budget of time.
 *
 * Locking     heap->lock is held by the caller, except where a function says that it takes it.
 */
#ifndef HM_HEAP_HEAL_H
#define HM_HEAP_HEAL_H

#include "heap/heap.h"

/* What an attempt to make a huge page came to. */
enum hm_heal_outcome {
    HM_HEAL_WAITS,   /* not yet */
    HM_HEAL_SETTLED, /* nothing to do */
    HM_HEAL_COPIED,  /* the kernel was asked, and answered for good */
    HM_HEAL_REFUSED, /* the kernel was asked, and will be again */
};

HM_INLINE bool
hm_heal_is_final(enum hm_heal_outcome outcome)
{
    return outcome == HM_HEAL_SETTLED || outcome == HM_HEAL_COPIED;
}

/* Part of hm_heap_init. */
void hm_heal_init(struct hm_heap *heap);

/* A closed region was given memory, of the kind that `backing` says. */
void hm_heal_opened(struct hm_heap *heap, struct hm_region *region);

/* A region that was kept, or was just opened, is to be used. */
void hm_heal_reopened(struct hm_heap *heap, struct hm_region *region);

/* A mapping on huge pages was made, or is so much longer now. */
void hm_heal_mapped(struct hm_heap *heap, size_t more_bytes);

/* Pages of a region on base pages were taken or given back, or its state or backing changed: is it
 * a candidate now? Whoever puts a region on base pages calls this. */
void hm_heal_note(struct hm_heap *heap, struct hm_region *region);

/* Let the next visit look what there is to do. Before the first huge page of a heap that is
 * nothing. */
void hm_heal_call(struct hm_heap *heap);

/* Twice the wait, within bounds. */
void hm_heal_wait_longer(uint64_t *inout_wait_ns, uint64_t min_ns, uint64_t max_ns);

/* A region is full enough to be a huge page when no more than an eighth of it is free. */
HM_INLINE uint32_t
hm_heal_enough_pages(const struct hm_heap *heap)
{
    return heap->region_pages - heap->region_pages / 8;
}

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
