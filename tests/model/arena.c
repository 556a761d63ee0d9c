/* SPDX-License-Identifier: MIT */
/* arena.c - rounds of random calls on arenas (side.h), each repeated by its seed.
 *
 * Problem     model.c tries the heap below; what an arena adds lies above it: handles, caches of
 *             threads that come and go, limits, memory that is all there will be, resets.
 * Idea        Two arenas of different kinds at a time, through huma.h and on the real kernel: only
 *             there do blocks have contents, and all of these functions are of the API. Several
 *             threads take turns, so that there is an order which the seed gives; each stays for
 *             some batches of calls, and another follows it. After every batch both arenas are
 *             checked.
 * State       Everything is static. Choices are repeated exactly; addresses, and what is purged by
 *             the clock, are not.
 *
 * Usage       arena [SEED [SECONDS]]   seed of the first round; each further one adds 1
 */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "model/side.h"

enum { SIDES = 2, WORKERS = 3, BATCHES = 60, BATCH_STEPS = 128 };

struct worker {
    pthread_t thread;
    sem_t go;
    bool is_last; /* its turn is the last one */
};

static struct side sides[SIDES];
static struct worker workers[WORKERS];
static sem_t done; /* a turn is over */
static uint64_t seed;
static size_t refused_count;
static unsigned char supply[SIDES][24 << 20] __attribute__((aligned(4096)));

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

static void
batch(void)
{
    size_t idx = below(SIDES);
    size_t alloc_share = 150 + 100 * below(6);

    for (unsigned i = 0; i < BATCH_STEPS; i++, side_step_idx++) {
        size_t this_idx = one_in(16) ? 1 - idx : idx;

        side_step(&sides[this_idx], &sides[1 - this_idx], alloc_share);
    }
}

/* Semaphores order what one thread did before what the next one does. */
static void *
take_turns(void *arg)
{
    struct worker *self = arg;
    bool is_last = false;

    while (!is_last) {
        (void)sem_wait(&self->go);
        batch();
        is_last = self->is_last;
        (void)sem_post(&done);
    }
    return NULL;
}

static void
begin_worker(struct worker *worker)
{
    worker->is_last = false;
    if (sem_init(&worker->go, 0, 0) != 0
        || pthread_create(&worker->thread, NULL, take_turns, worker) != 0)
        _exit(99);
}

static void
take_turn(struct worker *worker, bool is_last)
{
    worker->is_last = is_last;
    (void)sem_post(&worker->go);
    (void)sem_wait(&done);
    if (is_last)
        (void)pthread_join(worker->thread, NULL);
}

/* Memory that is there from the beginning, or never more than that. */
static void
pick_memory(struct side *side, struct huma_arena_options *options)
{
    size_t bytes = (8 + below(16)) * MIB;

    switch (below(6)) {
    case 0:
        options->limit_bytes = side->limit_bytes = bytes;
        break;
    case 1:
        options->flags |= HUMA_ARENA_FIXED;
        options->initial_bytes = side->closed_bytes = bytes;
        break;
    case 2:
        options->memory = supply[side - sides];
        options->memory_bytes = side->closed_bytes = bytes;
        options->backing = NULL;
        options->flags &= HUMA_ARENA_SINGLE_THREADED;
        options->flags |= one_in(2) ? HUMA_ARENA_FIXED : 0;
        break;
    case 3:
        options->initial_bytes = bytes;
        break;
    default:
        break;
    }
    side->room_bytes = side->limit_bytes + side->closed_bytes;
    side->room_bytes = side->room_bytes != 0 ? 2 * side->room_bytes : 160 * MIB;
}

static void
begin_side(struct side *side)
{
    static const char *const chains[] = { NULL, "thp,4k", "4k", "thp,mthp,4k" };
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;

    *side = (struct side){ 0 };
    options.backing = chains[below(4)];
    if (one_in(2))
        options.flags |= HUMA_ARENA_SINGLE_THREADED;
    if (one_in(3))
        options.flags |= HUMA_ARENA_HUGE_FIRST;
    if (one_in(4))
        options.flags |= HUMA_ARENA_GUARDED;
    if (one_in(2))
        options.cutoff_bytes = one_in(3) ? HUMA_CUTOFF_NEVER : 1 + below(MIB);
    pick_memory(side, &options);
    side->arena = huma_arena_create(&options);
    if (side->arena == NULL)
        side_fail("huma_arena_create", NULL);
}

static void
run_round(void)
{
    side_choice = choice_of_seed(seed);
    side_step_idx = 0;
    for (int i = 0; i < SIDES; i++)
        begin_side(&sides[i]);
    for (int i = 0; i < WORKERS; i++)
        begin_worker(&workers[i]);
    for (int i = 0; i < BATCHES; i++) {
        struct worker *worker = &workers[below(WORKERS)];
        bool is_last = one_in(8);

        take_turn(worker, is_last);
        if (is_last)
            begin_worker(worker);
        for (int k = 0; k < SIDES; k++)
            side_check(&sides[k]);
    }
    for (int i = 0; i < WORKERS; i++)
        take_turn(&workers[i], true);
    for (int i = 0; i < SIDES; i++) {
        side_end(&sides[i], one_in(2));
        refused_count += sides[i].refused_count;
    }
}

/* What was wrong is on stderr already. */
static void
on_abort(int number)
{
    (void)number;
    (void)dprintf(STDERR_FILENO, "arena: repeat with: arena %llu 0\n", (unsigned long long)seed);
    _exit(1);
}

int
main(int argc, char **argv)
{
    time_t begin = time(NULL);
    time_t seconds = argc > 2 ? (time_t)strtol(argv[2], NULL, 10) : 4;
    unsigned round_count = 0;

    seed = argc > 1 && argv[1][0] != '\0' ? strtoull(argv[1], NULL, 0) : (uint64_t)begin;
    (void)signal(SIGABRT, on_abort);
    (void)sem_init(&done, 0, 0);
    (void)printf("arena: seed %llu, %ld seconds\n", (unsigned long long)seed, (long)seconds);
    (void)fflush(stdout);
    for (;;) {
        run_round();
        round_count++;
        if (time(NULL) - begin >= seconds)
            break;
        seed++;
    }
    (void)printf("arena: ok, %u rounds of %u steps; %zu calls refused by limits\n", round_count,
                 (unsigned)(BATCHES * BATCH_STEPS), refused_count);
    return 0;
}
