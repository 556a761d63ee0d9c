/* SPDX-License-Identifier: MIT */
/* latency.h - how long single calls take, by power of two, and what the kernel takes by itself.
 *
 * Idea    Both the wall clock and the thread's own processor time: on a busy machine, the worst by
 *         the wall clock is the scheduler's. Beside it the kernel's own time for as much memory:
 *         mapped, touched and unmapped by this program without any allocator.
 * Lines   latency<TAB>NAME<TAB>CLOCK<TAB>count=...<TAB>worst_ns=...<TAB>worst_bytes=...<TAB>
 *         log2_ns=N:COUNT,...    N: from 2^N to 2^(N+1) nanoseconds
 */
#ifndef BENCH_LATENCY_H
#define BENCH_LATENCY_H

#include <stddef.h>
#include <stdint.h>

enum { BENCH_CLOCK_COUNT = 2, BENCH_BUCKET_COUNT = 40 };

struct bench_latency {
    const char *name;
    long call_count;
    int64_t worst_ns[BENCH_CLOCK_COUNT];
    size_t worst_bytes[BENCH_CLOCK_COUNT];
    long buckets[BENCH_CLOCK_COUNT][BENCH_BUCKET_COUNT];
};

/* malloc, then the block is touched; each is timed. */
void *bench_latency_alloc(struct bench_latency *mallocs, struct bench_latency *touches,
                          size_t len_bytes);
void bench_latency_free(struct bench_latency *frees, void *block, size_t len_bytes);
void bench_latency_print(const struct bench_latency *latency);

/* mmap, touch and munmap of ROUND_COUNT of these sizes, on base pages and on huge pages; prints. */
void bench_latency_kernel(const uint32_t *sizes_bytes, size_t size_count, size_t round_count);

#endif
