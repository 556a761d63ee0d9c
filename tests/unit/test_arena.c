/* SPDX-License-Identifier: MIT */
/* test_arena.c - private arenas on the fake kernel. */
#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#include "arena/arena.h"
#include "support/rig.h"

#define OWN_ID ((uintptr_t)0x1234)

static struct rig rig; /* for its kernel and its settings */
static struct hm_meta meta;
static struct hm_pagemap pagemap;
static struct hm_arena_site site;
static struct hm_arena arena;
static size_t meta_bytes; /* without any arena */

static void
setup(void)
{
    rig_init(&rig);
    hm_meta_init(&meta, &rig.fake.os);
    cr_assert_eq(hm_pagemap_init(&pagemap, &meta, SIZE_MAX), 0);
    site = (struct hm_arena_site){ &pagemap, &rig.fake.os, &rig.heap.geom };
    meta_bytes = rig.fake.meta_bytes;
}

static void
teardown(void)
{
    const char *broken = hm_pheap_check(&arena.heap);

    cr_assert_null(broken, "broken: %s", broken);
    hm_arena_fini(&arena, true);
    cr_assert_eq(rig.fake.space.reserved_bytes, 0, "address space is left");
    cr_assert_eq(rig.fake.meta_bytes, meta_bytes, "metadata is left");
    rig_fini(&rig);
}

TestSuite(arena, .init = setup, .fini = teardown);

static void
create(size_t cutoff_bytes)
{
    cr_assert_eq(hm_arena_init(&arena, &site, &rig.conf, cutoff_bytes, OWN_ID), 0);
}

static uintptr_t
alloc(size_t size_bytes)
{
    return (uintptr_t)hm_arena_alloc(&arena, &arena.own, size_bytes, 16);
}

static struct hm_span *
span_at(uintptr_t addr)
{
    return hm_pagemap_get(&pagemap, addr);
}

static void
release(uintptr_t addr)
{
    hm_arena_free(&arena, &arena.own, span_at(addr), addr);
}

Test(arena, blocks_of_all_sizes)
{
    create(HM_CUTOFF_MOVES);
    for (size_t size_bytes = 1; size_bytes < 600 * HM_MIB; size_bytes = size_bytes * 3 + 5) {
        uintptr_t addr = alloc(size_bytes);

        cr_assert_neq(addr, 0);
        cr_assert_eq(addr % 16, 0);
        cr_assert_eq(span_at(addr)->heap, &arena.heap);
        cr_assert_geq(hm_span_room(span_at(addr), addr), size_bytes);
        release(addr);
    }
    cr_assert_eq(rig.heap.used_pages, 0, "another heap");
}

Test(arena, aligned_blocks)
{
    create(HM_CUTOFF_MOVES);
    for (size_t align_bytes = 32; align_bytes <= 8 * HM_MIB; align_bytes *= 2) {
        uintptr_t addr = (uintptr_t)hm_arena_alloc(&arena, &arena.own, 1000, align_bytes);

        cr_assert_neq(addr, 0);
        cr_assert_eq(addr % align_bytes, 0);
    }
}

Test(arena, two_arenas_and_one_pagemap)
{
    static struct hm_arena other;
    uintptr_t addr;

    create(HM_CUTOFF_MOVES);
    cr_assert_eq(hm_arena_init(&other, &site, &rig.conf, HM_CUTOFF_MOVES, OWN_ID + 8), 0);
    addr = (uintptr_t)hm_arena_alloc(&other, &other.own, 50, 16);
    cr_assert_eq(span_at(addr)->heap, &other.heap);
    cr_assert_eq(span_at(addr)->owner, OWN_ID + 8);
    cr_assert_eq(span_at(alloc(50))->owner, OWN_ID);
    hm_arena_fini(&other, true);
    cr_assert_null(span_at(addr));
}

/* The cutoff is the arena's own: what is freed in one moves no other's. */
Test(arena, the_cutoff_moves)
{
    uintptr_t addr;

    create(HM_CUTOFF_MOVES);
    addr = alloc(300 * HM_KIB);
    cr_assert_eq(arena.heap.cutoff.live_count, 1);
    release(addr);
    cr_assert_eq(arena.heap.cutoff.live_count, 0);
    (void)alloc(300 * HM_KIB);
    cr_assert_eq(arena.heap.cutoff.live_count, 0);
    cr_assert(hm_cutoff_is_direct(&rig.heap.cutoff, 300 * HM_KIB, 16));
}

Test(arena, a_fixed_cutoff)
{
    uintptr_t addr;

    create(2000);
    cr_assert_neq(alloc(1500), 0);
    cr_assert_eq(arena.heap.cutoff.live_count, 0);
    addr = alloc(2000);
    cr_assert_eq(arena.heap.cutoff.live_count, 1);
    cr_assert_eq(span_at(addr)->kind, HM_SPAN_RUN);
    release(addr);
    (void)alloc(2000);
    cr_assert_eq(arena.heap.cutoff.live_count, 1);
}

