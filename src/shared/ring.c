/* SPDX-License-Identifier: MIT */
/* ring.c - queues of blocks from any number of processes to any number (see shared.h).
 *
 * Problem     A queue has a beginning and an end, which several processes move; and whoever dies,
 *             or stops, between two steps shall neither lose a block nor keep others from going on.
 * Idea        Cells in a circle, each with a tag: the round that it is in. So a cell alone says
 *             whether its block of this round is still to come (empty), is there, or was got (empty
 *             and in the next round). Where the queue begins and ends is written down as well, but
 *             only to be found quickly: who finds that it is behind moves it on. Who gets a block
 *             owns it from the change of the block's word on; that the cell is emptied afterwards
 *             anybody may do for him.
 *             Who finds the ring empty sets a bit in a word, looks again, and sleeps on that word;
 *             who puts a block there and finds the bit set wakes all sleepers. Both may die in
 *             between: so nobody sleeps longer than 0.1 s without looking again.
 * Sources     D. Vyukov, "Bounded MPMC queue" (1024cores.net), for rounds in the cells.
 * Invariants  R1 The cell of position p holds a block of round p / slots, or none in that round
 *             or the next. R2 A position before `head` was got; one at or behind `tail` is empty,
 *             but for those whose process has not yet moved it.
 */
#include <errno.h>

#include "os/os_shared.h"
#include "shared/shared.h"

#define TAG_MASK ((uint64_t)(UINT64_MAX >> HM_CELL_OFF_BITS))
#define LOOK_AGAIN_MS 100

/* In a block; each word in a cache line of its own. */
struct ring {
    uint32_t shift; /* log2 of the number of cells */
    uint32_t reserved[15];
    uint64_t head; /* positions */
    uint64_t head_reserved[7];
    uint64_t tail;
    uint64_t tail_reserved[7];
    uint32_t has_block; /* bells: bit 0, somebody sleeps; above it a count */
    uint32_t has_block_reserved[15];
    uint32_t has_room;
    uint32_t has_room_reserved[15];
    uint64_t cells[];
};

struct view_of_ring {
    struct ring *mem;
    uint64_t cells_off;
    uint64_t mask;
    unsigned shift;
};

HM_INLINE uint64_t
tag_of(uint64_t cell)
{
    return cell >> HM_CELL_OFF_BITS;
}

HM_INLINE uint64_t
round_of(const struct view_of_ring *ring, uint64_t position)
{
    return position >> ring->shift & TAG_MASK;
}

/* How many rounds a cell is ahead of a position's; TAG_MASK: one behind. */
HM_INLINE uint64_t
rounds_ahead(const struct view_of_ring *ring, uint64_t cell, uint64_t position)
{
    return (tag_of(cell) - round_of(ring, position)) & TAG_MASK;
}

HM_INLINE uint64_t
empty_cell(uint64_t round)
{
    return (round & TAG_MASK) << HM_CELL_OFF_BITS;
}

/* Move an end of the queue on, unless somebody else did. */
HM_INLINE void
move_on(uint64_t *end, uint64_t position)
{
    (void)__atomic_compare_exchange_n(end, &position, position + 1, false, __ATOMIC_SEQ_CST,
                                      __ATOMIC_RELAXED);
}

/* --- put -------------------------------------------------------------------------------------- */

/* Whether the block in a cell is somebody's who has got it, or none: then the cell is emptied for
 * him. It may hold what he puts there in the next round only after that. */
static bool
empty_for_other(struct hm_shared *view, uint64_t *cell, uint64_t seen)
{
    struct hm_shared_place place;

    if (hm_shared_find(view, hm_cell_block(seen), &place)
        && (hm_load(place.word) & HM_BLOCK_PUBLISHED) != 0)
        return false;
    (void)hm_shared_swap_cell(cell, seen, empty_cell(tag_of(seen) + 1));
    return true;
}

/* Put an offered block into the cell of a position. Returns whether it is there. */
static bool
put_at(struct hm_shared *view, const struct view_of_ring *ring, uint64_t position,
       uint64_t block_off)
{
    uint64_t idx = position & ring->mask;
    uint64_t empty = empty_cell(round_of(ring, position));

    hm_shared_intend(view, HM_OP_PUT, (ring->cells_off + idx * sizeof(uint64_t)) | empty,
                     block_off);
    if (!hm_shared_swap_cell(&ring->mem->cells[idx], empty, empty | block_off))
        return false;
    move_on(&ring->mem->tail, position);
    return true;
}

