/* SPDX-License-Identifier: MIT */
/* test_thread.c - caches come and go, and what fork leaves in the child. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "cache/remote.h"
#include "support/rig.h"

static struct rig rig;

static void
setup(void)
{
    rig_init(&rig);
}

static void
teardown(void)
{
    const char *broken = rig_check(&rig);

    cr_assert_null(broken, "broken: %s", broken);
    rig_fini(&rig);
}

TestSuite(thread, .init = setup, .fini = teardown);

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

static void
after_fork(struct hm_tcache *self)
{
    hm_lock_take(&rig.heap.lock);
    hm_pool_after_fork(&rig.pool, self);
    hm_lock_give(&rig.heap.lock);
}

Test(thread, ten_thousand_in_a_row_leave_one_cache)
{
    for (int i = 0; i < 10000; i++) {
        struct hm_tcache *cache = hm_tcache_acquire(&rig.pool, 0);
        uintptr_t addr = alloc(cache, 100);

        rig_free(&rig, cache, addr);
        hm_tcache_retire(cache);
    }
    cr_assert_eq(rig.pool.cache_count, 1);
    cr_assert_eq(rig.heap.span_count, 0);
    cr_assert_eq(rig.heap.used_pages, 0);
}

Test(thread, what_a_dead_thread_left_is_adopted)
{
    struct hm_tcache *first = hm_tcache_acquire(&rig.pool, 0);
    uintptr_t kept[3];
    struct hm_tcache *second;
    size_t span_count;

    for (int i = 0; i < 3; i++)
        kept[i] = alloc(first, 100);
    hm_tcache_retire(first);
    cr_assert_eq(rig.pool.orphan_count, 1);
    span_count = rig.heap.span_count;
    second = hm_tcache_acquire(&rig.pool, 0);
    cr_assert_eq(span_at(alloc(second, 100)), span_at(kept[0]));
    cr_assert_eq(rig.heap.span_count, span_count);
    cr_assert_eq(rig.pool.orphan_count, 0);
    cr_assert_eq(rig.pool.adopted_count, 1);
    cr_assert_eq(span_at(kept[0])->home, second);
    for (int i = 0; i < 3; i++)
        rig_free(&rig, second, kept[i]);
}

Test(thread, only_spans_of_the_class_are_adopted)
{
    struct hm_tcache *cache = hm_tcache_acquire(&rig.pool, 0);
    uintptr_t addr = alloc(cache, 100);

    hm_tcache_retire(cache);
    cache = hm_tcache_acquire(&rig.pool, 0);
    cr_assert_neq(span_at(alloc(cache, 2000)), span_at(addr));
    cr_assert_eq(rig.pool.adopted_count, 0);
    rig_free(&rig, cache, addr);
    cr_assert_eq(rig.pool.orphan_count, 0);
}

Test(thread, full_orphans_are_skipped_and_come_back)
{
    struct hm_tcache *cache = hm_tcache_acquire(&rig.pool, 0);
    uintptr_t first = alloc(cache, 4000);
    struct hm_span *span = span_at(first);

    while (cache->current[span->class_idx] == span)
        (void)alloc(cache, 4000);
    hm_tcache_retire(cache);
    cache = hm_tcache_acquire(&rig.pool, 0);
    for (int i = 0; i < 100; i++)
        (void)alloc(cache, 4000);
    cr_assert_eq(rig.pool.orphan_count, 0);
    cr_assert_eq(span->home, cache);
    cr_assert_null(rig_check(&rig));
    rig_free(&rig, cache, first);
    while (cache->current[span->class_idx] != span)
        cr_assert_neq(alloc(cache, 4000), 0);
}

/* The next thread may get the same id, and only what it owns is open to it. */
Test(thread, an_orphan_has_no_owner)
{
    struct hm_tcache *cache = hm_tcache_acquire(&rig.pool, 7777);
    uintptr_t addr = alloc(cache, 100);

    cr_assert_eq(span_at(addr)->owner, 7777);
    hm_tcache_retire(cache);
    cr_assert_eq(span_at(addr)->owner, HM_NOBODY);
    cache = hm_tcache_acquire(&rig.pool, 7777);
    cr_assert_eq(span_at(addr)->owner, HM_NOBODY);
    rig_free(&rig, cache, addr);
    cr_assert_eq(rig.heap.span_count, 0);
}

