/* SPDX-License-Identifier: MIT */
/* test_heal.c - from base pages to huge pages as a heap grows. */
#include <criterion/criterion.h>
#include <errno.h>

#include "heap/heal.h"
#include "heap/rejoin.h"
#include "support/rig.h"

#define REGION (2 * HM_MIB)

static struct rig rig;

static void
setup(void)
{
    rig_init(&rig);
}

static void
teardown(void)
{
    const char *broken = rig_check_pages(&rig);

    cr_assert_null(broken, "broken: %s", broken);
    rig_fini(&rig);
}

TestSuite(heal, .init = setup, .fini = teardown);

/* Fill `bytes` with runs of 64 KiB, written to, a millisecond each. */
static void
grow(size_t bytes)
{
    for (size_t done_bytes = 0; done_bytes < bytes; done_bytes += 64 * HM_KIB) {
        struct hm_run run = { 0 };

        rig.fake.now_ns += 1000000;
        cr_assert_eq(hm_pheap_take(&rig.heap, 16, 1, &run), 0);
        fake_space_touch(&rig.fake.space, run.addr, 64 * HM_KIB);
    }
}

static size_t
huge_bytes(void)
{
    struct hm_residency sum = { 0 };

    for (struct hm_extent *extent = rig.heap.extents; extent != NULL; extent = extent->next)
        rig.fake.os.scan(&rig.fake, extent->addr, extent->region_count * REGION, &sum);
    return sum.huge_bytes;
}

Test(heal, a_small_heap_has_no_huge_page)
{
    grow(rig.conf.huge_start_bytes - HM_MIB);
    cr_assert_eq(huge_bytes(), 0);
    cr_assert_eq(rig.fake.call_count[FAKE_ADVISE_HUGE], 0);
    cr_assert_eq(rig.fake.call_count[FAKE_COLLAPSE], 0);
}

Test(heal, a_large_heap_ends_on_huge_pages_all_over)
{
    grow(256 * HM_MIB);
    cr_assert_geq(huge_bytes(), 256 * HM_MIB * 98 / 100, "%zu bytes are huge", huge_bytes());
    cr_assert_eq(rig.heap.heal.collapse_count, rig.conf.huge_start_bytes / REGION);
}

Test(heal, huge_pages_from_the_first_byte)
{
    rig.conf.huge_start_bytes = 0;
    grow(4 * HM_MIB);
    cr_assert_eq(huge_bytes(), 4 * HM_MIB);
    cr_assert_eq(rig.fake.call_count[FAKE_COLLAPSE], 0);
}

/* Advice may cover what is opened later; memory comes a region at a time. */
Test(heal, regions_are_opened_one_at_a_time)
{
    grow(64 * HM_MIB);
    for (size_t i = 0; i < FAKE_LOG_COUNT && i < rig.fake.log_count; i++)
        if (fake_os_logged(&rig.fake, i)->kind == FAKE_COMMIT)
            cr_assert_eq(fake_os_logged(&rig.fake, i)->len_bytes, REGION);
}

/* A program that builds a large heap as fast as memory can be written, and then grows no more. */
Test(heal, a_heap_that_is_built_quickly)
{
    rig.fake.collapse_ns = 650000;
    for (int i = 0; i < 300 * 16; i++) {
        struct hm_run run = { 0 };

        rig.fake.now_ns += 6000; /* 100 microseconds for a huge page */
        cr_assert_eq(hm_pheap_take(&rig.heap, 16, 1, &run), 0);
        fake_space_touch(&rig.fake.space, run.addr, 64 * HM_KIB);
    }
    cr_assert_eq(rig.heap.base_regions, 0);
    cr_assert_geq(huge_bytes(), 300 * HM_MIB * 98 / 100);
}

/* The same for one that was large for a moment before, so that there are huge pages already. */
Test(heal, a_heap_that_shrank_and_is_built_quickly)
{
    struct hm_run block = { 0 };

    cr_assert_eq(hm_pheap_take(&rig.heap, 64 * HM_MIB / 4096, 1, &block), 0);
    hm_pheap_give(&rig.heap, block.region, block.addr, block.len_pages);
    grow(rig.conf.huge_start_bytes - HM_MIB);
    for (int i = 0; i < 80; i++) {
        rig.fake.now_ns += 50000;
        cr_assert_eq(hm_pheap_take(&rig.heap, 256, 1, &block), 0);
        fake_space_touch(&rig.fake.space, block.addr, HM_MIB);
    }
    cr_assert_eq(rig.heap.base_regions, 0);
}

/* Each visit ends after about a millisecond, however much is waiting. */
Test(heal, a_visit_is_short)
{
    struct hm_run run = { 0 };

    rig.fake.huge_room_bytes = 0;
    rig.conf.huge_start_bytes = 200 * HM_MIB;
    grow(300 * HM_MIB);
    rig.fake.huge_room_bytes = SIZE_MAX;
    rig.fake.collapse_ns = 300000;
    rig.fake.now_ns += 60000000000u;
    for (int i = 0; i < 40; i++) {
        uint64_t before_ns = rig.fake.now_ns;

        cr_assert_eq(hm_pheap_take(&rig.heap, 1, 1, &run), 0);
        cr_assert_leq(rig.fake.now_ns - before_ns, 1300000);
        hm_pheap_give(&rig.heap, run.region, run.addr, 1);
    }
    /* What was saved up in a minute is not a second's worth of collapses. */
    cr_assert_leq(rig.heap.heal.collapse_ns, 20000000);
    cr_assert_gt(rig.heap.heal.collapse_count, 10);
}

