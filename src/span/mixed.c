/* SPDX-License-Identifier: MIT */
/* mixed.c - blocks of many classes in one run (see mixed.h). */
#include "span/mixed.h"

/* A page of the smallest size has more granules than bytes to spare for them; two have not. */
#define RUN_BYTES (8 * HM_KIB)
#define GRANULE_COUNT 512

/* In `alarm`, above the number of granules in use. */
#define HELD ((uint32_t)1 << 31)
#define CLAIMED ((uint32_t)1 << 30)

/* What a granule's byte says: nothing starts here; class + 1 of a live block; the same of one that
 * was freed. */
#define FREED 0x80

/* A span with more in use than this is not worth holding. */
#define FULL_COUNT (GRANULE_COUNT / 4 * 3)

_Static_assert(GRANULE_COUNT / sizeof(uint64_t) <= HM_SPAN_WORDS_MAX, "room for the bytes");
_Static_assert(HM_CLASS_COUNT < FREED, "a byte holds a class and a flag");

static uint8_t *
bytes_of(const struct hm_span *span)
{
    return (uint8_t *)(uintptr_t)span->remote;
}

static bool
is_live(unsigned byte)
{
    return byte != 0 && (byte & FREED) == 0;
}

/* Granules are as large as it takes for so many to fill the run: `class_idx` is their shift. */
static unsigned
granules_of(const struct hm_span *span, unsigned class_idx)
{
    return (unsigned)((hm_class_bytes(class_idx) - 1) >> span->class_idx) + 1;
}

/* The granule that starts at `addr`; GRANULE_COUNT if none does. */
static size_t
granule_at(const struct hm_span *span, uintptr_t addr)
{
    size_t off_bytes = addr - span->base;
    size_t idx = off_bytes >> span->class_idx;

    return idx << span->class_idx == off_bytes ? idx : GRANULE_COUNT;
}

/* What is said of it. */
static unsigned
byte_at(const struct hm_span *span, size_t idx)
{
    return idx < GRANULE_COUNT ? hm_load(&bytes_of(span)[idx]) : 0;
}

/* What the second word of a freed block holds until its room is handed out again: nothing that a
 * program has there by chance, and no mark of another span. */
static struct hm_span *
mark_of(uintptr_t addr)
{
    return (struct hm_span *)~addr;
}

/* --- birth and death -------------------------------------------------------------------------- */

static void
init(struct hm_span *span, const struct hm_run *run, size_t len_bytes)
{
    hm_store(&span->owner, HM_NOBODY);
    span->base = run->addr;
    span->end_addr = run->addr + len_bytes;
    span->slot_bytes = UINT64_MAX;
    span->region = run->region;
    span->len_pages = run->len_pages;
    span->class_idx = (uint8_t)__builtin_ctzll(len_bytes / GRANULE_COUNT);
    span->kind = HM_SPAN_MIXED;
    hm_store(&span->alarm, HELD);
    hm_store(&span->hidden, 0);
    span->carved = 0;
    span->slot_count = 0;
    span->is_torn = false;
    hm_store(&span->home, NULL);
    /* Who has a stale pointer to the struct finds it held, and leaves it alone. */
    hm_store(&span->remote_state, hm_load(&span->remote_state) | HM_REMOTE_HELD);
    for (unsigned i = 0; i < span->word_count; i++)
        hm_store(&span->remote[i], 0);
    hm_list_init(&span->link);
}

struct hm_span *
hm_mixed_create(struct hm_heap *heap)
{
    size_t len_pages = hm_bytes_to_pages_up(&heap->geom, RUN_BYTES);
    size_t len_bytes = hm_pages_to_bytes(&heap->geom, len_pages);
    struct hm_span *span = hm_span_obtain(heap, GRANULE_COUNT / sizeof(uint64_t));
    struct hm_run run;

    if (span == NULL)
        return NULL;
    if (hm_pheap_take(heap, len_pages, 1, &run) != 0) {
        hm_span_recycle(heap, span);
        return NULL;
    }
    init(span, &run, len_bytes);
    if (hm_pagemap_set(heap->pagemap, run.addr, len_bytes, span) != 0) {
        hm_pheap_give(heap, run.region, run.addr, len_pages);
        hm_span_recycle(heap, span);
        return NULL;
    }
    hm_list_add_first(&heap->spans, &span->all_link);
    heap->span_count++;
    return span;
}

