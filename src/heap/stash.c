/* SPDX-License-Identifier: MIT */
/* stash.c - what seldom happens to the runs that were freed last (see stash.h). */
#include "heap/stash.h"

#include "heap/purge.h"

/* Let the place that was taken first wait for runs of another length. */
static void
await(struct hm_heap *heap, size_t len_pages)
{
    struct hm_stash *stash = &heap->stash;
    struct hm_stashed *stashed = &stash->runs[stash->next_idx];
    size_t old_pages = stashed->len_pages;

    stash->next_idx = (stash->next_idx + 1) % HM_STASH_RUNS;
    if (stashed->addr != 0)
        hm_pheap_give(heap, stashed->region, hm_stash_take(heap, stashed), old_pages);
    hm_store(&stashed->len_pages, len_pages);
}

bool
hm_stash_may_give(struct hm_heap *heap, const struct hm_stashed *stashed, size_t len_pages)
{
    struct hm_stash *stash = &heap->stash;
    size_t room_pages;
    bool is_due;

    if (hm_heap_is_limited(heap))
        return false;
    if (stashed == NULL) {
        await(heap, len_pages);
        return false;
    }
    is_due = hm_purge_visit(heap);
    room_pages = hm_purge_spare_pages(heap);
    if (!is_due)
        stash->limit_pages = room_pages;
    return stash->pages + len_pages <= room_pages;
}

bool
hm_stash_flush(struct hm_heap *heap)
{
    struct hm_stash *stash = &heap->stash;

    if (stash->pages == 0)
        return false;
    for (unsigned i = 0; i < HM_STASH_RUNS; i++) {
        struct hm_stashed *stashed = &stash->runs[i];

        if (stashed->addr != 0)
            (void)hm_pheap_free(heap, stashed->region, stashed->addr, stashed->len_pages);
        hm_store(&stashed->addr, 0);
    }
    stash->pages = 0;
    stash->limit_pages = 0;
    return true;
}