Test(arena, no_cutoff)
{
    create(SIZE_MAX);
    cr_assert_neq(alloc(50 * HM_MIB), 0);
    cr_assert_eq(arena.heap.cutoff.live_count, 0);
}

Test(arena, calloc_after_use)
{
    unsigned char *mem;

    create(HM_CUTOFF_MOVES);
    mem = hm_arena_alloc(&arena, &arena.own, 500, 16);
    memset(mem, 0xff, 500);
    release((uintptr_t)mem);
    mem = hm_arena_calloc(&arena, &arena.own, 500);
    for (int i = 0; i < 500; i++)
        cr_assert_eq(mem[i], 0);
}

Test(arena, realloc_keeps_what_was_there)
{
    unsigned char *mem;
    size_t size_bytes = 10;

    create(HM_CUTOFF_MOVES);
    mem = hm_arena_alloc(&arena, &arena.own, size_bytes, 16);
    memset(mem, 'x', 10);
    while (size_bytes < 20 * HM_MIB) {
        size_bytes = size_bytes * 2 + 3;
        mem = hm_arena_realloc(&arena, &arena.own, span_at((uintptr_t)mem), mem, size_bytes);
        cr_assert_not_null(mem);
        cr_assert_eq(memcmp(mem, "xxxxxxxxxx", 10), 0);
    }
    mem = hm_arena_realloc(&arena, &arena.own, span_at((uintptr_t)mem), mem, 10);
    cr_assert_eq(memcmp(mem, "xxxxxxxxxx", 10), 0);
}

/* A limit counts what the thread holds in reserve only as long as nobody needs it. */
Test(arena, a_limit_is_met_and_lifted)
{
    uintptr_t addrs[4000];
    size_t count = 0;

    rig.conf.limit_bytes = 4 * HM_MIB;
    create(SIZE_MAX);
    while (count < 4000 && (addrs[count] = alloc(2000)) != 0)
        count++;
    cr_assert_gt(count * 2048, 4 * HM_MIB - 8 * 4096);
    cr_assert_lt(count, 4000);
    while (count > 0)
        release(addrs[--count]);
    cr_assert_neq(alloc(4 * HM_MIB), 0);
    cr_assert_eq(alloc(1), 0);
}

/* --- reset ------------------------------------------------------------------------------------ */

Test(arena, reset_frees_everything)
{
    uintptr_t small[1000];
    uintptr_t large;
    size_t opened_bytes;
    size_t kept_count;

    create(HM_CUTOFF_MOVES);
    for (int i = 0; i < 1000; i++) {
        small[i] = alloc(100);
        fake_space_touch(&rig.fake.space, small[i] & ~(uintptr_t)4095, 4096);
    }
    for (int i = 0; i < 1000; i += 3)
        release(small[i]);
    large = alloc(30 * HM_MIB);
    (void)alloc(300 * HM_MIB);
    opened_bytes = arena.heap.discarded_bytes;
    hm_arena_reset(&arena);
    cr_assert_null(span_at(small[1]));
    cr_assert_null(span_at(large));
    cr_assert_eq(arena.heap.cutoff.live_count, 0);
    cr_assert_eq(arena.heap.discarded_bytes - opened_bytes, 300 * HM_MIB, "only the mapping went");
    kept_count = arena.heap.kept_count;
    cr_assert_neq(alloc(30 * HM_MIB), 0);
    cr_assert_leq(arena.heap.kept_count, kept_count - 14, "it lies on what was kept");
    for (int i = 0; i < 1000; i++)
        cr_assert_neq(alloc(100), 0);
}

/* Spans stay for who needs their class, and go back where another class needs the pages. */
Test(arena, reset_and_another_class)
{
    size_t heap_bytes;

    create(HM_CUTOFF_MOVES);
    for (int i = 0; i < 20000; i++)
        (void)alloc(100);
    heap_bytes = hm_heap_bytes(&arena.heap);
    for (int round = 0; round < 5; round++) {
        hm_arena_reset(&arena);
        for (int i = 0; i < 10000; i++)
            (void)alloc(round % 2 == 0 ? 200 : 100);
        cr_assert_leq(hm_heap_bytes(&arena.heap), heap_bytes + heap_bytes / 8);
    }
    hm_arena_reset(&arena);
    (void)alloc(heap_bytes);
    cr_assert_leq(hm_heap_bytes(&arena.heap), heap_bytes + heap_bytes / 8);
}

/* What was not used since the last reset lies behind all else, where a reset does not come by. */
Test(arena, reset_after_little_use)
{
    uintptr_t broken_addr;
    uintptr_t addrs[3];
    const char *broken;

    create(HM_CUTOFF_MOVES);
    for (int i = 0; i < 20000; i++)
        (void)alloc(100);
    hm_arena_reset(&arena);
    for (int round = 0; round < 3; round++) {
        size_t left_count = 0;

        addrs[0] = alloc(100);
        addrs[1] = alloc(3000);
        addrs[2] = alloc(300 * HM_MIB);
        broken = hm_pool_check(&arena.pool, &broken_addr);
        cr_assert_null(broken, "broken: %s", broken);
        for (struct hm_list *link = &arena.heap.spans;
             link->prev != &arena.heap.spans
             && hm_pool_is_at_rest(hm_container_of(link->prev, struct hm_span, all_link));
             link = link->prev)
            left_count++;
        cr_assert_eq(left_count, arena.heap.span_count - 3);
        hm_arena_reset(&arena);
        for (int i = 0; i < 3; i++)
            cr_assert_null(span_at(addrs[i]));
        cr_assert_eq(alloc(100), addrs[0], "what was used last is warm");
        hm_arena_reset(&arena);
    }
}

