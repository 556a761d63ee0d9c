/* SPDX-License-Identifier: MIT */
/* side.c - calls on an arena, each held to what it promises (see side.h).
 *
 * Idea        The table is the model: where each block lies, how long it is, and a seed that gives
 *             its contents. Its order does not depend on addresses, so that the choices can be
 *             repeated. Where an arena has a limit or is closed, it may refuse, and is empty enough
 *             after a reset.
 */
#include "model/side.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/contents.h"

enum { KEPT_ERRNO = EXDEV }; /* what no call sets */

struct choice side_choice;
unsigned side_step_idx;

/* --- choices, failures ------------------------------------------------------------------------ */

static size_t
below(size_t limit)
{
    return choice_below(&side_choice, limit);
}

static bool
one_in(size_t count)
{
    return choice_one_in(&side_choice, count);
}

void __attribute__((noreturn)) side_fail(const char *what, const void *start)
{
    (void)dprintf(STDERR_FILENO, "arena: FAILED: step %u: %s (%p); %s\n", side_step_idx, what,
                  start, huma_last_error());
    abort();
}

/* --- the model -------------------------------------------------------------------------------- */

static bool
walk_contents(const struct side_block *block, size_t kept_bytes, bool write)
{
    return contents_walk(block->start, block->size_bytes, block->seed, kept_bytes, write);
}

static void
verify(const struct side_block *block)
{
    if (!walk_contents(block, block->size_bytes, false))
        side_fail("the contents of a block have changed", block->start);
    if (huma_usable_size(block->start) != block->usable_bytes)
        side_fail("the usable size of a block has changed", block->start);
}

static void
enter(struct side *side, void *mem, size_t size_bytes, size_t align_bytes)
{
    struct side_block *block = &side->blocks[side->block_count];

    *block = (struct side_block){ mem, size_bytes, huma_usable_size(mem),
                                  choice_random(&side_choice), false };
    if ((uintptr_t)mem % align_bytes != 0)
        side_fail("a block is not aligned", mem);
    if (block->usable_bytes < size_bytes)
        side_fail("a block is too small", mem);
    side->block_count++;
    side->live_bytes += block->usable_bytes;
    (void)walk_contents(block, size_bytes, true);
}

static void
forget(struct side *side, size_t idx)
{
    side->live_bytes -= side->blocks[idx].usable_bytes;
    side->blocks[idx] = side->blocks[--side->block_count];
}

/* A call returned NULL: may it? */
static void
expect_refusal(struct side *side, size_t size_bytes, size_t align_bytes)
{
    struct huma_info info = HUMA_INFO_INIT;

    if (errno != ENOMEM || huma_last_error()[0] == '\0')
        side_fail("a call refuses without errno and a sentence", NULL);
    if (side->limit_bytes == 0 && side->closed_bytes == 0)
        side_fail("no memory, though the kernel has some", NULL);
    (void)huma_arena_info(side->arena, &info);
    /* What other threads hold in reserve, a span each, is out of this one's reach. */
    if (side->closed_bytes == 0
        && info.heap_bytes + size_bytes + align_bytes + 64 * KIB < side->limit_bytes)
        side_fail("no memory, though the limit is far", NULL);
    side->refused_count++;
}

/* --- operations ------------------------------------------------------------------------------- */

/* Most blocks are small, but each way through the allocator is taken often. */
static size_t
random_size(const struct side *side)
{
    size_t kind = below(100);
    size_t size_bytes;

    if (kind < 60)
        size_bytes = below(1025);
    else if (kind < 80)
        size_bytes = below(33 * KIB);
    else if (kind < 93)
        size_bytes = below((size_t)1 << (15 + below(7)));
    else
        size_bytes = below(kind < 99 ? 6 * MIB : 64 * MIB);
    return side->live_bytes + size_bytes > side->room_bytes ? size_bytes % KIB : size_bytes;
}

