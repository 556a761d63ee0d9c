/* SPDX-License-Identifier: MIT */
/* many_threads.c - ten thousand threads that come and go, and memory that stays flat.
 *
 * Problem     What a dead thread leaves behind is small, and shows only after thousands of them.
 * Idea        Threads in batches. Each leaves blocks of many sizes on shelves for later ones and
 *             frees what it finds there, so that every thread ends while blocks of it are alive.
 *             Resident memory is looked at after each batch: the highest value of the second half
 *             must not be above the highest of the first half by more than ALLOWED_KIB, which is
 *             less than half a KiB for each of its threads. With fewer than SETTLED threads the
 *             first half is too short to say.
 *
 * Usage       many_threads [THREADS]
 */
#include "preload/expect.h"
#include "support/smaps.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { SHELVES = 512, BATCH = 16, BLOCKS_EACH = 40, ALLOWED_KIB = 2 << 10, SETTLED = 5000 };

struct block {
    size_t size;
    unsigned char bytes[];
};

static _Atomic(struct block *) shelves[SHELVES];

static void
release(struct block *block)
{
    if (block == NULL)
        return;
    expect(pattern_holds(block->bytes, block->size, block->size), "a block of %zu bytes",
           block->size);
    free(block);
}

/* Small, of several classes, medium, and now and then large; each shelf has its own sizes, so that
 * what is alive is always about the same. */
static size_t
size_of_shelf(size_t idx)
{
    return 1 + (size_t)(idx * 37 % 31) * ((size_t)1 << idx % 10) + (idx % 128 == 0 ? 300000 : 0);
}

static void *
visit(void *arg)
{
    uint64_t random = (uint64_t)(uintptr_t)arg * 2654435761u + 1;
    for (int i = 0; i < BLOCKS_EACH; i++) {
        size_t idx = (size_t)draw(&random) % SHELVES;
        size_t size = size_of_shelf(idx);
        struct block *block = malloc(sizeof(*block) + size);
        expect(block != NULL, "malloc(%zu)", size);
        block->size = size;
        pattern_fill(block->bytes, size, size);
        release(atomic_exchange(&shelves[idx], block));
    }
    return NULL;
}

static unsigned long
resident_kib(void)
{
    struct hm_smaps sum;
    expect(hm_smaps_read(&sum) == 0, "cannot read /proc/self/smaps_rollup");
    return sum.anonymous_kib;
}

int
main(int argc, char **argv)
{
    uintptr_t thread_count = argc > 1 ? strtoul(argv[1], NULL, 10) : 10000;
    unsigned long most_kib[2] = { 0, 0 };
    uintptr_t started_count = 0;
    while (started_count < thread_count) {
        pthread_t threads[BATCH];
        for (int i = 0; i < BATCH; i++)
            expect(pthread_create(&threads[i], NULL, visit, (void *)(started_count + (uintptr_t)i))
                       == 0,
                   "thread %zu", (size_t)started_count + (size_t)i);
        for (int i = 0; i < BATCH; i++)
            (void)pthread_join(threads[i], NULL);
        started_count += BATCH;
        unsigned long *most = &most_kib[started_count > thread_count / 2];
        unsigned long now_kib = resident_kib();
        *most = now_kib > *most ? now_kib : *most;
    }
    for (int i = 0; i < SHELVES; i++)
        release(atomic_exchange(&shelves[i], NULL));
    (void)dprintf(STDOUT_FILENO, "%zu threads: at most %lu KiB in the first half, %lu KiB after\n",
                  (size_t)started_count, most_kib[0], most_kib[1]);
    expect(thread_count < SETTLED || most_kib[1] <= most_kib[0] + ALLOWED_KIB,
           "%lu KiB after %lu KiB", most_kib[1], most_kib[0]);
    return 0;
}