/* No mark of an earlier life is left where a span goes back: see hm_span_wipe. */
Test(arena, no_mark_is_left)
{
    struct hm_span *span;
    uintptr_t addrs[64];

    create(HM_CUTOFF_MOVES);
    for (int i = 0; i < 64; i++)
        addrs[i] = alloc(64);
    span = span_at(addrs[0]);
    for (int i = 0; i < 64; i += 2)
        release(addrs[i]);
    hm_arena_reset(&arena);
    cr_assert_gt(span->stale_count, 0);
    (void)hm_arena_trim(&arena, &arena.own);
    cr_assert_eq(span->kind, HM_SPAN_IDLE);
    cr_assert_eq(hm_heap_bytes(&arena.heap), 0);
}

/* A block of before is none any more. */
Test(arena, a_free_after_reset, .signal = SIGABRT)
{
    uintptr_t addr;

    create(HM_CUTOFF_MOVES);
    addr = alloc(64);
    hm_arena_reset(&arena);
    cr_assert_neq(alloc(64), 0);
    release(addr + 64);
}

Test(arena, reset_of_what_threads_hold)
{
    struct hm_tcache *caches[2];
    uintptr_t addr;

    cr_assert_eq(hm_arena_init(&arena, &site, &rig.conf, HM_CUTOFF_MOVES, 0), 0);
    for (int i = 0; i < 2; i++) {
        caches[i] = hm_tcache_acquire(&arena.pool, 0);
        addr = (uintptr_t)hm_arena_alloc(&arena, caches[i], 100, 16);
        cr_assert_neq(addr, 0);
    }
    /* by a thread that does not own it */
    hm_arena_free(&arena, caches[0], span_at(addr), addr);
    hm_arena_reset(&arena);
    for (int i = 0; i < 2; i++)
        cr_assert_neq(hm_arena_alloc(&arena, caches[i], 100, 16), 0);
    cr_assert_eq(hm_arena_alloc(&arena, NULL, 1, 16) == NULL, false, "without a cache");
}

/* Spans that other threads gave back, while the owner has not been told yet. */
Test(arena, reset_of_what_others_freed)
{
    enum { COUNT = 2000, ROUNDS = 100 };
    struct hm_tcache *caches[2];
    uintptr_t addrs[COUNT];
    size_t early_bytes = 0;

    cr_assert_eq(hm_arena_init(&arena, &site, &rig.conf, HM_CUTOFF_MOVES, 0), 0);
    for (int i = 0; i < 2; i++)
        caches[i] = hm_tcache_acquire(&arena.pool, 0);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < COUNT; i++)
            addrs[i] = (uintptr_t)hm_arena_alloc(&arena, caches[0], 500, 16);
        for (int i = 0; i < COUNT; i++)
            hm_arena_free(&arena, caches[1], span_at(addrs[i]), addrs[i]);
        hm_arena_reset(&arena);
        if (round == ROUNDS / 10)
            early_bytes = rig.fake.meta_bytes;
    }
    cr_assert_eq(rig.fake.meta_bytes, early_bytes, "structs are used again");
}

Test(arena, trim_returns_what_a_reset_kept)
{
    create(HM_CUTOFF_MOVES);
    for (int i = 0; i < 100; i++)
        fake_space_touch(&rig.fake.space, alloc(HM_MIB), HM_MIB);
    hm_arena_reset(&arena);
    cr_assert_geq(arena.heap.kept_count, 45);
    cr_assert_gt(hm_arena_trim(&arena, &arena.own), 0);
    cr_assert_eq(arena.heap.kept_count, 0);
}

/* Address space that a page of the pool leaves behind is the arena's again, by name. */
Test(arena, a_page_of_the_pool_goes_back)
{
    uintptr_t addr;

    rig_chain(&rig, "hugetlb,thp,4k");
    rig.conf.huge_start_bytes = 0;
    rig.conf.name = "huma own";
    rig.fake.space.pool_bytes = 2 * HM_MIB;
    create(HM_CUTOFF_MOVES);
    addr = alloc(HM_MIB);
    cr_assert_eq(rig.fake.space.pool_used_bytes, 2 * HM_MIB);
    release(addr);
    rig.fake.latest_name = NULL;
    (void)hm_arena_trim(&arena, &arena.own);
    cr_assert_eq(rig.fake.space.pool_used_bytes, 0);
    cr_assert_not_null(rig.fake.latest_name);
    cr_assert_str_eq(rig.fake.latest_name, "huma own");
}
