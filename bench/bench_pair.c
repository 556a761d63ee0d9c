/* SPDX-License-Identifier: MIT */
/* bench_pair.c - malloc and free in pairs, and nothing else: what one pair costs.
 *
 * Problem     Seconds depend on the machine and its neighbours; instructions do not.
 * Idea        Four patterns of one loop each, run for a given number of pairs. bench/pairs runs it
 *             under callgrind with two counts and divides the difference, so that start-up drops
 *             out.
 *
 * Usage: bench_pair lifo|small|medium|batch PAIRS
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE_COUNT = 4096 };

static void *volatile table[TABLE_COUNT];

/* Marsaglia's xorshift64: the same sequence in every run. */
static uint64_t
draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void
run_lifo(long pair_count)
{
    for (long i = 0; i < pair_count; i++) {
        table[0] = malloc(64);
        free(table[0]);
    }
}

/* Free a random block of the table and put a new one of random size in its place. */
static void
run_random(long pair_count, size_t min_bytes, size_t spread_bytes)
{
    uint64_t state = 0x9e3779b97f4a7c15;

    for (long i = 0; i < pair_count; i++) {
        uint64_t bits = draw(&state);
        size_t slot = bits % TABLE_COUNT;

        free(table[slot]);
        table[slot] = malloc(min_bytes + (size_t)(bits >> 32) % spread_bytes);
    }
}

static void
run_batch(long pair_count)
{
    for (long done = 0; done < pair_count; done += TABLE_COUNT) {
        for (size_t i = 0; i < TABLE_COUNT; i++)
            table[i] = malloc(48);
        for (size_t i = 0; i < TABLE_COUNT; i++)
            free(table[i]);
    }
}

int
main(int argc, char **argv)
{
    long pair_count = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
    const char *pattern = argc == 3 ? argv[1] : "";

    if (pair_count > 0 && strcmp(pattern, "lifo") == 0) {
        run_lifo(pair_count);
    } else if (pair_count > 0 && strcmp(pattern, "small") == 0) {
        run_random(pair_count, 16, 512);
    } else if (pair_count > 0 && strcmp(pattern, "medium") == 0) {
        run_random(pair_count, 1024, 30000);
    } else if (pair_count > 0 && strcmp(pattern, "batch") == 0) {
        run_batch(pair_count);
    } else {
        (void)fprintf(stderr, "usage: bench_pair lifo|small|medium|batch PAIRS (at least 1)\n");
        return 2;
    }
    return 0;
}
