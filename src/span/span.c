/* SPDX-License-Identifier: MIT */
/* span.c - slow paths, birth and death of spans (see span.h). */
#include "span/span.h"

#include <string.h>

#include "base/fmt.h"
#include "span/mixed.h"

/* --- slots ------------------------------------------------------------------------------------ */

/* Whether a slot may lie at `slot`, whatever that points to. */
static bool
is_slot(const struct hm_span *span, const struct hm_slot *slot)
{
    uintptr_t addr = (uintptr_t)slot;

    return addr >= span->base && addr < span->end_addr && hm_span_has_slot(span, addr);
}

/* Follow a list from `slot` until `stop`, its end, or the first slot that is damaged. May be a list
 * that its owner is changing: the count is a guess then. */
static HM_RACY uint32_t
count_list(struct hm_span *span, const struct hm_slot *slot, const struct hm_slot *stop)
{
    uint32_t count = 0;

    while (slot != stop && count < span->slot_count && is_slot(span, slot)
           && hm_load(&slot->mark) == span) {
        slot = hm_load(&slot->next);
        count++;
    }
    return slot == stop ? count : UINT32_MAX;
}

static bool
is_listed(struct hm_span *span, const struct hm_slot *slot)
{
    return count_list(span, hm_load(&span->ready), slot) != UINT32_MAX
           || count_list(span, hm_load(&span->freed), slot) != UINT32_MAX;
}

/* Chance, or the copy of an uninitialised block, may put the mark into a live block: where it
 * stands, the lists have the last word. */
bool
hm_span_is_live(struct hm_span *span, uintptr_t addr)
{
    const struct hm_slot *slot = (const struct hm_slot *)addr;
    uint64_t slot_idx = hm_span_slot_idx(span, addr);

    if (slot_idx >= span->slot_count)
        return false;
    if (HM_LIKELY(hm_load(&slot->mark) != span))
        return true;
    if ((__atomic_load_n(&span->remote[slot_idx >> 6], __ATOMIC_ACQUIRE) >> (slot_idx & 63) & 1)
        != 0)
        return false;
    return !hm_load(&span->is_torn) && !is_listed(span, slot);
}

static HM_RACY uint32_t
count_marks(struct hm_span *span)
{
    uint32_t count = 0;

    for (uint32_t i = 1; i <= span->carved; i++) {
        const struct hm_slot *slot
            = (const struct hm_slot *)hm_span_slot_addr(span, span->slot_count - i);

        count += hm_load(&slot->mark) == span;
    }
    return count;
}

HM_RACY uint32_t
hm_span_live_count(struct hm_span *span)
{
    uint32_t carved = hm_load(&span->carved);
    uint32_t ready_count = count_list(span, hm_load(&span->ready), hm_span_end(span));
    int64_t live_count;

    if (hm_load(&span->is_torn))
        return carved - count_marks(span);
    live_count = (int64_t)hm_load(&span->alarm) + hm_load(&span->hidden) - hm_load(&span->uncounted)
                 - (ready_count != UINT32_MAX ? ready_count : 0);
    for (unsigned i = 0; i < span->word_count; i++)
        live_count -= __builtin_popcountll(hm_load(&span->remote[i]));
    if (live_count < 0)
        return 0;
    return live_count < carved ? (uint32_t)live_count : carved;
}

HM_LATER void
hm_span_damaged(const struct hm_span *span, uintptr_t addr, const char *call)
{
    char what[64];
    char why[160];
    struct hm_fmt what_out = hm_fmt_init(what, sizeof(what), -1);
    struct hm_fmt out = hm_fmt_init(why, sizeof(why), -1);
    uintptr_t start;

    hm_fmt_str(&what_out, call);
    hm_fmt_str(&what_out, ": damaged free block");
    hm_fmt_str(&out, "a block of size class ");
    hm_fmt_u64(&out,
               span->kind == HM_SPAN_MIXED ? hm_mixed_find(span, addr, &start) : span->slot_bytes);
    hm_fmt_str(&out, " was written to after free(), or beyond the end of the block before it");
    hm_fail(what, addr, why);
}

/* Let the pagemap know of the carved slots from `first_addr` on: up to the page of the next slot,
 * which is no block yet. The run was prepared for. */
static void
enter_carved(struct hm_heap *heap, struct hm_span *span, uintptr_t first_addr)
{
    const uintptr_t grain_mask = ~(((uintptr_t)1 << HM_GRAIN_SHIFT) - 1);
    uintptr_t stop_addr = span->end_addr;

    if (span->carved < span->slot_count)
        stop_addr = hm_span_slot_addr(span, span->slot_count - 1 - span->carved) & grain_mask;
    first_addr &= grain_mask;
    hm_pagemap_enter(heap->pagemap, first_addr, stop_addr - first_addr, span);
}

