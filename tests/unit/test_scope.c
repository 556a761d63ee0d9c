/* SPDX-License-Identifier: MIT */
/* test_scope.c - scopes, as programs see them, on the real kernel. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "huma.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

enum { BLOCK_COUNT = 400 };

/* The compiler shall not know what it is. */
static huma_arena *volatile none;

static huma_arena *
create(uint64_t flags, size_t limit_bytes)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    huma_arena *arena;

    options.backing = "thp,4k";
    options.flags = flags;
    options.limit_bytes = limit_bytes;
    if ((flags & HUMA_ARENA_FIXED) != 0)
        options.initial_bytes = 4 * MIB;
    arena = huma_arena_create(&options);
    cr_assert_not_null(arena, "%s", huma_last_error());
    return arena;
}

static struct huma_scope
begin(huma_arena *arena)
{
    struct huma_scope scope;

    cr_assert_eq(huma_scope_begin(&scope, arena), 0, "%s", huma_last_error());
    return scope;
}

static uint64_t
heap_bytes(huma_arena *arena)
{
    struct huma_info info = HUMA_INFO_INIT;

    cr_assert_eq(huma_arena_info(arena, &info), 0);
    return info.heap_bytes;
}

/* --- blocks ----------------------------------------------------------------------------------- */

static size_t
size_of(unsigned i)
{
    static const size_t sizes[] = { 0, 1, 15, 16, 17, 100, 1000, 5000, 16 * KIB, 100 * KIB };
    const size_t count = sizeof(sizes) / sizeof(sizes[0]);

    return i % 97 == 96 ? 3 * MIB : sizes[i % count];
}

/* No block overlaps another: each still holds what was written to it. */
Test(scope, blocks_of_all_sizes)
{
    static unsigned char *blocks[BLOCK_COUNT];
    huma_arena *arena = create(0, 0);
    struct huma_scope scope = begin(arena);

    for (unsigned i = 0; i < BLOCK_COUNT; i++) {
        size_t alignment = i % 3 == 0 ? (size_t)1 << i % 14 : 16;

        if (i % 3 == 0)
            blocks[i] = huma_scope_aligned_alloc(&scope, alignment, size_of(i));
        else
            blocks[i] = huma_scope_alloc(&scope, size_of(i));
        cr_assert_not_null(blocks[i], "%s", huma_last_error());
        cr_assert_eq((uintptr_t)blocks[i] % alignment, 0);
        cr_assert_eq((uintptr_t)blocks[i] % 16, 0);
        memset(blocks[i], (int)(i % 251), size_of(i));
    }
    for (unsigned i = 0; i < BLOCK_COUNT; i++) {
        cr_assert(i == 0 || blocks[i] != blocks[i - 1], "blocks of no bytes are blocks");
        for (size_t k = 0; k < size_of(i); k++)
            cr_assert_eq(blocks[i][k], i % 251, "byte %zu of block %u", k, i);
    }
    huma_scope_end(&scope);
    huma_arena_destroy(arena);
}

Test(scope, alignments)
{
    huma_arena *arena = create(0, 0);
    struct huma_scope scope = begin(arena);

    for (size_t alignment = 1; alignment <= 4 * MIB; alignment *= 2) {
        void *block = huma_scope_aligned_alloc(&scope, alignment, 100);

        cr_assert_not_null(block);
        cr_assert_eq((uintptr_t)block % alignment, 0);
    }
    cr_assert_null(huma_scope_aligned_alloc(&scope, 24, 100));
    cr_assert_eq(errno, EINVAL);
    cr_assert_not_null(strstr(huma_last_error(), "power of two"));
    cr_assert_null(huma_scope_aligned_alloc(&scope, 0, 100));
    cr_assert_eq(errno, EINVAL);
    huma_arena_destroy(arena);
}

