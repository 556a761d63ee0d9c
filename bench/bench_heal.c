/* SPDX-License-Identifier: MIT */
/* bench_heal.c - how soon a heap is on huge pages again after a snapshot by a forked child.
 *
 * Usage   bench_heal MIB PAUSE_US
 *         A heap of blocks of 64 to 1963 bytes, as of a data base in memory. A child reads all of
 *         it while the parent replaces half of the blocks, at random. When the child has gone the
 *         parent goes on: OPS_PER_ROUND blocks are replaced, then a pause, for SECONDS seconds.
 * Prints  TSV: coverage in percent before the fork, after the writes, and 1, 2, ... s after the
 *         child's end; ms until it was 95 %, -1: never; CPU time of all the rounds in ms, and the
 *         longest malloc or free in them, in microseconds of CPU time.
 */
#include "support.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    MIN_BYTES = 64,
    MAX_BYTES = 1964,
    OPS_PER_ROUND = 200,
    SECONDS = 8,
    CHECK_MS = 100,
    WANTED_PCT = 95,
};

static unsigned char **blocks;
static size_t block_count;
static uint64_t random_state = 88172645463325252u;
static int64_t worst_ns;
static volatile unsigned char seen; /* so that reads are not left out */

static double
coverage_pct(void)
{
    char text[4096];

    (void)bench_read_file("/proc/self/smaps_rollup", text, sizeof(text));
    return 100.0 * (double)bench_field(text, "\nAnonHugePages:")
           / (double)bench_field(text, "\nRss:");
}

static int64_t
cpu_ns(void)
{
    return bench_now_ns(CLOCK_THREAD_CPUTIME_ID);
}

static size_t
draw_bytes(void)
{
    return MIN_BYTES + bench_below(&random_state, MAX_BYTES - MIN_BYTES);
}

static void
replace(size_t idx, int is_timed)
{
    int64_t begin_ns = is_timed ? cpu_ns() : 0;
    size_t len_bytes = draw_bytes();
    int64_t took_ns;

    free(blocks[idx]);
    blocks[idx] = malloc(len_bytes);
    took_ns = is_timed ? cpu_ns() - begin_ns : 0;
    if (blocks[idx] == NULL)
        bench_stop(1, "no memory");
    memset(blocks[idx], (int)idx, len_bytes);
    if (took_ns > worst_ns)
        worst_ns = took_ns;
}

static void
fill(size_t heap_bytes)
{
    size_t most = heap_bytes / ((MIN_BYTES + MAX_BYTES) / 2);

    blocks = mmap(NULL, most * sizeof(*blocks), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                  -1, 0);
    if (blocks == MAP_FAILED)
        bench_stop(1, "no memory");
    for (block_count = 0; block_count < most; block_count++)
        replace(block_count, 0);
}

/* The child reads all, and waits until the parent has written. */
static void __attribute__((noreturn)) snapshot(int gate)
{
    char byte;

    for (size_t i = 0; i < block_count; i++)
        seen = blocks[i][0];
    (void)!read(gate, &byte, 1);
    _exit(0);
}

static void
live_through_snapshot(void)
{
    int gate[2];
    pid_t child;

    if (pipe(gate) != 0)
        bench_stop(1, "pipe failed");
    child = fork();
    if (child == 0) {
        (void)close(gate[1]);
        snapshot(gate[0]);
    }
    (void)close(gate[0]);
    for (size_t i = 0; i < block_count / 2; i++)
        replace(bench_below(&random_state, block_count), 0);
    (void)close(gate[1]);
    if (child < 0 || waitpid(child, NULL, 0) != child)
        bench_stop(1, "fork failed");
}

int
main(int argc, char **argv)
{
    size_t heap_bytes = (argc > 2 ? strtoul(argv[1], NULL, 10) : 0) << 20;
    unsigned pause_us = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    double pct[SECONDS + 2] = { 0 };
    int64_t begin_ns;
    int64_t begin_cpu_ns;
    long healed_ms = -1;
    long checked_ms = 0;

    if (heap_bytes == 0 || pause_us > 1000000)
        bench_stop(2, "usage: bench_heal MIB PAUSE_US");
    fill(heap_bytes);
    pct[0] = coverage_pct();
    live_through_snapshot();
    pct[1] = coverage_pct();
    begin_ns = bench_now_ns(CLOCK_MONOTONIC);
    begin_cpu_ns = cpu_ns();
    for (long now_ms = 0; now_ms < SECONDS * 1000L;) {
        for (int i = 0; i < OPS_PER_ROUND; i++)
            replace(bench_below(&random_state, block_count), 1);
        (void)usleep(pause_us);
        now_ms = (long)((bench_now_ns(CLOCK_MONOTONIC) - begin_ns) / 1000000);
        if (now_ms - checked_ms < CHECK_MS)
            continue;
        checked_ms = now_ms;
        for (long s = now_ms / 1000; s <= SECONDS && pct[s + 1] == 0; s = SECONDS + 1)
            pct[s + 1] = coverage_pct();
        if (healed_ms < 0 && coverage_pct() >= WANTED_PCT)
            healed_ms = now_ms;
    }
    bench_say("before\twritten\t1s\t2s\t3s\t4s\t5s\t6s\t7s\t8s\tms_to_95\tcpu_ms\tworst_us");
    bench_say("%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%ld\t%.0f\t%.0f", pct[0],
              pct[1], pct[2], pct[3], pct[4], pct[5], pct[6], pct[7], pct[8], pct[9], healed_ms,
              (double)(cpu_ns() - begin_cpu_ns) / 1e6, (double)worst_ns / 1e3);
    return 0;
}
