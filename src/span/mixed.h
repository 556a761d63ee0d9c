/* SPDX-License-Identifier: MIT */
/* mixed.h - a short run that holds blocks of many size classes: the first ones of a thread.
 *
 * Problem     A thread that holds ten blocks of ten classes has ten pages, one for each class, and
 *             a program that starts pays a page fault for each.
 * Idea        The first few blocks of each class lie side by side in one run. It is cut into a
 *             fixed number of granules, and a byte for each, out of line, says what starts there: a
 *             block of which class, a freed one, or nothing. One atomic exchange of that byte frees
 *             a block, whoever does it, and finds each double free of room that was not handed out
 *             again, and each pointer to no start of a block. Room that became free serves again;
 *             a mark in the freed block tells then whether somebody wrote to it.
 *             No fast path leads here. A class with more than a few blocks gets spans of its own.
 * State       A struct hm_span. `alarm` is the number of granules in use, and two flags; `carved`
 *             the number of those that were ever handed out, and `slot_count` where the search for
 *             room between them goes on; `class_idx` is the shift of a granule; `remote` are the
 *             bytes.
 * Locking     One thread at a time holds a mixed span, and only that one allocates in it. Anybody
 *             frees. Who makes the number of granules 0 while nobody holds it, or who lets go of it
 *             then, has claimed it in the same step and gives it back; nobody else can.
 * Invariants  I1 A block of class c has the byte c + 1 at its first granule, and bytes that say
 *             nothing of life at its others. I2 `owner` is HM_NOBODY, so that free() comes by the
 *             slow way, and `slot_bytes` is no block's.
 */
#ifndef HM_SPAN_MIXED_H
#define HM_SPAN_MIXED_H

#include "span/span.h"

/* Classes up to this size have blocks here, and so much of each class for a thread. */
#define HM_MIXED_MAX_BYTES ((size_t)2048)
#define HM_MIXED_CLASSES 40

/* Make one, held by the caller; NULL if there is no memory. heap->lock is held. */
struct hm_span *hm_mixed_create(struct hm_heap *heap);

/* Take over one that nobody holds. Returns false if its last block was freed, and who did that is
 * about to give it back. */
bool hm_mixed_hold(struct hm_span *span);

/* Let go of it. Returns true if no block is in use: then it must be destroyed. */
bool hm_mixed_unhold(struct hm_span *span);

/* Give back what was claimed. It is taken off the list that it is on. heap->lock is held. */
void hm_mixed_destroy(struct hm_heap *heap, struct hm_span *span);

/* Whether so little is in use that it is worth holding. */
bool hm_mixed_has_room(const struct hm_span *span);

/* Whether no block is in use in a span that the caller holds. */
bool hm_mixed_is_idle(const struct hm_span *span);

/* A block of the class, one of HM_MIXED_CLASSES; NULL if there is no room. Holder only. */
void *hm_mixed_alloc(struct hm_span *span, unsigned class_idx);

/* Free a block. Aborts if none is live at `addr`. Returns true if it was the last one and nobody
 * holds the span: then the caller must destroy it. */
bool hm_mixed_free(struct hm_span *span, uintptr_t addr);

/* The class of the live block at `addr`; HM_CLASS_COUNT if there is none. */
unsigned hm_mixed_class(const struct hm_span *span, uintptr_t addr);

/* The block at `addr` or around it, live or freed: its size, and its start in *out_start. 0 if none
 * was there. */
size_t hm_mixed_find(const struct hm_span *span, uintptr_t addr, uintptr_t *out_start);

/* Bytes in live blocks; about that while threads work on the span. */
size_t hm_mixed_live_bytes(const struct hm_span *span);

/* In a forked child: threads that it does not have may have been at work here. Returns true if no
 * block is in use and nobody holds it: then it must be destroyed. heap->lock is held.
 *   is_held  by the child's own thread */
bool hm_mixed_mend(struct hm_span *span, bool is_held);

/* Whether a live block of any kind starts at `addr`, an address in a page of the span. Racy if
 * another thread frees it meanwhile. */
HM_INLINE bool
hm_span_has_block(struct hm_span *span, uintptr_t addr)
{
    if (span->kind == HM_SPAN_SLOTS)
        return hm_span_is_live(span, addr);
    if (span->kind == HM_SPAN_MIXED)
        return hm_mixed_class(span, addr) < HM_CLASS_COUNT;
    return addr == span->base;
}

/* Whether the span is one large block. */
HM_INLINE bool
hm_span_is_large(const struct hm_span *span)
{
    return span->kind == HM_SPAN_RUN || span->kind == HM_SPAN_MAPPED;
}

/* The room of a live block of any kind of span. */
HM_INLINE size_t
hm_span_room(const struct hm_span *span, uintptr_t addr)
{
    if (HM_UNLIKELY(span->kind == HM_SPAN_MIXED)) {
        unsigned class_idx = hm_mixed_class(span, addr);

        return class_idx < HM_CLASS_COUNT ? hm_class_bytes(class_idx) : 0;
    }
    return span->slot_bytes;
}

#endif
