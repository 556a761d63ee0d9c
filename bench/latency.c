/* SPDX-License-Identifier: MIT */
/* latency.c - times single calls, and the kernel's work for the same sizes. */
#include "latency.h"

#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const clockid_t clocks[BENCH_CLOCK_COUNT] = { CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID };
static const char *const clock_names[BENCH_CLOCK_COUNT] = { "wall", "cpu" };

struct moment {
    int64_t at_ns[BENCH_CLOCK_COUNT];
};

static struct moment
moment(void)
{
    struct moment now;

    for (int i = 0; i < BENCH_CLOCK_COUNT; i++)
        now.at_ns[i] = bench_now_ns(clocks[i]);
    return now;
}

static void
count(struct bench_latency *latency, const struct moment *begin, size_t len_bytes)
{
    struct moment end = moment();

    latency->call_count++;
    for (int i = 0; i < BENCH_CLOCK_COUNT; i++) {
        int64_t took_ns = end.at_ns[i] - begin->at_ns[i];
        int bucket = took_ns < 1 ? 0 : 63 - __builtin_clzll((unsigned long long)took_ns);

        if (bucket >= BENCH_BUCKET_COUNT)
            bucket = BENCH_BUCKET_COUNT - 1;
        latency->buckets[i][bucket]++;
        if (took_ns > latency->worst_ns[i]) {
            latency->worst_ns[i] = took_ns;
            latency->worst_bytes[i] = len_bytes;
        }
    }
}

void *
bench_latency_alloc(struct bench_latency *mallocs, struct bench_latency *touches, size_t len_bytes)
{
    struct moment begin = moment();
    void *block = malloc(len_bytes);

    count(mallocs, &begin, len_bytes);
    if (block == NULL)
        bench_stop(1, "no memory for a block of %zu bytes", len_bytes);
    begin = moment();
    bench_touch(block, len_bytes);
    count(touches, &begin, len_bytes);
    return block;
}

void
bench_latency_free(struct bench_latency *frees, void *block, size_t len_bytes)
{
    struct moment begin = moment();

    free(block);
    count(frees, &begin, len_bytes);
}

void
bench_latency_print(const struct bench_latency *latency)
{
    for (int i = 0; i < BENCH_CLOCK_COUNT; i++) {
        char text[400];
        size_t len = 0;

        text[0] = '\0';
        for (int bucket = 0; bucket < BENCH_BUCKET_COUNT && len < sizeof(text) - 32; bucket++)
            if (latency->buckets[i][bucket] != 0)
                len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%d:%ld",
                                        len == 0 ? "" : ",", bucket, latency->buckets[i][bucket]);
        bench_say("latency\t%s\t%s\tcount=%ld\tworst_ns=%lld\tworst_bytes=%zu\tlog2_ns=%s",
                  latency->name, clock_names[i], latency->call_count,
                  (long long)latency->worst_ns[i], latency->worst_bytes[i], text);
    }
}

/* Map, touch and unmap LEN_BYTES, whole huge pages if IS_HUGE. */
static void
kernel_once(struct bench_latency latencies[3], size_t len_bytes, int is_huge)
{
    size_t huge_bytes = (size_t)2 << 20;
    size_t slack_bytes = is_huge ? huge_bytes : 0;
    struct moment begin = moment();
    char *map = mmap(NULL, len_bytes + slack_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char *start = map;

    if (map == MAP_FAILED)
        bench_stop(1, "cannot map %zu bytes", len_bytes);
    if (is_huge) {
        start += (huge_bytes - (uintptr_t)map % huge_bytes) % huge_bytes;
        (void)madvise(map, len_bytes + slack_bytes, MADV_HUGEPAGE);
    }
    count(&latencies[0], &begin, len_bytes);
    begin = moment();
    bench_touch(start, len_bytes);
    count(&latencies[1], &begin, len_bytes);
    begin = moment();
    (void)munmap(map, len_bytes + slack_bytes);
    count(&latencies[2], &begin, len_bytes);
}

void
bench_latency_kernel(const uint32_t *sizes_bytes, size_t size_count, size_t round_count)
{
    static struct bench_latency bases[3] = { { .name = "kernel-4k-map" },
                                             { .name = "kernel-4k-touch" },
                                             { .name = "kernel-4k-unmap" } };
    static struct bench_latency huges[3] = { { .name = "kernel-huge-map" },
                                             { .name = "kernel-huge-touch" },
                                             { .name = "kernel-huge-unmap" } };
    uint64_t seed = 1442695040888963407u;

    for (size_t i = 0; i < round_count; i++) {
        size_t len_bytes = sizes_bytes[bench_below(&seed, size_count)];

        kernel_once(bases, len_bytes, 0);
        kernel_once(huges, len_bytes, 1);
    }
    kernel_once(bases, sizes_bytes[size_count - 1], 0);
    kernel_once(huges, sizes_bytes[size_count - 1], 1);
    for (int i = 0; i < 3; i++)
        bench_latency_print(&bases[i]);
    for (int i = 0; i < 3; i++)
        bench_latency_print(&huges[i]);
}
