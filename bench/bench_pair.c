/* SPDX-License-Identifier: MIT */
/* bench_pair.c - what one malloc and its free cost, in instructions.
 *
 * Usage   bench_pair MODE COUNT, which bench/pairs runs under callgrind.
 *           0  64 bytes, freed at once
 *           1  16 to 527 bytes, the block freed is drawn from 4096
 *           2  1 to 31 KiB, the same
 *           3  48 bytes, 4096 allocated, then 4096 freed
 *           4  64 bytes, 4096 allocated by one thread, then freed by another
 * Idea    Two runs that differ in COUNT only; the difference is free of start-up and warming.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>

enum { SLOT_COUNT = 4096 };

static void *slots[SLOT_COUNT];
static sem_t is_full;
static sem_t is_empty;

static uint64_t
draw(void)
{
    static uint64_t state = 88172645463325252u;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void
free_all(void)
{
    for (int i = 0; i < SLOT_COUNT; i++)
        free(slots[i]);
}

static void *
consume(void *batch_count)
{
    for (long i = 0; i < *(long *)batch_count; i++) {
        (void)sem_wait(&is_full);
        free_all();
        (void)sem_post(&is_empty);
    }
    return NULL;
}

static void
replace_at_random(long count, size_t least_bytes, size_t range_bytes)
{
    for (long i = 0; i < count; i++) {
        size_t slot = draw() % SLOT_COUNT;

        free(slots[slot]);
        slots[slot] = malloc(least_bytes + draw() % range_bytes);
    }
}

static void
in_batches(long batch_count, size_t block_bytes, int by_other)
{
    pthread_t consumer;

    if (by_other && pthread_create(&consumer, NULL, consume, &batch_count) != 0)
        exit(1);
    for (long batch = 0; batch < batch_count; batch++) {
        for (int i = 0; i < SLOT_COUNT; i++)
            slots[i] = malloc(block_bytes);
        if (by_other) {
            (void)sem_post(&is_full);
            (void)sem_wait(&is_empty);
        } else {
            free_all();
        }
    }
    if (by_other)
        (void)pthread_join(consumer, NULL);
}

int
main(int argc, char **argv)
{
    int mode = argc > 2 ? atoi(argv[1]) : -1;
    long count = argc > 2 ? atol(argv[2]) : 0;

    (void)sem_init(&is_full, 0, 0);
    (void)sem_init(&is_empty, 0, 0);
    switch (mode) {
    case 0:
        for (long i = 0; i < count; i++) {
            void *volatile block = malloc(64);

            free(block);
        }
        return 0;
    case 1:
        replace_at_random(count, 16, 512);
        return 0;
    case 2:
        replace_at_random(count, 1024, 30000);
        return 0;
    case 3:
    case 4:
        in_batches(count / SLOT_COUNT, mode == 3 ? 48 : 64, mode == 4);
        return 0;
    default:
        return 2;
    }
}
