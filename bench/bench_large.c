/* SPDX-License-Identifier: MIT */
/* bench_large.c - blocks of megabytes.
 *
 * large     1 to 64 MiB at random, 16 live, 400 times one is replaced
 * realloc   one block grows from 1 MiB to 1 GiB in steps of 1 MiB; what is new is touched, and at
 *           the end each step's mark must still be there
 */
#include "support.h"

#include "latency.h"

#include <stdlib.h>
#include <string.h>

enum { LIVE_COUNT = 16, SIZE_COUNT = 4096 };

static const size_t mib_bytes = (size_t)1 << 20;
static uint32_t sizes_bytes[SIZE_COUNT];

static void
large(size_t op_count)
{
    void *slots[LIVE_COUNT] = { NULL };
    uint64_t seed = 88172645463325252u;

    for (size_t i = 0; i < op_count; i++) {
        size_t slot = bench_below(&seed, LIVE_COUNT);

        free(slots[slot]);
        slots[slot] = bench_alloc(sizes_bytes[bench_below(&seed, SIZE_COUNT)]);
    }
    for (size_t i = 0; i < LIVE_COUNT; i++)
        free(slots[i]);
}

static void
large_latency(size_t op_count)
{
    static struct bench_latency mallocs = { .name = "malloc" };
    static struct bench_latency frees = { .name = "free" };
    static struct bench_latency touches = { .name = "touch" };
    void *slots[LIVE_COUNT] = { NULL };
    size_t lens_bytes[LIVE_COUNT] = { 0 };
    uint64_t seed = 88172645463325252u;

    for (size_t i = 0; i < op_count; i++) {
        size_t slot = bench_below(&seed, LIVE_COUNT);
        size_t len_bytes = sizes_bytes[bench_below(&seed, SIZE_COUNT)];

        bench_latency_free(&frees, slots[slot], lens_bytes[slot]);
        slots[slot] = bench_latency_alloc(&mallocs, &touches, len_bytes);
        lens_bytes[slot] = len_bytes;
    }
    for (size_t i = 0; i < LIVE_COUNT; i++)
        bench_latency_free(&frees, slots[i], lens_bytes[i]);
    bench_latency_print(&mallocs);
    bench_latency_print(&frees);
    bench_latency_print(&touches);
    bench_latency_kernel(sizes_bytes, SIZE_COUNT, 100);
}

static void
grow(size_t step_count)
{
    unsigned char *block = NULL;

    for (size_t i = 0; i < step_count; i++) {
        unsigned char *grown = realloc(block, (i + 1) * mib_bytes);

        if (grown == NULL)
            bench_stop(1, "no memory for %zu MiB", i + 1);
        block = grown;
        bench_touch(block + i * mib_bytes, mib_bytes);
        block[i * mib_bytes] = (unsigned char)(i * 7 + 1);
    }
    for (size_t i = 0; i < step_count; i++)
        if (block[i * mib_bytes] != (unsigned char)(i * 7 + 1))
            bench_stop(1, "realloc lost the bytes at MiB %zu", i);
    free(block);
}

int
main(int argc, char **argv)
{
    struct bench_task task = bench_task(argc, argv, "large realloc");
    size_t op_count
        = task.count > 0 ? (size_t)task.count : bench_scaled(&task, 400, LIVE_COUNT / 4);

    for (size_t i = 0; i < SIZE_COUNT; i++)
        sizes_bytes[i] = (uint32_t)(mib_bytes + 63 * mib_bytes * i / (SIZE_COUNT - 1));
    if (strcmp(task.name, "realloc") == 0)
        grow(bench_scaled(&task, 1024, 4));
    else if (task.wants_latency)
        large_latency(op_count);
    else
        large(op_count);
    bench_final();
    return 0;
}