Test(scope, sizes_that_no_block_can_have)
{
    huma_arena *arena = create(0, 0);
    struct huma_scope scope = begin(arena);
    volatile size_t size = SIZE_MAX;

    for (int round = 0; round < 2; round++) {
        cr_assert_null(huma_scope_alloc(&scope, size));
        cr_assert_eq(errno, ENOMEM);
        cr_assert_null(huma_scope_alloc(&scope, size / 2));
        cr_assert_eq(errno, ENOMEM);
        cr_assert_null(huma_scope_aligned_alloc(&scope, 64, size - 63));
        cr_assert_eq(errno, ENOMEM);
        cr_assert_null(huma_scope_aligned_alloc(&scope, size / 2 + 1, 1));
        cr_assert_eq(errno, ENOMEM);
        cr_assert_not_null(huma_scope_alloc(&scope, 100), "round %d", round);
    }
    huma_arena_destroy(arena);
}

/* --- marks ------------------------------------------------------------------------------------ */

Test(scope, marks_nest)
{
    enum { DEPTH = 40 };
    static const uint64_t kinds[] = { 0, HUMA_ARENA_SINGLE_THREADED };

    for (unsigned kind = 0; kind < 2; kind++) {
        huma_arena *arena = create(kinds[kind], 0);
        struct huma_scope scope = begin(arena);
        huma_mark marks[DEPTH];
        char *after[DEPTH];

        for (unsigned i = 0; i < DEPTH; i++) {
            cr_assert_not_null(huma_scope_alloc(&scope, size_of(i)));
            marks[i] = huma_scope_mark(&scope);
            after[i] = huma_scope_alloc(&scope, 24);
            *after[i] = (char)i;
        }
        for (unsigned i = DEPTH; i-- > 0;) {
            cr_assert_eq(*after[i], (char)i, "earlier blocks are as they were");
            huma_scope_release(&scope, marks[i]);
            /* Where the chunk of the mark had no room, another may serve. */
            if ((size_t)(scope.end - scope.next) >= 24)
                cr_assert_eq(huma_scope_alloc(&scope, 24), after[i]);
            huma_scope_release(&scope, marks[i]);
            huma_scope_release(&scope, marks[i]);
        }
        huma_scope_end(&scope);
        huma_arena_destroy(arena);
    }
}

Test(scope, a_phase_that_is_repeated_needs_no_more)
{
    huma_arena *arena = create(0, 0);
    struct huma_scope scope = begin(arena);
    huma_mark start = huma_scope_mark(&scope);
    uint64_t most_bytes = 0;
    char *first = NULL;

    for (int round = 0; round < 1000; round++) {
        for (int i = 0; i < 300; i++)
            cr_assert_not_null(huma_scope_alloc(&scope, 500));
        if (round == 0)
            most_bytes = heap_bytes(arena);
        cr_assert_leq(heap_bytes(arena), 2 * most_bytes, "round %d", round);
        huma_scope_release(&scope, start);
        if (round == 10)
            first = huma_scope_alloc(&scope, 1);
        else if (round > 10)
            cr_assert_eq(huma_scope_alloc(&scope, 1), first, "the spare chunk serves");
        huma_scope_release(&scope, start);
    }
    huma_scope_end(&scope);
    (void)huma_arena_trim(arena);
    cr_assert_eq(heap_bytes(arena), 0, "nothing is left");
    huma_arena_destroy(arena);
}

Test(scope, ended_and_begun_again)
{
    huma_arena *arena = create(0, 0);
    struct huma_scope scope = begin(arena);

    cr_assert_not_null(huma_scope_alloc(&scope, 100));
    huma_scope_end(&scope);
    cr_assert_null(huma_scope_alloc(&scope, 100));
    cr_assert_eq(errno, EINVAL);
    huma_scope_end(&scope);
    scope = begin(arena);
    cr_assert_not_null(huma_scope_alloc(&scope, MIB));
    cr_assert_eq(huma_arena_reset(arena), 0, "ends it as well");
    scope = begin(arena);
    cr_assert_not_null(huma_scope_alloc(&scope, 100));
    huma_arena_destroy(arena);
}

