/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "shared/stage.h"
#include "shared/story.h"

/* The arena has 64 spans in two chunks. These leave half a dozen of the first chunk, so that the
 * story comes to the second one. */
#define BYSTANDER_SPANS 20
#define WIDE_SPANS 12

static uint64_t loan_off; /* a block of the bystander's that the story frees */

#define need(condition) ((condition) ? (void)0 : fail(__LINE__))

static void
fail(int line)
{
    printf("story.c:%d: this is not what should happen\n", line);
    (void)fflush(stdout);
    abort();
}

static uint64_t
must_alloc(struct hm_shared *view, uint64_t size_bytes)
{
    uint64_t block_off = hm_shared_alloc(view, size_bytes, 16);

    need(block_off != 0);
    return block_off;
}

static void
must_free(struct hm_shared *view, uint64_t block_off)
{
    need(hm_shared_free(view, block_off) == 0);
}

/* --- before ----------------------------------------------------------------------------------- */

static void
prepare_bystander(void)
{
    static struct hm_shared view;

    stage_view(&view, stage.base);
    need(hm_shared_attach(&view) == 0 && view.seat == STAGE_BYSTANDER);
    (void)must_alloc(&view, 3000);
    loan_off = must_alloc(&view, 3000);
    (void)must_alloc(&view, BYSTANDER_SPANS * HM_SHARED_SPAN_BYTES);
    stage.notes->private_count = 3;
    stage.notes->stolen_count = 1;
    need(hm_shared_publish(&view, hm_shared_root(&view, "its small one"), must_alloc(&view, 3000))
         == 0);
    need(hm_shared_publish(&view, hm_shared_root(&view, "its large one"),
                           must_alloc(&view, HM_SHARED_SPAN_BYTES))
         == 0);
}

/* The word of a block as it is while its owner puts it into the cell that it is in. */
static void
leave_publishing(struct hm_shared *view, uint64_t cell_off, uint64_t block_off)
{
    struct hm_shared_seat *seat = hm_shared_seat_of(view, view->seat);
    struct hm_shared_place place;

    need(hm_shared_find(view, block_off, &place));
    *place.word
        = hm_block_word(HM_BLOCK_PUBLISHING, view->seat, hm_block_generation(*place.word) + 1);
    *hm_shared_find_cell(view, cell_off) = block_off;
    seat->cell = cell_off;
    seat->block = block_off;
    seat->op = HM_OP_PUBLISH;
}

/* It was at more than one process can be at: that does not matter to who recovers it. */
static void
prepare_dead(void)
{
    static struct hm_shared view;
    uint64_t large_off;
    uint32_t span;

    stage_view(&view, stage.base);
    need(hm_shared_attach(&view) == 0);
    (void)must_alloc(&view, 6000);
    (void)must_alloc(&view, HM_SHARED_SPAN_BYTES);
    leave_publishing(&view, hm_shared_root(&view, "in the middle"), must_alloc(&view, 6000));
    large_off = must_alloc(&view, 2 * HM_SHARED_SPAN_BYTES);
    span = (uint32_t)((large_off - stage.geom.data_off) >> HM_SHARED_SPAN_SHIFT);
    need(hm_shared_claim(
        &view, span + 2,
        (struct hm_shspan){ .state = HM_SHSPAN_CLAIMING, .owner = view.seat, .count = 3 }));
    need(hm_shared_claim(&view, span + 3,
                         (struct hm_shspan){ .state = HM_SHSPAN_TAIL, .count = 1 }));
    need(hm_shared_claim(&view, STAGE_SPANS - 1,
                         (struct hm_shspan){ .state = HM_SHSPAN_HELD, .owner = view.seat }));
}

void
story_prepare(void)
{
    prepare_bystander();
    prepare_dead();
}

/* --- the story -------------------------------------------------------------------------------- */

static void
tell_small(struct hm_shared *view)
{
    uint64_t root = hm_shared_root(view, "first");
    uint64_t one = must_alloc(view, 500);
    uint64_t other = must_alloc(view, 1000);
    uint64_t third = must_alloc(view, 1000);

    must_free(view, one);
    need(hm_shared_free(view, one) == -EINVAL);
    (void)must_alloc(view, 500);
    need(hm_shared_publish(view, root, other) == 0);
    need(hm_shared_publish(view, root, third) == -EEXIST);
    must_free(view, third);
    need(hm_shared_take(view, root) == other && hm_shared_take(view, root) == 0);
    must_free(view, other);
    must_free(view, loan_off);
}

static void
must_put(struct hm_shared *view, uint64_t ring, uint64_t block_off)
{
    need(hm_shared_ring_put(view, ring, block_off, 0) == 0);
}

static uint64_t
must_get(struct hm_shared *view, uint64_t ring)
{
    uint64_t block_off;

    need(hm_shared_ring_get(view, ring, &block_off, 0) == 0);
    return block_off;
}