/* Too sparse at first, it is a candidate as soon as it is full. */
Test(heal, a_region_that_fills_up_later)
{
    struct hm_run runs[20];
    struct hm_run whole;

    for (int i = 0; i < 2; i++)
        cr_assert_eq(hm_pheap_take(&rig.heap, 200, 1, &runs[i]), 0);
    cr_assert_eq(runs[0].region, runs[1].region);
    fake_space_touch(&rig.fake.space, runs[0].addr, 400 * 4096);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(hm_pheap_take(&rig.heap, 512, 1, &whole), 0);
    cr_assert_eq(runs[0].region->backing, HM_BACKING_4K);
    rig.fake.now_ns += 1000000000;
    cr_assert_eq(hm_pheap_take(&rig.heap, 60, 1, &runs[2]), 0);
    cr_assert_eq(runs[2].region, runs[0].region);
    cr_assert_eq(runs[0].region->backing, HM_BACKING_THP);
}

/* A collapse that takes as long as it likes must not take more than a share of the time. */
Test(heal, collapses_are_rationed)
{
    uint64_t begin_ns = rig.fake.now_ns;

    rig.fake.collapse_ns = 50000000;
    grow(64 * HM_MIB);
    cr_assert_leq(rig.heap.heal.collapse_ns,
                  (rig.fake.now_ns - begin_ns) / 10 + rig.fake.collapse_ns);
    cr_assert_gt(rig.heap.heal.collapse_count, 0);
}

Test(heal, a_failed_collapse_is_counted_and_changes_nothing)
{
    fake_os_fail(&rig.fake, FAKE_COLLAPSE, 1, EAGAIN, true);
    grow(64 * HM_MIB);
    cr_assert_eq(rig.heap.heal.collapse_count, 0);
    cr_assert_gt(rig.heap.backing.reason_count[HM_REASON_COLLAPSE_FAILED], 0);
    cr_assert_leq(rig.fake.call_count[FAKE_COLLAPSE], 6, "less and less often");
    fake_os_heal(&rig.fake);
    rig.fake.now_ns += 10000000000u;
    grow(HM_MIB);
    cr_assert_eq(rig.heap.base_regions, 0, "it is tried again");
}

/* EINVAL says that a region can never be collapsed: it is not tried again while it is open. */
Test(heal, a_region_refused_for_good_is_left_alone)
{
    fake_os_fail(&rig.fake, FAKE_COLLAPSE, 1, EINVAL, true);
    grow(256 * HM_MIB);
    cr_assert_eq(rig.fake.call_count[FAKE_COLLAPSE], rig.conf.huge_start_bytes / REGION);
    cr_assert_eq(rig.heap.heal.collapse_count, 0);
}

Test(heal, the_administrator_is_obeyed)
{
    static const enum hm_thp_mode modes[] = { HM_THP_NEVER, HM_THP_PRCTL_OFF, HM_THP_ABSENT };

    for (size_t i = 0; i < 3; i++) {
        rig_fini(&rig);
        rig_init(&rig);
        rig_thp_mode(&rig, modes[i]);
        grow(64 * HM_MIB);
        cr_assert_eq(huge_bytes(), 0);
        cr_assert_eq(rig.fake.call_count[FAKE_COLLAPSE], 0);
        cr_assert_eq(rig.fake.call_count[FAKE_ADVISE_HUGE], 0);
    }
}

Test(heal, sparse_regions_are_left_alone)
{
    struct hm_run runs[3];

    for (int i = 0; i < 3; i++) {
        cr_assert_eq(hm_pheap_take(&rig.heap, 512, 1, &runs[i]), 0);
        hm_pheap_give(&rig.heap, runs[i].region, runs[i].addr + 256 * 4096, 256);
    }
    rig.conf.huge_start_bytes = 0;
    rig.fake.now_ns += 1000000000;
    for (int i = 0; i < 3; i++)
        hm_heal_visit(&rig.heap);
    cr_assert_eq(rig.heap.heal.collapse_count, 0);
}

/* In a child, the base pages of the start are still the parent's. */
Test(heal, base_pages_that_are_shared_are_not_copied)
{
    grow(rig.conf.huge_start_bytes - HM_MIB);
    hm_rejoin_forking(&rig.heap);
    fake_space_fork(&rig.fake.space);
    grow(64 * HM_MIB);
    cr_assert_eq(rig.fake.copied_count, 0);
    cr_assert_gt(rig.heap.base_regions, 0);
    fake_space_join(&rig.fake.space);
    rig.fake.now_ns += 10000000000u;
    grow(HM_MIB);
    cr_assert_eq(rig.heap.base_regions, 0);
}
