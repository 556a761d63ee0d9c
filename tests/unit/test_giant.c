/* SPDX-License-Identifier: MIT */
/* test_giant.c - hugetlb pages of eight regions: when they are taken, and that they go back
 * whole. */
#include <criterion/criterion.h>
#include <errno.h>

#include "heap/extent.h"
#include "heap/giant.h"
#include "heap/purge.h"
#include "heap/shadow.h"
#include "support/rig.h"

#define REGION (2 * HM_MIB)
#define PAGE (8 * REGION)

static struct rig rig;

static void
begin(const char *chain, size_t pool_bytes)
{
    rig_init(&rig);
    rig_chain(&rig, chain);
    rig.fake.space.pool_shift = 24;
    rig.fake.space.pool_bytes = pool_bytes;
}

static void
end(void)
{
    const char *broken = rig_check(&rig);

    cr_assert_null(broken, "%s", broken);
    rig_fini(&rig);
}

static uintptr_t
alloc(size_t size_bytes)
{
    uintptr_t addr = rig_alloc_large(&rig, size_bytes, 16, NULL);
    const char *broken = rig_check(&rig);

    cr_assert_null(broken, "%s", broken);
    return addr;
}

static void
release(uintptr_t addr)
{
    const char *broken;

    rig_free(&rig, NULL, addr);
    broken = rig_check(&rig);
    cr_assert_null(broken, "%s", broken);
}

static size_t
used_bytes(void)
{
    return rig.fake.space.pool_used_bytes;
}

static uint64_t
count_of(enum hm_reason reason)
{
    return rig.heap.backing.reason_count[reason];
}

Test(giant, a_large_block_lies_on_whole_pages)
{
    uintptr_t addr;

    begin("hugetlb:16M,thp,4k", 10 * PAGE);
    addr = alloc(3 * PAGE);
    cr_assert_neq(addr, 0);
    cr_expect_eq(used_bytes(), 3 * PAGE);
    for (size_t off = 0; off < 3 * PAGE; off += REGION)
        cr_expect_neq(fake_space_flags(&rig.fake.space, addr + off) & FAKE_POOL, 0);
    release(addr);
    cr_expect_eq(used_bytes(), 0, "all went back with the last block");
    end();
}

/* It takes a whole page where it begins to need one, and what is left serves others. */
Test(giant, what_is_left_of_a_page_serves)
{
    uintptr_t large;
    uintptr_t small;

    begin("hugetlb:16M,thp,4k", 10 * PAGE);
    large = alloc(PAGE + REGION);
    cr_expect_eq(used_bytes(), 2 * PAGE);
    small = alloc(100 * HM_KIB);
    cr_expect_neq(fake_space_flags(&rig.fake.space, small) & FAKE_POOL, 0);
    cr_expect_eq(used_bytes(), 2 * PAGE);
    release(large);
    cr_expect_eq(used_bytes(), PAGE, "the other has a block");
    cr_expect_eq(rig.heap.giant_kept_count, 7);
    release(small);
    cr_expect_eq(used_bytes(), 0);
    cr_expect_eq(rig.heap.giant_kept_count, 0);
    end();
}

Test(giant, a_heap_smaller_than_a_page_takes_none)
{
    begin("hugetlb:16M,thp,4k", 10 * PAGE);
    for (int i = 0; i < 7; i++)
        cr_assert_neq(alloc(REGION), 0);
    cr_expect_eq(used_bytes(), 0);
    cr_expect_gt(count_of(HM_REASON_POOL_LARGE), 0);
    for (int i = 0; i < 40; i++)
        cr_assert_neq(alloc(REGION), 0);
    cr_expect_geq(used_bytes(), 2 * PAGE, "blocks of a region each, in a heap that is larger");
    end();
}

Test(giant, from_the_first_byte_where_nothing_else_is_allowed)
{
    uintptr_t addr;

    begin("hugetlb:16M", 2 * PAGE);
    addr = alloc(100 * HM_KIB);
    cr_assert_neq(addr, 0);
    cr_expect_eq(used_bytes(), PAGE);
    cr_assert_neq(alloc(PAGE), 0);
    cr_expect_eq(alloc(PAGE), 0, "the pool is empty");
    release(addr);
    end();
}

Test(giant, from_the_first_byte_where_the_heap_begins_with_huge_pages)
{
    begin("hugetlb:16M,thp,4k", 2 * PAGE);
    rig.conf.huge_start_bytes = 0;
    cr_assert_neq(alloc(100 * HM_KIB), 0);
    cr_expect_eq(used_bytes(), PAGE);
    end();
}

Test(giant, what_the_pool_lacks_is_on_the_next_backing)
{
    uintptr_t addr;

    begin("hugetlb:16M,thp,4k", 2 * PAGE);
    rig.fake.shortage.cause = HM_SHORTAGE_POOL;
    addr = alloc(5 * PAGE);
    cr_assert_neq(addr, 0);
    cr_expect_eq(used_bytes(), 2 * PAGE);
    cr_expect_eq(count_of(HM_REASON_POOL_EMPTY), 3 * 8);
    release(addr);
    cr_expect_eq(used_bytes(), 0);
    end();
}

