/* SPDX-License-Identifier: MIT */
/* test_thread.c - caches come and go, and what fork leaves in the child. */
#include <criterion/criterion.h>
#include <errno.h>
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
    return hm_pagemap_get(&rig.heap.pagemap, addr);
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
        struct hm_tcache *cache = hm_tcache_acquire(&rig.pool);
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
    struct hm_tcache *first = hm_tcache_acquire(&rig.pool);
    uintptr_t kept[3];
    struct hm_tcache *second;
    size_t span_count;

    for (int i = 0; i < 3; i++)
        kept[i] = alloc(first, 100);
    hm_tcache_retire(first);
    cr_assert_eq(rig.pool.orphan_count, 1);
    span_count = rig.heap.span_count;
    second = hm_tcache_acquire(&rig.pool);
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
    struct hm_tcache *cache = hm_tcache_acquire(&rig.pool);
    uintptr_t addr = alloc(cache, 100);

    hm_tcache_retire(cache);
    cache = hm_tcache_acquire(&rig.pool);
    cr_assert_neq(span_at(alloc(cache, 2000)), span_at(addr));
    cr_assert_eq(rig.pool.adopted_count, 0);
    rig_free(&rig, cache, addr);
    cr_assert_eq(rig.pool.orphan_count, 0);
}

Test(thread, full_orphans_are_skipped_and_come_back)
{
    struct hm_tcache *cache = hm_tcache_acquire(&rig.pool);
    uintptr_t first = alloc(cache, 4000);
    struct hm_span *span = span_at(first);

    while (cache->current[span->class_idx] == span)
        (void)alloc(cache, 4000);
    hm_tcache_retire(cache);
    cache = hm_tcache_acquire(&rig.pool);
    for (int i = 0; i < 100; i++)
        (void)alloc(cache, 4000);
    cr_assert_eq(rig.pool.orphan_count, 0);
    cr_assert_eq(span->home, cache);
    cr_assert_null(rig_check(&rig));
    rig_free(&rig, cache, first);
    cr_assert_eq(span->owner, cache);
}

Test(thread, no_memory_for_a_cache)
{
    struct hm_tcache *cache;

    while (hm_meta_alloc(&rig.heap.meta, 512, 64) != NULL && rig.fake.call_count[FAKE_MAP_META] < 3)
        continue;
    fake_os_fail(&rig.fake, FAKE_MAP_META, 1, ENOMEM, true);
    while (hm_meta_alloc(&rig.heap.meta, 512, 64) != NULL)
        continue;
    cr_assert_null(hm_tcache_acquire(&rig.pool));
    fake_os_heal(&rig.fake);
    cache = hm_tcache_acquire(&rig.pool);
    cr_assert_not_null(cache);
    cr_assert_neq(alloc(cache, 1), 0);
}

/* --- fork ------------------------------------------------------------------------------------- */

Test(thread, a_child_inherits_the_blocks_of_all)
{
    struct hm_tcache *self = hm_tcache_acquire(&rig.pool);
    struct hm_tcache *gone = hm_tcache_acquire(&rig.pool);
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
    struct hm_tcache *self = hm_tcache_acquire(&rig.pool);
    uintptr_t a = alloc(self, 500);
    uintptr_t b = alloc(self, 500);
    struct hm_span *span = span_at(a);

    hm_span_remote(span)[0] |= 1;
    after_fork(self);
    cr_assert_eq(span->used, 2, "one block and being current");
    cr_assert(!hm_span_is_live(span, a));
    cr_assert_eq(alloc(self, 500), a);
    rig_free(&rig, self, a);
    rig_free(&rig, self, b);
}

Test(thread, a_child_without_a_cache)
{
    struct hm_tcache *gone = hm_tcache_acquire(&rig.pool);
    uintptr_t kept = alloc(gone, 100);
    uintptr_t freed = alloc(gone, 5000);

    rig_free(&rig, gone, freed);
    after_fork(NULL);
    cr_assert_null(span_at(freed), "a span without live blocks goes back");
    cr_assert_eq(rig.pool.orphan_count, 1);
    rig_free(&rig, NULL, kept);
    cr_assert_eq(rig.heap.span_count, 0);
    cr_assert_eq(rig.pool.orphan_count, 0);
}

Test(thread, orphans_of_the_parent_stay_orphans)
{
    struct hm_tcache *self = hm_tcache_acquire(&rig.pool);
    struct hm_tcache *gone = hm_tcache_acquire(&rig.pool);
    uintptr_t kept = alloc(gone, 100);
    uintptr_t freed = alloc(gone, 2000);

    hm_tcache_retire(gone);
    cr_assert_eq(rig.pool.orphan_count, 2);
    hm_span_remote(span_at(freed))[0] |= 1; /* as by a free that the fork cut off */
    after_fork(self);
    cr_assert_null(span_at(freed));
    cr_assert_eq(rig.pool.orphan_count, 1);
    cr_assert_eq(span_at(alloc(self, 100)), span_at(kept));
    cr_assert_eq(rig.pool.orphan_count, 0);
}

/* Another thread has just made a span, and no cache owns it yet. */
Test(thread, fork_between_creation_and_ownership)
{
    struct hm_tcache *self = hm_tcache_acquire(&rig.pool);

    cr_assert_not_null(hm_span_create(&rig.heap, 5, 0));
    after_fork(self);
    cr_assert_eq(rig.heap.span_count, 0);
    cr_assert_eq(rig.pool.orphan_count, 0);
}
