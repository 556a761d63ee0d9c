/* SPDX-License-Identifier: MIT */
/* test_rejoin.c - huge pages that a fork split become whole again. */
#include <criterion/criterion.h>
#include <errno.h>

#include "heap/direct.h"
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

TestSuite(rejoin, .init = setup, .fini = teardown);

static size_t
huge_bytes(void)
{
    struct hm_residency sum = { 0 };

    for (struct hm_extent *extent = rig.heap.extents; extent != NULL; extent = extent->next)
        rig.fake.os.scan(&rig.fake, extent->addr, extent->region_count * REGION, &sum);
    return sum.huge_bytes;
}

enum { HEAP_BYTES = 128 * HM_MIB, SECOND_NS = 1000000000 };

static struct hm_run fill[HEAP_BYTES / (64 * HM_KIB)];

/* A heap on huge pages that forks; the parent then writes to one page in `stride_bytes`. */
static void
fork_and_write(size_t stride_bytes)
{
    hm_rejoin_forking(&rig.heap);
    fake_space_fork(&rig.fake.space);
    for (size_t i = 0; i < sizeof(fill) / sizeof(fill[0]); i++)
        if (i * 64 * HM_KIB % stride_bytes == 0)
            fake_space_touch(&rig.fake.space, fill[i].addr, 4096);
}

static void
build(void)
{
    rig.conf.huge_start_bytes = 0;
    rig.fake.collapse_ns = 400000;
    rig.fake.sharing_ns = 20000;
    rig.fake.tick_ns = 50;
    for (size_t i = 0; i < sizeof(fill) / sizeof(fill[0]); i++) {
        cr_assert_eq(hm_pheap_take(&rig.heap, 16, 1, &fill[i]), 0);
        fake_space_touch(&rig.fake.space, fill[i].addr, 64 * HM_KIB);
    }
    cr_assert_eq(huge_bytes(), HEAP_BYTES);
}

/* The program goes on, and takes and gives a run each tenth of a millisecond. */
static void
live(uint64_t for_ns)
{
    uint64_t end_ns = rig.fake.now_ns + for_ns;

    while (rig.fake.now_ns < end_ns) {
        struct hm_run run = { 0 };
        uint64_t before_ns = rig.fake.now_ns;

        cr_assert_eq(hm_pheap_take(&rig.heap, 1, 1, &run), 0);
        hm_pheap_give(&rig.heap, run.region, run.addr, 1);
        cr_assert_leq(rig.fake.now_ns - before_ns, 2 * 1500000);
        rig.fake.now_ns += 100000;
    }
}

Test(rejoin, split_pages_are_joined_when_the_child_has_gone)
{
    uint64_t begin_ns;

    build();
    fork_and_write(REGION);
    cr_assert_eq(huge_bytes(), 0);
    live(2 * (uint64_t)SECOND_NS);
    cr_assert_eq(rig.fake.call_count[FAKE_COLLAPSE], 0, "the child is alive");
    cr_assert_leq(rig.fake.call_count[FAKE_SHARING], 150, "it is asked for less and less often");
    fake_space_join(&rig.fake.space);
    begin_ns = rig.fake.now_ns;
    live(SECOND_NS);
    cr_assert_eq(huge_bytes(), HEAP_BYTES);
    cr_assert_eq(rig.heap.heal.healed_count, HEAP_BYTES / REGION);
    cr_assert_leq(rig.heap.heal.collapse_ns, (rig.fake.now_ns - begin_ns) / 10 + 10000000);
    cr_assert_eq(rig.fake.copied_count, 0);
    cr_assert(!rig.heap.heal.is_due, "there is nothing left to do");
    fake_os_forget(&rig.fake);
    live(SECOND_NS);
    cr_assert_eq(rig.fake.clock_count, 0);
    cr_assert_eq(rig.fake.call_count[FAKE_SHARING], 0);
}

/* ... at twice the share of the time, so that it is a share of all of it. */
Test(rejoin, time_not_spent_while_the_child_lives_is_spent_afterwards)
{
    const struct hm_heal *heal = &rig.heap.heal;
    uint64_t begin_ns;

    build();
    rig.fake.collapse_ns = 1300000;
    fork_and_write(REGION);
    live(2 * (uint64_t)SECOND_NS);
    fake_space_join(&rig.fake.space);
    begin_ns = rig.fake.now_ns;
    while (huge_bytes() < HEAP_BYTES) {
        live(10000000);
        cr_assert_leq(heal->collapse_ns, (rig.fake.now_ns - begin_ns) / 5 + 15000000);
    }
    cr_assert_gt(heal->collapse_ns, (rig.fake.now_ns - begin_ns) / 7);
    cr_assert_leq(heal->collapse_ns, (rig.fake.now_ns - heal->forked_ns) / 10);
}