/* Link the slots of the next page, in the order of their addresses. Whoever has fresh pages next to
 * used ones shall use up a page before it touches the next. */
void
hm_span_carve(struct hm_span *span, struct hm_heap *heap)
{
    uintptr_t first_addr = hm_span_slot_addr(span, span->slot_count - 1 - span->carved);
    uintptr_t stop_addr = hm_align_up(first_addr + 1, (uintptr_t)1 << HM_GRAIN_SHIFT);
    uint64_t slot_bytes = span->slot_bytes;
    uintptr_t addr = first_addr;
    struct hm_slot *slot;
    uint32_t count;

    if (stop_addr > span->end_addr)
        stop_addr = span->end_addr;
    do {
        slot = (struct hm_slot *)addr;
        addr += slot_bytes;
        slot->next = (struct hm_slot *)addr;
        slot->mark = span;
    } while (addr < stop_addr);
    slot->next = hm_span_end(span);
    count = (uint32_t)((addr - first_addr) / slot_bytes);
    hm_store(&span->carved, span->carved + count);
    hm_store(&span->alarm, span->alarm + count);
    hm_store(&span->ready, (struct hm_slot *)first_addr);
    enter_carved(heap, span, first_addr);
}

void
hm_span_unready(struct hm_span *span)
{
    struct hm_slot *end = hm_span_end(span);
    struct hm_slot *slot;

    while ((slot = span->ready) != end) {
        if (slot->mark != span)
            hm_span_damaged(span, (uintptr_t)slot, "free()");
        span->ready = slot->next;
        hm_span_put(span, slot);
        (void)hm_count_down(&span->alarm);
    }
}

void
hm_span_wipe(struct hm_span *span)
{
    uint64_t slot_bytes = span->slot_bytes;
    uintptr_t addr = hm_span_slot_addr(span, span->slot_count - 1);
    uintptr_t stop_addr = addr + span->carved * slot_bytes;

    for (; addr < stop_addr; addr += slot_bytes) {
        struct hm_slot *slot = (struct hm_slot *)addr;

        if (HM_UNLIKELY(slot->mark != span))
            hm_span_damaged(span, addr, "free()");
        slot->mark = NULL;
    }
    if (HM_UNLIKELY(span->stale_count > span->carved))
        hm_span_wipe_rest(span);
}

HM_LATER void
hm_span_wipe_rest(struct hm_span *span)
{
    uint32_t count = span->carved > span->stale_count ? span->carved : span->stale_count;

    for (uint32_t i = 1; i <= count; i++) {
        struct hm_slot *slot = (struct hm_slot *)hm_span_slot_addr(span, span->slot_count - i);

        if (slot->mark == span)
            slot->mark = NULL;
    }
}

void
hm_span_mark(struct hm_span *span, unsigned word_idx, uint64_t word)
{
    for (; word != 0; word &= word - 1) {
        uint64_t slot_idx = word_idx * 64 + (unsigned)__builtin_ctzll(word);

        ((struct hm_slot *)hm_span_slot_addr(span, slot_idx))->mark = span;
    }
}

HM_LATER void
hm_span_reset(struct hm_heap *heap, struct hm_span *span)
{
    uint64_t turn = hm_load(&span->remote_state) / HM_REMOTE_TURN;
    size_t carved_bytes = span->carved * span->slot_bytes;

    if (span->carved > 0)
        hm_pagemap_enter(heap->pagemap, hm_span_slot_addr(span, span->slot_count - 1), carved_bytes,
                         NULL);
    if (span->stale_count < span->carved)
        span->stale_count = span->carved;
    hm_store(&span->owner, HM_NOBODY);
    hm_store(&span->home, NULL);
    span->freed = hm_span_end(span);
    hm_store(&span->ready, hm_span_end(span));
    hm_store(&span->alarm, 0);
    hm_store(&span->hidden, 0);
    hm_store(&span->carved, 0);
    span->uncounted = 0;
    span->is_torn = false;
    hm_store(&span->remote_state, (turn + 1) * HM_REMOTE_TURN);
    for (unsigned i = 0; i < span->word_count; i++)
        hm_store(&span->remote[i], 0);
    hm_list_init(&span->link);
}

