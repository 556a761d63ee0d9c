/* SPDX-License-Identifier: MIT */
/* test_mixed.c - a thread's first blocks, and who holds the spans that they lie in. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "stats/stats.h"
#include "support/rig.h"

static struct rig rig;
static struct hm_tcache *cache;

static struct hm_tcache *
new_cache(void)
{
    struct hm_tcache *made = hm_tcache_acquire(&rig.pool, 0);

    cr_assert_not_null(made);
    hm_mixing_start(made);
    return made;
}

static void
setup(void)
{
    rig_init(&rig);
    cache = new_cache();
}

static void
teardown(void)
{
    const char *broken = rig_check(&rig);

    cr_assert_null(broken, "broken: %s", broken);
    rig_fini(&rig);
}

static void
redirected(void)
{
    cr_redirect_stderr();
    setup();
}

TestSuite(mixed, .init = setup, .fini = teardown);

static uintptr_t
alloc_by(struct hm_tcache *by, size_t size_bytes)
{
    uintptr_t addr = rig_alloc(&rig, by, size_bytes, 16, NULL);

    cr_assert_neq(addr, 0);
    return addr;
}

static uintptr_t
alloc(size_t size_bytes)
{
    return alloc_by(cache, size_bytes);
}

static struct hm_span *
span_at(uintptr_t addr)
{
    return hm_pagemap_get(rig.heap.pagemap, addr);
}

static bool
is_mixed(uintptr_t addr)
{
    return span_at(addr)->kind == HM_SPAN_MIXED;
}

static void
after_fork(struct hm_tcache *self)
{
    hm_lock_take(&rig.heap.lock);
    hm_pool_after_fork(&rig.pool, self);
    hm_lock_give(&rig.heap.lock);
}

/* Blocks of one class lie where their class says, hold it, and hold nobody else's. */
static void
one_block_of_each_class(void)
{
    uintptr_t addrs[HM_CLASS_COUNT];

    for (unsigned i = 0; i < HM_CLASS_COUNT; i++) {
        size_t size_bytes = hm_class_bytes(i);

        addrs[i] = alloc(size_bytes);
        cr_assert_eq(is_mixed(addrs[i]), size_bytes <= HM_MIXED_MAX_BYTES);
        if (is_mixed(addrs[i]))
            cr_assert_eq(addrs[i] % (size_bytes & -size_bytes), 0, "as in a span of its own");
        cr_assert_eq(rig_usable(&rig, addrs[i]), size_bytes);
        memset((void *)addrs[i], (int)i + 1, size_bytes);
    }
    for (unsigned i = 0; i < HM_CLASS_COUNT; i++)
        for (size_t k = 0; k < hm_class_bytes(i); k++)
            cr_assert_eq(((char *)addrs[i])[k], (char)(i + 1), "class %u was overwritten", i);
    for (unsigned i = 0; i < HM_CLASS_COUNT; i++)
        rig_free(&rig, cache, addrs[i]);
    hm_tcache_trim(cache);
    cr_assert_eq(rig.heap.span_count, 0);
    cr_assert_eq(rig.heap.used_pages, 0);
}

Test(mixed, one_block_of_each_class)
{
    one_block_of_each_class();
}

Test(mixed, pages_of_64_kib)
{
    rig_fini(&rig);
    rig_init_on(&rig, 64 * HM_KIB, 512 * HM_MIB);
    cache = new_cache();
    one_block_of_each_class();
}

Test(mixed, ten_blocks_of_ten_sizes_share_two_pages)
{
    uintptr_t first = alloc(16);

    for (size_t i = 1; i < 10; i++)
        cr_assert_eq(span_at(alloc(16 * (1 + i * i))), span_at(first));
    cr_assert_eq(rig.heap.used_pages, 2);
}

Test(mixed, a_class_in_use_soon_has_a_span_of_its_own)
{
    for (unsigned i = 0; i < HM_CLASS_COUNT; i++) {
        size_t size_bytes = hm_class_bytes(i);
        size_t mixed_bytes = 0;

        while (is_mixed(alloc(size_bytes)))
            mixed_bytes += size_bytes;
        cr_assert_leq(mixed_bytes, HM_MIXED_MAX_BYTES);
        cr_assert(size_bytes > HM_MIXED_MAX_BYTES || mixed_bytes > HM_MIXED_MAX_BYTES - size_bytes);
        cr_assert_eq(cache->current[i]->class_idx, i);
    }
}

/* A block that is freed each time has its fast path soon, too. */
Test(mixed, freed_blocks_count)
{
    uintptr_t addr;

    for (size_t i = 0; i < HM_MIXED_MAX_BYTES / 64; i++) {
        addr = alloc(64);
        cr_assert(is_mixed(addr));
        rig_free(&rig, cache, addr);
    }
    cr_assert(!is_mixed(alloc(64)));
}

