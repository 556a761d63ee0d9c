/* SPDX-License-Identifier: MIT */
/* recover.c - what a dead process left is ended, undone, or freed (see shared.h).
 *
 * Problem     A process may be killed between any two instructions, also while it recovers another.
 *             The living must not wait for anybody, and must not lose what is in a cell.
 * Idea        Who holds the seat of a dead process looks at what it was about to do with a cell,
 *             and then at every word: what names the dead as its owner is freed. All changes are
 *             compare-and-swaps of words that still say so: done twice, by two after each other,
 *             they do no more than once. The seat is given up last.
 */
#include "shared/shared.h"

/* Seats whose processes are dead, or that are about to go, all held: one bit each. */
struct dead {
    uint64_t words[(HM_SHARED_SEATS_MAX + 1) / 64];
    unsigned any; /* one of them; 0: there are none */
};

HM_INLINE bool
is_dead(const struct dead *dead, unsigned seat)
{
    return (dead->words[seat / 64] >> seat % 64 & 1) != 0;
}

static void
add_dead(struct dead *dead, unsigned seat)
{
    dead->words[seat / 64] |= (uint64_t)1 << seat % 64;
    dead->any = seat;
}

/* Blocks that the dead had to itself. Returns how many blocks of the span are in use afterwards. */
static uint32_t
free_blocks(struct hm_shared *view, uint32_t span, uint32_t block_count, const struct dead *dead)
{
    uint32_t *words = hm_shared_block_words(view, span);
    uint32_t used_count = 0;

    /* Its owner died before there was memory. */
    if (!hm_shared_is_ready(view, span))
        return 0;
    for (uint32_t i = 0; i < block_count; i++) {
        uint32_t was = hm_load(&words[i]);

        while (hm_block_is_held(was) && is_dead(dead, hm_block_owner(was)))
            if (hm_shared_swap_block(&words[i], &was,
                                     hm_block_word(HM_BLOCK_FREE, 0, hm_block_generation(was))))
                was = HM_BLOCK_FREE;
        used_count += hm_block_state(was) != HM_BLOCK_FREE;
    }
    return used_count;
}

/* A block in a cell is everybody's, whoever put it there or was about to take it. Who was getting
 * one out of a ring has it, and it goes with him: others may have emptied the cell for him. */
static void
settle_op(struct hm_shared *view, unsigned number)
{
    struct hm_shared_seat *seat = hm_shared_seat_of(view, number);
    uint64_t intent = hm_load(&seat->cell);
    uint64_t block_off = hm_load(&seat->block);
    uint32_t op = __atomic_load_n(&seat->op, __ATOMIC_ACQUIRE);
    uint64_t *cell = hm_shared_find_cell(view, hm_cell_block(intent));
    uint64_t tag = intent & ~HM_CELL_OFF_MASK;
    struct hm_shared_place place;
    uint32_t was;

    if (op == HM_OP_NONE || cell == NULL || !hm_shared_find(view, block_off, &place))
        return;
    was = hm_load(place.word);
    if (!hm_block_is_held(was) || hm_block_owner(was) != number)
        return;
    if (op == HM_OP_GET)
        (void)hm_shared_swap_cell(cell, tag | block_off, tag + HM_CELL_OFF_MASK + 1);
    else if (hm_cell_block(__atomic_load_n(cell, __ATOMIC_SEQ_CST)) == block_off)
        (void)hm_shared_swap_block(place.word, &was,
                                   hm_block_word(HM_BLOCK_PUBLISHED, 0, hm_block_generation(was)));
}

static void
settle_small(struct hm_shared *view, uint32_t span, struct hm_shspan was, const struct dead *dead)
{
    bool is_left = was.state == HM_SHSPAN_OWNED && is_dead(dead, was.owner);
    uint32_t used_count;

    if (was.class_idx >= HM_SHARED_CLASS_COUNT)
        return;
    used_count = free_blocks(view, span, hm_shared_class_blocks(was.class_idx), dead);
    if (used_count == 0 && (is_left || was.state == HM_SHSPAN_ORPHAN))
        (void)hm_shared_swap_span(view, span, was, hm_shspan_free(was));
    else if (is_left)
        (void)hm_shared_swap_span(view, span, was, hm_shspan_as(was, HM_SHSPAN_ORPHAN, 0));
}

