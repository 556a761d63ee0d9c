/* SPDX-License-Identifier: MIT */
/* bench_idle.c - what stays resident for a thread that has allocated and sleeps.
 *
 * Usage   bench_idle THREADS BLOCKS
 *         Each thread allocates BLOCKS blocks, 64 bytes and on by 48 each, touches and frees them,
 *         and sleeps. With 0 blocks it shows what a thread takes by itself.
 * Prints  KiB of Rss per thread.
 */
#include "support.h"

#include <pthread.h>
#include <stdlib.h>

enum { MAX_THREADS = 10000, MAX_BLOCKS = 64, STACK_BYTES = 65536 };

static pthread_barrier_t are_idle, may_end;
static int block_count;

static void *
run(void *arg)
{
    void *blocks[MAX_BLOCKS];

    for (int i = 0; i < block_count; i++)
        blocks[i] = bench_alloc(64 + (size_t)i * 48);
    for (int i = 0; i < block_count; i++)
        free(blocks[i]);
    (void)pthread_barrier_wait(&are_idle);
    (void)pthread_barrier_wait(&may_end);
    return arg;
}

static long
rss_kib(void)
{
    char text[4096];

    (void)bench_read_file("/proc/self/smaps_rollup", text, sizeof(text));
    return bench_field(text, "\nRss:");
}

int
main(int argc, char **argv)
{
    static pthread_t threads[MAX_THREADS];
    int count = argc > 2 ? atoi(argv[1]) : 0;
    pthread_attr_t attr;
    long before_kib;

    block_count = argc > 2 ? atoi(argv[2]) : -1;
    if (count < 1 || count > MAX_THREADS || block_count < 0 || block_count > MAX_BLOCKS)
        bench_stop(2, "usage: bench_idle THREADS BLOCKS, up to %d and %d", MAX_THREADS, MAX_BLOCKS);
    (void)pthread_barrier_init(&are_idle, NULL, (unsigned)count + 1);
    (void)pthread_barrier_init(&may_end, NULL, (unsigned)count + 1);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    free(bench_alloc(100));
    before_kib = rss_kib();
    for (int i = 0; i < count; i++)
        if (pthread_create(&threads[i], &attr, run, NULL) != 0)
            bench_stop(1, "no thread");
    (void)pthread_barrier_wait(&are_idle);
    bench_say("kib_per_thread\t%.1f", (double)(rss_kib() - before_kib) / count);
    (void)pthread_barrier_wait(&may_end);
    for (int i = 0; i < count; i++)
        (void)pthread_join(threads[i], NULL);
    return 0;
}
