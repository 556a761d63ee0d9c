/* SPDX-License-Identifier: MIT */
/* bench_threads.c - blocks and threads that come and go.
 *
 * server   8 lines of work, 10^4 slots each; a thread replaces 10^5 blocks of 16 to 1000 bytes at
 *          random, then hands all its slots to a successor and ends; 25 threads per line
 * queue    one producer, one consumer, 10^7 blocks of 64 to 1024 bytes, at most 4096 under way
 * threads  10^4 threads, 100 at a time: each allocates 100 blocks of 16 to 1024 bytes, frees 90 of
 *          them, and leaves the others to the main thread
 */
#include "support.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

enum {
    LINE_COUNT = 8,
    GENERATION_COUNT = 25,
    RING_COUNT = 4096,
    PARCEL_COUNT = 64, /* blocks handed over at a time */
    WAVE_COUNT = 100,
    BLOCK_COUNT = 100,
    LEFT_COUNT = 10
};

static const pthread_attr_t *const default_attr = NULL;

struct line {
    void **slots;
    size_t slot_count;
    size_t op_count;
    int generation;
    uint64_t seed;
    sem_t is_done;
};

static void
start(pthread_t *thread, void *(*run)(void *), void *arg)
{
    if (pthread_create(thread, default_attr, run, arg) != 0)
        bench_stop(1, "cannot start a thread");
}

static void *
serve(void *arg)
{
    struct line *line = arg;
    pthread_t successor;

    for (size_t i = 0; i < line->op_count; i++) {
        size_t slot = bench_below(&line->seed, line->slot_count);

        free(line->slots[slot]);
        line->slots[slot] = bench_alloc(16 + bench_below(&line->seed, 985));
    }
    if (++line->generation < GENERATION_COUNT) {
        start(&successor, serve, line);
        (void)pthread_detach(successor);
    } else {
        (void)sem_post(&line->is_done);
    }
    return NULL;
}

static void
server(const struct bench_task *task)
{
    static struct line lines[LINE_COUNT];
    pthread_t first;

    for (size_t i = 0; i < LINE_COUNT; i++) {
        lines[i].slot_count = bench_scaled(task, 1e4, 100);
        lines[i].op_count = bench_scaled(task, 1e5, 1000);
        lines[i].seed = 88172645463325252u + i;
        lines[i].slots = calloc(lines[i].slot_count, sizeof(void *));
        if (lines[i].slots == NULL || sem_init(&lines[i].is_done, 0, 0) != 0)
            bench_stop(1, "cannot set up a line");
    }
    for (size_t i = 0; i < LINE_COUNT; i++) {
        start(&first, serve, &lines[i]);
        (void)pthread_detach(first);
    }
    for (size_t i = 0; i < LINE_COUNT; i++)
        while (sem_wait(&lines[i].is_done) != 0)
            continue;
    for (size_t i = 0; i < LINE_COUNT; i++) {
        for (size_t slot = 0; slot < lines[i].slot_count; slot++)
            free(lines[i].slots[slot]);
        free(lines[i].slots);
    }
}

/* The producer fills a parcel of the ring while the consumer empties another. */
static void *ring[RING_COUNT];
static sem_t full_parcels;
static sem_t empty_parcels;
static size_t parcel_count;

static void *
consume(void *arg)
{
    for (size_t parcel = 0; parcel < parcel_count; parcel++) {
        void **blocks = &ring[parcel * PARCEL_COUNT % RING_COUNT];

        while (sem_wait(&full_parcels) != 0)
            continue;
        for (int i = 0; i < PARCEL_COUNT; i++)
            free(blocks[i]);
        (void)sem_post(&empty_parcels);
    }
    return arg;
}

static void
queue(const struct bench_task *task)
{
    pthread_t consumer;
    uint64_t seed = 88172645463325252u;

    parcel_count = bench_scaled(task, 1e7, 10000);
    if (task->count > 0)
        parcel_count = (size_t)task->count;
    parcel_count = parcel_count / PARCEL_COUNT + 1;
    if (sem_init(&full_parcels, 0, 0) != 0
        || sem_init(&empty_parcels, 0, RING_COUNT / PARCEL_COUNT) != 0)
        bench_stop(1, "cannot set up the queue");
    start(&consumer, consume, NULL);
    for (size_t parcel = 0; parcel < parcel_count; parcel++) {
        void **blocks = &ring[parcel * PARCEL_COUNT % RING_COUNT];

        while (sem_wait(&empty_parcels) != 0)
            continue;
        for (int i = 0; i < PARCEL_COUNT; i++)
            blocks[i] = bench_alloc(64 + bench_below(&seed, 961));
        (void)sem_post(&full_parcels);
    }
    (void)pthread_join(consumer, NULL);
}

struct visitor {
    pthread_t thread;
    uint64_t seed;
    void *left[LEFT_COUNT];
};

static void *
visit(void *arg)
{
    struct visitor *visitor = arg;
    void *blocks[BLOCK_COUNT];

    for (int i = 0; i < BLOCK_COUNT; i++)
        blocks[i] = bench_alloc(16 + bench_below(&visitor->seed, 1009));
    for (int i = 0; i < BLOCK_COUNT; i++) {
        if (i % (BLOCK_COUNT / LEFT_COUNT) == 0)
            visitor->left[i / (BLOCK_COUNT / LEFT_COUNT)] = blocks[i];
        else
            free(blocks[i]);
    }
    return NULL;
}

static void
threads(const struct bench_task *task)
{
    static struct visitor visitors[WAVE_COUNT];
    size_t wave_count = bench_scaled(task, 1e4, WAVE_COUNT) / WAVE_COUNT;

    for (size_t wave = 0; wave < wave_count; wave++) {
        for (size_t i = 0; i < WAVE_COUNT; i++) {
            visitors[i].seed = 88172645463325252u + wave * WAVE_COUNT + i;
            start(&visitors[i].thread, visit, &visitors[i]);
        }
        for (size_t i = 0; i < WAVE_COUNT; i++) {
            (void)pthread_join(visitors[i].thread, NULL);
            for (size_t left = 0; left < LEFT_COUNT; left++)
                free(visitors[i].left[left]);
        }
    }
}

int
main(int argc, char **argv)
{
    struct bench_task task = bench_task(argc, argv, "server queue threads");

    if (strcmp(task.name, "server") == 0)
        server(&task);
    else if (strcmp(task.name, "queue") == 0)
        queue(&task);
    else
        threads(&task);
    bench_final();
    return 0;
}
