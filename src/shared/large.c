/* SPDX-License-Identifier: MIT */
/* large.c - blocks of whole spans in a shared arena (see shared.h).
 *
 * Problem     A block of many spans cannot be had by one change of a word, nor given back by one.
 * Idea        The first span is claimed first, and says how many there shall be; the others are
 *             then taken one by one, and say which is their first. So it can be told of each what
 *             it belongs to, and whoever finds the first one's owner dead gives up the others. The
 *             word of the one block in them is that of the first span's first block. It is freed by
 *             that word; the spans follow, and if who freed it dies before, others see that the
 *             block is free and go on.
 */
#include <errno.h>

#include "shared/shared.h"

/* --- giving up -------------------------------------------------------------------------------- */

static bool
is_tail(struct hm_shspan tail, uint32_t idx)
{
    return tail.state == HM_SHSPAN_TAIL && tail.count == idx;
}

/* Of a span that only this process gives up: those behind it, from the last on, and then itself.
 * Where one lacks there are no more, whatever a hostile count says. */
static void
release_spans(struct hm_shared *view, uint32_t span, struct hm_shspan head)
{
    uint32_t room = view->geom.span_count - span;
    uint32_t i = 1;

    while (i < head.count && i < room && is_tail(hm_shared_read_span(view, span + i), i))
        i++;
    while (i-- > 1) {
        struct hm_shspan tail = hm_shared_read_span(view, span + i);

        if (is_tail(tail, i))
            (void)hm_shared_swap_span(view, span + i, tail, hm_shspan_free(tail));
    }
    (void)hm_shared_swap_span(view, span, head, hm_shspan_free(head));
    hm_shared_hint(view, span);
}

void
hm_shared_finish_free(struct hm_shared *view, uint32_t span, struct hm_shspan head, unsigned owner)
{
    struct hm_shspan freeing = hm_shspan_as(head, HM_SHSPAN_FREEING, owner);

    if (hm_shared_swap_span(view, span, head, freeing))
        release_spans(view, span, freeing);
}

/* --- alloc ------------------------------------------------------------------------------------ */

/* Claim a run, and have memory for it. Returns 0; -EBUSY: a span of it is not free any more; or
 * another negative errno: there is no memory.
 *   out_lost  that span */
static int
claim_run(struct hm_shared *view, uint32_t span, uint32_t count, uint32_t *out_lost)
{
    struct hm_shspan head = { .state = HM_SHSPAN_CLAIMING, .owner = view->seat, .count = count };
    uint32_t i = 1;
    int rc = -EBUSY;

    if (!hm_shared_claim(view, span, head)) {
        *out_lost = span;
        return rc;
    }
    while (i < count
           && hm_shared_claim(view, span + i,
                              (struct hm_shspan){ .state = HM_SHSPAN_TAIL, .count = i }))
        i++;
    if (i < count)
        *out_lost = span + i;
    else
        rc = hm_shared_fill(view, span, count);
    if (rc != 0)
        hm_shared_finish_free(view, span, hm_shared_read_span(view, span), view->seat);
    return rc;
}

/* The block is there when its word says so; the first span's follows. */
static uint64_t
settle(struct hm_shared *view, uint32_t span)
{
    uint32_t *word = hm_shared_block_words(view, span);
    struct hm_shspan head = hm_shared_read_span(view, span);

    __atomic_store_n(
        word, hm_block_word(HM_BLOCK_PRIVATE, view->seat, hm_block_generation(hm_load(word)) + 1),
        __ATOMIC_SEQ_CST);
    (void)hm_shared_swap_span(view, span, head, hm_shspan_as(head, HM_SHSPAN_LARGE, 0));
    return hm_shared_span_off(view, span);
}

uint64_t
hm_shared_large_alloc(struct hm_shared *view, uint64_t size_bytes, uint64_t align_bytes)
{
    uint64_t wish = size_bytes > 0 ? ((size_bytes - 1) >> HM_SHARED_SPAN_SHIFT) + 1 : 1;
    uint32_t step
        = align_bytes > HM_SHARED_SPAN_BYTES ? (uint32_t)(align_bytes >> HM_SHARED_SPAN_SHIFT) : 1;
    uint32_t span = 0;
    uint32_t length = 0;
    bool is_short = false;
    int rc;

    if (wish > view->geom.span_count || !hm_shared_may_have(view, wish))
        return 0;
    for (uint32_t end = 0; end < view->geom.span_count; end++) {
        if (hm_shared_read_span(view, end).state != HM_SHSPAN_FREE
            || (is_short && !hm_shared_is_ready(view, end))) {
            length = 0;
            continue;
        }
        if (length == 0 && end % step != 0)
            continue;
        if (length++ == 0)
            span = end;
        if (length < wish)
            continue;
        rc = claim_run(view, span, (uint32_t)wish, &end);
        if (rc == 0)
            return settle(view, span);
        /* On behind the one that was lost; or only where memory is. */
        is_short = is_short || rc != -EBUSY;
        length = 0;
    }
    return 0;
}