bool
hm_mixed_hold(struct hm_span *span)
{
    /* acquire: what was written to the blocks before they were freed. */
    return (__atomic_fetch_or(&span->alarm, HELD, __ATOMIC_ACQ_REL) & CLAIMED) == 0;
}

/* Take `off` off the state. Returns true if the span is thereby claimed. */
static bool
lower(struct hm_span *span, uint32_t off)
{
    uint32_t state = hm_load(&span->alarm);
    uint32_t next;

    do {
        next = state - off;
        if (next == 0)
            next = CLAIMED;
        /* acq_rel: what the freer wrote to the block comes before its next use. */
    } while (!__atomic_compare_exchange_n(&span->alarm, &state, next, true, __ATOMIC_ACQ_REL,
                                          __ATOMIC_RELAXED));
    return next == CLAIMED;
}

bool
hm_mixed_unhold(struct hm_span *span)
{
    return lower(span, HELD);
}

void
hm_mixed_destroy(struct hm_heap *heap, struct hm_span *span)
{
    hm_list_del(&span->link);
    hm_span_vacate(heap, span);
    hm_span_recycle(heap, span);
}

bool
hm_mixed_has_room(const struct hm_span *span)
{
    return (hm_load(&span->alarm) & ~HELD) <= FULL_COUNT;
}

bool
hm_mixed_is_idle(const struct hm_span *span)
{
    return hm_load(&span->alarm) == HELD;
}

/* The kernel copied the block at another moment than the byte. */
static void
mark_freed(const struct hm_span *span, unsigned idx)
{
    uintptr_t addr = span->base + ((uintptr_t)idx << span->class_idx);

    ((struct hm_slot *)addr)->mark = mark_of(addr);
}

HM_LATER bool
hm_mixed_mend(struct hm_span *span, bool is_held)
{
    uint32_t used_count = 0;
    unsigned end = 0;

    /* Perhaps the forking thread claimed it, and a handler forks: it goes on here. */
    if ((span->alarm & CLAIMED) != 0)
        return false;
    for (unsigned i = 0; i < GRANULE_COUNT; i++) {
        unsigned byte = byte_at(span, i);

        if (byte != 0)
            end = i + granules_of(span, (byte & ~(unsigned)FREED) - 1);
        if (is_live(byte))
            used_count += granules_of(span, byte - 1);
        else if (byte != 0)
            mark_freed(span, i);
    }
    /* These two may have been copied before the bytes. */
    if (!is_held) {
        span->slot_count = 0;
        span->carved = span->carved > end ? span->carved : end;
    }
    span->alarm = used_count + (is_held ? HELD : 0);
    if (span->alarm == 0)
        span->alarm = CLAIMED;
    return span->alarm == CLAIMED;
}

/* --- blocks ----------------------------------------------------------------------------------- */

/* The first `need` granules in a row that no block occupies, of which the first is a multiple of
 * `step`, from `from` on and among those that were handed out; GRANULE_COUNT if there are none.
 * `from` is within no block. */
static unsigned
find_room(const struct hm_span *span, unsigned from, unsigned need, unsigned step)
{
    unsigned first = (unsigned)hm_align_up(from, step);
    unsigned i = from;

    while (i < first + need && first + need <= span->carved) {
        unsigned byte = __atomic_load_n(&bytes_of(span)[i], __ATOMIC_ACQUIRE);

        if (is_live(byte)) {
            i += granules_of(span, byte - 1);
            first = (unsigned)hm_align_up(i, step);
        } else {
            i++;
        }
    }
    return first + need <= span->carved ? first : GRANULE_COUNT;
}

