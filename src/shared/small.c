/* SPDX-License-Identifier: MIT */
/* small.c - blocks of a class in the spans of a shared arena (see shared.h).
 *
 * Problem     Which block is free is said by words in shared memory, one for each, and a search for
 *             every allocation would be slow.
 * Idea        Words are looked at 64 at a time, and those that were free are remembered as bits:
 *             only the owner of a span takes a free block of it, so that they still are. When the
 *             current span is through, two of our others are looked at, which others may have freed
 *             in meanwhile; only then a new one is claimed.
 */
#include <errno.h>

#include "shared/shared.h"

/* A span is worth going back to if one in so many of its blocks is free. */
#define WORTH_SHARE 8

/* Spans of ours that are looked at before another is claimed. */
#define LOOKS 2

#define GROUP_BLOCKS 64

/* --- a span's blocks -------------------------------------------------------------------------- */

/* Which of a group of blocks are free, as bits. */
static uint64_t
find_free(const struct hm_shared *view, uint32_t span, unsigned class_idx, uint32_t group)
{
    const uint32_t *words = hm_shared_block_words(view, span) + (size_t)group * GROUP_BLOCKS;
    uint32_t count = hm_shared_class_blocks(class_idx) - group * GROUP_BLOCKS;
    uint64_t bits = 0;

    if (count > GROUP_BLOCKS)
        count = GROUP_BLOCKS;
    for (uint32_t i = 0; i < count; i++)
        bits |= (uint64_t)(hm_block_state(hm_load(&words[i])) == HM_BLOCK_FREE) << i;
    return bits;
}

static uint32_t
count_free(const struct hm_shared *view, uint32_t span, unsigned class_idx)
{
    uint32_t block_count = hm_shared_class_blocks(class_idx);
    uint32_t free_count = 0;

    for (uint32_t group = 0; group * GROUP_BLOCKS < block_count; group++)
        free_count += (uint32_t)__builtin_popcountll(find_free(view, span, class_idx, group));
    return free_count;
}

/* Have ready what is free in the next groups of the current span. */
static bool
next_group(struct hm_shared *view, struct hm_shared_bin *bin, unsigned class_idx)
{
    uint32_t block_count = hm_shared_class_blocks(class_idx);

    while (bin->current != HM_SHARED_NO_SPAN && bin->next_group * GROUP_BLOCKS < block_count) {
        uint32_t first = bin->next_group * GROUP_BLOCKS;

        bin->ready = find_free(view, bin->current, class_idx, bin->next_group++);
        bin->words = hm_shared_block_words(view, bin->current) + first;
        bin->group_off = hm_shared_span_off(view, bin->current) + first * bin->size_bytes;
        if (bin->ready != 0)
            return true;
    }
    return false;
}

/* --- rings of spans --------------------------------------------------------------------------- */

static void
enter_ring(struct hm_shared *view, struct hm_shared_bin *bin, uint32_t span)
{
    if (bin->ring == HM_SHARED_NO_SPAN) {
        view->ring_next[span] = span;
        bin->ring = span;
        return;
    }
    view->ring_next[span] = view->ring_next[bin->ring];
    view->ring_next[bin->ring] = span;
}

/* Take the span behind bin->ring out. */
static void
leave_ring(struct hm_shared *view, struct hm_shared_bin *bin)
{
    uint32_t span = view->ring_next[bin->ring];

    if (span == bin->ring)
        bin->ring = HM_SHARED_NO_SPAN;
    else
        view->ring_next[bin->ring] = view->ring_next[span];
}

static void
set_current(struct hm_shared_bin *bin, uint32_t span)
{
    bin->current = span;
    bin->next_group = 0;
    bin->ready = 0;
}

/* The same, and have it no more. */
static void
give_up(struct hm_shared *view, struct hm_shared_bin *bin)
{
    uint32_t span = view->ring_next[bin->ring];
    struct hm_shspan was = hm_shared_read_span(view, span);

    leave_ring(view, bin);
    (void)hm_shared_swap_span(view, span, was, hm_shspan_free(was));
    hm_shared_hint(view, span);
}

/* Look at the next spans of the ring, at most so many: one with free blocks becomes current, one
 * more that is empty is given up. */
static bool
look_around(struct hm_shared *view, struct hm_shared_bin *bin, unsigned class_idx, uint32_t looks,
            uint32_t worth)
{
    bool is_found = false;

    for (uint32_t i = 0; i < looks && bin->ring != HM_SHARED_NO_SPAN; i++) {
        uint32_t span = view->ring_next[bin->ring];
        uint32_t free_count = count_free(view, span, class_idx);

        if (is_found && free_count == hm_shared_class_blocks(class_idx) && span != bin->current) {
            give_up(view, bin);
            continue;
        }
        bin->ring = span;
        if (!is_found && free_count >= worth) {
            set_current(bin, span);
            is_found = true;
        }
    }
    return is_found;
}

static uint32_t
ring_length(const struct hm_shared *view, const struct hm_shared_bin *bin)
{
    uint32_t length = 0;
    uint32_t span = bin->ring;

    if (span == HM_SHARED_NO_SPAN)
        return 0;
    do {
        span = view->ring_next[span];
        length++;
    } while (span != bin->ring && length < view->geom.span_count);
    return length;
}