/* The kernel copied the pagemap at yet another moment, so it is told again. */
HM_LATER void
hm_span_mend(struct hm_span *span, struct hm_heap *heap)
{
    if (!span->is_torn)
        return;
    for (uint32_t i = 1; i <= span->carved; i++) {
        struct hm_slot *slot = (struct hm_slot *)hm_span_slot_addr(span, span->slot_count - i);

        if (slot->mark != span)
            continue;
        hm_span_put(span, slot);
        (void)hm_count_down(&span->alarm);
    }
    enter_carved(heap, span, hm_span_slot_addr(span, span->slot_count - 1));
    /* release: pairs with the acquire in hm_remote_free */
    __atomic_store_n(&span->is_torn, false, __ATOMIC_RELEASE);
}

/* --- misuse ----------------------------------------------------------------------------------- */

/* "it points 8 bytes into a block of size 64" */
static void
put_place_in(struct hm_fmt *out, uintptr_t addr, uintptr_t start, size_t size_bytes)
{
    hm_fmt_str(out, "it points ");
    hm_fmt_hex(out, addr - start);
    hm_fmt_str(out, " bytes into a block of size ");
    hm_fmt_u64(out, size_bytes);
    hm_fmt_str(out, "; pass what the allocation returned");
}

static void
put_place(struct hm_fmt *out, const struct hm_span *span, uintptr_t addr)
{
    uint64_t before_bytes = (span->end_addr - addr) % span->slot_bytes;
    uintptr_t first_addr = hm_span_slot_addr(span, span->slot_count - 1);

    if (span->kind != HM_SPAN_SLOTS) {
        put_place_in(out, addr, span->base, span->slot_bytes);
    } else if (addr >= first_addr) {
        put_place_in(out, addr, addr + before_bytes - span->slot_bytes, span->slot_bytes);
    } else {
        hm_fmt_str(out, "it points ");
        hm_fmt_hex(out, first_addr - addr);
        hm_fmt_str(out, " bytes before the first block of size ");
        hm_fmt_u64(out, span->slot_bytes);
        hm_fmt_str(out, "; pass what the allocation returned");
    }
}

static void
put_place_mixed(struct hm_fmt *out, uintptr_t addr, uintptr_t start, size_t size_bytes)
{
    if (size_bytes != 0)
        put_place_in(out, addr, start, size_bytes);
    else
        hm_fmt_str(out, "no live block starts there; pass what the allocation returned");
}

HM_LATER void
hm_span_misuse(struct hm_span *span, uintptr_t addr, const char *call)
{
    char what[64];
    char why[160];
    struct hm_fmt what_out = hm_fmt_init(what, sizeof(what), -1);
    struct hm_fmt why_out = hm_fmt_init(why, sizeof(why), -1);
    size_t size_bytes = span->slot_bytes;
    uintptr_t start = 0;

    hm_fmt_str(&what_out, call);
    if (span->kind == HM_SPAN_MIXED)
        size_bytes = hm_mixed_find(span, addr, &start);
    else if (span->kind == HM_SPAN_SLOTS && hm_span_slot_idx(span, addr) < span->slot_count)
        start = addr;
    if (start == addr) {
        hm_fmt_str(&what_out, strstr(call, "free") != NULL ? ": double free of" : ": freed block");
        hm_fmt_str(&why_out, "this block of size class ");
        hm_fmt_u64(&why_out, size_bytes);
        hm_fmt_str(&why_out, " is free already, or was never handed out");
    } else {
        hm_fmt_str(&what_out, ": invalid pointer");
        if (span->kind == HM_SPAN_MIXED)
            put_place_mixed(&why_out, addr, start, size_bytes);
        else
            put_place(&why_out, span, addr);
    }
    hm_fail(what, addr, why);
}

/* --- birth and death -------------------------------------------------------------------------- */

struct hm_span *
hm_span_obtain(struct hm_heap *heap, unsigned word_count)
{
    size_t len_bytes = offsetof(struct hm_span, remote) + word_count * sizeof(uint64_t);
    struct hm_span *span = heap->idle_spans[word_count];

    if (span != NULL) {
        heap->idle_spans[word_count] = span->pending_next;
        return span;
    }
    span = hm_meta_alloc(&heap->meta, hm_align_up(len_bytes, HM_CACHE_LINE_BYTES),
                         HM_CACHE_LINE_BYTES);
    if (span != NULL) {
        span->word_count = (uint8_t)word_count;
        span->heap = heap;
    }
    return span;
}

void
hm_span_recycle(struct hm_heap *heap, struct hm_span *span)
{
    uint64_t turn = hm_load(&span->remote_state) / HM_REMOTE_TURN;

    span->kind = HM_SPAN_IDLE;
    /* A thread that freed the last block may be about to announce it: it finds another turn. */
    hm_store(&span->remote_state, (turn + 1) * HM_REMOTE_TURN);
    span->pending_next = heap->idle_spans[span->word_count];
    heap->idle_spans[span->word_count] = span;
}

