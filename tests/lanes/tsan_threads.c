/* SPDX-License-Identifier: MIT */
/* tsan_threads.c - threads share one heap, each with its own cache: frees across, deaths, adoption.
 *
 * Problem     The ways of a block between threads use no lock, and a race in them shows once in a
 *             million.
 * Idea        Threads take blocks, write to them, exchange them through a table, free each other's,
 *             end and begin again. A block's first and last words say whose it is, so that a block
 *             handed out twice is seen without any tool; ThreadSanitizer sees what is written
 *             without order. On the real kernel, since the blocks are written to. No LD_PRELOAD:
 *             the core is called directly.
 *
 * Usage       tsan_threads [SECONDS]
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cache/mixing.h"
#include "cache/remote.h"
#include "heap/purge.h"
#include "span/large.h"
#include "stats/stats.h"

#define THREADS 8
#define SHARED 512 /* blocks on their way between threads */
#define OWN 200    /* blocks that a thread has at a time */

static struct hm_machine machine;
static struct hm_conf conf;
static struct hm_pagemap pagemap;
static struct hm_heap heap;
static struct hm_pool pool;
static uint64_t *shared[SHARED]; /* atomic; NULL: nothing there */
static bool has_ended;           /* atomic */

static void __attribute__((noreturn)) fail(const char *what)
{
    printf("tsan_threads: FAILED: %s\n", what);
    fflush(stdout);
    _exit(1);
}

static void
on_abort(int number)
{
    (void)number;
    fail("aborted, see the line above");
}

static size_t
below(uint64_t *state, size_t limit)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (size_t)(*state % limit);
}

/* --- blocks: the size in the first word, a tag of the address in the last --------------------- */

static uint64_t *
last_word(uint64_t *block)
{
    return block + block[0] / sizeof(uint64_t) - 1;
}

static uint64_t *
take(struct hm_tcache *cache, uint64_t *state)
{
    size_t size_bytes = 16 + below(state, (size_t)1 << (5 + below(state, 8)));
    uint64_t *block;

    if (below(state, 500) == 0)
        size_bytes = 40000 + below(state, 200000);
    if (size_bytes <= HM_SMALL_MAX_BYTES)
        block = hm_tcache_alloc(cache, hm_class_of(size_bytes));
    else
        block = hm_large_alloc(&heap, size_bytes, 16, NULL);
    if (block == NULL)
        fail("no memory");
    block[0] = size_bytes / sizeof(uint64_t) * sizeof(uint64_t);
    *last_word(block) = (uint64_t)(uintptr_t)block;
    return block;
}

static void
give(struct hm_tcache *cache, uint64_t *block)
{
    uintptr_t addr = (uintptr_t)block;
    struct hm_span *span = hm_pagemap_get(heap.pagemap, addr);

    if (*last_word(block) != (uint64_t)addr)
        fail("a live block was written to by somebody else");
    block[0] = 0;
    if (span == NULL)
        fail("a live block has no span");
    if (hm_load(&span->owner) == hm_thread_id() && hm_tcache_free(span, addr))
        return;
    if (span->kind == HM_SPAN_SLOTS)
        hm_tcache_free_slow(&pool, cache, span, addr);
    else if (span->kind == HM_SPAN_MIXED)
        hm_mixing_free(&pool, span, addr);
    else
        hm_large_free(&heap, span, addr);
}

/* --- threads ---------------------------------------------------------------------------------- */

/* One life of a thread: its cache begins and ends with it, some of its blocks live on. */
static void
live(uint64_t *state)
{
    struct hm_tcache *cache = hm_tcache_acquire(&pool, hm_thread_id());
    uint64_t *own[OWN] = { NULL };
    size_t step_count = (size_t)100 << below(state, 9);

    if (cache == NULL)
        fail("no cache for a thread");
    if (below(state, 2) == 0)
        hm_mixing_start(cache);
    for (size_t step = 0; step < step_count; step++) {
        uint64_t **slot = &own[below(state, OWN)];

        if (*slot == NULL)
            *slot = take(cache, state);
        else if (below(state, 3) != 0)
            *slot = __atomic_exchange_n(&shared[below(state, SHARED)], *slot, __ATOMIC_ACQ_REL);
        else {
            give(cache, *slot);
            *slot = NULL;
        }
        if (below(state, 5000) == 0)
            hm_tcache_trim(cache);
    }
    for (int i = 0; i < OWN; i++) {
        if (own[i] != NULL && i % 4 == 0)
            own[i] = __atomic_exchange_n(&shared[below(state, SHARED)], own[i], __ATOMIC_ACQ_REL);
        if (own[i] != NULL)
            give(cache, own[i]);
    }
    hm_tcache_retire(cache);
}

static void *
run_thread(void *arg)
{
    uint64_t state = 88172645463325252u + (uintptr_t)arg * 977;

    while (!hm_load(&has_ended))
        live(&state);
    return NULL;
}

/* Somebody who looks on, as malloc_stats and malloc_trim may at any time. */
static void *
run_reader(void *arg)
{
    (void)arg;
    while (!hm_load(&has_ended)) {
        struct hm_stats stats;

        hm_stats_read(&pool, false, &stats);
        if (stats.live_bytes > stats.heap_bytes)
            fail("more bytes are live than the heap has");
        hm_lock_take(&heap.lock);
        hm_pool_reclaim(&pool);
        (void)hm_purge_all(&heap);
        hm_lock_give(&heap.lock);
        (void)usleep(20000);
    }
    return NULL;
}

static void
check_nothing_left(void)
{
    struct hm_tcache *cache = hm_tcache_acquire(&pool, hm_thread_id());
    const char *broken;

    for (int i = 0; i < SHARED; i++)
        if (shared[i] != NULL)
            give(cache, shared[i]);
    hm_tcache_retire(cache);
    broken = hm_pheap_check(&heap);
    if (broken != NULL)
        fail(broken);
    if (heap.used_pages != 0 || heap.span_count != 0 || pool.orphan_count != 0)
        fail("memory is in use after everything was freed");
    if (pool.cache_count > THREADS + 1)
        fail("caches of dead threads are not used again");
}

int
main(int argc, char **argv)
{
    unsigned seconds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 3;
    pthread_t threads[THREADS + 1];

    (void)signal(SIGABRT, on_abort);
    hm_os_probe(&machine);
    hm_conf_defaults(&conf);
    if (hm_heap_init(&heap, &pagemap, &hm_os_real, &conf, &machine.geom) != 0)
        fail("no heap");
    hm_pool_init(&pool, &heap);
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, run_thread, (void *)i) != 0)
            fail("pthread_create");
    if (pthread_create(&threads[THREADS], NULL, run_reader, NULL) != 0)
        fail("pthread_create");
    (void)sleep(seconds);
    hm_store(&has_ended, true);
    for (int i = 0; i <= THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    check_nothing_left();
    printf("tsan_threads: ok, %u caches, %llu spans adopted\n", pool.cache_count,
           (unsigned long long)pool.adopted_count);
    return 0;
}