/* What the parent has overwritten altogether is its own. */
Test(rejoin, what_is_ours_again_does_not_wait_for_the_child)
{
    build();
    fork_and_write(REGION);
    for (size_t i = 0; i < HEAP_BYTES / (64 * HM_KIB) / 2; i++)
        fake_space_touch(&rig.fake.space, fill[i].addr, 64 * HM_KIB);
    live(5 * (uint64_t)SECOND_NS);
    cr_assert_geq(huge_bytes(), HEAP_BYTES / 2 - REGION);
    cr_assert_eq(rig.fake.copied_count, 0);
}

Test(rejoin, a_child_without_writes_of_ours_costs_looks_only)
{
    build();
    fork_and_write(SIZE_MAX);
    fake_space_join(&rig.fake.space);
    live(SECOND_NS);
    cr_assert_eq(huge_bytes(), HEAP_BYTES);
    cr_assert_eq(rig.fake.call_count[FAKE_COLLAPSE], 1, "block 0 was written to");
    cr_assert(!rig.heap.heal.is_due);
}

/* Linux 6.1 to 6.6: to join what is whole already costs next to nothing. */
Test(rejoin, a_kernel_that_cannot_tell_huge_pages)
{
    rig.fake.no_huge_flag = true;
    build();
    fork_and_write(4 * REGION);
    fake_space_join(&rig.fake.space);
    live(SECOND_NS);
    cr_assert_eq(huge_bytes(), HEAP_BYTES);
    cr_assert(!rig.heap.heal.is_due);
}

/* Without the file nobody knows whether the child is alive. */
Test(rejoin, without_files_nothing_is_joined)
{
    rig.heap.backing.filters = HM_FILTERS_OPEN;
    build();
    fork_and_write(REGION);
    live(SECOND_NS);
    cr_assert_eq(rig.fake.call_count[FAKE_COLLAPSE], 0);
    cr_assert_eq(rig.fake.call_count[FAKE_SHARING], 0);
    cr_assert(!rig.heap.heal.is_due);
}

Test(rejoin, a_file_that_cannot_be_read_is_tried_again)
{
    build();
    fork_and_write(REGION);
    fake_space_join(&rig.fake.space);
    fake_os_fail(&rig.fake, FAKE_SHARING, 1, EMFILE, true);
    live(SECOND_NS);
    cr_assert_leq(rig.fake.call_count[FAKE_SHARING], 10);
    cr_assert_eq(huge_bytes(), 0);
    fake_os_heal(&rig.fake);
    live(2 * (uint64_t)SECOND_NS);
    cr_assert_eq(huge_bytes(), HEAP_BYTES);
}

Test(rejoin, a_refused_join_is_tried_again)
{
    build();
    fork_and_write(REGION);
    fake_space_join(&rig.fake.space);
    fake_os_fail(&rig.fake, FAKE_COLLAPSE, 1, EBUSY, true);
    live(SECOND_NS);
    cr_assert_leq(rig.fake.call_count[FAKE_COLLAPSE], 10);
    fake_os_heal(&rig.fake);
    live(2 * (uint64_t)SECOND_NS);
    cr_assert_eq(huge_bytes(), HEAP_BYTES);
}

/* A program that forks all the time would have its pages joined only for them to be split again. */
Test(rejoin, who_forks_all_the_time_is_left_alone)
{
    uint64_t before_ns;

    build();
    for (int i = 0; i < 10; i++) {
        fork_and_write(REGION);
        fake_space_join(&rig.fake.space);
        live(SECOND_NS / 8);
    }
    before_ns = rig.heap.heal.collapse_ns;
    for (int i = 0; i < 50; i++) {
        fork_and_write(REGION);
        fake_space_join(&rig.fake.space);
        live(SECOND_NS / 8);
    }
    cr_assert_leq(rig.heap.heal.collapse_ns, before_ns + 50000000);
    live(2 * (uint64_t)SECOND_NS);
    cr_assert_eq(huge_bytes(), HEAP_BYTES, "and healed when it has done");
}

/* Seldom enough, healing is worth it each time. */
Test(rejoin, who_forks_now_and_then_is_healed_each_time)
{
    build();
    for (int i = 0; i < 5; i++) {
        fork_and_write(REGION);
        cr_assert_eq(huge_bytes(), 0);
        fake_space_join(&rig.fake.space);
        live(5 * (uint64_t)SECOND_NS);
        cr_assert_eq(huge_bytes(), HEAP_BYTES);
    }
}

