/* SPDX-License-Identifier: MIT */
/* bench_churn.c - a crowd of live blocks of which one at a time is replaced at random.
 *
 * churn-small  16 to 512 bytes, 10^7 operations over 10^5 slots
 * churn-mixed  16 bytes to 1 MiB after Pareto (shape 0.8: many small ones, most bytes in large
 *              ones), 10^7 operations over 10^5 slots
 * An operation frees the block in a slot, if there is one, and allocates another. COUNT sets the
 * number of operations alone: the difference of two such runs is free of start-up and warming.
 */
#include "support.h"

#include "latency.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE_COUNT = 1 << 16 };

/* The size at each of SIZE_COUNT even steps of the distribution. */
static uint32_t sizes_bytes[SIZE_COUNT];

static void
fill_even(double least_bytes, double most_bytes)
{
    for (int i = 0; i < SIZE_COUNT; i++)
        sizes_bytes[i] = (uint32_t)(least_bytes + (most_bytes - least_bytes + 1) * i / SIZE_COUNT);
}

static void
fill_pareto(double least_bytes, double most_bytes, double shape)
{
    double cut = 1 - pow(least_bytes / most_bytes, shape);

    for (int i = 0; i < SIZE_COUNT; i++) {
        double part = ((double)i + 0.5) / SIZE_COUNT;

        sizes_bytes[i] = (uint32_t)(least_bytes / pow(1 - part * cut, 1 / shape));
    }
}

static void
churn(void **slots, size_t slot_count, size_t op_count)
{
    uint64_t seed = 88172645463325252u;

    for (size_t i = 0; i < op_count; i++) {
        size_t slot = bench_below(&seed, slot_count);

        free(slots[slot]);
        slots[slot] = bench_alloc(sizes_bytes[bench_below(&seed, SIZE_COUNT)]);
    }
}

static void
churn_latency(void **slots, size_t slot_count, size_t op_count)
{
    static struct bench_latency mallocs = { .name = "malloc" };
    static struct bench_latency frees = { .name = "free" };
    static struct bench_latency touches = { .name = "touch" };
    static size_t lens_bytes[SIZE_COUNT * 2];
    uint64_t seed = 88172645463325252u;

    for (size_t i = 0; i < op_count; i++) {
        size_t slot = bench_below(&seed, slot_count);
        size_t len_bytes = sizes_bytes[bench_below(&seed, SIZE_COUNT)];

        bench_latency_free(&frees, slots[slot], lens_bytes[slot]);
        slots[slot] = bench_latency_alloc(&mallocs, &touches, len_bytes);
        lens_bytes[slot] = len_bytes;
    }
    bench_latency_print(&mallocs);
    bench_latency_print(&frees);
    bench_latency_print(&touches);
    bench_latency_kernel(sizes_bytes, SIZE_COUNT, 2000);
}

int
main(int argc, char **argv)
{
    struct bench_task task = bench_task(argc, argv, "churn-small churn-mixed");
    size_t slot_count = bench_scaled(&task, 1e5, 1000);
    size_t op_count = task.count > 0 ? (size_t)task.count : bench_scaled(&task, 1e7, 10000);
    void **slots;

    if (slot_count > SIZE_COUNT * 2)
        slot_count = SIZE_COUNT * 2;
    slots = calloc(slot_count, sizeof(slots[0]));
    if (slots == NULL)
        bench_stop(1, "no memory for %zu slots", slot_count);
    if (strcmp(task.name, "churn-small") == 0)
        fill_even(16, 512);
    else
        fill_pareto(16, 1048576, 0.8);
    if (task.wants_latency)
        churn_latency(slots, slot_count, op_count);
    else
        churn(slots, slot_count, op_count);
    for (size_t i = 0; i < slot_count; i++)
        free(slots[i]);
    free(slots);
    bench_final();
    return 0;
}
