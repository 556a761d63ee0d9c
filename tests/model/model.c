/* SPDX-License-Identifier: MIT */
/* model.c - rounds of random operations on a heap (heap.h), each repeated by its seed.
 *
 * Usage       model [SEED [SECONDS]]   seed of the first round; each further one adds 1
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "model/heap.h"

enum { STEPS = 30000 };

static uint64_t seed;

/* What was wrong is on stderr already. */
static void
on_abort(int number)
{
    (void)number;
    (void)dprintf(STDERR_FILENO, "model: repeat with: model %llu 0\n", (unsigned long long)seed);
    _exit(1);
}

int
main(int argc, char **argv)
{
    time_t begin = time(NULL);
    time_t seconds = argc > 2 ? (time_t)strtol(argv[2], NULL, 10) : 8;
    unsigned round_count = 0;
    struct model_peak peak;

    seed = argc > 1 && argv[1][0] != '\0' ? strtoull(argv[1], NULL, 0) : (uint64_t)begin;
    (void)signal(SIGABRT, on_abort);
    (void)printf("model: seed %llu, %ld seconds\n", (unsigned long long)seed, (long)seconds);
    (void)fflush(stdout);
    for (;;) {
        struct choice choice = choice_of_seed(seed);

        peak = model_run(&choice, STEPS);
        round_count++;
        if (time(NULL) - begin >= seconds)
            break;
        seed++;
    }
    (void)printf("model: ok, %u rounds of %u steps, up to %zu blocks or %zu MiB\n", round_count,
                 (unsigned)STEPS, peak.block_count, peak.live_bytes >> 20);
    return 0;
}
