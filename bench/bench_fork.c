/* SPDX-License-Identifier: MIT */
/* bench_fork.c - what fork() takes where the heap is large.
 *
 * Usage   bench_fork MIB COUNT
 * Prints  TSV: medians over COUNT forks, in microseconds of the thread's CPU time, of fork() and of
 *         fork() and the child's end, which does nothing; and KiB of page tables.
 *
 * The heap is of blocks of 1000 bytes, all touched. Nothing is written while a child lives, so that
 * it is what it was at the next fork.
 */
#include "support.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCK_BYTES = 1000, MAX_FORKS = 1000 };

static int
compare(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;

    return (*x > *y) - (*x < *y);
}

static double
median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof(values[0]), compare);
    return values[count / 2];
}

int
main(int argc, char **argv)
{
    static double fork_us[MAX_FORKS];
    static double all_us[MAX_FORKS];
    size_t heap_bytes = (argc > 2 ? strtoul(argv[1], NULL, 10) : 0) << 20;
    int count = argc > 2 ? atoi(argv[2]) : 0;
    char status_text[4096];

    if (heap_bytes == 0 || count < 1 || count > MAX_FORKS)
        bench_stop(2, "usage: bench_fork MIB COUNT, COUNT up to %d", MAX_FORKS);
    for (size_t done_bytes = 0; done_bytes < heap_bytes; done_bytes += BLOCK_BYTES)
        (void)bench_alloc(BLOCK_BYTES);
    for (int i = 0; i < count; i++) {
        int64_t begin_ns = bench_now_ns(CLOCK_THREAD_CPUTIME_ID);
        pid_t child = fork();
        int64_t forked_ns = bench_now_ns(CLOCK_THREAD_CPUTIME_ID);

        if (child == 0)
            _exit(0);
        if (child < 0 || waitpid(child, NULL, 0) != child)
            bench_stop(1, "fork failed");
        fork_us[i] = (double)(forked_ns - begin_ns) / 1e3;
        all_us[i] = (double)(bench_now_ns(CLOCK_THREAD_CPUTIME_ID) - begin_ns) / 1e3;
    }
    (void)bench_read_file("/proc/self/status", status_text, sizeof(status_text));
    bench_say("fork_us\twith_end_us\tpte_kib\n%.1f\t%.1f\t%ld", median(fork_us, count),
              median(all_us, count), bench_field(status_text, "\nVmPTE:"));
    return 0;
}