/* Find a cell for an offered block. Returns 0; -EAGAIN: the ring is full; -EINVAL: it is none. */
static int
put_at_end(struct hm_shared *view, const struct view_of_ring *ring, uint64_t block_off)
{
    for (;;) {
        uint64_t tail = __atomic_load_n(&ring->mem->tail, __ATOMIC_SEQ_CST);
        uint64_t *cell = &ring->mem->cells[tail & ring->mask];
        uint64_t seen = __atomic_load_n(cell, __ATOMIC_SEQ_CST);
        uint64_t ahead = rounds_ahead(ring, seen, tail);

        if (ahead == 0 && hm_cell_block(seen) == 0) {
            if (put_at(view, ring, tail, block_off))
                return 0;
        } else if (ahead <= 1) {
            move_on(&ring->mem->tail, tail); /* its block is there, or was got already */
        } else if (__atomic_load_n(&ring->mem->tail, __ATOMIC_SEQ_CST) == tail) {
            if (ahead != TAG_MASK)
                return -EINVAL;
            if (!empty_for_other(view, cell, seen))
                return -EAGAIN;
        }
    }
}

static int
put(struct hm_shared *view, const struct view_of_ring *ring, uint64_t block_off)
{
    struct hm_shared_place place;
    uint32_t publishing;
    int rc;

    if (!hm_shared_find(view, block_off, &place))
        return -EINVAL;
    rc = hm_shared_offer(view, place.word, &publishing);
    if (rc != 0)
        return rc;
    rc = put_at_end(view, ring, block_off);
    hm_shared_offer_end(view, place.word, publishing, rc == 0);
    return rc;
}

/* --- get -------------------------------------------------------------------------------------- */

/* Get the block in the cell of a position, which was `seen` there. Returns whether it is ours. */
static bool
get_at(struct hm_shared *view, const struct view_of_ring *ring, uint64_t position, uint64_t seen)
{
    uint64_t idx = position & ring->mask;
    uint64_t round = round_of(ring, position);
    uint64_t *cell = &ring->mem->cells[idx];

    hm_shared_intend(view, HM_OP_GET, (ring->cells_off + idx * sizeof(*cell)) | empty_cell(round),
                     hm_cell_block(seen));
    if (!hm_shared_seize(view, cell, seen)) {
        (void)empty_for_other(view, cell, seen);
        return false;
    }
    (void)hm_shared_swap_cell(cell, seen, empty_cell(round + 1));
    move_on(&ring->mem->head, position);
    return true;
}

/* Get the block of the first position that has one. Returns it, or 0. */
static uint64_t
get(struct hm_shared *view, const struct view_of_ring *ring)
{
    for (;;) {
        uint64_t head = __atomic_load_n(&ring->mem->head, __ATOMIC_SEQ_CST);
        uint64_t seen = __atomic_load_n(&ring->mem->cells[head & ring->mask], __ATOMIC_SEQ_CST);
        uint64_t ahead = rounds_ahead(ring, seen, head);

        if (ahead == 0) {
            if (hm_cell_block(seen) == 0)
                return 0;
            if (get_at(view, ring, head, seen))
                return hm_cell_block(seen);
        } else if (ahead == 1) {
            move_on(&ring->mem->head, head);
        } else if (__atomic_load_n(&ring->mem->head, __ATOMIC_SEQ_CST) == head) {
            return 0; /* only where somebody is hostile */
        }
    }
}

/* --- waiting ---------------------------------------------------------------------------------- */

/* After a change that a sleeper waits for. */
HM_INLINE void
ring_bell(uint32_t *bell)
{
    uint32_t was = __atomic_load_n(bell, __ATOMIC_SEQ_CST);

    if (HM_LIKELY((was & 1) == 0))
        return;
    (void)__atomic_compare_exchange_n(bell, &was, was + 1, false, __ATOMIC_SEQ_CST,
                                      __ATOMIC_SEQ_CST);
    hm_os_shared_wake(bell, INT32_MAX);
}

/* Say that somebody is about to sleep. Returns what the bell is until it is rung. */
static uint32_t
set_bell(uint32_t *bell)
{
    return __atomic_or_fetch(bell, 1, __ATOMIC_SEQ_CST);
}

