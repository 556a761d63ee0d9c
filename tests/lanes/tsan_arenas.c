/* SPDX-License-Identifier: MIT */
/* tsan_arenas.c - arenas that many threads use: caches, frees across, threads and arenas that end
 * while others go on.
 *
 * Idea        Threads leave blocks for each other, whose first byte tells the arena, and free what
 *             others left. On the real kernel, through the functions of huma.h.
 *
 * Usage       tsan_arenas
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "huma.h"

enum { ARENA_COUNT = 100, THREAD_COUNT = 8, SHELF_COUNT = 64, ROUND_COUNT = 4000 };

static huma_arena *arenas[ARENA_COUNT];

/* Where threads leave blocks for each other. */
static char *shelves[ARENA_COUNT][SHELF_COUNT]; /* atomic */

static void __attribute__((noreturn)) fail(const char *what)
{
    printf("tsan_arenas: FAILED: %s; %s\n", what, huma_last_error());
    fflush(stdout);
    _exit(1);
}

static void
expect(bool is_so, const char *what)
{
    if (!is_so)
        fail(what);
}

static huma_arena *
create(void)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    huma_arena *arena;

    options.backing = "thp,4k";
    arena = huma_arena_create(&options);
    expect(arena != NULL, "create");
    return arena;
}

static unsigned
next(unsigned *state)
{
    *state = *state * 1103515245u + 12345u;
    return *state >> 8;
}

static size_t
size_of(unsigned number)
{
    return number % 50 == 0 ? 1 + number % 200000 : 1 + number % 900;
}

static void
in_threads(unsigned count, void *(*run)(void *))
{
    pthread_t ids[THREAD_COUNT];

    for (unsigned i = 0; i < count; i++)
        expect(pthread_create(&ids[i], NULL, run, (void *)(uintptr_t)i) == 0, "pthread_create");
    for (unsigned i = 0; i < count; i++)
        expect(pthread_join(ids[i], NULL) == 0, "pthread_join");
}

/* Put a new block on a shelf, and free what lay there. The first byte tells whose it is. */
static void *
exchange(void *arg)
{
    unsigned state = 1 + (unsigned)(uintptr_t)arg;

    for (unsigned round = 0; round < ROUND_COUNT; round++) {
        unsigned idx = next(&state) % ARENA_COUNT;
        char **shelf = &shelves[idx][next(&state) % SHELF_COUNT];
        char *block = huma_arena_alloc(arenas[idx], size_of(next(&state)));
        char *old;

        expect(block != NULL, "no memory");
        *block = (char)idx;
        old = __atomic_exchange_n(shelf, block, __ATOMIC_ACQ_REL);
        if (old == NULL)
            continue;
        expect(*old == (char)idx, "a block was written to by another");
        if (round % 2 == 0)
            huma_arena_free(arenas[idx], old);
        else
            huma_free(old);
    }
    return NULL;
}

static void
blocks_are_freed_by_others(void)
{
    for (unsigned i = 0; i < ARENA_COUNT; i++)
        arenas[i] = create();
    in_threads(THREAD_COUNT, exchange);
    /* The threads are gone; their blocks are not. */
    for (unsigned i = 0; i < ARENA_COUNT; i++) {
        for (unsigned s = 0; s < SHELF_COUNT; s++)
            if (shelves[i][s] != NULL)
                huma_arena_free(arenas[i], shelves[i][s]);
        huma_arena_destroy(arenas[i]);
    }
}

/* Each makes arenas of its own and ends them while the others are at it; the structs go from one to
 * the next. */
static void *
make_and_end(void *arg)
{
    static const uint64_t kinds[] = { 0, HUMA_ARENA_SINGLE_THREADED };
    unsigned state = 77 + (unsigned)(uintptr_t)arg;

    for (unsigned round = 0; round < 200; round++) {
        struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
        huma_arena *arena;
        char *blocks[30];

        options.backing = "4k";
        options.flags = kinds[round % 2];
        arena = huma_arena_create(&options);
        expect(arena != NULL, "create");
        for (unsigned i = 0; i < 30; i++) {
            blocks[i] = huma_arena_alloc(arena, size_of(next(&state)));
            expect(blocks[i] != NULL, "no memory");
            *blocks[i] = (char)i;
        }
        for (unsigned i = 0; i < 30; i += 3) {
            expect(*blocks[i] == (char)i, "a block was written to by another");
            huma_arena_free(arena, blocks[i]);
        }
        huma_arena_destroy(arena);
    }
    return NULL;
}

static void
arenas_come_and_go(void)
{
    in_threads(THREAD_COUNT, make_and_end);
}

/* Threads end while others end the arenas that they used. */
static huma_arena *doomed;
static unsigned ready_count; /* atomic */

static void *
use_and_end(void *arg)
{
    char *block = huma_arena_alloc(doomed, 100);

    expect(block != NULL, "no memory");
    if ((uintptr_t)arg % 2 == 0)
        huma_arena_free(doomed, block);
    (void)__atomic_add_fetch(&ready_count, 1, __ATOMIC_ACQ_REL);
    return NULL;
}

static void
an_arena_ends_while_threads_do(void)
{
    for (unsigned round = 0; round < 100; round++) {
        pthread_t ids[4];

        doomed = create();
        __atomic_store_n(&ready_count, 0, __ATOMIC_RELEASE);
        for (unsigned i = 0; i < 4; i++)
            expect(pthread_create(&ids[i], NULL, use_and_end, (void *)(uintptr_t)i) == 0,
                   "pthread_create");
        while (__atomic_load_n(&ready_count, __ATOMIC_ACQUIRE) < 4)
            ;
        huma_arena_destroy(doomed);
        for (unsigned i = 0; i < 4; i++)
            expect(pthread_join(ids[i], NULL) == 0, "pthread_join");
    }
}

/* A destructor of the program's own allocates when the thread's caches are gone. */
static pthread_key_t key;
static char *from_destructor;

static void
allocate_late(void *arg)
{
    (void)arg;
    from_destructor = huma_arena_alloc(arenas[0], 100);
    if (from_destructor != NULL)
        memset(from_destructor, 1, 100);
}

static void *
set_key(void *arg)
{
    huma_arena_free(arenas[0], huma_arena_alloc(arenas[0], 100));
    expect(pthread_setspecific(key, &key) == 0, "pthread_setspecific");
    return arg;
}

static void
a_thread_allocates_while_it_ends(void)
{
    arenas[0] = create();
    /* The arenas' key comes first, and so do destructors. */
    huma_arena_free(arenas[0], huma_arena_alloc(arenas[0], 100));
    expect(pthread_key_create(&key, allocate_late) == 0, "pthread_key_create");
    in_threads(1, set_key);
    expect(from_destructor != NULL, "no memory in a destructor");
    huma_arena_free(arenas[0], from_destructor);
    huma_arena_destroy(arenas[0]);
}

int
main(void)
{
    blocks_are_freed_by_others();
    arenas_come_and_go();
    an_arena_ends_while_threads_do();
    a_thread_allocates_while_it_ends();
    return 0;
}