Test(giant, behind_other_backings_they_are_not_taken)
{
    begin("thp,hugetlb:16M,4k", 10 * PAGE);
    cr_assert_neq(alloc(3 * PAGE), 0);
    cr_expect_eq(used_bytes(), 0);
    end();
}

Test(giant, blocks_grow_and_shrink)
{
    uintptr_t addr;

    begin("hugetlb:16M,thp,4k", 20 * PAGE);
    addr = alloc(2 * PAGE + REGION);
    addr = rig_realloc(&rig, NULL, addr, 3 * PAGE + 2 * REGION);
    cr_assert_neq(addr, 0);
    addr = rig_realloc(&rig, NULL, addr, 200 * HM_KIB);
    cr_assert_neq(addr, 0);
    cr_expect_leq(used_bytes(), 2 * PAGE);
    release(addr);
    cr_expect_eq(used_bytes(), 0);
    end();
}

/* As in an arena that was reset. */
Test(giant, empty_pages_stay_where_memory_is_to_be_kept)
{
    uintptr_t addr;

    begin("hugetlb:16M,thp,4k", 20 * PAGE);
    rig.heap.cutoff.keep_bytes = SIZE_MAX;
    addr = alloc(4 * PAGE);
    release(addr);
    cr_expect_eq(used_bytes(), 4 * PAGE);
    fake_os_forget(&rig.fake);
    addr = alloc(4 * PAGE);
    cr_expect_eq(rig.fake.call_count[FAKE_POOL_KERNEL], 0, "they serve again");
    release(addr);
    rig.heap.cutoff.keep_bytes = 0;
    cr_expect_geq(hm_purge_all(&rig.heap), 4 * PAGE);
    cr_expect_eq(used_bytes(), 0);
    end();
}

Test(giant, a_page_that_cannot_go_back_is_used_again)
{
    uintptr_t addr;

    begin("hugetlb:16M,4k", 4 * PAGE);
    addr = alloc(2 * PAGE);
    fake_os_fail(&rig.fake, FAKE_POOL_UNMAP, 1, ENOMEM, true);
    release(addr);
    cr_expect_eq(used_bytes(), 2 * PAGE);
    fake_os_heal(&rig.fake);
    addr = alloc(2 * PAGE);
    cr_expect_eq(used_bytes(), 2 * PAGE);
    release(addr);
    cr_expect_eq(used_bytes(), 0);
    end();
}

/* Under RLIMIT_AS what lies behind the last region in use is unmapped: never a part of a page. */
Test(giant, address_space_is_cut_behind_pages)
{
    uintptr_t first;
    uintptr_t rest;

    begin("hugetlb:16M,4k", 8 * PAGE);
    rig.fake.limit_bytes = HM_GIB * 64;
    first = alloc(PAGE + REGION);
    rest = alloc(REGION);
    release(first);
    (void)hm_extent_trim(&rig.heap);
    release(rest);
    cr_expect_eq(used_bytes(), 0);
    end();
}

/* A region that must be shared with a child takes its page along: the kernel parts none. */
Test(giant, in_a_fork_pages_are_copied_or_shared_whole)
{
    uintptr_t addr;
    uintptr_t needed[HM_SHADOW_NEEDED] = { 0 };
    size_t shared_count = 0;

    begin("hugetlb:16M,thp,4k", 8 * PAGE);
    addr = alloc(3 * PAGE);
    needed[HM_SHADOW_THREAD] = addr + PAGE + 3 * REGION;
    cr_assert(hm_shadow_cast(&rig.heap, needed));
    for (struct hm_region *region = hm_pheap_next_region(&rig.heap, NULL); region != NULL;
         region = hm_pheap_next_region(&rig.heap, region)) {
        shared_count += region->is_shared;
        if (region->state != HM_REGION_CLOSED)
            cr_expect_eq(region->shadow_addr == 0, region->is_shared);
    }
    cr_expect_eq(shared_count, 8);
    hm_shadow_drop(&rig.heap);
    release(addr);
    end();
}

Test(giant, a_child_goes_on_with_regions)
{
    uintptr_t large;
    uintptr_t small;
    uintptr_t needed[HM_SHADOW_NEEDED] = { 0 };

    begin("hugetlb:16M,thp,4k", 8 * PAGE);
    large = alloc(2 * PAGE + REGION);
    small = alloc(REGION);
    release(large);
    cr_expect_eq(rig.heap.giant_kept_count, 7);
    cr_assert(hm_shadow_cast(&rig.heap, needed));
    /* As the child: what has a copy is not there. */
    cr_assert_eq(rig.fake.os.pool_unmap(&rig.fake, hm_align_down(small, PAGE), PAGE), 0);
    hm_shadow_swap(&rig.heap);
    hm_shadow_settle(&rig.heap);
    hm_shadow_forget(&rig.heap);
    cr_expect_eq(rig.heap.giant_kept_count, 0);
    release(small);
    end();
}