static void
do_alloc(struct side *side)
{
    size_t size_bytes = random_size(side);
    size_t align_bytes = 16;
    unsigned char *mem;

    if (side->block_count == SIDE_BLOCKS)
        return;
    if (one_in(8))
        align_bytes = (size_t)1 << below(one_in(4) ? 23 : 13);
    if (align_bytes != 16)
        mem = huma_arena_aligned_alloc(side->arena, align_bytes, size_bytes);
    else if (one_in(4))
        mem = huma_arena_alloc_units(side->arena, (size_bytes %= KIB + 1, (size_bytes + 15) / 16));
    else
        mem = huma_arena_alloc(side->arena, size_bytes);
    if (mem == NULL) {
        expect_refusal(side, size_bytes, align_bytes);
        return;
    }
    enter(side, mem, size_bytes, align_bytes > 16 ? align_bytes : 16);
}

static void
do_calloc(struct side *side)
{
    size_t size_bytes = random_size(side);
    size_t count = 1 + below(9);
    unsigned char *mem;

    if (side->block_count == SIDE_BLOCKS)
        return;
    mem = huma_arena_calloc(side->arena, count, size_bytes / count);
    size_bytes = size_bytes / count * count;
    if (mem == NULL) {
        expect_refusal(side, size_bytes, 16);
        return;
    }
    /* Each byte is as the one before it. */
    if (size_bytes > 0 && (mem[0] != 0 || memcmp(mem, mem + 1, size_bytes - 1) != 0))
        side_fail("calloc returns bytes that are not zero", mem);
    enter(side, mem, size_bytes, 16);
}

static void
do_free(struct side *side)
{
    struct side_block block;
    size_t idx;

    if (side->block_count == 0) {
        huma_arena_free(side->arena, NULL);
        return;
    }
    idx = below(side->block_count);
    block = side->blocks[idx];
    verify(&block);
    forget(side, idx);
    errno = KEPT_ERRNO;
    switch (below(4)) {
    case 0:
        huma_arena_free_sized(side->arena, block.start, block.size_bytes);
        break;
    case 1:
        huma_free(block.start);
        break;
    default:
        huma_arena_free(side->arena, block.start);
    }
    if (errno != KEPT_ERRNO)
        side_fail("free sets errno", block.start);
    if (huma_arena_owns(side->arena, block.start))
        side_fail("a block that was freed is owned", block.start);
}

static void
do_realloc(struct side *side)
{
    size_t size_bytes = random_size(side);
    struct side_block block;
    size_t idx;

    if (side->block_count == 0)
        return;
    idx = below(side->block_count);
    block = side->blocks[idx];
    if (one_in(2))
        size_bytes = below(2 * block.size_bytes + 16);
    verify(&block);
    block.start = one_in(4) ? huma_realloc(block.start, size_bytes)
                            : huma_arena_realloc(side->arena, block.start, size_bytes);
    if (block.start == NULL) {
        expect_refusal(side, size_bytes, 16);
        verify(&side->blocks[idx]);
        return;
    }
    if (!walk_contents(&block, block.size_bytes < size_bytes ? block.size_bytes : size_bytes,
                       false))
        side_fail("realloc loses contents", block.start);
    forget(side, idx);
    enter(side, block.start, size_bytes, 16);
}

static void
do_owns(struct side *side, const struct side *other)
{
    const struct side_block *block;

    if (side->block_count == 0)
        return;
    block = &side->blocks[below(side->block_count)];
    if (!huma_arena_owns(side->arena, block->start))
        side_fail("a live block is not owned", block->start);
    if (huma_arena_owns(other->arena, block->start))
        side_fail("a block is owned by two arenas", block->start);
    if (block->usable_bytes > 1 && huma_arena_owns(side->arena, block->start + 1))
        side_fail("what lies in a block is owned as if it were one", block->start);
}

static void
do_refused(const struct side *side)
{
    static volatile size_t too_large_bytes = (size_t)PTRDIFF_MAX + 1;
    static volatile size_t half_overflow = SIZE_MAX / 2 + 2;

    if (huma_arena_alloc(side->arena, too_large_bytes) != NULL || errno != ENOMEM)
        side_fail("more than any block can have is not refused", NULL);
    if (huma_arena_calloc(side->arena, 2, half_overflow) != NULL || errno != ENOMEM)
        side_fail("a product that is too large is not refused", NULL);
    if (huma_arena_aligned_alloc(side->arena, 48, 1) != NULL || errno != EINVAL)
        side_fail("an alignment that is no power of two is not refused", NULL);
}

