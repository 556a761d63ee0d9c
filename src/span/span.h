/* SPDX-License-Identifier: MIT */
/* span.h - a run of pages cut into slots of one size, or one large block; its state lies out of
 * line.
 *
 * Problem     free() must find size and state of a block from its address alone, and must not
 *             believe what an overflow may have written beside the block. Two threads may free into
 *             one span at a time.
 * Idea        One bit per slot, set while the slot is free, in memory of our own: free memory holds
 *             no links, a double free is a bit that is set already, and neither malloc nor free
 *             touches the slot. The owner thread changes `bits` without atomics; every other thread
 *             sets a bit in a second bitmap, `remote`, which the owner merges when it runs short
 *             (cache/remote.c).
 * Locking     Fields are marked with who may write them. "owner": the thread whose cache the span
 *             belongs to, or whoever holds heap->lock while it belongs to none.
 * Invariants  I1 used is the number of slots whose bit is clear and whose free was not yet counted,
 *             plus one while the span is held as current in a cache. I2 `owner` equals `home`, or
 *             is NULL, which sends free() to its slow path: in a full span, an orphan, a large
 *             block. I3 bits from slot_count on are clear.
 * Sources     D. Lemire, O. Kaser, N. Kurz, "Faster remainder by direct computation", Softw. Pract.
 *             Exper. 49 (2019), for the test by `magic`.
 */
#ifndef HM_SPAN_SPAN_H
#define HM_SPAN_SPAN_H

#include "base/check.h"
#include "heap/heap.h"
#include "heap/pheap.h"
#include "span/class.h"

struct hm_tcache;

enum hm_span_kind {
    HM_SPAN_IDLE,   /* not a span: on a list of heap->idle_spans */
    HM_SPAN_SLOTS,  /* slots of one size class */
    HM_SPAN_RUN,    /* one block on a run of the page heap */
    HM_SPAN_MAPPED, /* one block with a mapping of its own */
};

struct hm_span {
    /* what malloc and free read and write: one cache line */
    struct hm_tcache *owner; /* whose free() may take the fast path; owner, read by all */
    uintptr_t base;          /* address of the first slot or of the block; const */
    uint64_t magic;          /* 2^64 / slot_bytes, rounded up; const */
    uint32_t slot_count;     /* const */
    uint32_t used;           /* see I1; owner */
    uint64_t *word;          /* the word of `bits` that malloc takes from; owner */
    uintptr_t word_base;     /* address of the first slot of that word; owner */
    uint64_t slot_bytes;     /* slot size, or usable size of a large block; const for slots */
    struct hm_tcache *home;  /* the cache that owns it, NULL for orphans and large blocks; atomic */

    /* the rest: a second line */
    struct hm_list link;          /* in a list of its cache, or of orphans; owner */
    struct hm_list all_link;      /* in heap->spans; heap->lock */
    struct hm_region *region;     /* where the run starts; NULL if mapped; const */
    size_t len_pages;             /* of the run or mapping; heap->lock */
    struct hm_span *pending_next; /* next span with remote frees, or next idle struct */
    uint32_t remote_count;        /* remote frees not yet merged; atomic */
    uint8_t class_idx;            /* const */
    uint8_t kind;                 /* enum hm_span_kind; const */
    uint8_t word_count;           /* words in `bits`; const for the life of the struct */
    uint8_t backing;              /* of a mapped block: enum hm_backing_kind; const */

    uint64_t bits[]; /* free slots; owner. Behind them, on a cache line of their own, `remote` */
};

_Static_assert(offsetof(struct hm_span, link) == HM_CACHE_LINE_BYTES, "hot fields fill one line");
_Static_assert(offsetof(struct hm_span, bits) == 2 * HM_CACHE_LINE_BYTES, "no padding");

/* Slots freed by threads that do not own the span; any thread sets bits, the owner clears them. */
HM_INLINE uint64_t *
hm_span_remote(struct hm_span *span)
{
    return span->bits + hm_align_up(span->word_count, HM_CACHE_LINE_BYTES / sizeof(uint64_t));
}

/* Take the lowest free slot of `word`, the value of *span->word, which is not 0. */
HM_INLINE void *
hm_span_pop(struct hm_span *span, uint64_t word)
{
    uint64_t bit = (uint64_t)__builtin_ctzll(word);

    hm_store(span->word, word & (word - 1));
    span->used++;
    return (void *)(span->word_base + bit * span->slot_bytes);
}

/* The index of the slot at `addr`, or slot_count and more if no slot starts there. */
HM_INLINE uint64_t
hm_span_slot_idx(const struct hm_span *span, uintptr_t addr)
{
    unsigned __int128 product = (unsigned __int128)(addr - span->base) * span->magic;

    if (HM_UNLIKELY((uint64_t)product >= span->magic))
        return UINT64_MAX;
    return (uint64_t)(product >> 64);
}

/* Abort with one line about a pointer that is no live block of this span.
 *   call  the function that was handed the pointer, e.g. "free()" */
HM_NORETURN HM_COLD void hm_span_misuse(struct hm_span *span, uintptr_t addr, const char *call);

/* Make slot `addr` free. Owner only; `used` is the caller's to count. Returns false, and does
 * nothing, if `addr` is no live block. */
HM_INLINE bool
hm_span_push(struct hm_span *span, uintptr_t addr)
{
    uint64_t slot_idx = hm_span_slot_idx(span, addr);
    uint64_t bit = (uint64_t)1 << (slot_idx & 63);
    uint64_t word;

    if (HM_UNLIKELY(slot_idx >= span->slot_count))
        return false;
    word = hm_load(&span->bits[slot_idx >> 6]);
    if (HM_UNLIKELY((word & bit) != 0))
        return false;
    hm_store(&span->bits[slot_idx >> 6], word | bit);
    return true;
}

/* Point `word` at a word with free slots. Returns false, and leaves it at an empty one, if all are
 * taken. */
bool hm_span_next_word(struct hm_span *span);

/* Whether `addr` is a live block of a span of slots; racy if another thread frees it meanwhile. */
bool hm_span_is_live(struct hm_span *span, uintptr_t addr);

/* Number of slots that are neither free nor freed remotely. */
uint32_t hm_span_live_count(struct hm_span *span);

/* A struct with room for `word_count` words, entered nowhere; NULL if there is no memory.
 * heap->lock is held. hm_span_recycle takes it back. */
struct hm_span *hm_span_obtain(struct hm_heap *heap, unsigned word_count);
void hm_span_recycle(struct hm_heap *heap, struct hm_span *span);

/* Make a span of slots that belongs to nobody yet. Takes heap->lock.
 *   owned_count  spans of the class that the cache has; longer spans for those who have more
 * Returns NULL if there is no memory. Next on the allocation walk: hm_pheap_take (heap/pheap.c). */
struct hm_span *hm_span_create(struct hm_heap *heap, unsigned class_idx, unsigned owned_count);

/* Give the pages of a span of slots back; none is in use. heap->lock is held. Next on the free
 * walk: hm_pheap_give (heap/pheap.c). */
void hm_span_destroy(struct hm_heap *heap, struct hm_span *span);

#endif
