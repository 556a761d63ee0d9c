/* SPDX-License-Identifier: MIT */
/* bench_grow.c - what it costs to grow a large block whose neighbour is in the way.
 *
 * Usage   bench_grow
 * Prints  milliseconds for realloc from 512 to 768 MiB, and a bit; the best of five rounds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUND_COUNT = 5, MIB = 1 << 20, ODD_BYTES = 5000 };

static double
now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

int
main(void)
{
    double best_ms = 1e9;

    for (int round = 0; round < ROUND_COUNT; round++) {
        char *block = malloc(512 * (size_t)MIB + ODD_BYTES);
        void *volatile neighbour = malloc(40 * (size_t)MIB);
        double begin_ms;

        if (block == NULL || neighbour == NULL)
            return 1;
        memset(block, 1, 512 * (size_t)MIB + ODD_BYTES);
        begin_ms = now_ms();
        block = realloc(block, 768 * (size_t)MIB + ODD_BYTES);
        if (block == NULL)
            return 1;
        if (now_ms() - begin_ms < best_ms)
            best_ms = now_ms() - begin_ms;
        free(block);
        free(neighbour);
    }
    (void)printf("realloc_ms %.3f\n", best_ms);
    return 0;
}
