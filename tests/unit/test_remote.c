/* SPDX-License-Identifier: MIT */
/* test_remote.c - frees by others than the owner, one after the other and all at once. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "cache/remote.h"
#include "support/rig.h"

static struct rig rig;
static struct hm_tcache *owner;
static struct hm_tcache *other;

static void
setup(void)
{
    rig_init(&rig);
    owner = hm_tcache_acquire(&rig.pool, 0);
    other = hm_tcache_acquire(&rig.pool, 0);
}

static void
teardown(void)
{
    const char *broken = rig_check(&rig);

    cr_assert_null(broken, "broken: %s", broken);
    rig_fini(&rig);
}

TestSuite(remote, .init = setup, .fini = teardown);

static uintptr_t
alloc(struct hm_tcache *cache, size_t size_bytes)
{
    uintptr_t addr = rig_alloc(&rig, cache, size_bytes, 16, NULL);

    cr_assert_neq(addr, 0);
    return addr;
}

static struct hm_span *
span_at(uintptr_t addr)
{
    return hm_pagemap_get(&rig.heap.pagemap, addr);
}

Test(remote, counts_and_announces_once)
{
    uintptr_t addrs[10];
    struct hm_span *span;

    for (int i = 0; i < 10; i++)
        addrs[i] = alloc(owner, 100);
    span = span_at(addrs[0]);
    for (uint32_t i = 0; i < 10; i++) {
        rig_free(&rig, other, addrs[i]);
        cr_assert_eq(owner->pending, span);
        cr_assert_null(span->pending_next);
        cr_assert_eq(span->remote_count, i + 1);
        cr_assert(!hm_span_is_live(span, addrs[i]));
    }
    cr_assert_eq(hm_span_live_count(span), 0);
    cr_assert_null(rig_check(&rig));
    hm_remote_collect(owner);
    cr_assert_null(owner->pending);
    cr_assert_eq(span->remote_count, 0);
    cr_assert_eq(span->uncounted, 0);
    cr_assert_eq(hm_span_live_count(span), 0);
    hm_tcache_trim(owner);
    cr_assert_eq(rig.heap.span_count, 0);
}

Test(remote, a_full_span_serves_again)
{
    uintptr_t first = alloc(owner, 1000);
    struct hm_span *span = span_at(first);
    size_t span_count;

    while (owner->current[span->class_idx] == span)
        (void)alloc(owner, 1000);
    cr_assert_neq(span->hidden, 0);
    rig_free(&rig, other, first);
    span_count = rig.heap.span_count;
    while (owner->current[span->class_idx] != span)
        (void)alloc(owner, 1000);
    cr_assert_eq(rig.heap.span_count, span_count, "no new one is made before");
}

/* The bit of a free is merged before its count arrives: the span stays until then. */
Test(remote, a_free_that_is_not_counted_yet_keeps_the_span)
{
    uintptr_t a = alloc(owner, 64);
    uintptr_t b = alloc(owner, 64);
    struct hm_span *span = span_at(a);
    uint64_t idx = hm_span_slot_idx(span, a);

    span->remote[idx >> 6] |= (uint64_t)1 << (idx & 63); /* the first half of a free */
    rig_free(&rig, other, b);
    hm_tcache_trim(owner);
    cr_assert_eq(rig.heap.span_count, 1);
    cr_assert_eq(hm_span_live_count(span), 0);
    cr_assert_eq(span->uncounted, 1);
    for (int i = 0; i < 200; i++)
        rig_free(&rig, owner, alloc(owner, 64));
    cr_assert_eq(span_at(a), span);
    span->remote_count = 1; /* the second half */
    owner->pending = span;
    span->pending_next = NULL;
    hm_tcache_trim(owner);
    cr_assert_eq(rig.heap.span_count, 0);
}

Test(remote, an_empty_span_goes_back_when_its_owner_collects)
{
    uintptr_t addrs[100];

    for (int i = 0; i < 100; i++)
        addrs[i] = alloc(owner, 2000);
    for (int i = 0; i < 100; i++)
        rig_free(&rig, other, addrs[i]);
    cr_assert_gt(rig.heap.span_count, 1);
    hm_remote_collect(owner);
    cr_assert_leq(rig.heap.span_count, 1, "the current one may stay");
    cr_assert_null(rig_check(&rig));
}

Test(remote, blocks_of_a_dead_thread)
{
    uintptr_t a = alloc(owner, 64);
    uintptr_t b = alloc(owner, 64);

    hm_tcache_retire(owner);
    cr_assert_eq(rig.pool.orphan_count, 1);
    rig_free(&rig, other, a);
    cr_assert_eq(rig.heap.span_count, 1);
    rig_free(&rig, other, b);
    cr_assert_eq(rig.heap.span_count, 0, "the last block takes the span along");
    cr_assert_eq(rig.pool.orphan_count, 0);
    cr_assert_eq(rig.heap.used_pages, 0);
}

