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
    return hm_pagemap_get(rig.heap.pagemap, addr);
}

/* The owner looks itself at what it takes from. */
Test(remote, a_held_span_is_not_announced)
{
    uintptr_t addrs[10];
    struct hm_span *span;

    for (int i = 0; i < 10; i++)
        addrs[i] = alloc(owner, 100);
    span = span_at(addrs[0]);
    for (uint32_t i = 0; i < 10; i++) {
        rig_free(&rig, other, addrs[i]);
        cr_assert_null(owner->pending);
        cr_assert_eq(hm_remote_count(span), i + 1);
        cr_assert(!hm_span_is_live(span, addrs[i]));
    }
    cr_assert_eq(hm_span_live_count(span), 0);
    cr_assert_null(rig_check(&rig));
    hm_tcache_trim(owner);
    cr_assert_eq(rig.heap.span_count, 0);
}

Test(remote, counts_and_announces_once)
{
    uintptr_t addrs[10];
    struct hm_span *span;

    for (int i = 0; i < 10; i++)
        addrs[i] = alloc(owner, 100);
    span = span_at(addrs[0]);
    hm_tcache_let_go(owner, span->class_idx);
    for (uint32_t i = 0; i < 9; i++) {
        rig_free(&rig, other, addrs[i]);
        cr_assert_eq(owner->pending, span);
        cr_assert_null(span->pending_next);
        cr_assert_eq(hm_remote_count(span), i + 1);
        cr_assert(!hm_span_is_live(span, addrs[i]));
    }
    cr_assert_eq(hm_span_live_count(span), 1);
    cr_assert_null(rig_check(&rig));
    hm_remote_collect(owner);
    cr_assert_null(owner->pending);
    cr_assert_eq(hm_remote_count(span), 0);
    cr_assert_eq(span->uncounted, 0);
    cr_assert_eq(hm_span_live_count(span), 1);
    rig_free(&rig, owner, addrs[9]);
    cr_assert_eq(rig.heap.span_count, 0);
}

/* --- spans that others empty ------------------------------------------------------------------ */

/* The owner does nothing any more. */
Test(remote, who_frees_the_last_block_gives_the_pages_back)
{
    uintptr_t addrs[100];
    struct hm_span *span;

    for (int i = 0; i < 100; i++)
        addrs[i] = alloc(owner, 2000);
    span = span_at(addrs[0]);
    for (int i = 0; i < 100; i++)
        rig_free(&rig, other, addrs[i]);
    cr_assert_eq(rig.heap.span_count, 1, "only the current one is left");
    cr_assert_eq(span->kind, HM_SPAN_IDLE);
    cr_assert_null(rig_check(&rig));
    hm_remote_collect(owner);
    cr_assert_eq(owner->owned_count[hm_class_of(2000)], 1);
    cr_assert(hm_list_is_empty(&owner->full[hm_class_of(2000)]));
    cr_assert(hm_list_is_empty(&owner->room[hm_class_of(2000)]));
    cr_assert_neq(rig.heap.idle_spans[span->word_count], NULL, "structs serve again");
}

/* Whatever part of each span the owner frees, and whoever frees last, nothing is left. */
static void
free_in_turns(bool is_others_first, unsigned others_share, bool is_mixed)
{
    enum { COUNT = 2000 };
    static uintptr_t addrs[COUNT];

    for (int i = 0; i < COUNT; i++)
        addrs[i] = alloc(owner, 300);
    hm_tcache_let_go(owner, hm_class_of(300));
    for (int round = 0; round < 2; round++)
        for (unsigned i = 0; i < COUNT; i++) {
            bool is_others = i * 7 % 16 < others_share;

            if (is_mixed ? round == 0 : is_others == (is_others_first == (round == 0)))
                rig_free(&rig, is_others ? other : owner, addrs[i]);
        }
    cr_assert_eq(rig.heap.span_count, owner->spare_count,
                 "%zu spans left, others freed %s %u of 16", rig.heap.span_count,
                 is_mixed          ? "among"
                 : is_others_first ? "first"
                                   : "last",
                 others_share);
    cr_assert_null(rig_check(&rig));
    hm_tcache_trim(owner);
    cr_assert_eq(owner->owned_count[hm_class_of(300)], 0);
    cr_assert_eq(rig.heap.span_count, 0);
}