/* The block of a run that its owner had not claimed to the end, or that somebody has freed, is
 * free; and so shall be the spans. */
static void
settle_large(struct hm_shared *view, uint32_t span, struct hm_shspan was, const struct dead *dead)
{
    bool is_left = was.state != HM_SHSPAN_LARGE && is_dead(dead, was.owner);

    if (was.state != HM_SHSPAN_LARGE && !is_left)
        return;
    /* In the name of one of the dead, whose seats are held: who recovers may have none that he
     * would be recovered from. */
    if (free_blocks(view, span, 1, dead) == 0)
        hm_shared_finish_free(view, span, was, dead->any);
}

static void
settle_span(struct hm_shared *view, uint32_t span, const struct dead *dead)
{
    struct hm_shspan was = hm_shared_read_span(view, span);

    switch (was.state) {
    case HM_SHSPAN_OWNED:
    case HM_SHSPAN_ORPHAN:
        settle_small(view, span, was, dead);
        break;
    case HM_SHSPAN_CLAIMING:
    case HM_SHSPAN_LARGE:
    case HM_SHSPAN_FREEING:
        settle_large(view, span, was, dead);
        break;
    case HM_SHSPAN_HELD:
        if (is_dead(dead, was.owner))
            (void)hm_shared_swap_span(view, span, was, hm_shspan_free(was));
        break;
    case HM_SHSPAN_FREE:
    case HM_SHSPAN_TAIL:
        break;
    }
}

/* What is settled is what needs no owner's death. */
void
hm_shared_sweep(struct hm_shared *view)
{
    static const struct dead nobody;

    for (uint32_t span = 0; span < view->geom.span_count; span++)
        if (hm_shared_read_span(view, span).state == HM_SHSPAN_ORPHAN)
            settle_span(view, span, &nobody);
}

/* One walk for all of them: there may be a thousand, and many spans. */
static void
recover_all(struct hm_shared *view, const struct dead *dead)
{
    for (unsigned seat = 1; seat <= view->geom.seat_count; seat++) {
        if (!is_dead(dead, seat))
            continue;
        settle_op(view, seat);
        __atomic_store_n(&hm_shared_seat_of(view, seat)->op, HM_OP_NONE, __ATOMIC_SEQ_CST);
    }
    for (uint32_t span = 0; span < view->geom.span_count; span++)
        settle_span(view, span, dead);
    for (unsigned seat = 1; seat <= view->geom.seat_count; seat++) {
        uint32_t *state = &hm_shared_seat_of(view, seat)->state;

        if (is_dead(dead, seat))
            __atomic_store_n(state, hm_load(state) & ~HM_SEAT_TAKEN, __ATOMIC_SEQ_CST);
    }
}

void
hm_shared_recover_seat(struct hm_shared *view, unsigned seat)
{
    struct dead dead = { .any = 0 };

    add_dead(&dead, seat);
    recover_all(view, &dead);
}

static bool
is_taken(const struct hm_shared *view, unsigned seat)
{
    return (hm_load(&hm_shared_seat_of(view, seat)->state) & HM_SEAT_TAKEN) != 0;
}

unsigned
hm_shared_recover(struct hm_shared *view)
{
    struct dead dead = { .any = 0 };
    unsigned count = 0;

    for (unsigned seat = 1; seat <= view->geom.seat_count; seat++) {
        if (!is_taken(view, seat) || seat == view->seat || !view->env.hold(view->env.ctx, seat))
            continue;
        /* It may have been recovered, and let go, since. */
        if (is_taken(view, seat)) {
            add_dead(&dead, seat);
            count++;
        } else {
            view->env.let_go(view->env.ctx, seat);
        }
    }
    if (count == 0)
        return 0;
    recover_all(view, &dead);
    for (unsigned seat = 1; seat <= view->geom.seat_count; seat++)
        if (is_dead(&dead, seat))
            view->env.let_go(view->env.ctx, seat);
    return count;
}
