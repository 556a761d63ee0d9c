/* SPDX-License-Identifier: MIT */
/* threads.c - threads that come and go, and blocks that are freed by others.
 *
 * Problem     A block outlives the thread that made it; what that thread owned must be taken over,
 *             not lost, and a block freed from outside must find its way home while its owner goes
 *             on allocating, or is just dying.
 * Idea        2000 threads, a few at a time, leave blocks behind on shared shelves and free what
 *             they find there. Then pairs of producers and consumers, where one side only allocates
 *             and the other only frees. Every block carries a pattern.
 */
#include "expect.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    SHELF_COUNT = 4096,
    WAVE = 8,
    BLOCKS_PER_THREAD = 100,
    PAIR_COUNT = 4,
    HANDED_COUNT = 100000,
    RING = 512
};

static _Atomic(uint64_t *) shelves[SHELF_COUNT];

/* A block holds its size, then pattern seeded with its size. */
static uint64_t *
obtain(size_t size)
{
    uint64_t *block = malloc(size);
    expect(block != NULL, "malloc(%zu)", size);
    block[0] = size;
    pattern_fill(block + 1, size - sizeof(block[0]), size);
    return block;
}

static void
release(uint64_t *block)
{
    if (block == NULL)
        return;
    size_t rest = block[0] - sizeof(block[0]);
    expect(pattern_holds(block + 1, rest, block[0]), "a block of %zu bytes was overwritten",
           (size_t)block[0]);
    free(block);
}

static size_t
draw_size(uint64_t *random)
{
    size_t limit = (size_t)16 << (draw(random) % 14); /* up to 128 KiB, mostly small */
    return 8 + draw(random) % limit;
}

static void *
visit(void *arg)
{
    uint64_t random = (uint64_t)(uintptr_t)arg * 2654435761u + 1;
    for (int i = 0; i < BLOCKS_PER_THREAD; i++) {
        uint64_t *block = obtain(draw_size(&random));
        release(atomic_exchange(&shelves[draw(&random) % SHELF_COUNT], block));
    }
    return NULL;
}

struct ring {
    _Atomic size_t put_count; /* producer */
    _Atomic size_t got_count; /* consumer */
    uint64_t *blocks[RING];
};

static struct ring rings[PAIR_COUNT];

static void *
produce(void *arg)
{
    struct ring *ring = arg;
    uint64_t random = (uint64_t)(ring - rings) + 77;
    for (size_t i = 0; i < HANDED_COUNT; i++) {
        while (i - atomic_load(&ring->got_count) >= RING)
            (void)sched_yield();
        size_t size = 8 + draw(&random) % 600;
        ring->blocks[i % RING] = obtain(i % 100 ? size : 100 * size);
        atomic_store(&ring->put_count, i + 1);
    }
    return NULL;
}

static void *
consume(void *arg)
{
    struct ring *ring = arg;
    for (size_t i = 0; i < HANDED_COUNT; i++) {
        while (atomic_load(&ring->put_count) <= i)
            (void)sched_yield();
        release(ring->blocks[i % RING]);
        atomic_store(&ring->got_count, i + 1);
    }
    return NULL;
}

int
main(void)
{
    pthread_t threads[WAVE];
    for (uintptr_t i = 0; i < 2000; i++) {
        if (i >= WAVE)
            (void)pthread_join(threads[i % WAVE], NULL);
        expect(pthread_create(&threads[i % WAVE], NULL, visit, (void *)i) == 0, "thread %zu",
               (size_t)i);
    }
    for (int i = 0; i < WAVE; i++)
        (void)pthread_join(threads[i], NULL);
    for (int i = 0; i < SHELF_COUNT; i++)
        release(atomic_exchange(&shelves[i], NULL));

    for (int i = 0; i < PAIR_COUNT; i++) {
        expect(pthread_create(&threads[2 * i], NULL, produce, &rings[i]) == 0, "producer %d", i);
        expect(pthread_create(&threads[2 * i + 1], NULL, consume, &rings[i]) == 0, "consumer %d",
               i);
    }
    for (int i = 0; i < 2 * PAIR_COUNT; i++)
        (void)pthread_join(threads[i], NULL);
    (void)printf("2000 threads, %d blocks handed over\n", PAIR_COUNT * HANDED_COUNT);
    return 0;
}
