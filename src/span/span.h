/* SPDX-License-Identifier: MIT */
/* span.h - a run of pages cut into slots of one size, or one large block; its state lies out of
 * line.
 *
 * Problem     free() must find size and state of a block from its address alone, must take a few
 *             dozen instructions, and must not be fooled by a block that is freed twice or was
 *             never handed out. Two threads may free into one span at a time.
 * Idea        Free slots are linked through their first word. Their second word, the mark, is the
 *             address of their span: malloc hands out only what bears the mark of the span that it
 *             takes from, and clears it; free() takes only what does not bear it. So one comparison
 *             finds a double free, however late, and one finds a slot that was written to while it
 *             was free. A list ends with the span itself, which bears no mark, so that the
 *             comparison in malloc finds the end as well.
 *             malloc takes from `ready`; the owner's free() puts slots on `freed`, and counts down
 *             `alarm`, the number of frees until somebody must look. Other threads set a bit in
 *             `remote`, which the owner merges (cache/remote.c). Slots are handed out for the first
 *             time ("carved") page by page, and the pagemap learns of a page only then.
 * Locking     Fields are marked with who may write them. "owner": the thread whose cache the span
 *             belongs to, or whoever holds heap->lock while it belongs to none.
 * Invariants  I1 Slots end where the run ends: unused bytes lie before the first. I2 Of `carved`
 *             slots, each is live, ready, freed, or has a remote bit. I3 alarm + hidden is the
 *             number of slots that are live or ready, or have a remote bit or are merged without
 *             having been counted; so the span is empty when that is 0. I4 hidden is 0 except in a
 *             full span, which wants to be told of its first free slots only. I5 Only the current
 *             span of a cache has ready slots. I6 `owner` is the id of the thread whose cache is
 *             `home`, or HM_NOBODY: in an orphan, in a large block, and where the owner shall look
 *             at each of its frees (cache/remote.c).
 * Sources     D. Lemire, O. Kaser, N. Kurz, "Faster remainder by direct computation", Softw. Pract.
 *             Exper. 49 (2019), for the test by `magic`. Two lists per span, so that malloc comes
 *             by regularly: D. Leijen, B. Zorn, L. de Moura, "Mimalloc: free list sharding in
 *             action", APLAS 2019.
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
    HM_SPAN_MIXED,  /* blocks of many classes: span/mixed.h */
};

/* What a free slot holds. */
struct hm_slot {
    struct hm_slot *next; /* the span itself at the end of a list */
    struct hm_span *mark; /* the slot's span while the slot is free; any thread */
};

/* As owner: no thread's. Not 0, for whoever has no id. */
#define HM_NOBODY ((uintptr_t)1)

struct hm_span {
    /* what malloc and free read and write: one cache line */
    uintptr_t owner;       /* hm_thread_id() of whose free() may take the fast path; owner */
    uintptr_t end_addr;    /* behind the last slot, or the block; const */
    uint64_t magic;        /* 2^64 / slot_bytes, rounded up; const */
    struct hm_slot *freed; /* slots freed by the owner, the latest first; owner */
    struct hm_slot *ready; /* slots that malloc takes; owner */
    uint32_t alarm;        /* see I3; owner, atomic for others */
    uint32_t carved;       /* slots ever handed out or ready to be; owner */
    uint32_t slot_count;   /* const */
    int32_t uncounted;     /* remote frees merged, less those counted; owner */
    uint64_t slot_bytes;   /* slot size, or usable size of a large block; const for slots */

    /* the rest: a second line */
    struct hm_tcache *home; /* the cache that owns it, NULL for orphans and large; atomic */
    union {
        struct hm_list link;     /* slots: in a list of its cache, or of orphans; owner */
        struct hm_charge charge; /* large block: what it counts for if direct; heap->lock */
    };
    struct hm_list all_link; /* in heap->spans; heap->lock */
    uintptr_t base;          /* address of the run or block; const */
    union {
        struct hm_region *region; /* where the run starts; const */
        struct hm_mapped *note;   /* mapped block: see struct hm_mapping; heap->lock */
    };
    struct hm_span *pending_next; /* next span with remote frees, or next idle struct */
    /* a third */
    size_t len_pages;     /* of the run or mapping; heap->lock */
    size_t asked_pages;   /* large block: what its size needs; heap->lock */
    uint32_t hidden;      /* see I3, I4; owner, atomic for others */
    uint32_t stale_count; /* slots that may bear the mark though they are not carved; owner */
    uint8_t class_idx;    /* const */
    uint8_t kind;         /* enum hm_span_kind; const */
    uint8_t word_count;   /* words in `remote`; const for the life of the struct */
    uint8_t backing;      /* of a mapped block: enum hm_backing_kind; heap->lock */
    bool is_torn;         /* fork() cut off its owner: see hm_span_mend; atomic, heap->lock */
    struct hm_heap *heap; /* const */