static void
flush_bin(struct hm_shared *view, struct hm_shared_bin *bin, unsigned class_idx)
{
    for (uint32_t looks = ring_length(view, bin); looks > 0; looks--) {
        uint32_t span = view->ring_next[bin->ring];

        if (count_free(view, span, class_idx) < hm_shared_class_blocks(class_idx)) {
            bin->ring = span;
            continue;
        }
        if (span == bin->current)
            set_current(bin, HM_SHARED_NO_SPAN);
        give_up(view, bin);
    }
}

void
hm_shared_flush(struct hm_shared *view)
{
    for (unsigned i = 0; i < HM_SHARED_CLASS_COUNT; i++)
        flush_bin(view, &view->bins[i], i);
}

/* --- new spans -------------------------------------------------------------------------------- */

/* Returns 0; -EBUSY: somebody else was faster; or another negative errno: there is no memory. What
 * others see as a span of blocks has memory for their words. */
static int
take_span(struct hm_shared *view, struct hm_shared_bin *bin, unsigned class_idx, uint32_t span)
{
    struct hm_shspan was;
    int rc;

    if (!hm_shared_may_have(view, 1))
        return -ENOMEM;
    if (!hm_shared_claim(view, span,
                         (struct hm_shspan){ .state = HM_SHSPAN_HELD, .owner = view->seat }))
        return -EBUSY;
    rc = hm_shared_fill(view, span, 1);
    was = hm_shared_read_span(view, span);
    if (rc != 0) {
        (void)hm_shared_swap_span(view, span, was, hm_shspan_free(was));
        return rc;
    }
    (void)hm_shared_swap_span(view, span, was,
                              (struct hm_shspan){ .state = HM_SHSPAN_OWNED,
                                                  .owner = view->seat,
                                                  .class_idx = class_idx,
                                                  .generation = was.generation });
    enter_ring(view, bin, span);
    set_current(bin, span);
    hm_store(&view->free_hint, span);
    return 0;
}

/* A free span of a chunk. Returns as take_span. */
static int
take_in(struct hm_shared *view, struct hm_shared_bin *bin, unsigned class_idx, uint32_t chunk)
{
    uint32_t span = chunk * HM_SHARED_CHUNK_SPANS;
    uint32_t end = span + HM_SHARED_CHUNK_SPANS;
    int rc = -EBUSY;

    for (; span < end && rc == -EBUSY; span++)
        if (hm_shared_read_span(view, span).state == HM_SHSPAN_FREE)
            rc = take_span(view, bin, class_idx, span);
    return rc;
}

/* A free span in one of the chunks that have memory, or in one that has none yet. */
static bool
take_free(struct hm_shared *view, struct hm_shared_bin *bin, unsigned class_idx, uint32_t first,
          uint32_t chunk_state)
{
    int rc = -EBUSY;

    for (uint32_t chunk = first; chunk < view->geom.chunk_count && rc == -EBUSY; chunk++)
        if (hm_load(hm_shared_chunk_word(view, chunk)) == chunk_state)
            rc = take_in(view, bin, class_idx, chunk);
    return rc == 0;
}

/* A span that its owner left with blocks in it. */
static bool
take_orphan(struct hm_shared *view, struct hm_shared_bin *bin, unsigned class_idx)
{
    if (!hm_shared_may_have(view, 1))
        return false;
    for (uint32_t span = 0; span < view->geom.span_count; span++) {
        struct hm_shspan was = hm_shared_read_span(view, span);
        struct hm_shspan to = hm_shspan_as(was, HM_SHSPAN_OWNED, view->seat);

        /* Or who found it empty before could free it when we have left it again. */
        to.generation++;
        if (was.state != HM_SHSPAN_ORPHAN || was.class_idx != class_idx
            || count_free(view, span, class_idx) == 0 || !hm_shared_swap_span(view, span, was, to))
            continue;
        enter_ring(view, bin, span);
        set_current(bin, span);
        return true;
    }
    return false;
}

static bool
next_span(struct hm_shared *view, struct hm_shared_bin *bin, unsigned class_idx)
{
    uint32_t worth = (hm_shared_class_blocks(class_idx) + WORTH_SHARE - 1) / WORTH_SHARE;

    return look_around(view, bin, class_idx, LOOKS, worth)
           || take_free(view, bin, class_idx, hm_load(&view->free_hint) / HM_SHARED_CHUNK_SPANS,
                        HM_CHUNK_READY)
           || take_free(view, bin, class_idx, 0, HM_CHUNK_HOLE)
           || take_free(view, bin, class_idx, 0, HM_CHUNK_READY)
           || look_around(view, bin, class_idx, ring_length(view, bin), 1)
           || take_orphan(view, bin, class_idx);
}

bool
hm_shared_small_refill(struct hm_shared *view, unsigned class_idx)
{
    struct hm_shared_bin *bin = &view->bins[class_idx];

    while (!next_group(view, bin, class_idx))
        if (!next_span(view, bin, class_idx))
            return false;
    return true;
}

void
hm_shared_forget(struct hm_shared *view)
{
    hm_store(&view->free_hint, 0);
    view->mine_spans = 0;
    for (unsigned i = 0; i < HM_SHARED_CLASS_COUNT; i++) {
        view->bins[i].ready = 0;
        view->bins[i].current = HM_SHARED_NO_SPAN;
        view->bins[i].ring = HM_SHARED_NO_SPAN;
    }
}