/* All blocks go at once; then there is room again for what is not too large. */
static void
do_reset(struct side *side)
{
    size_t half_bytes = side->closed_bytes != 0 ? side->closed_bytes : side->limit_bytes;
    void *mem;

    if (huma_arena_reset(side->arena) != 0)
        side_fail("huma_arena_reset", NULL);
    for (size_t i = 0; i < side->block_count; i++)
        if (huma_arena_owns(side->arena, side->blocks[i].start))
            side_fail("a block is owned after a reset", side->blocks[i].start);
    side->block_count = 0;
    side->live_bytes = 0;
    if (half_bytes == 0)
        return;
    mem = huma_arena_alloc(side->arena, half_bytes / 2);
    if (mem == NULL)
        side_fail("no room for half of the memory after a reset", NULL);
    huma_arena_free(side->arena, mem);
}

void
side_step(struct side *side, const struct side *other, size_t alloc_share)
{
    size_t kind = below(1000);

    if (kind < alloc_share)
        do_alloc(side);
    else if (kind < alloc_share + 100)
        do_calloc(side);
    else if (kind < 850)
        do_free(side);
    else if (kind < 950)
        do_realloc(side);
    else if (kind < 990)
        do_owns(side, other);
    else if (kind < 995)
        do_refused(side);
    else if (kind < 998)
        (void)huma_arena_trim(side->arena);
    else
        do_reset(side);
}

/* --- what must hold --------------------------------------------------------------------------- */

static int
compare(const void *a, const void *b)
{
    uintptr_t one = (uintptr_t)((const struct side_block *)a)->start;
    uintptr_t two = (uintptr_t)((const struct side_block *)b)->start;

    return one < two ? -1 : one > two;
}

static bool
meet(void *arg, void *start, size_t size_bytes)
{
    struct side *sorted = arg;
    struct side_block key = { .start = start };
    struct side_block *block
        = bsearch(&key, sorted->blocks, sorted->block_count, sizeof(key), compare);

    if (block == NULL)
        side_fail("the walk meets what is no live block", start);
    if (block->is_met)
        side_fail("the walk meets a block twice", start);
    if (block->usable_bytes != size_bytes)
        side_fail("the walk tells another size", start);
    block->is_met = true;
    return true;
}

/* The table itself keeps its order, which must not depend on addresses. */
void
side_check(const struct side *side)
{
    static struct side sorted;
    struct huma_info info = HUMA_INFO_INIT;

    sorted = *side;
    qsort(sorted.blocks, sorted.block_count, sizeof(sorted.blocks[0]), compare);
    for (size_t i = 1; i < sorted.block_count; i++)
        if (sorted.blocks[i - 1].start + sorted.blocks[i - 1].usable_bytes > sorted.blocks[i].start)
            side_fail("two blocks overlap", sorted.blocks[i].start);
    if (huma_arena_check(side->arena) != 0)
        side_fail("huma_arena_check", NULL);
    if (huma_arena_walk(side->arena, meet, &sorted) != 0)
        side_fail("huma_arena_walk", NULL);
    for (size_t i = 0; i < sorted.block_count; i++)
        if (!sorted.blocks[i].is_met)
            side_fail("the walk does not meet a live block", sorted.blocks[i].start);
    if (huma_arena_info(side->arena, &info) != 0)
        side_fail("huma_arena_info", NULL);
    if (info.live_bytes != side->live_bytes)
        side_fail("live bytes differ from the model's", NULL);
    if (side->limit_bytes != 0 && info.heap_bytes > side->limit_bytes)
        side_fail("the limit is exceeded", NULL);
}

/* --- the end ---------------------------------------------------------------------------------- */

void
side_end(struct side *side, bool is_emptied)
{
    for (size_t i = 0; i < side->block_count; i++) {
        verify(&side->blocks[i]);
        if (is_emptied)
            huma_arena_free(side->arena, side->blocks[i].start);
    }
    if (is_emptied)
        side->block_count = side->live_bytes = 0;
    side_check(side);
    huma_arena_destroy(side->arena);
}