    /* slots freed by threads that do not own the span; any thread sets bits, the owner clears */
    _Alignas(HM_CACHE_LINE_BYTES) uint64_t remote_state; /* HM_REMOTE_*; atomic */
    uint64_t remote[];
};

/* What remote_state holds: frees by others that were not taken over yet, and who may do what with
 * the span (cache/remote.c). The rest of it counts lives of the struct and turns of being held, so
 * that no value comes back. */
#define HM_REMOTE_COUNT ((uint64_t)0xffff)
#define HM_REMOTE_PENDING ((uint64_t)1 << 16) /* on a list of pending spans, or on the way */
#define HM_REMOTE_HELD ((uint64_t)1 << 17)    /* its owner takes slots from it */
#define HM_REMOTE_CLAIMED ((uint64_t)1 << 18) /* its pages are going back, or went */
#define HM_REMOTE_TURN ((uint64_t)1 << 19)

_Static_assert(offsetof(struct hm_span, home) == HM_CACHE_LINE_BYTES, "hot fields fill one line");

/* The end of the lists of `span`. */
HM_INLINE struct hm_slot *
hm_span_end(struct hm_span *span)
{
    return (struct hm_slot *)(void *)span;
}

/* Take a ready slot. NULL if there is none, or if what is ready does not bear the mark. */
HM_INLINE void *
hm_span_pop(struct hm_span *span)
{
    struct hm_slot *slot = hm_load(&span->ready);

    if (HM_UNLIKELY(slot->mark != span))
        return NULL;
    hm_store(&span->ready, slot->next);
    slot->mark = NULL;
    return slot;
}

/* Length of a span of slots, or of a block. */
HM_INLINE size_t
hm_span_bytes(const struct hm_span *span)
{
    return span->end_addr - span->base;
}

/* Whether a slot starts at `addr`, an address in a page of the run. */
HM_INLINE bool
hm_span_has_slot(const struct hm_span *span, uintptr_t addr)
{
    uint64_t product = (span->end_addr - addr) * span->magic;

    __asm__("" : "+m"(*(uint64_t *)(uintptr_t)&span->magic)); /* or gcc wants it in a register */
    return product < span->magic;
}

/* The index of the slot at `addr`, counted from the end of the span; slot_count and more if no slot
 * starts there. */
HM_INLINE uint64_t
hm_span_slot_idx(const struct hm_span *span, uintptr_t addr)
{
    unsigned __int128 product = (unsigned __int128)(span->end_addr - addr) * span->magic;

    if (HM_UNLIKELY((uint64_t)product >= span->magic))
        return UINT64_MAX;
    return (uint64_t)(product >> 64) - 1;
}

/* The address of the slot of that index. */
HM_INLINE uintptr_t
hm_span_slot_addr(const struct hm_span *span, uint64_t slot_idx)
{
    return span->end_addr - (slot_idx + 1) * span->slot_bytes;
}

/* Number of slots on the list of freed ones, in a span that is not full. Owner only. */
HM_INLINE uint32_t
hm_span_freed_count(const struct hm_span *span)
{
    return span->carved + (uint32_t)span->uncounted - span->alarm;
}

/* How many freed slots are worth the way that makes them ready: one in so many. */
#define HM_SPAN_WORTH 8

HM_INLINE uint32_t
hm_span_worth_count(const struct hm_span *span)
{
    return 1 + hm_load(&span->carved) / HM_SPAN_WORTH;
}

/* Put a slot on the list of freed ones; `alarm` is the caller's to count. */
HM_INLINE void
hm_span_put(struct hm_span *span, struct hm_slot *slot)
{
    hm_store(&slot->mark, span);
    slot->next = span->freed;
    hm_store(&span->freed, slot);
}

/* Abort with one line about a pointer that is no live block of this span.
 *   call  the function that was handed the pointer, e.g. "free()" */
HM_NORETURN HM_COLD void hm_span_misuse(struct hm_span *span, uintptr_t addr, const char *call);

/* Abort with one line: the slot at `addr` is free, but does not bear the mark. */
HM_NORETURN HM_COLD void hm_span_damaged(const struct hm_span *span, uintptr_t addr,
                                         const char *call);