/* An empty region that was kept over the fork is the child's, too. */
Test(rejoin, a_kept_region_is_suspect_when_it_is_used_again)
{
    struct hm_run spare;
    struct hm_run run;
    uintptr_t addr;

    build();
    cr_assert_eq(hm_pheap_take(&rig.heap, 1, 1, &spare), 0);
    cr_assert_eq(hm_pheap_take(&rig.heap, 512, 1, &run), 0);
    addr = run.addr;
    fake_space_touch(&rig.fake.space, addr, REGION);
    hm_pheap_give(&rig.heap, run.region, addr, 512);
    cr_assert_eq(run.region->state, HM_REGION_KEPT);
    fork_and_write(SIZE_MAX);
    cr_assert_eq(hm_pheap_take(&rig.heap, 512, 1, &run), 0);
    cr_assert_eq(run.addr, addr);
    fake_space_touch(&rig.fake.space, addr, 4096);
    live(SECOND_NS);
    cr_assert_eq(fake_space_flags(&rig.fake.space, addr) & FAKE_IS_HUGE, 0, "the child is alive");
    fake_space_join(&rig.fake.space);
    live(SECOND_NS);
    cr_assert_neq(fake_space_flags(&rig.fake.space, addr) & FAKE_IS_HUGE, 0);

    hm_pheap_give(&rig.heap, run.region, addr, 512);
    fork_and_write(SIZE_MAX);
    fake_space_join(&rig.fake.space);
    live(SECOND_NS);
    cr_assert(!rig.heap.heal.is_due);
    fake_os_forget(&rig.fake);
    cr_assert_eq(hm_pheap_take(&rig.heap, 512, 1, &run), 0);
    cr_assert_eq(run.addr, addr);
    live(SECOND_NS);
    cr_assert_geq(rig.fake.call_count[FAKE_SHARING], 1, "nobody had looked at it");
    cr_assert(!rig.heap.heal.is_due);
}

/* Blocks with a mapping of their own are healed as well, wherever realloc moved them. */
Test(rejoin, mapped_blocks)
{
    static const size_t sizes[] = { 40 * HM_MIB, 33 * HM_MIB + 4096, 64 * HM_MIB };
    struct hm_mapping maps[3];
    size_t huge = 0;

    build();
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(hm_direct_map(&rig.heap, sizes[i], 16, &maps[i]), 0);
        fake_space_touch(&rig.fake.space, maps[i].addr, sizes[i]);
    }
    cr_assert_eq(hm_direct_resize(&rig.heap, &maps[2], 80 * HM_MIB, 0), 0);
    fake_space_touch(&rig.fake.space, maps[2].addr, 80 * HM_MIB);
    fork_and_write(SIZE_MAX);
    for (int i = 0; i < 3; i++)
        for (size_t off = 0; off < maps[i].len_bytes; off += REGION)
            fake_space_touch(&rig.fake.space, maps[i].addr + off, 4096);
    live(SECOND_NS);
    cr_assert_eq(rig.heap.heal.healed_count, 0, "the child is alive");
    hm_direct_unmap(&rig.heap, &maps[0]);
    fake_space_join(&rig.fake.space);
    live(2 * (uint64_t)SECOND_NS);
    for (int i = 1; i < 3; i++) {
        (void)fake_space_resident(&rig.fake.space, maps[i].addr, maps[i].len_bytes, &huge);
        cr_assert_eq(huge, maps[i].len_bytes / REGION * REGION);
    }
    cr_assert_eq(rig.fake.copied_count, 0);
    cr_assert(!rig.heap.heal.is_due);
    fork_and_write(SIZE_MAX);
    fake_space_touch(&rig.fake.space, maps[2].addr + 30 * HM_MIB, 4096);
    fake_space_join(&rig.fake.space);
    live(SECOND_NS);
    cr_assert_neq(fake_space_flags(&rig.fake.space, maps[2].addr + 30 * HM_MIB) & FAKE_IS_HUGE, 0);
    hm_direct_unmap(&rig.heap, &maps[1]);
    hm_direct_unmap(&rig.heap, &maps[2]);
}

/* A block that begins on base pages and grows beyond the start of huge pages gets them all over,
 * though the pages that it had are moved as they are. */
Test(rejoin, a_mapping_that_grew_out_of_the_start)
{
    struct hm_mapping map;
    size_t huge = 0;

    cr_assert_eq(hm_direct_map(&rig.heap, 8 * HM_MIB, 16, &map), 0);
    cr_assert_eq(map.kind, HM_BACKING_4K);
    while (map.len_bytes < 256 * HM_MIB) {
        fake_space_touch(&rig.fake.space, map.addr, map.len_bytes);
        rig.fake.now_ns += 1000000;
        cr_assert_eq(hm_direct_resize(&rig.heap, &map, map.len_bytes + 8 * HM_MIB, 0), 0);
        hm_heal_visit(&rig.heap);
    }
    cr_assert_eq(map.kind, HM_BACKING_THP);
    fake_space_touch(&rig.fake.space, map.addr, map.len_bytes);
    (void)fake_space_resident(&rig.fake.space, map.addr, map.len_bytes, &huge);
    cr_assert_eq(huge, map.len_bytes);
    hm_direct_unmap(&rig.heap, &map);
}