Test(thread, no_memory_for_a_cache)
{
    struct hm_tcache *cache;

    while (hm_meta_alloc(&rig.heap.meta, 512, 64) != NULL && rig.fake.call_count[FAKE_MAP_META] < 3)
        continue;
    fake_os_fail(&rig.fake, FAKE_MAP_META, 1, ENOMEM, true);
    while (hm_meta_alloc(&rig.heap.meta, 512, 64) != NULL)
        continue;
    cr_assert_null(hm_tcache_acquire(&rig.pool, 0));
    fake_os_heal(&rig.fake);
    cache = hm_tcache_acquire(&rig.pool, 0);
    cr_assert_not_null(cache);
    cr_assert_neq(alloc(cache, 1), 0);
}

/* --- fork ------------------------------------------------------------------------------------- */

Test(thread, a_child_inherits_the_blocks_of_all)
{
    struct hm_tcache *self = hm_tcache_acquire(&rig.pool, 0);
    struct hm_tcache *gone = hm_tcache_acquire(&rig.pool, 0);
    uintptr_t mine[50];
    uintptr_t theirs[50];

    for (int i = 0; i < 50; i++) {
        mine[i] = alloc(self, 500);
        theirs[i] = alloc(gone, 500);
    }
    rig_free(&rig, gone, mine[0]);
    rig_free(&rig, self, theirs[0]);
    after_fork(self);
    cr_assert_null(rig_check(&rig));
    cr_assert_eq(gone->is_dead, 1);
    cr_assert_eq(rig.pool.idle, gone);
    for (int i = 1; i < 50; i++) {
        cr_assert(hm_span_is_live(span_at(mine[i]), mine[i]));
        cr_assert(hm_span_is_live(span_at(theirs[i]), theirs[i]));
        rig_free(&rig, self, mine[i]);
        rig_free(&rig, self, theirs[i]);
    }
    hm_tcache_trim(self);
    cr_assert_eq(rig.heap.span_count, 0);
    cr_assert_eq(rig.pool.orphan_count, 0);
}

/* A thread of the parent was between the two steps of a remote free: the bit is set, the count is
 * not. */
Test(thread, half_a_remote_free_is_counted)
{
    struct hm_tcache *self = hm_tcache_acquire(&rig.pool, 0);
    uintptr_t a = alloc(self, 500);
    uintptr_t b = alloc(self, 500);
    struct hm_span *span = span_at(a);
    uint64_t idx = hm_span_slot_idx(span, a);

    span->remote[idx >> 6] |= (uint64_t)1 << (idx & 63);
    after_fork(self);
    cr_assert_eq(hm_span_live_count(span), 1);
    cr_assert_eq(span->uncounted, 0);
    cr_assert(!hm_span_is_live(span, a));
    rig_free(&rig, self, b);
    hm_tcache_trim(self);
    cr_assert_eq(rig.heap.span_count, 0);
}

/* The same in a full span, and in one with nothing else in use. */
Test(thread, half_a_remote_free_in_spans_that_are_not_current)
{
    struct hm_tcache *self = hm_tcache_acquire(&rig.pool, 0);
    uintptr_t first = alloc(self, 1000);
    uintptr_t last = alloc(self, 3000);
    struct hm_span *spans[2] = { span_at(first), span_at(last) };

    while (self->current[spans[0]->class_idx] == spans[0])
        (void)alloc(self, 1000);
    hm_tcache_let_go(self, spans[1]->class_idx);
    for (int i = 0; i < 2; i++) {
        uint64_t idx = hm_span_slot_idx(spans[i], i == 0 ? first : last);

        spans[i]->remote[idx >> 6] |= (uint64_t)1 << (idx & 63);
    }
    after_fork(self);
    cr_assert_null(rig_check(&rig));
    cr_assert_null(span_at(last));
    cr_assert_eq(spans[0]->hidden, 0);
    cr_assert_eq(self->room[spans[0]->class_idx].next, &spans[0]->link);
}

