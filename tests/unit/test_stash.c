/* SPDX-License-Identifier: MIT */
/* test_stash.c - runs that stay for the next block of their length. */
#include <criterion/criterion.h>

#include "heap/purge.h"
#include "heap/stash.h"
#include "support/rig.h"

#define REGION (2 * HM_MIB)

static struct rig rig;

static void
setup(void)
{
    rig_init(&rig);
    rig.conf.huge_start_bytes = 0;
}

static void
teardown(void)
{
    const char *broken = rig_check(&rig);

    cr_assert_null(broken, "broken: %s", broken);
    rig_fini(&rig);
}

TestSuite(stash, .init = setup, .fini = teardown);

static uintptr_t
take(size_t size_bytes)
{
    uintptr_t addr = rig_alloc_large(&rig, size_bytes, 16, NULL);

    cr_assert_neq(addr, 0);
    fake_space_touch(&rig.fake.space, addr, size_bytes);
    return addr;
}

static void
give(uintptr_t addr)
{
    rig_free(&rig, NULL, addr);
}

/* The run of a freed block of this size stays. Returns where. */
static uintptr_t
stash(size_t size_bytes)
{
    size_t used_pages = rig.heap.used_pages;
    uintptr_t addr = take(size_bytes);

    give(addr);
    addr = take(size_bytes);
    give(addr);
    cr_assert_eq(rig.heap.stash.pages, hm_bytes_to_pages_up(&rig.heap.geom, size_bytes));
    cr_assert_eq(rig.heap.used_pages, used_pages);
    cr_assert_null(rig_check(&rig));
    return addr;
}

Test(stash, the_second_of_a_length_stays)
{
    uintptr_t addr = take(100000);
    uintptr_t other_addr;

    give(addr);
    cr_assert_eq(rig.heap.stash.pages, 0, "once is no loop");
    addr = stash(100000);
    cr_assert_eq(hm_large_alloc_again(&rig.heap, 90000), NULL, "a page less");
    other_addr = take(90000);
    cr_assert_neq(other_addr, addr);
    cr_assert_eq(take(99000), addr, "as many pages");
    cr_assert_eq(rig.heap.stash.pages, 0);
    cr_assert_eq(hm_large_alloc_again(&rig.heap, 99000), NULL);
    give(addr);
    give(other_addr);
}

Test(stash, its_bytes_are_stale)
{
    bool is_zero = true;
    uintptr_t addr = stash(100000);

    cr_assert_eq(rig_alloc_large(&rig, 100000, 16, &is_zero), addr);
    cr_assert_not(is_zero);
    give(addr);
}

Test(stash, a_freed_block_is_none)
{
    uintptr_t addr = stash(100000);

    cr_assert_null(hm_pagemap_get(rig.heap.pagemap, addr));
}

Test(stash, sizes_that_cannot_be)
{
    cr_assert_null(hm_large_alloc_again(&rig.heap, SIZE_MAX));
    cr_assert_null(hm_large_alloc_again(&rig.heap, 40000));
    stash(100000);
    cr_assert_null(hm_large_alloc_again(&rig.heap, SIZE_MAX));
}

Test(stash, a_direct_block_is_charged_again)
{
    uintptr_t addr;

    hm_cutoff_set_mmap_threshold(&rig.heap.cutoff, 128 * HM_KIB);
    addr = stash(200000);
    cr_assert_eq(rig.heap.cutoff.live_count, 0);
    cr_assert_eq(take(200000), addr);
    cr_assert_eq(rig.heap.cutoff.live_count, 1);
    give(addr);
    cr_assert_eq(rig.heap.cutoff.live_count, 0);
}

Test(stash, other_lengths_take_its_place)
{
    uintptr_t addr = stash(100000);

    for (size_t i = 0; i < HM_STASH_RUNS; i++)
        give(take(200000 + i * 4096));
    cr_assert_eq(rig.heap.stash.pages, 0);
    cr_assert_null(hm_large_alloc_again(&rig.heap, 100000));
    cr_assert_null(hm_pagemap_get(rig.heap.pagemap, addr));
}

Test(stash, several_of_a_length)
{
    uintptr_t addrs[2 * HM_STASH_RUNS];
    size_t again_count = 0;

    for (size_t round = 0; round < 2 * HM_STASH_RUNS; round++) {
        for (size_t i = 0; i < 2 * HM_STASH_RUNS; i++)
            addrs[i] = take(40000);
        for (size_t i = 0; i < 2 * HM_STASH_RUNS; i++)
            give(addrs[i]);
    }
    cr_assert_eq(rig.heap.stash.pages, HM_STASH_RUNS * 10);
    while (hm_large_alloc_again(&rig.heap, 40000) != NULL)
        again_count++;
    cr_assert_eq(again_count, HM_STASH_RUNS);
}

/* Filled up by others, the region has no room but the stash. */
Test(stash, serves_others_before_a_region_is_opened)
{
    uintptr_t addr = stash(REGION / 2);
    uintptr_t rest_addr = take(REGION / 2 - 4096);
    uintptr_t other_addr = take(REGION / 4);

    cr_assert_eq(rig.heap.open_count, 1);
    cr_assert_eq(rig.heap.stash.pages, 0);
    cr_assert_eq(other_addr, addr);
    give(rest_addr);
    give(other_addr);
}

Test(stash, makes_way_for_a_block_that_grows)
{
    uintptr_t first_addr = take(400000);
    uintptr_t addr = stash(100000);

    cr_assert_eq(addr, first_addr + hm_align_up(400000, 4096));
    cr_assert_eq(rig_realloc(&rig, NULL, first_addr, 450000), first_addr);
    cr_assert_eq(rig.heap.stash.pages, 0);
    give(first_addr);
}

Test(stash, goes_back_with_all_else)
{
    stash(REGION);
    cr_assert_eq(hm_purge_all(&rig.heap), REGION);
    cr_assert_eq(rig.heap.stash.pages, 0);
    cr_assert_eq(rig.heap.open_count + rig.heap.kept_count, 0);
}

/* More than is kept in any case: only once it was seen to come back, and not for long. */
Test(stash, keeps_no_more_than_purge_does)
{
    uintptr_t addr = take(32 * HM_MIB);

    give(addr);
    give(take(32 * HM_MIB));
    cr_assert_eq(rig.heap.stash.pages, 0);
    give(take(32 * HM_MIB));
    give(take(32 * HM_MIB));
    cr_assert_eq(rig.heap.stash.pages, 16 * rig.heap.region_pages);
    for (int i = 0; i < 3; i++) {
        rig.fake.now_ns += (uint64_t)rig.conf.purge_delay_ms * 1000000u;
        while (hm_purge_tick(&rig.heap))
            continue;
    }
    cr_assert_eq(rig.heap.stash.pages, 0);
    cr_assert_leq(rig.heap.kept_count, 4);
}

/* What is kept besides counts. */
Test(stash, shares_the_limit_with_empty_regions)
{
    uintptr_t addrs[4];

    stash(3 * REGION);
    for (int i = 0; i < 4; i++)
        addrs[i] = take(REGION);
    for (int i = 0; i < 4; i++)
        give(addrs[i]);
    cr_assert_leq(rig.heap.kept_count + rig.heap.stash.pages / rig.heap.region_pages, 4);
}