Test(mixed, caches_for_one_call_have_none)
{
    struct hm_tcache *late = hm_tcache_acquire(&rig.pool, 0);

    cr_assert(!is_mixed(alloc_by(late, 64)));
    hm_tcache_retire(late);
}

/* A cache that serves another thread starts anew. */
Test(mixed, a_used_cache_starts_anew)
{
    while (is_mixed(alloc(64)))
        continue;
    hm_tcache_retire(cache);
    cr_assert_eq(new_cache(), cache);
    cr_assert(is_mixed(alloc(48)));
}

Test(mixed, freed_room_serves_again)
{
    uintptr_t addrs[1000];
    uintptr_t again;
    size_t count = 0;
    struct hm_span *span;

    do {
        for (size_t size = 16; size <= 128; size += 16)
            addrs[count++] = alloc(size);
        span = span_at(addrs[0]);
    } while (cache->mixed == span && count < 900);
    cr_assert_neq(cache->mixed, span, "it is full");
    hm_tcache_retire(cache);
    cr_assert_null(rig_check(&rig));
    for (size_t i = 0; i < count; i += 2)
        if (span_at(addrs[i]) == span)
            rig_free(&rig, NULL, addrs[i]);
    cache = new_cache();
    again = alloc(100);
    while (span_at(again) != span && count < 999) {
        addrs[count++] = again;
        again = alloc(100);
    }
    cr_assert_eq(span_at(again), span, "where much was freed");
    for (size_t i = 1; i < count; i += 2)
        cr_assert(again + 112 <= addrs[i] || again >= addrs[i] + rig_usable(&rig, addrs[i]),
                  "a live block was handed out again");
}

/* One after the other, threads use the room that the one before left. */
Test(mixed, threads_in_a_row_share_spans)
{
    for (int i = 0; i < 50; i++) {
        (void)alloc(100);
        hm_tcache_retire(cache);
        cache = new_cache();
    }
    cr_assert_leq(rig.heap.span_count, 2);
}

Test(mixed, who_frees_last_gives_back)
{
    uintptr_t first = alloc(100);
    uintptr_t last = alloc(200);

    rig_free(&rig, NULL, first);
    cr_assert_eq(rig.heap.span_count, 1, "held");
    hm_tcache_retire(cache);
    cr_assert_eq(rig.heap.span_count, 1, "a block is in use");
    rig_free(&rig, NULL, last);
    cr_assert_eq(rig.heap.span_count, 0);
    cr_assert(hm_list_is_empty(&rig.pool.mixed));
    cr_assert_null(span_at(last));
}

Test(mixed, nothing_is_left_of_a_thread_that_freed_all)
{
    rig_free(&rig, cache, alloc(100));
    hm_tcache_retire(cache);
    cr_assert_eq(rig.heap.span_count, 0);
}

Test(mixed, no_memory_leaves_nothing)
{
    fake_os_fail(&rig.fake, FAKE_RESERVE, 1, ENOMEM, true);
    cr_assert_eq(rig_alloc(&rig, cache, 100, 16, NULL), 0);
    cr_assert_null(cache->mixed);
    cr_assert_eq(rig.heap.span_count, 0);
    fake_os_heal(&rig.fake);
    cr_assert(is_mixed(alloc(100)));
}

Test(mixed, live_and_free_bytes_are_counted)
{
    struct hm_stats stats;
    uintptr_t addr = alloc(1000);

    (void)alloc(100);
    hm_stats_read(&rig.pool, false, &stats);
    cr_assert_eq(stats.span_count[HM_SPAN_MIXED], 1);
    cr_assert_eq(stats.live_bytes, 1024 + 112);
    cr_assert_eq(stats.live_bytes + stats.free_slot_bytes + stats.fresh_slot_bytes,
                 stats.heap_bytes);
    rig_free(&rig, cache, addr);
    hm_stats_read(&rig.pool, false, &stats);
    cr_assert_eq(stats.live_bytes, 112);
}

/* --- fork ------------------------------------------------------------------------------------- */

Test(mixed, a_child_inherits_the_blocks_of_all)
{
    struct hm_tcache *gone = new_cache();
    uintptr_t mine = alloc(300);
    uintptr_t theirs = alloc_by(gone, 300);
    struct hm_span *held = span_at(mine);

    after_fork(cache);
    cr_assert_null(rig_check(&rig));
    cr_assert_eq(span_at(alloc(400)), held, "its own thread goes on");
    cr_assert_eq(rig_usable(&rig, theirs), 320);
    rig_free(&rig, cache, theirs);
    cr_assert_null(span_at(theirs));
    rig_free(&rig, cache, mine);
    cr_assert_eq(rig.heap.span_count, 1);
}

