/* SPDX-License-Identifier: MIT */
/* bench_touch.c - malloc, touch, free of one block, again and again.
 *
 * Usage   bench_touch MIB COUNT
 * Prints  TSV: CPU microseconds of the first time, and of one of COUNT more, on average. By then an
 *         allocator has had two more to learn that the size comes again (glibc raises its cutoff).
 */
#include "support.h"

#include <stdlib.h>

enum { LEARN_COUNT = 2, MAX_MIB = 4096 };

static double
run_us(size_t len_bytes, int count)
{
    int64_t begin_ns = bench_now_ns(CLOCK_PROCESS_CPUTIME_ID);

    for (int i = 0; i < count; i++)
        free(bench_alloc(len_bytes));
    return (double)(bench_now_ns(CLOCK_PROCESS_CPUTIME_ID) - begin_ns) / 1e3 / count;
}

int
main(int argc, char **argv)
{
    int mib = argc > 2 ? atoi(argv[1]) : 0;
    int count = argc > 2 ? atoi(argv[2]) : 0;
    size_t len_bytes = (size_t)mib << 20;
    double first_us;

    if (mib < 1 || mib > MAX_MIB || count < 1)
        bench_stop(2, "usage: bench_touch MIB COUNT, MIB up to %d", MAX_MIB);
    first_us = run_us(len_bytes, 1);
    (void)run_us(len_bytes, LEARN_COUNT);
    bench_say("first_us\teach_us\n%.1f\t%.1f", first_us, run_us(len_bytes, count));
    return 0;
}