/* Have the freed slots ready. No slot is ready now. Owner only. */
HM_INLINE void
hm_span_swap(struct hm_span *span)
{
    hm_store(&span->ready, span->freed);
    hm_store(&span->freed, hm_span_end(span));
    hm_store(&span->alarm, span->carved + (uint32_t)span->uncounted);
}

/* Let `alarm` be all that is awaited, and `changed` more. In this order: who reads `hidden` first
 * never finds less than there is. Owner only. */
HM_INLINE void
hm_span_unhide(struct hm_span *span, uint32_t changed)
{
    hm_store(&span->alarm, span->alarm + span->hidden + changed);
    /* release: pairs with the acquire in hm_span_rest */
    __atomic_store_n(&span->hidden, 0, __ATOMIC_RELEASE);
}

/* alarm + hidden as a thread sees it that does not own the span: if nobody holds it, no less than
 * there is, and what the owner did before is seen. */
HM_INLINE uint32_t
hm_span_rest(const struct hm_span *span)
{
    uint32_t hidden = __atomic_load_n(&span->hidden, __ATOMIC_ACQUIRE);

    return hidden + __atomic_load_n(&span->alarm, __ATOMIC_ACQUIRE);
}

/* Have the slots of the next page ready, which were never handed out. No slot is ready now. Owner
 * only. */
void hm_span_carve(struct hm_span *span, struct hm_heap *heap);

/* Have slots ready, freed ones or fresh ones. Returns false if that is not worth it, or all are
 * live. No slot is ready now. Owner only. */
HM_INLINE bool
hm_span_refill(struct hm_span *span, struct hm_heap *heap)
{
    if (hm_span_freed_count(span) >= hm_span_worth_count(span)) {
        hm_span_swap(span);
        return true;
    }
    if (span->carved == span->slot_count)
        return false;
    hm_span_carve(span, heap);
    return true;
}

/* Make all ready slots freed ones. Owner only. */
void hm_span_unready(struct hm_span *span);

/* Before an empty span is destroyed: erase its marks, so that no later owner of the memory copies
 * them into a block of a later life of this struct. Aborts if a carved slot does not bear the mark:
 * a block that was written to after free() can be freed again unseen, and counts twice then;
 * without this the pages of a live block would be given away. Owner only. */
void hm_span_wipe(struct hm_span *span);

/* Let all slots be as if none had ever been handed out, and the span nobody's. The heap is at rest.
 * heap->lock is held. */
void hm_span_reset(struct hm_heap *heap, struct hm_span *span);

/* hm_span_wipe where fork() cut off a thread that did it: some marks are erased already. */
void hm_span_wipe_rest(struct hm_span *span);

/* In a forked child: mark the slots of a word of remote bits as free. They were, but what is on
 * hugetlb pages may have been copied before that (heap/shadow.c). */
void hm_span_mark(struct hm_span *span, unsigned word_idx, uint64_t word);

/* If fork() cut off the thread that was at work here: find out from their marks which slots are
 * free. heap->lock is held. */
void hm_span_mend(struct hm_span *span, struct hm_heap *heap);

/* Whether `addr` is a live block of a span of slots; racy if another thread frees it meanwhile. */
bool hm_span_is_live(struct hm_span *span, uintptr_t addr);

/* Number of slots that are neither free nor freed remotely; about that number while other threads
 * work on the span. */
uint32_t hm_span_live_count(struct hm_span *span);

/* A struct with room for `word_count` words, entered nowhere; NULL if there is no memory.
 * heap->lock is held. hm_span_recycle takes it back. */
struct hm_span *hm_span_obtain(struct hm_heap *heap, unsigned word_count);
void hm_span_recycle(struct hm_heap *heap, struct hm_span *span);

/* Make a span of slots that belongs to nobody yet. Takes heap->lock.
 *   owned_count  spans of the class that the cache has; longer spans for those who have more
 * It is shorter than wished if that fills a gap and no region has room for more.
 * Returns NULL if there is no memory. Next on the allocation walk: hm_pheap_take (heap/pheap.c). */
struct hm_span *hm_span_create(struct hm_heap *heap, unsigned class_idx, unsigned owned_count);

/* Give the pages of a span of slots back; none is in use. The struct follows, unless it is on a
 * list of pending spans: then with whoever takes it off. heap->lock is held. Next on the free walk:
 * hm_span_vacate, below. */
void hm_span_destroy(struct hm_heap *heap, struct hm_span *span);

/* Only the pages; the struct is no span any more. heap->lock is held. Next on the free walk:
 * hm_pheap_give (heap/pheap.c). */
void hm_span_vacate(struct hm_heap *heap, struct hm_span *span);

#endif