/* Other threads were between the two steps of a free, and of an allocation. */
Test(mixed, half_done_work_of_others_is_counted)
{
    struct hm_tcache *gone = new_cache();
    uintptr_t first = alloc_by(gone, 64);
    uintptr_t last = alloc_by(gone, 32);
    struct hm_span *span = span_at(first);

    ((uint8_t *)span->remote)[(first - span->base) / 16] |= 0x80;
    span->alarm += 100;
    after_fork(cache);
    rig_free(&rig, cache, last);
    cr_assert_eq(rig.heap.span_count, 0);
}

/* A handler may fork between the claim and the lock: who claimed it goes on in the child, and gives
 * it back once. */
Test(mixed, what_was_claimed_before_a_fork_is_given_back_once)
{
    struct hm_tcache *gone = new_cache();
    uintptr_t addr = alloc_by(gone, 64);
    struct hm_span *span = span_at(addr);

    hm_tcache_retire(gone);
    cr_assert(hm_mixed_free(span, addr));
    after_fork(cache);
    cr_assert_eq(rig.heap.span_count, 1);
    cr_assert_neq(span_at(alloc_by(new_cache(), 64)), span, "it serves nobody");
    hm_lock_take(&rig.heap.lock);
    hm_mixed_destroy(&rig.heap, span);
    hm_lock_give(&rig.heap.lock);
    cr_assert_eq(rig.heap.span_count, 1, "the other one");
    cr_assert(hm_list_is_empty(&rig.pool.mixed));
}

/* Of what was in the middle of being placed, the bytes are newer than where the room began. */
Test(mixed, room_begins_behind_all_blocks_after_a_fork)
{
    struct hm_tcache *gone = new_cache();
    uintptr_t first = alloc_by(gone, 64);
    uintptr_t second = alloc_by(gone, 64);
    struct hm_span *span = span_at(first);

    hm_store(&span->carved, (uint32_t)((second - first) >> span->class_idx));
    after_fork(cache);
    for (int i = 0; i < 16; i++)
        cr_assert_neq(alloc(64), second);
}

/* --- misuse ----------------------------------------------------------------------------------- */

Test(mixed, a_double_free_aborts, .init = redirected, .signal = SIGABRT)
{
    uintptr_t addr = alloc(100);

    (void)alloc(100);
    rig_free(&rig, cache, addr);
    rig_free(&rig, cache, addr);
}

Test(mixed, a_double_free_after_overwriting_aborts, .init = redirected, .signal = SIGABRT)
{
    uintptr_t addr = alloc(100);

    (void)alloc(100);
    rig_free(&rig, cache, addr);
    memset((void *)addr, 0, 100);
    rig_free(&rig, NULL, addr);
}

/* What was written to after free() is not handed out again. */
Test(mixed, a_damaged_block_aborts, .init = redirected, .signal = SIGABRT)
{
    uintptr_t addrs[500];
    struct hm_span *span = span_at(alloc(16));
    size_t count = 0;

    while (cache->mixed == span && count < 500) {
        addrs[count] = alloc(16 + 16 * (count % 8));
        count++;
    }
    for (size_t i = 0; i + 1 < count; i++) {
        rig_free(&rig, cache, addrs[i]);
        memset((void *)addrs[i], 'A', 16);
    }
    hm_tcache_retire(cache);
    cache = new_cache();
    for (size_t size = 16; size <= 128; size += 16)
        (void)alloc(size);
}

Test(mixed, a_pointer_into_a_block_aborts, .init = redirected, .signal = SIGABRT)
{
    rig_free(&rig, cache, alloc(100) + 16);
}

Test(mixed, an_odd_pointer_aborts, .init = redirected, .signal = SIGABRT)
{
    rig_free(&rig, cache, alloc(100) + 1);
}

Test(mixed, what_was_never_handed_out_aborts, .init = redirected, .signal = SIGABRT)
{
    rig_free(&rig, cache, alloc(100) + 112);
}

Test(mixed, a_block_is_found_by_any_pointer_into_it)
{
    uintptr_t addr = alloc(100);
    uintptr_t start = 0;

    for (size_t off = 0; off < 112; off++) {
        cr_assert_eq(hm_mixed_find(span_at(addr), addr + off, &start), 112);
        cr_assert_eq(start, addr);
    }
    cr_assert_eq(hm_mixed_find(span_at(addr), addr + 112, &start), 0);
    cr_assert_eq(hm_mixed_class(span_at(addr), addr + 16), HM_CLASS_COUNT);
    rig_free(&rig, cache, addr);
    cr_assert_eq(hm_mixed_find(span_at(addr), addr, &start), 112, "also once it is freed");
    cr_assert_eq(rig_usable(&rig, addr), 0);
}