/* How long to sleep at most. Returns 0 if the time is up. */
static unsigned
time_left(uint64_t end_ns, int timeout_ms)
{
    uint64_t now_ns;
    uint64_t left_ms;

    if (timeout_ms < 0)
        return LOOK_AGAIN_MS;
    now_ns = hm_os_now_ns(NULL);
    left_ms = now_ns < end_ns ? (end_ns - now_ns + 999999) / 1000000 : 0;
    return left_ms < LOOK_AGAIN_MS ? (unsigned)left_ms : LOOK_AGAIN_MS;
}

/* --- what programs call ----------------------------------------------------------------------- */

static bool
find_ring(const struct hm_shared *view, uint64_t ring_off, struct view_of_ring *out_ring)
{
    struct hm_shared_place place;
    uint32_t shift;

    if (!hm_shared_find(view, ring_off, &place)
        || hm_block_state(hm_load(place.word)) == HM_BLOCK_FREE
        || place.size_bytes < sizeof(struct ring))
        return false;
    out_ring->mem = (struct ring *)(void *)(view->base + ring_off);
    shift = hm_load(&out_ring->mem->shift);
    if (shift > 20 || (place.size_bytes - sizeof(struct ring)) / sizeof(uint64_t) >> shift == 0)
        return false;
    out_ring->shift = shift;
    out_ring->mask = ((uint64_t)1 << shift) - 1;
    out_ring->cells_off = ring_off + offsetof(struct ring, cells);
    return true;
}

/* Once: *inout_block_off is put, if it is not 0; else one is got. */
static int
try_once(struct hm_shared *view, const struct view_of_ring *ring, uint64_t *inout_block_off)
{
    bool is_put = *inout_block_off != 0;
    int rc = 0;

    hm_lock_take(&view->lock);
    if (is_put)
        rc = put(view, ring, *inout_block_off);
    else
        *inout_block_off = get(view, ring);
    hm_shared_done(view);
    hm_lock_give(&view->lock);
    if (*inout_block_off == 0)
        return -EAGAIN;
    if (rc == 0)
        ring_bell(is_put ? &ring->mem->has_block : &ring->mem->has_room);
    return rc;
}

static int
try_until(struct hm_shared *view, uint64_t ring_off, uint64_t *inout_block_off, int timeout_ms)
{
    bool is_put = *inout_block_off != 0;
    uint64_t end_ns = 0;
    struct view_of_ring ring;
    uint32_t *bell;
    int rc;

    if (!find_ring(view, ring_off, &ring))
        return -EINVAL;
    rc = try_once(view, &ring, inout_block_off);
    if (rc != -EAGAIN || timeout_ms == 0)
        return rc;
    if (timeout_ms > 0)
        end_ns = hm_os_now_ns(NULL) + (uint64_t)timeout_ms * 1000000;
    bell = is_put ? &ring.mem->has_room : &ring.mem->has_block;
    for (;;) {
        uint32_t set = set_bell(bell);
        unsigned left_ms = time_left(end_ns, timeout_ms);

        rc = try_once(view, &ring, inout_block_off);
        if (rc != -EAGAIN || left_ms == 0)
            return rc;
        hm_os_shared_sleep(bell, set, left_ms);
    }
}

int
hm_shared_ring_put(struct hm_shared *view, uint64_t ring_off, uint64_t block_off, int timeout_ms)
{
    if (block_off == 0 || block_off == ring_off)
        return -EINVAL;
    return try_until(view, ring_off, &block_off, timeout_ms);
}

int
hm_shared_ring_get(struct hm_shared *view, uint64_t ring_off, uint64_t *out_block_off,
                   int timeout_ms)
{
    *out_block_off = 0;
    return try_until(view, ring_off, out_block_off, timeout_ms);
}

/* --- create ----------------------------------------------------------------------------------- */

static unsigned
shift_for(size_t slot_count)
{
    return slot_count > 1 ? 64 - (unsigned)__builtin_clzll(slot_count - 1) : 0;
}

uint64_t
hm_shared_ring_bytes(size_t slot_count)
{
    if (slot_count == 0 || slot_count > HM_SHARED_RING_SLOTS_MAX)
        return 0;
    return sizeof(struct ring) + (sizeof(uint64_t) << shift_for(slot_count));
}

void
hm_shared_ring_init(struct hm_shared *view, uint64_t ring_off, size_t slot_count)
{
    struct ring *ring = (struct ring *)(void *)(view->base + ring_off);

    *ring = (struct ring){ .shift = shift_for(slot_count) };
    for (size_t i = 0; i < (size_t)1 << ring->shift; i++)
        ring->cells[i] = empty_cell(0);
}