Test(thread, a_child_without_a_cache)
{
    struct hm_tcache *gone = hm_tcache_acquire(&rig.pool, 0);
    uintptr_t kept = alloc(gone, 100);

    rig_free(&rig, gone, alloc(gone, 100));
    after_fork(NULL);
    cr_assert_eq(rig.pool.orphan_count, 1);
    cr_assert(span_at(kept)->is_torn);
    rig_free(&rig, NULL, kept);
    cr_assert_eq(rig.heap.span_count, 0);
    cr_assert_eq(rig.pool.orphan_count, 0);
}

/* What the parent's other threads had free, the child can use. */
Test(thread, a_torn_span_is_adopted_with_its_free_slots)
{
    struct hm_tcache *self = hm_tcache_acquire(&rig.pool, 0);
    struct hm_tcache *gone = hm_tcache_acquire(&rig.pool, 0);
    uintptr_t addrs[60];
    struct hm_span *span;

    for (int i = 0; i < 60; i++)
        addrs[i] = alloc(gone, 64);
    for (int i = 0; i < 50; i++)
        rig_free(&rig, gone, addrs[i]);
    span = span_at(addrs[50]);
    after_fork(self);
    cr_assert_eq(hm_span_live_count(span), 10);
    for (int i = 0; i < 50; i++)
        cr_assert_eq(span_at(alloc(self, 64)), span);
    cr_assert_null(rig_check(&rig));
    cr_assert_eq(rig.pool.adopted_count, 1);
    for (int i = 50; i < 60; i++)
        cr_assert(hm_span_is_live(span, addrs[i]), "nobody else got it");
}

Test(thread, a_double_free_in_a_torn_span_aborts, .signal = SIGABRT)
{
    struct hm_tcache *gone = hm_tcache_acquire(&rig.pool, 0);
    uintptr_t addr = alloc(gone, 64);

    (void)alloc(gone, 64);
    rig_free(&rig, gone, addr);
    after_fork(NULL);
    rig_free(&rig, NULL, addr);
}

Test(thread, orphans_of_the_parent_stay_orphans)
{
    struct hm_tcache *self = hm_tcache_acquire(&rig.pool, 0);
    struct hm_tcache *gone = hm_tcache_acquire(&rig.pool, 0);
    uintptr_t kept = alloc(gone, 100);
    uintptr_t freed = alloc(gone, 2000);
    uint64_t idx;

    hm_tcache_retire(gone);
    cr_assert_eq(rig.pool.orphan_count, 2);
    /* as by a free that the fork cut off */
    idx = hm_span_slot_idx(span_at(freed), freed);
    span_at(freed)->remote[idx >> 6] |= (uint64_t)1 << (idx & 63);
    after_fork(self);
    cr_assert_null(span_at(freed));
    cr_assert_eq(rig.pool.orphan_count, 1);
    cr_assert_eq(span_at(alloc(self, 100)), span_at(kept));
    cr_assert_eq(rig.pool.orphan_count, 0);
}

/* Another thread has just made a span, and no cache owns it yet. */
Test(thread, fork_between_creation_and_ownership)
{
    struct hm_tcache *self = hm_tcache_acquire(&rig.pool, 0);

    cr_assert_not_null(hm_span_create(&rig.heap, 5, 0));
    after_fork(self);
    cr_assert_eq(rig.heap.span_count, 0);
    cr_assert_eq(rig.pool.orphan_count, 0);
}
