/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "shared/meetings.h"
#include "shared/stage.h"

struct hm_shared child;
struct hm_shared other;
struct hm_shared dead;
uint64_t roots[3];
uint64_t *child_block;
uint64_t other_block;

static uint64_t block_off; /* prepared */

static uint64_t
must_alloc(struct hm_shared *view, uint64_t size_bytes)
{
    uint64_t off = hm_shared_alloc(view, size_bytes, 16);

    if (off == 0)
        abort();
    return off;
}

static void
must(int rc)
{
    if (rc != 0)
        abort();
}

/* --- preparations ----------------------------------------------------------------------------- */

static void
prepare_published(void)
{
    block_off = must_alloc(&other, 1000);
    must(hm_shared_publish(&other, roots[0], block_off));
}

static void
prepare_private(void)
{
    block_off = must_alloc(&child, 1000);
}

/* The third of 512 bytes, which may be the second of 1024 later. */
static void
prepare_third(void)
{
    uint64_t one = must_alloc(&other, 512);
    uint64_t two = must_alloc(&other, 512);

    block_off = must_alloc(&other, 512);
    must(hm_shared_free(&other, one));
    must(hm_shared_free(&other, two));
    must(hm_shared_publish(&other, roots[0], block_off));
}

static void
prepare_large(void)
{
    block_off = must_alloc(&other, 3 * HM_SHARED_SPAN_BYTES);
    must(hm_shared_publish(&other, roots[0], block_off));
}

/* A span that the dead left with one block in a cell. */
static void
prepare_orphan(void)
{
    block_off = must_alloc(&dead, 1000);
    must(hm_shared_publish(&dead, roots[0], block_off));
    (void)must_alloc(&dead, 1000);
    hm_shared_detach(&dead);
}

static void
prepare_empty_orphan(void)
{
    prepare_orphan();
    must(hm_shared_free(&other, hm_shared_take(&other, roots[0])));
}

static void
prepare_dead(void)
{
    block_off = must_alloc(&dead, 1000);
    must(hm_shared_publish(&dead, roots[0], block_off));
    (void)must_alloc(&dead, 1000);
    (void)must_alloc(&dead, 3 * HM_SHARED_SPAN_BYTES);
}

/* A ring in a cell, with a block in each of its cells, one of the second round; and one for the
 * child. */
static void
prepare_ring(void)
{
    uint64_t ring = must_alloc(&other, hm_shared_ring_bytes(STAGE_RING_SLOTS));
    uint64_t got;

    hm_shared_ring_init(&other, ring, STAGE_RING_SLOTS);
    must(hm_shared_publish(&other, roots[2], ring));
    for (unsigned i = 0; i < STAGE_RING_SLOTS + 1; i++) {
        must(hm_shared_ring_put(&other, ring, must_alloc(&other, 1000), 0));
        if (i > 0)
            continue;
        must(hm_shared_ring_get(&other, ring, &got, 0));
        must(hm_shared_free(&other, got));
    }
    stage.notes->ring_off = ring;
    block_off = must_alloc(&child, 1000);
}

static void
prepare_ring_room(void)
{
    uint64_t got;

    prepare_ring();
    must(hm_shared_ring_get(&other, stage.notes->ring_off, &got, 0));
    must(hm_shared_free(&other, got));
}

/* --- what the child does ---------------------------------------------------------------------- */

static void
work_take(void)
{
    *child_block = hm_shared_take(&child, roots[0]);
}

static void
work_publish(void)
{
    *child_block = hm_shared_publish(&child, roots[0], block_off) == 0 ? 0 : block_off;
}

static void
work_get(void)
{
    (void)hm_shared_ring_get(&child, stage.notes->ring_off, child_block, 0);
}

static void
work_put(void)
{
    *child_block
        = hm_shared_ring_put(&child, stage.notes->ring_off, block_off, 0) == 0 ? 0 : block_off;
}

static void
work_alloc_small(void)
{
    *child_block = must_alloc(&child, 1000);
}

static void
work_alloc_large(void)
{
    *child_block = must_alloc(&child, 3 * HM_SHARED_SPAN_BYTES);
}

static void
work_trim(void)
{
    (void)hm_shared_trim(&child);
}

static void
work_recover(void)
{
    hm_shared_recover_seat(&child, dead.seat);
}

static void
work_detach(void)
{
    hm_shared_detach(&child);
}

/* --- and the parent meanwhile ----------------------------------------------------------------- */

static void
take(void)
{
    other_block = hm_shared_take(&other, roots[0]);
}

/* The same word as before: published, by nobody. */
static void
take_and_publish_elsewhere(void)
{
    take();
    if (other_block != 0 && hm_shared_publish(&other, roots[1], other_block) == 0)
        other_block = 0;
}

static void
take_and_publish_again(void)
{
    take_and_publish_elsewhere();
    other_block = hm_shared_take(&other, roots[1]);
    if (other_block != 0 && hm_shared_publish(&other, roots[0], other_block) == 0)
        other_block = 0;
}

static void
take_and_free_and_alloc(void)
{
    take();
    if (other_block == 0)
        return;
    must(hm_shared_free(&other, other_block));
    other_block = 0;
    for (unsigned i = 0; i < 2; i++)
        must(hm_shared_publish(&other, roots[1 + i], must_alloc(&other, 1000)));
}

