/* SPDX-License-Identifier: MIT */
/* support.h - what the workloads of bench/run share: random numbers, clocks, what they report.
 *
 * Idea    A workload does the same calls each time: it draws from a generator with a fixed seed and
 *         counts operations, never seconds. It tells what it sees of itself as lines on stdout,
 *         which the harness reads; nothing here calls malloc.
 * Lines   phase<TAB>NAME<TAB>KEY=VALUE...   one part of the run
 *         final<TAB>KEY=VALUE...            the process at its end
 *         Keys: wall_s cpu_s faults (of the phase), rss_kib huge_kib pte_kib (after it).
 * Cost    How much lies on huge pages can only be had by walking all pages, which takes longer the
 *         smaller they are. So it is asked only where HUMA_BENCH_SAMPLED is set: in runs whose time
 *         does not count.
 */
#ifndef BENCH_SUPPORT_H
#define BENCH_SUPPORT_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* What a workload is told: NAME SCALE [COUNT | latency]. */
struct bench_task {
    const char *name;
    double scale;      /* factor on operations, threads and memory; 1 is the full size */
    long count;        /* operations, if told; else 0 */
    int wants_latency; /* measure single calls instead of the whole */
};

struct bench_phase {
    int64_t begin_wall_ns;
    int64_t begin_cpu_ns;
    long begin_fault_count;
};

/* One random generator per thread. */
static inline uint64_t
bench_draw(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 2685821657736338717u;
}

/* From 0 to limit - 1, evenly as far as it matters. */
static inline size_t
bench_below(uint64_t *state, size_t limit)
{
    return (size_t)(((bench_draw(state) >> 32) * (uint64_t)limit) >> 32);
}

/* Write to each cache line of a small block, to each base page of a large one. */
static inline void
bench_touch(void *block, size_t len_bytes)
{
    volatile unsigned char *bytes = block;
    size_t step_bytes = len_bytes < 65536 ? 64 : 4096;

    for (size_t i = 0; i < len_bytes; i += step_bytes)
        bytes[i] = (unsigned char)i;
    bytes[len_bytes - 1] = 1;
}

/* Read the arguments; a wrong one ends the program with a line and status 2. */
struct bench_task bench_task(int argc, char **argv, const char *names);

/* BASE times the scale, at least LEAST. */
size_t bench_scaled(const struct bench_task *task, double base, size_t least);

int64_t bench_now_ns(clockid_t clock);

/* malloc, touched; no memory ends the program. */
void *bench_alloc(size_t len_bytes);

void bench_phase_begin(struct bench_phase *phase);

/* EXTRA is NULL or more KEY=VALUE, separated by tabs. */
void bench_phase_end(const struct bench_phase *phase, const char *name, const char *extra);
void bench_final(void);

/* Read a small file into TEXT, as a string; empty if it cannot be read. Returns its length. */
size_t bench_read_file(const char *name, char *text, size_t room_bytes);

/* The number behind NAME in TEXT; 0 without one. */
long bench_field(const char *text, const char *name);

/* One line to stdout by write(2). */
void bench_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* One line to stderr, then the end with STATUS. */
void bench_stop(int status, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

#endif
