/* SPDX-License-Identifier: MIT */
/* verify.c - is a shared arena what it should be (see shared.h).
 *
 * Problem     An arena may be the work of somebody hostile: to look at it must not lead anywhere.
 *             And while others are at work, words that belong together are not of one moment.
 * Idea        Each word is read once, and every number in it is held against what the view knows of
 *             the arena before it is used. What seems wrong is wrong only if the word that says so
 *             still says it afterwards.
 */
#include "shared/shared.h"

static bool
is_seat_taken(const struct hm_shared *view, unsigned seat)
{
    return seat > 0 && seat <= view->geom.seat_count
           && (hm_load(&hm_shared_seat_of(view, seat)->state) & HM_SEAT_TAKEN) != 0;
}

static const char *
count_block(const struct hm_shared *view, uint32_t word, uint64_t size_bytes,
            struct hm_shared_sums *sums)
{
    if (hm_block_is_held(word)) {
        sums->private_count++;
        sums->private_bytes += size_bytes;
        if (!is_seat_taken(view, hm_block_owner(word)))
            return "a block is private to a seat that nobody has";
    } else if (hm_block_state(word) == HM_BLOCK_PUBLISHED) {
        sums->published_count++;
        sums->published_bytes += size_bytes;
    }
    return NULL;
}

static const char *
verify_blocks(const struct hm_shared *view, uint32_t span, uint32_t block_count,
              uint64_t size_bytes, struct hm_shared_sums *sums)
{
    const uint32_t *words = hm_shared_block_words(view, span);
    const char *fault = NULL;

    if (!hm_shared_is_ready(view, span))
        return NULL; /* its owner is about to have memory */
    for (uint32_t i = 0; i < block_count && fault == NULL; i++) {
        uint32_t was = hm_load(&words[i]);

        fault = count_block(view, was, size_bytes, sums);
        if (fault != NULL && __atomic_load_n(&words[i], __ATOMIC_SEQ_CST) != was)
            fault = NULL;
    }
    return fault;
}

static const char *
verify_run(const struct hm_shared *view, uint32_t span, struct hm_shspan head,
           struct hm_shared_sums *sums)
{
    if (head.count == 0 || head.count > view->geom.span_count - span)
        return "a run of spans ends outside of the arena";
    if (head.state != HM_SHSPAN_LARGE)
        return is_seat_taken(view, head.owner) ? NULL : "a run of spans was left in between";
    for (uint32_t i = 1; i < head.count; i++) {
        struct hm_shspan tail = hm_shared_read_span(view, span + i);

        if (tail.state != HM_SHSPAN_TAIL || tail.count != i)
            return "a run of spans has others in it";
    }
    return verify_blocks(view, span, 1, (uint64_t)head.count << HM_SHARED_SPAN_SHIFT, sums);
}

/* The run that it is part of begins before it. */
static const char *
verify_tail(const struct hm_shared *view, uint32_t span, struct hm_shspan tail)
{
    struct hm_shspan head;

    if (tail.count == 0 || tail.count > span)
        return "a part of a run of spans begins outside of the arena";
    head = hm_shared_read_span(view, span - tail.count);
    if (head.state != HM_SHSPAN_CLAIMING && head.state != HM_SHSPAN_LARGE
        && head.state != HM_SHSPAN_FREEING)
        return "a part of a run of spans has no beginning";
    return head.count > tail.count ? NULL : "a run of spans is longer than it says";
}

static const char *
verify_state(const struct hm_shared *view, uint32_t span, struct hm_shspan was,
             struct hm_shared_sums *sums)
{
    switch (was.state) {
    case HM_SHSPAN_FREE:
        return NULL;
    case HM_SHSPAN_TAIL:
        return verify_tail(view, span, was);
    case HM_SHSPAN_CLAIMING:
    case HM_SHSPAN_LARGE:
    case HM_SHSPAN_FREEING:
        return verify_run(view, span, was, sums);
    case HM_SHSPAN_HELD:
        return is_seat_taken(view, was.owner) ? NULL : "a span is held by a seat that nobody has";
    case HM_SHSPAN_OWNED:
        if (!is_seat_taken(view, was.owner))
            return "a span is owned by a seat that nobody has";
        break;
    case HM_SHSPAN_ORPHAN:
        break;
    }
    if (was.class_idx >= HM_SHARED_CLASS_COUNT)
        return "a span has blocks of no class";
    return verify_blocks(view, span, hm_shared_class_blocks(was.class_idx),
                         hm_shared_class_bytes(was.class_idx), sums);
}

static const char *
verify_span(const struct hm_shared *view, uint32_t span, struct hm_shared_sums *sums)
{
    struct hm_shspan was = hm_shared_read_span(view, span);
    const char *fault = verify_state(view, span, was, sums);

    if (was.state != HM_SHSPAN_FREE)
        sums->span_bytes += HM_SHARED_SPAN_BYTES;
    if (fault != NULL && hm_shspan_pack(hm_shared_read_span(view, span)) != hm_shspan_pack(was))
        return NULL;
    return fault;
}

/* Of a root: what it holds must be a block, and one that is not free. */
static const char *
verify_root(const struct hm_shared *view, unsigned root)
{
    const uint64_t *cell = &hm_shared_root_of(view, root)->block;
    uint64_t block_off = hm_load(cell);
    struct hm_shared_place place;
    const char *fault = NULL;

    if (block_off == 0)
        return NULL;
    if (!hm_shared_find(view, block_off, &place))
        fault = "a root holds what is no block";
    else if (hm_block_state(hm_load(place.word)) == HM_BLOCK_FREE)
        fault = "a root holds a block that was freed";
    return fault != NULL && __atomic_load_n(cell, __ATOMIC_SEQ_CST) == block_off ? fault : NULL;
}

/* The first fault is told; all is counted. */
static void
note(const char **inout_fault, const char *fault)
{
    if (*inout_fault == NULL)
        *inout_fault = fault;
}

const char *
hm_shared_verify(const struct hm_shared *view, struct hm_shared_sums *out_sums)
{
    const char *fault = NULL;

    *out_sums = (struct hm_shared_sums){ 0 };
    for (unsigned seat = 1; seat <= view->geom.seat_count; seat++)
        out_sums->seat_count += is_seat_taken(view, seat);
    for (uint32_t i = 0; i < view->geom.root_count; i++)
        note(&fault, verify_root(view, i));
    for (uint32_t chunk = 0; chunk < view->geom.chunk_count; chunk++)
        if (hm_load(hm_shared_chunk_word(view, chunk)) == HM_CHUNK_READY)
            out_sums->ready_bytes += HM_SHARED_CHUNK_BYTES;
    for (uint32_t span = 0; span < view->geom.span_count; span++)
        note(&fault, verify_span(view, span, out_sums));
    return fault;
}
