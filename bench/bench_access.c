/* SPDX-License-Identifier: MIT */
/* bench_access.c - random access to one large block: what page size costs.
 *
 * Usage   bench_access MIB
 * Prints  nanoseconds per access, the best of five rounds: loads of which each needs the one
 *         before, independent loads, and writes.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ACCESS_COUNT = 4000000, ROUND_COUNT = 5 };

static uint64_t *words;
static uint64_t word_mask;
static uint64_t sink;

static double
now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static uint64_t
next(uint64_t state)
{
    return state * 6364136223846793005u + 1442695040888963407u;
}

static void
dependent_loads(void)
{
    uint64_t state = sink;

    for (int i = 0; i < ACCESS_COUNT; i++)
        state = next(state + words[(state >> 20) & word_mask]);
    sink = state;
}

static void
loads(void)
{
    uint64_t state = 1;

    for (int i = 0; i < ACCESS_COUNT; i++) {
        state = next(state);
        sink += words[(state >> 20) & word_mask];
    }
}

static void
writes(void)
{
    uint64_t state = 1;

    for (int i = 0; i < ACCESS_COUNT; i++) {
        state = next(state);
        words[(state >> 20) & word_mask] = state;
    }
}

static void
measure(const char *what, void (*run)(void))
{
    double best_ns = 1e18;

    for (int round = 0; round < ROUND_COUNT; round++) {
        double begin_ns = now_ns();

        run();
        if (now_ns() - begin_ns < best_ns)
            best_ns = now_ns() - begin_ns;
    }
    (void)printf("%s %.1f\n", what, best_ns / ACCESS_COUNT);
}

int
main(int argc, char **argv)
{
    size_t word_count = (argc > 1 ? strtoul(argv[1], NULL, 10) : 0) << 20 >> 3;

    words = malloc(word_count * sizeof(words[0]));
    if (words == NULL || word_count == 0 || (word_count & (word_count - 1)) != 0) {
        (void)fprintf(stderr, "usage: bench_access MIB, a power of two that fits the memory\n");
        return 2;
    }
    word_mask = word_count - 1;
    for (size_t i = 0; i < word_count; i++)
        words[i] = i;
    measure("dependent_load_ns", dependent_loads);
    measure("load_ns", loads);
    measure("write_ns", writes);
    return (int)(sink & 0);
}