/* --- what an arena may have ------------------------------------------------------------------- */

Test(scope, a_limit_is_met)
{
    huma_arena *arena = create(0, 4 * MIB);
    struct huma_scope scope = begin(arena);
    huma_mark start = huma_scope_mark(&scope);

    for (int round = 0; round < 10; round++) {
        size_t sum = 0;

        while (huma_scope_alloc(&scope, 1000) != NULL)
            sum += 1000;
        cr_assert_eq(errno, ENOMEM);
        cr_assert_not_null(strstr(huma_last_error(), "limit"), "%s", huma_last_error());
        cr_assert_leq(sum, 4 * MIB);
        cr_assert_gt(sum, 3 * MIB, "round %d: %zu", round, sum);
        cr_assert_leq(heap_bytes(arena), 4 * MIB);
        huma_scope_release(&scope, start);
        cr_assert_not_null(huma_scope_alloc(&scope, 1000), "it goes on");
        huma_scope_release(&scope, start);
    }
    huma_arena_destroy(arena);
}

/* What is kept for a phase to come is no reason to fail. */
Test(scope, the_spare_chunk_is_in_the_way)
{
    huma_arena *arena = create(0, 4 * MIB);
    struct huma_scope scope = begin(arena);
    huma_mark start = huma_scope_mark(&scope);

    cr_assert_not_null(huma_scope_alloc(&scope, 2 * MIB));
    huma_scope_release(&scope, start);
    cr_assert_not_null(huma_scope_alloc(&scope, 3 * MIB), "%s", huma_last_error());
    huma_arena_destroy(arena);
}

Test(scope, in_a_fixed_arena)
{
    huma_arena *arena = create(HUMA_ARENA_FIXED, 0);
    struct huma_scope scope = begin(arena);
    huma_mark start = huma_scope_mark(&scope);

    for (int round = 0; round < 10; round++) {
        size_t sum = 0;
        char *block;

        while ((block = huma_scope_alloc(&scope, 1000)) != NULL) {
            memset(block, round, 1000);
            sum += 1000;
        }
        cr_assert_eq(errno, ENOMEM);
        cr_assert_gt(sum, 2 * MIB, "round %d: %zu", round, sum);
        huma_scope_release(&scope, start);
    }
    huma_arena_destroy(arena);
}

/* --- several ---------------------------------------------------------------------------------- */

Test(scope, several_in_an_arena)
{
    enum { SCOPES = 10 };
    huma_arena *arena = create(0, 0);
    struct huma_scope scopes[SCOPES];
    unsigned char *blocks[SCOPES][20];

    for (int i = 0; i < SCOPES; i++)
        scopes[i] = begin(arena);
    for (int k = 0; k < 20; k++)
        for (int i = 0; i < SCOPES; i++) {
            blocks[i][k] = huma_scope_alloc(&scopes[i], 5000);
            cr_assert_not_null(blocks[i][k]);
            memset(blocks[i][k], i, 5000);
        }
    for (int i = 0; i < SCOPES; i += 2)
        huma_scope_end(&scopes[i]);
    for (int i = 1; i < SCOPES; i += 2)
        for (int k = 0; k < 20; k++)
            cr_assert_eq(blocks[i][k][4999], i);
    huma_arena_destroy(arena);
}

struct work {
    huma_arena *arena;
    int seed;
    bool is_sound;
};

static void *
work(void *arg)
{
    struct work *work = arg;
    struct huma_scope scope;

    work->is_sound = huma_scope_begin(&scope, work->arena) == 0;
    for (int round = 0; work->is_sound && round < 200; round++) {
        huma_mark start = huma_scope_mark(&scope);
        unsigned char *blocks[100];

        for (int i = 0; i < 100; i++) {
            blocks[i] = huma_scope_alloc(&scope, 700);
            if (blocks[i] != NULL)
                memset(blocks[i], work->seed + i, 700);
        }
        for (int i = 0; i < 100; i++)
            work->is_sound = work->is_sound && blocks[i] != NULL
                             && blocks[i][699] == (unsigned char)(work->seed + i);
        huma_scope_release(&scope, start);
    }
    huma_scope_end(&scope);
    return NULL;
}