/* The span has blocks of another size, and the cell names the one at the same place. */
static void
take_and_change_class(void)
{
    uint64_t blocks[3];

    take();
    if (other_block == 0)
        return;
    must(hm_shared_free(&other, other_block));
    other_block = 0;
    hm_shared_detach(&other);
    must(hm_shared_attach(&other));
    for (unsigned i = 0; i < 3; i++)
        blocks[i] = must_alloc(&other, 1024);
    (void)hm_shared_publish(&other, roots[0], blocks[1]);
    must(hm_shared_publish(&other, roots[1], blocks[2]));
}

static void
publish_another(void)
{
    other_block = must_alloc(&other, 1000);
    if (hm_shared_publish(&other, roots[0], other_block) == 0)
        other_block = 0;
}

static void
alloc_small(void)
{
    other_block = must_alloc(&other, 1000);
}

static void
alloc_large(void)
{
    other_block = must_alloc(&other, 2 * HM_SHARED_SPAN_BYTES);
}

static void
trim(void)
{
    (void)hm_shared_trim(&other);
}

static void
get(void)
{
    (void)hm_shared_ring_get(&other, stage.notes->ring_off, &other_block, 0);
}

static void
put(void)
{
    other_block = must_alloc(&other, 1000);
    if (hm_shared_ring_put(&other, stage.notes->ring_off, other_block, 0) == 0)
        other_block = 0;
}

/* What was got comes back, into the next round. */
static void
get_and_put(void)
{
    get();
    if (other_block != 0 && hm_shared_ring_put(&other, stage.notes->ring_off, other_block, 0) == 0)
        other_block = 0;
}

static void
go_round(void)
{
    for (unsigned i = 0; i < 2 * STAGE_RING_SLOTS && other_block == 0; i++)
        get_and_put();
}

static void
drain(void)
{
    for (;;) {
        get();
        if (other_block == 0)
            break;
        must(hm_shared_free(&other, other_block));
    }
}

/* An orphan is adopted, and left again with a block in a cell. */
static void
adopt_and_leave(void)
{
    while (hm_shared_read_span(
               &other, (uint32_t)((block_off - other.geom.data_off) >> HM_SHARED_SPAN_SHIFT))
               .state
           == HM_SHSPAN_ORPHAN) {
        other_block = hm_shared_alloc(&other, 1000, 16);
        if (other_block == 0)
            break;
    }
    if (other_block != 0)
        must(hm_shared_publish(&other, roots[1], other_block));
    other_block = 0;
    hm_shared_detach(&other);
    must(hm_shared_attach(&other));
}

static void
take_and_free(void)
{
    take();
    if (other_block != 0)
        must(hm_shared_free(&other, other_block));
    other_block = 0;
}

const struct meeting meetings[] = {
    { "take, take", prepare_published, work_take, take },
    { "take, elsewhere", prepare_published, work_take, take_and_publish_elsewhere },
    { "take, again", prepare_published, work_take, take_and_publish_again },
    { "take, reuse", prepare_published, work_take, take_and_free_and_alloc },
    { "take, other class", prepare_third, work_take, take_and_change_class },
    { "take large, reuse", prepare_large, work_take, take_and_free_and_alloc },
    { "publish, take", prepare_private, work_publish, take },
    { "publish, elsewhere", prepare_private, work_publish, take_and_publish_elsewhere },
    { "publish, again", prepare_private, work_publish, take_and_publish_again },
    { "publish, reuse", prepare_private, work_publish, take_and_free_and_alloc },
    { "publish, another", prepare_private, work_publish, publish_another },
    { "get, get", prepare_ring, work_get, get },
    { "get, put", prepare_ring, work_get, put },
    { "get, get and put", prepare_ring, work_get, get_and_put },
    { "get, go round", prepare_ring, work_get, go_round },
    { "get, drain", prepare_ring, work_get, drain },
    { "put, put", prepare_ring_room, work_put, put },
    { "put, get", prepare_ring_room, work_put, get },
    { "put, get and put", prepare_ring_room, work_put, get_and_put },
    { "put, go round", prepare_ring_room, work_put, go_round },
    { "put, drain", prepare_ring_room, work_put, drain },
    { "put (full), drain", prepare_ring, work_put, drain },
    { "alloc small, small", prepare_orphan, work_alloc_small, alloc_small },
    { "alloc small, trim", prepare_empty_orphan, work_alloc_small, trim },
    { "alloc large, large", prepare_orphan, work_alloc_large, alloc_large },
    { "alloc large, small", prepare_orphan, work_alloc_large, alloc_small },
    { "alloc large, trim", prepare_orphan, work_alloc_large, trim },
    { "trim, small", prepare_empty_orphan, work_trim, alloc_small },
    { "trim, large", prepare_empty_orphan, work_trim, alloc_large },
    { "trim, adopt", prepare_empty_orphan, work_trim, adopt_and_leave },
    { "recover, free", prepare_dead, work_recover, take_and_free },
    { "recover, elsewhere", prepare_dead, work_recover, take_and_publish_elsewhere },
    { "recover, large", prepare_dead, work_recover, alloc_large },
    { "detach, free", prepare_private, work_detach, take_and_free },
};

const size_t meeting_count = sizeof(meetings) / sizeof(*meetings);