/* What the owner allocates from pins huge pages that are free but for it. */
Test(remote, a_sleeping_owner_does_not_hold_huge_pages)
{
    static uintptr_t addrs[64][32 * 64];
    static const size_t size_bytes = 1024;
    struct hm_tcache *sleepers[64];
    unsigned counts[64] = { 0 };

    rig.conf.huge_start_bytes = 0;
    /* Each stops somewhere else, so that each has its last span in another huge page. */
    for (int i = 0; i < 64; i++) {
        sleepers[i] = hm_tcache_acquire(&rig.pool, 0);
        for (; counts[i] < 32 * 64; counts[i]++)
            addrs[i][counts[i]] = alloc(sleepers[i], size_bytes);
    }
    for (int i = 0; i < 64; i++)
        for (unsigned j = 0; j < counts[i]; j++)
            rig_free(&rig, other, addrs[i][j]);
    cr_assert_gt(rig.heap.split_count, 0);
    cr_assert_leq(rig.heap.huge_free_pages, rig.heap.used_pages + 8 * 512);
    for (int i = 0; i < 64; i++)
        hm_tcache_trim(sleepers[i]);
}

Test(remote, the_last_free_is_noticed_whoever_does_it)
{
    for (unsigned share = 0; share <= 16; share++) {
        free_in_turns(false, share, false);
        free_in_turns(true, share, false);
        free_in_turns(false, share, true);
    }
}

/* Lists of the owner that hold structs of spans that are gone. */
Test(remote, the_owner_goes_on_among_given_spans)
{
    static uintptr_t addrs[400];

    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 400; i++)
            addrs[i] = alloc(owner, 1500);
        for (int i = 0; i < 400; i++)
            rig_free(&rig, other, addrs[(i * 37) % 400]);
        cr_assert_null(rig_check(&rig));
    }
    hm_tcache_retire(owner);
    cr_assert_eq(rig.heap.span_count, 0);
    cr_assert_eq(rig.pool.orphan_count, 0);
}

Test(remote, the_owner_dies_with_given_spans_in_its_lists)
{
    uintptr_t addrs[100];
    struct hm_span *span;

    for (int i = 0; i < 100; i++)
        addrs[i] = alloc(owner, 2000);
    span = span_at(addrs[0]);
    for (int i = 0; i < 99; i++)
        rig_free(&rig, other, addrs[i]);
    hm_tcache_retire(owner);
    cr_assert_eq(rig.pool.orphan_count, 1);
    cr_assert_null(owner->pending);
    cr_assert_null(span->home);
    rig_free(&rig, other, addrs[99]);
    cr_assert_eq(rig.heap.span_count, 0);
    cr_assert_eq(rig.pool.orphan_count, 0);
}

Test(remote, trim_finds_what_was_overlooked)
{
    uintptr_t a = alloc(owner, 64);
    uintptr_t b = alloc(owner, 64);
    struct hm_span *span = span_at(a);

    hm_tcache_let_go(owner, span->class_idx);
    rig_free(&rig, other, a);
    /* The owner's free was under way when `owner` was cleared. */
    cr_assert(hm_tcache_free(span, b));
    cr_assert_eq(rig.heap.span_count, 1);
    hm_lock_take(&rig.heap.lock);
    hm_pool_reclaim(&rig.pool);
    hm_lock_give(&rig.heap.lock);
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
    span->remote_state++; /* the second half */
    hm_tcache_trim(owner);
    cr_assert_eq(rig.heap.span_count, 0);
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
    cr_assert_eq(hm_span_live_count(span_at(b)), 1);
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
    hm_tcache_let_go(owner, span->class_idx);
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
    cr_assert_eq(hm_remote_count(span), 0);
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