Test(scope, one_for_each_of_many_threads)
{
    enum { THREADS = 8 };
    huma_arena *arena = create(0, 0);
    struct work works[THREADS];
    pthread_t ids[THREADS];

    for (int i = 0; i < THREADS; i++) {
        works[i] = (struct work){ arena, 20 * i, false };
        cr_assert_eq(pthread_create(&ids[i], NULL, work, &works[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_join(ids[i], NULL), 0);
        cr_expect(works[i].is_sound);
    }
    cr_assert_eq(huma_arena_check(arena), 0, "%s", huma_last_error());
    huma_arena_destroy(arena);
}

/* --- misuse ----------------------------------------------------------------------------------- */

Test(scope, what_is_no_scope)
{
    struct huma_scope scope = { .arena = NULL };
    struct huma_scope *volatile no_scope = NULL;

    cr_assert_null(huma_scope_alloc(&scope, 1));
    cr_assert_eq(errno, EINVAL);
    cr_assert_not_null(strstr(huma_last_error(), "not open"));
    cr_assert_null(huma_scope_alloc(&scope, 0));
    cr_assert_eq(errno, EINVAL);
    cr_assert_null(huma_scope_aligned_alloc(&scope, 64, 1));
    cr_assert_eq(errno, EINVAL);
    cr_assert_eq(huma_scope_begin(&scope, none), -1);
    cr_assert_eq(errno, EINVAL);
    cr_assert_null(huma_scope_alloc(&scope, 1), "it is not open");
    cr_assert_eq(huma_scope_begin(no_scope, none), -1);
    cr_assert_eq(errno, EINVAL);
    huma_scope_end(&scope);
}

Test(scope, a_mark_in_a_chunk_that_is_gone, .signal = SIGABRT)
{
    struct huma_scope scope = begin(create(0, 0));
    huma_mark early = huma_scope_mark(&scope);
    huma_mark late;

    (void)!huma_scope_alloc(&scope, 100 * KIB);
    late = huma_scope_mark(&scope);
    huma_scope_release(&scope, early);
    huma_scope_release(&scope, late);
}

Test(scope, a_mark_behind_what_is_left, .signal = SIGABRT)
{
    struct huma_scope scope = begin(create(0, 0));
    huma_mark early;
    huma_mark late;

    (void)!huma_scope_alloc(&scope, 100);
    early = huma_scope_mark(&scope);
    (void)!huma_scope_alloc(&scope, 100);
    late = huma_scope_mark(&scope);
    huma_scope_release(&scope, early);
    huma_scope_release(&scope, late);
}

Test(scope, a_mark_of_another_scope, .signal = SIGABRT)
{
    huma_arena *arena = create(0, 0);
    struct huma_scope scope = begin(arena);
    struct huma_scope other = begin(arena);

    (void)!huma_scope_alloc(&scope, 100);
    (void)!huma_scope_alloc(&other, 100);
    huma_scope_release(&scope, huma_scope_mark(&other));
}

Test(scope, a_block_freed_alone, .signal = SIGABRT)
{
    struct huma_scope scope = begin(create(0, 0));

    (void)!huma_scope_alloc(&scope, 100);
    huma_free(huma_scope_alloc(&scope, 100));
}

Test(scope, an_arena_that_was_destroyed, .signal = SIGABRT)
{
    huma_arena *arena = create(0, 0);
    struct huma_scope scope = begin(arena);

    huma_arena_destroy(arena);
    (void)!huma_scope_alloc(&scope, 100);
}
