/* SPDX-License-Identifier: MIT */
/* stash.h - the last runs of freed blocks, for requests of the very same length.
 *
 * Problem     Programs take and free a buffer of one size in a loop. To enter its pages as free and
 *             to search for them again takes over a thousand instructions, and eight times as many
 *             for each further region.
 * Idea        When a second run of a length is freed soon after the first, it stays as it is, and
 *             the next request of just that length gets it. To all others it is free memory: it
 *             counts as kept, and goes into the page heap before that opens a region or gives up
 *             lengthening a run, and with each epoch of demand. Where lengths seldom repeat, as in
 *             most programs, nothing stays here, and holes are filled and joined as ever.
 * State       heap->stash.
 * Locking     heap->lock is held by the caller.
 * Invariants  Pages of the stash are in use in their regions, but not counted in heap->used_pages;
 *             stash.pages is their number.
 */
#ifndef HM_HEAP_STASH_H
#define HM_HEAP_STASH_H

#include "heap/pheap.h"

/* Hand the pages over to the page heap. Returns whether there were any. */
bool hm_stash_flush(struct hm_heap *heap);

/* Whether a run of this length may be put into the place, where the limit is not known or used up;
 * without a place, let one wait for the next such run. Never so in a heap with a limit, which does
 * not count the stash. */
bool hm_stash_may_give(struct hm_heap *heap, const struct hm_stashed *stashed, size_t len_pages);

/* The place of a run of just this length, or one that waits for such a run; NULL if there is none.
 * May be asked without the lock, for a guess. */
HM_INLINE struct hm_stashed *
hm_stash_find(struct hm_heap *heap, size_t len_pages, bool has_run)
{
    for (unsigned i = 0; i < HM_STASH_RUNS; i++) {
        struct hm_stashed *stashed = &heap->stash.runs[i];

        if (hm_load(&stashed->len_pages) == len_pages && (hm_load(&stashed->addr) != 0) == has_run)
            return stashed;
    }
    return NULL;
}

/* Take the run that was found. Returns its address. */
HM_INLINE uintptr_t
hm_stash_take(struct hm_heap *heap, struct hm_stashed *stashed)
{
    uintptr_t addr = stashed->addr;

    heap->stash.pages -= stashed->len_pages;
    heap->used_pages += stashed->len_pages;
    hm_store(&stashed->addr, 0);
    return addr;
}

/* Whether that is so for sure, if there is a place. */
HM_INLINE bool
hm_stash_has_room(const struct hm_heap *heap, size_t len_pages)
{
    return heap->stash.pages + len_pages <= heap->stash.limit_pages;
}

/* Put a run into a place that waits for its length. */
HM_INLINE void
hm_stash_give(struct hm_heap *heap, struct hm_stashed *stashed, struct hm_region *region,
              uintptr_t addr)
{
    stashed->region = region;
    hm_store(&stashed->addr, addr);
    heap->stash.pages += stashed->len_pages;
    heap->used_pages -= stashed->len_pages;
}

#endif
