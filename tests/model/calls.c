/* SPDX-License-Identifier: MIT */
/* calls.c - random calls of the whole malloc family, in one thread and in several.
 *
 * Problem     model.c tries the heap below; programs see the exported functions, real memory and
 *             real threads.
 * Idea        First one thread alone, which the seed repeats exactly. Then rounds of threads, each
 *             with a table of its own, that exchange blocks through shelves; at the end of a round
 *             the threads end, and the next ones inherit their tables: so blocks are resized and
 *             freed by others than made them, while the maker lives and after its death. All
 *             checks are the oracle's. Knows nothing of huma: under glibc it must hold as well.
 *
 * Usage       calls [SEED [STEPS [THREADS]]]   STEPS in all; half of them alone
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "support/oracle.h"

enum { THREADS_MAX = 16, SHELVES = 64, ROUNDS = 8, MIB = 1 << 20 };

struct shelf {
    pthread_mutex_t lock;
    struct oracle_block block; /* lock: lock */
};

static struct oracle tables[THREADS_MAX];
static struct shelf shelves[SHELVES];
static uint64_t seed;
static uint64_t steps_each; /* in one round of one thread */
static char name[80];

static void
begin(struct oracle *table, uint64_t own_seed, size_t limit_bytes)
{
    table->choice = choice_of_seed(own_seed);
    table->limit_bytes = limit_bytes;
    table->name = name;
}

static void
run_alone(uint64_t step_count)
{
    struct oracle *table = &tables[0];

    begin(table, seed, (size_t)192 * MIB);
    table->is_alone = true;
    for (uint64_t i = 0; i < step_count; i++)
        oracle_step(table);
    oracle_end(table);
    oracle_reset_settings();
    table->is_alone = false;
}

static void *
run_thread(void *arg)
{
    struct oracle *table = arg;

    for (uint64_t i = 0; i < steps_each; i++) {
        if (choice_one_in(&table->choice, 8)) {
            struct shelf *shelf = &shelves[choice_below(&table->choice, SHELVES)];

            (void)pthread_mutex_lock(&shelf->lock);
            oracle_swap(table, &shelf->block);
            (void)pthread_mutex_unlock(&shelf->lock);
        }
        oracle_step(table);
    }
    return NULL;
}

static void
run_threads(size_t thread_count)
{
    pthread_t threads[THREADS_MAX];

    for (size_t i = 0; i < SHELVES; i++)
        (void)pthread_mutex_init(&shelves[i].lock, NULL);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < thread_count; i++) {
            begin(&tables[i], seed + 1 + round * THREADS_MAX + i, (size_t)48 * MIB);
            if (pthread_create(&threads[i], NULL, run_thread, &tables[i]) != 0)
                exit(99);
        }
        for (size_t i = 0; i < thread_count; i++)
            (void)pthread_join(threads[i], NULL);
    }
    for (size_t i = 0; i < SHELVES; i++) {
        if (shelves[i].block.start != NULL)
            tables[0].live_bytes += shelves[i].block.usable_bytes;
        oracle_free(&tables[0], &shelves[i].block);
    }
    for (size_t i = 0; i < thread_count; i++)
        oracle_end(&tables[i]);
}

static unsigned long long
argument(int argc, char **argv, int idx, unsigned long long fallback)
{
    return argc > idx && argv[idx][0] != '\0' ? strtoull(argv[idx], NULL, 0) : fallback;
}

int
main(int argc, char **argv)
{
    uint64_t step_count = argument(argc, argv, 2, 400000);
    size_t thread_count = (size_t)argument(argc, argv, 3, 6);

    seed = argument(argc, argv, 1, (unsigned long long)time(NULL));
    thread_count = thread_count < THREADS_MAX ? thread_count : THREADS_MAX;
    (void)snprintf(name, sizeof(name), "calls: seed %llu", (unsigned long long)seed);
    (void)printf("%s, %llu steps, %zu threads\n", name, (unsigned long long)step_count,
                 thread_count);
    (void)fflush(stdout);
    run_alone(step_count / 2);
    steps_each = step_count / 2 / ROUNDS / (thread_count > 0 ? thread_count : 1);
    run_threads(thread_count);
    (void)printf("calls: ok\n");
    return 0;
}