/* What was freed is about to serve again, and must be as it was left. */
static void
forget(struct hm_span *span, unsigned idx)
{
    uintptr_t addr = span->base + ((uintptr_t)idx << span->class_idx);

    if (byte_at(span, idx) == 0)
        return;
    if (HM_UNLIKELY(hm_load(&((struct hm_slot *)addr)->mark) != mark_of(addr)))
        hm_span_damaged(span, addr, "malloc()");
    hm_store(&bytes_of(span)[idx], 0);
}

/* Room between the blocks, behind the one that was placed so last if possible. */
static unsigned
take_freed(struct hm_span *span, unsigned need, unsigned step)
{
    unsigned first;

    if (!hm_mixed_has_room(span))
        return GRANULE_COUNT;
    first = find_room(span, span->slot_count, need, step);
    if (first == GRANULE_COUNT)
        first = find_room(span, 0, need, step);
    if (first == GRANULE_COUNT)
        return GRANULE_COUNT;
    span->slot_count = first + need;
    for (unsigned i = first; i < first + need; i++)
        forget(span, i);
    return first;
}

/* Room behind all blocks there ever were, else between them. */
void *
hm_mixed_alloc(struct hm_span *span, unsigned class_idx)
{
    size_t size_bytes = hm_class_bytes(class_idx);
    unsigned step = (unsigned)((size_bytes & -size_bytes) >> span->class_idx);
    unsigned need = granules_of(span, class_idx);
    unsigned first;

    if (step == 0)
        step = 1;
    first = (unsigned)hm_align_up(span->carved, step);
    if (first + need <= GRANULE_COUNT) {
        hm_store(&span->carved, first + need);
    } else {
        first = take_freed(span, need, step);
        if (first == GRANULE_COUNT)
            return NULL;
    }
    hm_store(&bytes_of(span)[first], (uint8_t)(class_idx + 1));
    (void)__atomic_fetch_add(&span->alarm, need, __ATOMIC_RELAXED);
    return (void *)(span->base + ((uintptr_t)first << span->class_idx));
}

bool
hm_mixed_free(struct hm_span *span, uintptr_t addr)
{
    size_t idx = granule_at(span, addr);
    uint8_t byte = (uint8_t)byte_at(span, idx);

    if (!is_live(byte))
        hm_span_misuse(span, addr, "free()");
    hm_store(&((struct hm_slot *)addr)->mark, mark_of(addr));
    /* Of two threads that free it at once, one finds it freed. */
    if (!__atomic_compare_exchange_n(&bytes_of(span)[idx], &byte, (uint8_t)(byte | FREED), false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        hm_span_misuse(span, addr, "free()");
    return lower(span, granules_of(span, byte - 1u));
}

unsigned
hm_mixed_class(const struct hm_span *span, uintptr_t addr)
{
    unsigned byte = byte_at(span, granule_at(span, addr));

    return is_live(byte) ? byte - 1 : HM_CLASS_COUNT;
}

size_t
hm_mixed_find(const struct hm_span *span, uintptr_t addr, uintptr_t *out_start)
{
    size_t idx = (addr - span->base) >> span->class_idx;
    size_t size_bytes;
    uintptr_t start;
    unsigned byte;

    while (idx > 0 && byte_at(span, idx) == 0)
        idx--;
    byte = byte_at(span, idx);
    if (byte == 0)
        return 0;
    start = span->base + (idx << span->class_idx);
    size_bytes = hm_class_bytes((byte & ~(unsigned)FREED) - 1);
    if (addr - start >= size_bytes)
        return 0;
    *out_start = start;
    return size_bytes;
}

size_t
hm_mixed_live_bytes(const struct hm_span *span)
{
    size_t live_bytes = 0;

    for (unsigned i = 0; i < GRANULE_COUNT; i++) {
        unsigned byte = byte_at(span, i);

        if (is_live(byte))
            live_bytes += hm_class_bytes(byte - 1);
    }
    return live_bytes;
}
