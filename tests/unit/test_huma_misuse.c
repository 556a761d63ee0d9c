/* SPDX-License-Identifier: MIT */
/* test_huma_misuse.c - what no program should do with arenas ends it with one line. */
#include <signal.h>
#include <stdlib.h>

#include "support/arena.h"

Test(huma_misuse, a_block_freed_twice, .signal = SIGABRT)
{
    huma_arena *arena = create(HUMA_ARENA_SINGLE_THREADED);
    void *block = huma_arena_alloc(arena, 100);

    huma_arena_free(arena, block);
    huma_arena_free(arena, block);
}

Test(huma_misuse, a_block_freed_into_another_arena, .signal = SIGABRT)
{
    huma_arena *arena = create(0);
    void *block = huma_arena_alloc(arena, 100);

    huma_arena_free(create(0), block);
}

Test(huma_misuse, a_block_freed_into_another_arena_for_one_thread, .signal = SIGABRT)
{
    huma_arena *arena = create(HUMA_ARENA_SINGLE_THREADED);
    void *block = huma_arena_alloc(arena, 100);

    huma_arena_free(create(HUMA_ARENA_SINGLE_THREADED), block);
}

Test(huma_misuse, a_large_block_freed_without_an_arena, .signal = SIGABRT)
{
    huma_arena *volatile none = NULL;

    huma_arena_free(none, huma_arena_alloc(create(0), MIB));
}

Test(huma_misuse, a_block_of_malloc, .signal = SIGABRT)
{
    huma_arena_free(create(0), malloc(100));
}

Test(huma_misuse, an_arena_that_was_destroyed, .signal = SIGABRT)
{
    huma_arena *arena = create(0);

    huma_arena_destroy(arena);
    (void)!huma_arena_alloc(arena, 100);
}

Test(huma_misuse, an_arena_for_one_thread_that_was_destroyed, .signal = SIGABRT)
{
    huma_arena *arena = create(HUMA_ARENA_SINGLE_THREADED);

    (void)!huma_arena_alloc(arena, 100);
    huma_arena_destroy(arena);
    (void)!huma_arena_alloc(arena, 100);
}

Test(huma_misuse, destroyed_twice, .signal = SIGABRT)
{
    huma_arena *arena = create(0);

    huma_arena_destroy(arena);
    huma_arena_destroy(arena);
}

Test(huma_misuse, a_size_that_is_too_large, .signal = SIGABRT)
{
    huma_arena *arena = create(0);

    huma_arena_free_sized(arena, huma_arena_alloc(arena, 100), 1000);
}
