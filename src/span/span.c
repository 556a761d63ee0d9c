/* SPDX-License-Identifier: MIT */
/* span.c - birth, death and slow paths of spans (see span.h). */
#include "span/span.h"

#include "base/fmt.h"

bool
hm_span_next_word(struct hm_span *span)
{
    for (unsigned i = 0; i < span->word_count; i++) {
        if (span->bits[i] == 0)
            continue;
        span->word = &span->bits[i];
        span->word_base = span->base + (uintptr_t)i * 64 * span->slot_bytes;
        return true;
    }
    return false;
}

/* Whether the bit of a slot is set in `words`, which other threads may be changing. */
static bool
has_bit(const uint64_t *words, uint64_t slot_idx)
{
    return (__atomic_load_n(&words[slot_idx >> 6], __ATOMIC_ACQUIRE) >> (slot_idx & 63) & 1) != 0;
}

bool
hm_span_is_live(struct hm_span *span, uintptr_t addr)
{
    uint64_t slot_idx = hm_span_slot_idx(span, addr);

    return slot_idx < span->slot_count && !has_bit(span->bits, slot_idx)
           && !has_bit(hm_span_remote(span), slot_idx);
}

uint32_t
hm_span_live_count(struct hm_span *span)
{
    const uint64_t *remote = hm_span_remote(span);
    uint32_t free_count = 0;

    for (unsigned i = 0; i < span->word_count; i++)
        free_count += (uint32_t)__builtin_popcountll(hm_load(&span->bits[i]) | hm_load(&remote[i]));
    return span->slot_count - free_count;
}

void
hm_span_misuse(struct hm_span *span, uintptr_t addr, const char *call)
{
    uint64_t slot_idx = hm_span_slot_idx(span, addr);
    char what[64];
    char why[160];
    struct hm_fmt what_out = hm_fmt_init(what, sizeof(what), -1);
    struct hm_fmt why_out = hm_fmt_init(why, sizeof(why), -1);

    hm_fmt_str(&what_out, call);
    if (span->kind == HM_SPAN_SLOTS && slot_idx < span->slot_count) {
        hm_fmt_str(&what_out, call[0] == 'f' ? ": double free of" : ": freed block");
        hm_fmt_str(&why_out, "this block of size class ");
        hm_fmt_u64(&why_out, span->slot_bytes);
        hm_fmt_str(&why_out, " is free already, or was never handed out");
    } else {
        hm_fmt_str(&what_out, ": invalid pointer");
        hm_fmt_str(&why_out, "it points ");
        if (span->kind == HM_SPAN_SLOTS && slot_idx != UINT64_MAX) {
            hm_fmt_str(&why_out, "behind the last block of size class ");
        } else {
            hm_fmt_hex(&why_out, span->kind == HM_SPAN_SLOTS
                                     ? (addr - span->base) % span->slot_bytes
                                     : addr - span->base);
            hm_fmt_str(&why_out, " bytes into a block of size ");
        }
        hm_fmt_u64(&why_out, span->slot_bytes);
        hm_fmt_str(&why_out, "; pass what malloc returned");
    }
    hm_fail(what, addr, why);
}

struct hm_span *
hm_span_obtain(struct hm_heap *heap, unsigned word_count)
{
    size_t padded_count = hm_align_up(word_count, HM_CACHE_LINE_BYTES / sizeof(uint64_t));
    struct hm_span *span = heap->idle_spans[word_count];

    if (span != NULL) {
        heap->idle_spans[word_count] = span->pending_next;
        return span;
    }
    span = hm_meta_alloc(&heap->meta, sizeof(*span) + 2 * padded_count * sizeof(uint64_t),
                         HM_CACHE_LINE_BYTES);
    if (span != NULL)
        span->word_count = (uint8_t)word_count;
    return span;
}

void
hm_span_recycle(struct hm_heap *heap, struct hm_span *span)
{
    span->kind = HM_SPAN_IDLE;
    span->pending_next = heap->idle_spans[span->word_count];
    heap->idle_spans[span->word_count] = span;
}

/* All slots free, nobody's. Threads that still hold a stale pointer to an earlier life of this
 * struct only ever read it. */
static void
init_slots(struct hm_span *span, const struct hm_run *run, unsigned class_idx, uint32_t slot_count)
{
    unsigned full_words = slot_count / 64;

    span->owner = NULL;
    span->base = run->addr;
    span->slot_bytes = hm_class_bytes(class_idx);
    span->magic = UINT64_MAX / span->slot_bytes + 1;
    span->slot_count = slot_count;
    span->used = 0;
    span->word = span->bits;
    span->word_base = span->base;
    span->region = run->region;
    span->len_pages = run->len_pages;
    span->class_idx = (uint8_t)class_idx;
    span->kind = HM_SPAN_SLOTS;
    hm_store(&span->home, NULL);
    hm_store(&span->remote_count, 0);
    for (unsigned i = 0; i < span->word_count; i++) {
        hm_store(&span->bits[i], i < full_words ? UINT64_MAX : 0);
        hm_store(&hm_span_remote(span)[i], 0);
    }
    if (slot_count % 64 != 0)
        hm_store(&span->bits[full_words], ((uint64_t)1 << slot_count % 64) - 1);
    hm_list_init(&span->link);
}

static struct hm_span *
create_locked(struct hm_heap *heap, unsigned class_idx, unsigned owned_count)
{
    size_t len_pages = hm_class_span_pages(&heap->geom, class_idx, owned_count);
    uint32_t slot_count = hm_class_slots(&heap->geom, class_idx, len_pages);
    struct hm_span *span = hm_span_obtain(heap, (slot_count + 63) / 64);
    struct hm_run run;

    if (span == NULL)
        return NULL;
    if (hm_pheap_take(heap, len_pages, 1, &run) != 0) {
        hm_span_recycle(heap, span);
        return NULL;
    }
    init_slots(span, &run, class_idx, slot_count);
    if (hm_pagemap_set(&heap->pagemap, &heap->meta, run.addr,
                       hm_pages_to_bytes(&heap->geom, len_pages), span)
        != 0) {
        hm_pheap_give(heap, run.region, run.addr, len_pages);
        hm_span_recycle(heap, span);
        return NULL;
    }
    hm_list_add_last(&heap->spans, &span->all_link);
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
hm_span_destroy(struct hm_heap *heap, struct hm_span *span)
{
    hm_assert(span->used == 0);
    hm_assert(hm_load(&span->remote_count) == 0);
    hm_list_del(&span->all_link);
    heap->span_count--;
    (void)hm_pagemap_set(&heap->pagemap, &heap->meta, span->base,
                         hm_pages_to_bytes(&heap->geom, span->len_pages), NULL);
    hm_pheap_give(heap, span->region, span->base, span->len_pages);
    hm_span_recycle(heap, span);
}