/* A ring of two goes round more than once. */
static void
tell_ring(struct hm_shared *view)
{
    uint64_t root = hm_shared_root(view, "first");
    uint64_t ring = hm_shared_alloc(view, hm_shared_ring_bytes(STAGE_RING_SLOTS), 64);
    uint64_t blocks[3];
    uint64_t none;

    need(ring != 0);
    hm_shared_ring_init(view, ring, STAGE_RING_SLOTS);
    stage.notes->ring_off = ring;
    need(hm_shared_publish(view, root, ring) == 0);
    for (unsigned i = 0; i < 3; i++)
        blocks[i] = must_alloc(view, 700);
    must_put(view, ring, blocks[0]);
    must_put(view, ring, blocks[1]);
    need(hm_shared_ring_put(view, ring, blocks[2], 0) == -EAGAIN);
    need(must_get(view, ring) == blocks[0]);
    must_put(view, ring, blocks[2]);
    need(must_get(view, ring) == blocks[1] && must_get(view, ring) == blocks[2]);
    need(hm_shared_ring_get(view, ring, &none, 0) == -EAGAIN);
    for (unsigned i = 0; i < 3; i++)
        must_free(view, blocks[i]);
    need(hm_shared_take(view, root) == ring);
    stage.notes->ring_off = 0;
    must_free(view, ring);
}

/* A block in a cell of a block in a cell. */
static void
tell_cells(struct hm_shared *view)
{
    uint64_t outer = must_alloc(view, 1000);
    uint64_t inner = must_alloc(view, 700);

    *(uint64_t *)(void *)(view->base + outer) = 0;
    stage.notes->cell_off = outer;
    need(hm_shared_publish(view, hm_shared_root(view, "first"), outer) == 0);
    need(hm_shared_publish(view, outer, inner) == 0);
    need(hm_shared_take(view, outer) == inner);
    need(hm_shared_publish(view, outer, inner) == 0);
}

/* Of the runs, one that takes memory for the second chunk. */
static void
tell_large(struct hm_shared *view)
{
    uint64_t root = hm_shared_root(view, "its large one");
    uint64_t taken = hm_shared_take(view, root);
    uint64_t run = must_alloc(view, 3 * HM_SHARED_SPAN_BYTES - 5);
    uint64_t wide;

    need(taken != 0);
    must_free(view, taken);
    need(hm_shared_publish(view, root, run) == 0);
    need(hm_shared_take(view, root) == run);
    must_free(view, run);
    run = hm_shared_alloc(view, 2 * HM_SHARED_SPAN_BYTES, 2 * HM_SHARED_SPAN_BYTES);
    need(run != 0 && (run - stage.geom.data_off) % (2 * HM_SHARED_SPAN_BYTES) == 0);
    wide = must_alloc(view, WIDE_SPANS * HM_SHARED_SPAN_BYTES);
    need(*hm_shared_chunk_word(view, 1) == HM_CHUNK_READY);
    must_free(view, wide);
    need(hm_shared_publish(view, root, run) == 0);
}

/* Spans of ours are through; what others have freed in them is found again; a chunk has memory
 * for the first time for a span of small blocks. */
static void
tell_many(struct hm_shared *view)
{
    enum { COUNT = 26 };
    uint64_t blocks[COUNT];

    for (unsigned i = 0; i < COUNT; i++)
        blocks[i] = must_alloc(view, 20000);
    need(*hm_shared_chunk_word(view, 1) == HM_CHUNK_READY);
    for (unsigned i = 0; i < COUNT - 1; i++)
        must_free(view, blocks[i]);
    for (unsigned i = 0; i < COUNT / 2; i++)
        blocks[i] = must_alloc(view, 20000);
}

/* What others want is not kept for blocks that are not there. */
static void
tell_idle(struct hm_shared *view)
{
    uint64_t block_off = must_alloc(view, 12000);
    uint32_t span = (uint32_t)((block_off - stage.geom.data_off) >> HM_SHARED_SPAN_SHIFT);

    must_free(view, block_off);
    need(hm_shared_read_span(view, span).state == HM_SHSPAN_OWNED);
    (void)hm_shared_trim(view);
    need(hm_shared_read_span(view, span).state == HM_SHSPAN_FREE);
}

static void
tell_trim(struct hm_shared *view)
{
    need(hm_shared_trim(view) == HM_SHARED_CHUNK_BYTES);
    need(*hm_shared_chunk_word(view, 1) == HM_CHUNK_HOLE);
}

/* What is left is left behind. */
static void
tell_end(struct hm_shared *view)
{
    uint64_t outer = hm_shared_root(view, "first");
    uint64_t block_off = hm_shared_take(view, stage.notes->cell_off);

    need(block_off != 0);
    must_free(view, block_off);
    block_off = hm_shared_take(view, outer);
    need(block_off == stage.notes->cell_off);
    stage.notes->cell_off = 0;
    must_free(view, block_off);
    block_off = hm_shared_take(view, hm_shared_root(view, "in the middle"));
    need(block_off != 0);
    need(hm_shared_publish(view, hm_shared_root(view, "last"), block_off) == 0);
    block_off = hm_shared_take(view, hm_shared_root(view, "its small one"));
    need(block_off != 0);
    need(hm_shared_root(view, "one too many") == 0);
}

void
story_tell(void)
{
    static struct hm_shared view;

    stage_view(&view, stage.base);
    need(hm_shared_attach(&view) == 0);
    tell_small(&view);
    tell_ring(&view);
    tell_cells(&view);
    tell_large(&view);
    hm_shared_detach(&view);
    need(hm_shared_attach(&view) == 0);
    need(hm_shared_recover(&view) == 1);
    must_free(&view, hm_shared_take(&view, hm_shared_root(&view, "its large one")));
    tell_trim(&view);
    tell_idle(&view);
    tell_many(&view);
    hm_shared_detach(&view);
    need(hm_shared_attach(&view) == 0);
    tell_trim(&view);
    tell_end(&view);
    hm_shared_detach(&view);
}