/* No slot carved yet, nobody's, but held by who makes it. Threads that still hold a stale pointer
 * to an earlier life of this struct only ever read it. */
static void
init_slots(struct hm_span *span, const struct hm_run *run, size_t len_bytes, unsigned class_idx,
           uint32_t slot_count)
{
    hm_store(&span->owner, HM_NOBODY);
    span->base = run->addr;
    span->end_addr = run->addr + len_bytes;
    span->slot_bytes = hm_class_bytes(class_idx);
    span->magic = UINT64_MAX / span->slot_bytes + 1;
    span->slot_count = slot_count;
    span->freed = hm_span_end(span);
    span->ready = hm_span_end(span);
    hm_store(&span->alarm, 0);
    hm_store(&span->hidden, 0);
    hm_store(&span->carved, 0);
    span->uncounted = 0;
    span->stale_count = 0;
    span->is_torn = false;
    span->region = run->region;
    span->len_pages = run->len_pages;
    span->class_idx = (uint8_t)class_idx;
    span->kind = HM_SPAN_SLOTS;
    hm_store(&span->home, NULL);
    hm_store(&span->remote_state, hm_load(&span->remote_state) | HM_REMOTE_HELD);
    for (unsigned i = 0; i < span->word_count; i++)
        hm_store(&span->remote[i], 0);
    hm_list_init(&span->link);
}

/* How long the span shall be. Where the heap's limit is near, what is left of that serves. */
static size_t
pages_for(struct hm_heap *heap, unsigned class_idx, unsigned owned_count)
{
    size_t left_pages = hm_heap_left_bytes(heap) >> heap->geom.page_shift;
    size_t wish_pages = hm_class_span_pages(&heap->geom, class_idx, owned_count);
    size_t min_pages = hm_class_min_pages(&heap->geom, class_idx, wish_pages);
    size_t len_pages = hm_pheap_fit_pages(heap, min_pages, wish_pages);

    return len_pages < left_pages ? len_pages : left_pages;
}

static struct hm_span *
create_locked(struct hm_heap *heap, unsigned class_idx, unsigned owned_count)
{
    size_t len_pages = pages_for(heap, class_idx, owned_count);
    size_t len_bytes = hm_pages_to_bytes(&heap->geom, len_pages);
    uint32_t slot_count = hm_class_slots(&heap->geom, class_idx, len_pages);
    struct hm_span *span;
    struct hm_run run;

    if (slot_count == 0)
        return NULL;
    span = hm_span_obtain(heap, (slot_count + 63) / 64);
    if (span == NULL)
        return NULL;
    if (hm_pheap_take(heap, len_pages, 1, &run) != 0) {
        hm_span_recycle(heap, span);
        return NULL;
    }
    init_slots(span, &run, len_bytes, class_idx, slot_count);
    if (hm_pagemap_prepare(heap->pagemap, run.addr, len_bytes) != 0) {
        hm_pheap_give(heap, run.region, run.addr, len_pages);
        hm_span_recycle(heap, span);
        return NULL;
    }
    hm_list_add_first(&heap->spans, &span->all_link);
    heap->span_count++;
    return span;
}

struct hm_span *
hm_span_create(struct hm_heap *heap, unsigned class_idx, unsigned owned_count)
{
    struct hm_span *span;

    hm_lock_take(&heap->lock);
    span = create_locked(heap, class_idx, owned_count);
    hm_lock_give(&heap->lock);
    return span;
}

void
hm_span_vacate(struct hm_heap *heap, struct hm_span *span)
{
    hm_list_del(&span->all_link);
    heap->span_count--;
    (void)hm_pagemap_set(heap->pagemap, span->base, hm_pages_to_bytes(&heap->geom, span->len_pages),
                         NULL);
    hm_pheap_give(heap, span->region, span->base, span->len_pages);
    span->kind = HM_SPAN_IDLE;
}

void
hm_span_destroy(struct hm_heap *heap, struct hm_span *span)
{
    uint64_t state = __atomic_fetch_or(&span->remote_state, HM_REMOTE_CLAIMED, __ATOMIC_ACQ_REL);

    hm_assert(span->alarm + span->hidden == 0);
    hm_assert((state & (HM_REMOTE_CLAIMED | HM_REMOTE_COUNT)) == 0);
    hm_span_vacate(heap, span);
    hm_store(&span->home, NULL);
    if ((state & HM_REMOTE_PENDING) == 0)
        hm_span_recycle(heap, span);
}
