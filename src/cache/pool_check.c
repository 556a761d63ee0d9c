/* SPDX-License-Identifier: MIT */
/* pool_check.c - proves the invariants of spans.
 *
 * Problem     A write beyond the end of a block, or to one that was freed, is found when the slot
 *             is handed out again, which may be long after; and a miscount later still.
 * Idea        Follow every list of free slots and count everything anew. Tests call it after every
 *             step; programs by huma_arena_check.
 * Locking     heap->lock, and no thread allocates or frees meanwhile.
 */
#include "cache/thread.h"

/* Whether a slot that was handed out before starts there. They begin at the lowest address. */
static bool
is_carved(const struct hm_span *span, uintptr_t addr)
{
    uint64_t slot_idx = hm_span_slot_idx(span, addr);

    return slot_idx < span->slot_count && slot_idx >= span->slot_count - span->carved;
}

/* The length of a list of free slots; more than the span has if it is damaged. */
static uint32_t
list_count(struct hm_span *span, const struct hm_slot *slot)
{
    const struct hm_slot *end = hm_span_end(span);
    uint32_t count = 0;

    for (; slot != end; slot = slot->next, count++)
        if (count > span->carved || !is_carved(span, (uintptr_t)slot) || slot->mark != span)
            return UINT32_MAX / 2;
    return count;
}

static const char *
check_slots(struct hm_span *span)
{
    uint32_t live_count = hm_span_live_count(span);
    uint32_t free_count;

    if (live_count > span->carved || span->carved > span->slot_count)
        return "only slots that were handed out are live";
    if (span->alarm + span->hidden < live_count)
        return "at least as many frees are awaited as slots are live";
    if (span->is_torn)
        return NULL;
    free_count = list_count(span, span->ready) + list_count(span, span->freed);
    if (free_count > span->carved)
        return "free slots are linked and bear their mark: a block was written to after free(), or "
               "beyond its end";
    if (live_count + free_count > span->carved)
        return "no slot is both free and live";
    return NULL;
}

static const char *
check_span(const struct hm_heap *heap, struct hm_span *span)
{
    uintptr_t addr = span->base;

    if (span->kind == HM_SPAN_IDLE)
        return "a listed span is alive";
    if (span->heap != heap)
        return "a listed span is one of this heap";
    if (span->owner != HM_NOBODY && (span->home == NULL || span->owner != span->home->id))
        return "owner is the id of home, or nobody";
    if (span->kind == HM_SPAN_SLOTS) {
        const char *broken = check_slots(span);

        if (broken != NULL || span->carved == 0)
            return broken;
        addr = hm_span_slot_addr(span, span->slot_count - 1);
    }
    if (hm_pagemap_get(heap->pagemap, addr) != span)
        return "a live span is entered in the pagemap";
    return NULL;
}

const char *
hm_pool_check(const struct hm_pool *pool, uintptr_t *out_addr)
{
    const struct hm_heap *heap = pool->heap;
    size_t run_pages = 0;
    size_t mapped_bytes = 0;
    size_t mapped_count = 0;
    size_t span_count = 0;
    bool is_rest = false; /* from here on nothing was used since the last reset */

    for (struct hm_list *link = heap->spans.next; link != &heap->spans; link = link->next) {
        struct hm_span *span = hm_container_of(link, struct hm_span, all_link);
        const char *broken = check_span(heap, span);

        *out_addr = span->base;
        if (broken != NULL)
            return broken;
        is_rest = is_rest || hm_pool_is_at_rest(span);
        if (is_rest && span->kind != HM_SPAN_MIXED && !hm_pool_is_at_rest(span))
            return "spans that a reset left lie behind those in use";
        span_count++;
        if (span->kind == HM_SPAN_MAPPED) {
            mapped_bytes += hm_pages_to_bytes(&heap->geom, span->len_pages);
            mapped_count++;
        } else {
            run_pages += span->len_pages;
        }
    }
    *out_addr = 0;
    if (span_count != heap->span_count)
        return "span_count is the length of the list";
    if (run_pages != heap->used_pages)
        return "every page in use belongs to one span";
    if (mapped_bytes != heap->direct_bytes || mapped_count != heap->direct_count)
        return "direct blocks are counted";
    return NULL;
}