Test(remote, pending_frees_of_a_thread_that_dies)
{
    uintptr_t a = alloc(owner, 64);
    uintptr_t b = alloc(owner, 64);

    rig_free(&rig, other, a);
    hm_tcache_retire(owner);
    cr_assert_null(owner->pending);
    cr_assert_eq(span_at(b)->alarm, 1, "they were merged");
    rig_free(&rig, other, b);
    cr_assert_eq(rig.heap.span_count, 0);
}

Test(remote, all_pending_when_the_owner_dies)
{
    uintptr_t addrs[100];

    for (int i = 0; i < 100; i++)
        addrs[i] = alloc(owner, 300);
    for (int i = 0; i < 100; i++)
        rig_free(&rig, other, addrs[i]);
    hm_tcache_retire(owner);
    cr_assert_eq(rig.heap.span_count, 0);
    cr_assert_eq(rig.pool.orphan_count, 0);
    cr_assert_eq(rig.heap.used_pages, 0);
}

/* Found on the list of a cache, a span may belong to another one by now. */
Test(remote, a_pending_span_that_changed_hands)
{
    uintptr_t addr = alloc(owner, 64);
    struct hm_span *span = span_at(addr);

    (void)alloc(owner, 64);
    rig_free(&rig, other, addr);
    cr_assert_eq(owner->pending, span);
    span->home = other;
    hm_remote_collect(owner);
    cr_assert_eq(other->pending, span);
    span->home = owner;
    hm_lock_take(&rig.heap.lock);
    hm_remote_reroute(other);
    hm_lock_give(&rig.heap.lock);
    cr_assert_eq(owner->pending, span);
    hm_remote_collect(owner);
    cr_assert_eq(span->remote_count, 0);
}

Test(remote, a_thread_without_a_cache_can_free)
{
    uintptr_t addr = alloc(owner, 64);

    rig_free(&rig, NULL, addr);
    hm_tcache_trim(owner);
    cr_assert_eq(rig.heap.span_count, 0);
}

Test(remote, a_double_free_by_others_aborts, .signal = SIGABRT)
{
    uintptr_t addr = alloc(owner, 64);

    rig_free(&rig, other, addr);
    rig_free(&rig, other, addr);
}

Test(remote, a_double_free_after_the_owner_aborts, .signal = SIGABRT)
{
    uintptr_t addr = alloc(owner, 64);

    rig_free(&rig, owner, addr);
    rig_free(&rig, other, addr);
}

Test(remote, a_double_free_after_the_merge_aborts, .signal = SIGABRT)
{
    uintptr_t addr = alloc(owner, 64);

    rig_free(&rig, other, addr);
    hm_remote_collect(owner);
    rig_free(&rig, other, addr);
}

/* Before the merge it is in no list, but it bears the mark, and its bit is set. */
Test(remote, a_double_free_by_the_owner_aborts_before_the_merge, .signal = SIGABRT)
{
    uintptr_t addr = alloc(owner, 64);

    (void)alloc(owner, 64);
    rig_free(&rig, other, addr);
    rig_free(&rig, owner, addr);
}

Test(remote, a_free_inside_a_block_aborts, .signal = SIGABRT)
{
    rig_free(&rig, other, alloc(owner, 64) + 8);
}

/* --- at the same time ------------------------------------------------------------------------- */

#define FREERS 3
#define BLOCKS 30000

static uintptr_t box[FREERS][BLOCKS]; /* atomic: what the owner hands to each thread */

static void *
run_freer(void *arg)
{
    uintptr_t *mine = arg;

    for (size_t i = 0; i < BLOCKS; i++) {
        uintptr_t addr;

        while ((addr = __atomic_load_n(&mine[i], __ATOMIC_ACQUIRE)) == 0)
            sched_yield();
        rig_free(&rig, NULL, addr);
    }
    return NULL;
}

/* Several threads free into the same spans while the owner merges them: no legal free may be
 * refused, and none may get lost. */
Test(remote, several_threads_free_into_the_same_spans)
{
    pthread_t threads[FREERS];

    for (int t = 0; t < FREERS; t++)
        cr_assert_eq(pthread_create(&threads[t], NULL, run_freer, box[t]), 0);
    for (size_t i = 0; i < BLOCKS; i++) {
        for (int t = 0; t < FREERS; t++)
            __atomic_store_n(&box[t][i], alloc(owner, 16), __ATOMIC_RELEASE);
        hm_remote_collect(owner);
    }
    for (int t = 0; t < FREERS; t++)
        pthread_join(threads[t], NULL);
    hm_tcache_trim(owner);
    cr_assert_eq(rig.heap.span_count, 0);
    cr_assert_eq(rig.heap.used_pages, 0);
}
