/* SPDX-License-Identifier: MIT */
/* bench_batch.c - all allocated, then all freed: newest first, oldest first, in random order.
 *
 * batch   10^5 blocks of 16 to 1024 bytes, 20 times each order
 */
#include "support.h"

#include <stdlib.h>

enum { SIZE_LEAST = 16, SIZE_RANGE = 1009 };

/* Allocate all blocks, ROUNDS times, and free them in the order of ORDER. */
static void
run_order(const char *name, void **blocks, const uint32_t *order, size_t count, size_t round_count)
{
    struct bench_phase phase;
    uint64_t seed = 88172645463325252u;

    bench_phase_begin(&phase);
    for (size_t round = 0; round < round_count; round++) {
        for (size_t i = 0; i < count; i++)
            blocks[i] = bench_alloc(SIZE_LEAST + bench_below(&seed, SIZE_RANGE));
        for (size_t i = 0; i < count; i++)
            free(blocks[order[i]]);
    }
    bench_phase_end(&phase, name, NULL);
}

static void
shuffle(uint32_t *order, size_t count)
{
    uint64_t seed = 1442695040888963407u;

    for (size_t i = count - 1; i > 0; i--) {
        size_t other = bench_below(&seed, i + 1);
        uint32_t kept = order[i];

        order[i] = order[other];
        order[other] = kept;
    }
}

int
main(int argc, char **argv)
{
    struct bench_task task = bench_task(argc, argv, "batch");
    size_t count = bench_scaled(&task, 1e5, 1000);
    size_t round_count = task.count > 0 ? (size_t)task.count / (3 * count) + 1 : 20;
    void **blocks = calloc(count, sizeof(blocks[0]));
    uint32_t *order = calloc(count, sizeof(order[0]));

    if (blocks == NULL || order == NULL)
        bench_stop(1, "no memory for %zu slots", count);
    for (size_t i = 0; i < count; i++)
        order[i] = (uint32_t)(count - 1 - i);
    run_order("lifo", blocks, order, count, round_count);
    for (size_t i = 0; i < count; i++)
        order[i] = (uint32_t)i;
    run_order("fifo", blocks, order, count, round_count);
    shuffle(order, count);
    run_order("random", blocks, order, count, round_count);
    free(order);
    free(blocks);
    bench_final();
    return 0;
}
