/* SPDX-License-Identifier: MIT */
/* test_purge.c - which memory goes back to the kernel, and when. */
#include <criterion/criterion.h>
#include <errno.h>

#include "heap/purge.h"
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
    cr_assert_null(hm_pheap_check(&rig.heap), "broken: %s", hm_pheap_check(&rig.heap));
    rig_fini(&rig);
}

TestSuite(purge, .init = setup, .fini = teardown);

static struct hm_run
take(size_t len_pages)
{
    struct hm_run run = { 0 };

    cr_assert_eq(hm_pheap_take(&rig.heap, len_pages, 1, &run), 0);
    fake_space_touch(&rig.fake.space, run.addr, len_pages * 4096);
    return run;
}

static void
give(const struct hm_run *run)
{
    hm_pheap_give(&rig.heap, run->region, run->addr, run->len_pages);
}

/* What is resident of the whole heap. */
static size_t
resident_bytes(void)
{
    struct hm_residency sum = { 0 };

    for (struct hm_extent *extent = rig.heap.extents; extent != NULL; extent = extent->next)
        rig.fake.os.scan(&rig.fake, extent->addr, extent->region_count * REGION, &sum);
    return sum.resident_bytes;
}

Test(purge, freeing_everything_returns_nearly_everything)
{
    static struct hm_run runs[1000];
    size_t peak_bytes;

    for (int i = 0; i < 1000; i++)
        runs[i] = take(600);
    peak_bytes = resident_bytes();
    for (int i = 0; i < 1000; i++)
        give(&runs[i]);
    cr_assert_leq(resident_bytes(), 16 * HM_MIB + peak_bytes / 20, "%zu of %zu bytes are left",
                  resident_bytes(), peak_bytes);
    cr_assert_eq(rig.heap.discarded_bytes, rig.fake.discarded_bytes);
    cr_assert_eq(rig.heap.discard_calls, rig.fake.call_count[FAKE_DISCARD]);
}

/* A small heap may swing by as much as it can grow to without being touched anew. */
Test(purge, a_small_heap_keeps_eight_mebibytes)
{
    struct hm_run runs[6];

    rig.conf.huge_start_bytes = SIZE_MAX;
    for (int i = 0; i < 6; i++)
        runs[i] = take(512);
    for (int i = 0; i < 6; i++)
        give(&runs[i]);
    cr_assert_eq(rig.heap.kept_count, 4);
    cr_assert_eq(resident_bytes(), 8 * HM_MIB);
}

Test(purge, a_swing_costs_no_calls)
{
    struct hm_run base[20];

    rig.conf.huge_start_bytes = 0;
    for (int i = 0; i < 20; i++)
        base[i] = take(512);
    for (int i = 0; i < 100; i++) {
        struct hm_run a = take(512);
        struct hm_run b = take(512);

        if (i == 0)
            fake_os_forget(&rig.fake);
        give(&a);
        give(&b);
    }
    cr_assert_eq(fake_os_calls(&rig.fake), 0);
    for (int i = 0; i < 20; i++)
        give(&base[i]);
}

/* All but one page of each of `count` huge pages is free. */
static void
riddle(struct hm_run *runs, int count)
{
    for (int i = 0; i < count; i++)
        runs[i] = take(512);
    for (int i = 0; i < count; i++)
        hm_pheap_give(&rig.heap, runs[i].region, runs[i].addr + 4096, 511);
}

Test(purge, huge_pages_in_use_stay_whole)
{
    static struct hm_run runs[40];

    rig.conf.huge_start_bytes = 0;
    riddle(runs, 40);
    cr_assert_eq(rig.fake.call_count[FAKE_DISCARD], 0);
    for (int i = 0; i < 40; i++)
        cr_assert_neq(fake_space_flags(&rig.fake.space, runs[i].addr) & FAKE_IS_HUGE, 0);
}

Test(purge, huge_pages_are_split_on_demand)
{
    static struct hm_run runs[40];

    rig.conf.huge_start_bytes = 0;
    riddle(runs, 40);
    cr_assert_eq(hm_purge_all(&rig.heap), 40 * 511 * 4096);
    cr_assert_eq(resident_bytes(), 40 * 4096);
    cr_assert_eq(rig.heap.split_count, 40);
    for (int i = 0; i < 40; i++) {
        cr_assert_eq(runs[i].region->backing, HM_BACKING_4K);
        cr_assert_eq(fake_space_flags(&rig.fake.space, runs[i].addr) & FAKE_WANTS, FAKE_WANTS_BASE);
    }
    cr_assert_eq(hm_purge_all(&rig.heap), 0);
}

/* Less than an eighth is not worth a huge page. */
Test(purge, nearly_full_huge_pages_stay_whole_on_demand)
{
    struct hm_run runs[20];

    rig.conf.huge_start_bytes = 0;
    for (int i = 0; i < 20; i++)
        runs[i] = take(512);
    for (int i = 0; i < 20; i++)
        hm_pheap_give(&rig.heap, runs[i].region, runs[i].addr, 63);
    cr_assert_eq(hm_purge_all(&rig.heap), 0);
    cr_assert_eq(rig.heap.split_count, 0);
}

Test(purge, a_huge_page_that_cannot_be_advised_stays_whole)
{
    static struct hm_run runs[10];

    rig.conf.huge_start_bytes = 0;
    riddle(runs, 10);
    fake_os_fail(&rig.fake, FAKE_ADVISE_BASE, 1, ENOMEM, true);
    cr_assert_eq(hm_purge_all(&rig.heap), 0);
    cr_assert_eq(resident_bytes(), 10 * REGION);
    fake_os_heal(&rig.fake);
    fake_os_fail(&rig.fake, FAKE_COLD, 1, EINVAL, true); /* a kernel that does not know it */
    cr_assert_eq(hm_purge_all(&rig.heap), 10 * 511 * 4096);
}

/* One more call, at a later time. */
static void
call_after(unsigned ms)
{
    struct hm_run run;

    rig.fake.now_ns += (uint64_t)ms * 1000000;
    run = take(1);
    give(&run);
}

Test(purge, huge_pages_that_stay_riddled_are_split)
{
    static struct hm_run runs[200];

    rig.conf.huge_start_bytes = 0;
    riddle(runs, 200);
    for (int i = 0; i < 7; i++)
        call_after(1000);
    cr_assert_eq(rig.heap.split_count, 0, "it may be wanted again");
    for (int i = 0; i < 3; i++)
        call_after(1000);
    cr_assert_gt(rig.heap.split_count, 0);
    cr_assert_leq(rig.heap.split_count, 2 * 2 * 3, "a few in each call");
    for (int i = 0; i < 500; i++)
        call_after(100);
    cr_assert_leq(rig.heap.huge_free_pages * 4096, 33 * HM_MIB);
    cr_assert_leq(resident_bytes(), 34 * HM_MIB + 200 * 4096);
    for (int i = 0; i < 200; i++)
        cr_assert(!fake_space_is_zero(&rig.fake.space, runs[i].addr, 4096), "pages in use stay");
}

Test(purge, free_pages_that_are_used_again_keep_huge_pages_whole)
{
    static struct hm_run runs[200];
    static struct hm_run more[200];

    rig.conf.huge_start_bytes = 0;
    riddle(runs, 200);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 200; i++)
            more[i] = take(500);
        for (int i = 0; i < 200; i++)
            give(&more[i]);
        call_after(1000);
    }
    cr_assert_eq(rig.heap.split_count, 0);
}

Test(purge, loose_base_pages_go_back_when_there_are_many)
{
    struct hm_run runs[40];

    rig.conf.huge_start_bytes = SIZE_MAX;
    for (int i = 0; i < 40; i++)
        runs[i] = take(512);
    for (int i = 0; i < 40; i++)
        hm_pheap_give(&rig.heap, runs[i].region, runs[i].addr + 4096, 511);
    cr_assert_leq(rig.heap.dirty_free_pages * 4096, 6 * HM_MIB);
    cr_assert_leq(resident_bytes(), 6 * HM_MIB + 40 * 4096);
    for (int i = 0; i < 40; i++)
        cr_assert(!fake_space_is_zero(&rig.fake.space, runs[i].addr, 4096), "pages in use stay");
}

Test(purge, all_of_it_on_demand)
{
    struct hm_run runs[20];

    rig.conf.huge_start_bytes = 0;
    for (int i = 0; i < 20; i++)
        runs[i] = take(512);
    for (int i = 1; i < 20; i++)
        give(&runs[i]);
    cr_assert_gt(rig.heap.kept_count, 0);
    cr_assert_eq(hm_purge_all(&rig.heap), resident_bytes() == REGION ? 4 * REGION : 0);
    cr_assert_eq(rig.heap.kept_count, 0);
    cr_assert_eq(resident_bytes(), REGION);
    cr_assert_eq(hm_purge_all(&rig.heap), 0, "there is nothing left to give");
}

/* Past the ramp an empty region on base pages is closed, so that it comes back huge. */
Test(purge, base_pages_come_back_as_huge_ones)
{
    struct hm_run first = take(512);
    struct hm_run others[8];
    struct hm_run again;

    rig.fake.huge_room_bytes = 0; /* no collapse, then */
    for (int i = 0; i < 8; i++)
        others[i] = take(512);
    cr_assert_eq(first.region->backing, HM_BACKING_4K);
    give(&first);
    cr_assert_eq(first.region->state, HM_REGION_CLOSED);
    again = take(512);
    cr_assert_eq(again.addr, first.addr);
    cr_assert_eq(again.region->backing, HM_BACKING_THP);
    for (int i = 0; i < 8; i++)
        give(&others[i]);
}

/* The kernel may refuse to take memory back; then it is kept, and nothing is lost. */
Test(purge, a_refused_discard_keeps_the_memory)
{
    struct hm_run runs[20];

    rig.conf.huge_start_bytes = 0;
    for (int i = 0; i < 20; i++)
        runs[i] = take(512);
    fake_os_fail(&rig.fake, FAKE_DISCARD, 1, ENOMEM, true);
    for (int i = 0; i < 20; i++)
        give(&runs[i]);
    cr_assert_eq(rig.heap.kept_count, 20);
    cr_assert_eq(rig.heap.discarded_bytes, 0);
    cr_assert_eq(hm_purge_all(&rig.heap), 0);
    cr_assert_null(hm_pheap_check(&rig.heap));
    fake_os_heal(&rig.fake);
    cr_assert_eq(hm_purge_all(&rig.heap), 20 * REGION);
    cr_assert_eq(resident_bytes(), 0);
}

Test(purge, a_refused_discard_of_loose_pages)
{
    struct hm_run runs[20];

    rig.conf.huge_start_bytes = SIZE_MAX;
    for (int i = 0; i < 20; i++)
        runs[i] = take(512);
    fake_os_fail(&rig.fake, FAKE_DISCARD, 1, EAGAIN, true);
    for (int i = 0; i < 20; i++)
        hm_pheap_give(&rig.heap, runs[i].region, runs[i].addr, 511);
    cr_assert_eq(rig.heap.dirty_free_pages, 20 * 511);
    fake_os_heal(&rig.fake);
    cr_assert_eq(hm_purge_all(&rig.heap), 20 * 511 * 4096);
    cr_assert_eq(rig.heap.dirty_free_pages, 0);
}

/* 100 MiB that were in use are free. */
static void
fill_and_free(void)
{
    static struct hm_run runs[200];

    rig.fake.now_ns += (uint64_t)10 * 1000000000; /* too long ago for a swing */
    for (int i = 0; i < 200; i++)
        runs[i] = take(128);
    for (int i = 0; i < 200; i++)
        give(&runs[i]);
}

/* A program that sets the trim threshold says what it wants to keep. */
Test(purge, a_trim_threshold_that_was_set_is_kept)
{
    hm_cutoff_set_trim_threshold(&rig.heap.cutoff, 40 * HM_MIB);
    fill_and_free();
    cr_assert_eq(rig.heap.kept_count, 20);
    cr_assert_eq(resident_bytes(), 40 * HM_MIB);
    cr_assert_gt(hm_purge_all(&rig.heap), 0);
    cr_assert_eq(resident_bytes(), 0);
}

Test(purge, a_trim_threshold_without_end)
{
    hm_cutoff_set_trim_threshold(&rig.heap.cutoff, SIZE_MAX);
    fill_and_free();
    cr_assert_eq(rig.fake.call_count[FAKE_DISCARD], 0);
    cr_assert_eq(resident_bytes(), 100 * HM_MIB);
    cr_assert_gt(hm_purge_all(&rig.heap), 0);
    cr_assert_eq(resident_bytes(), 0);
}

/* One that moved by itself, or is low, changes nothing. */
Test(purge, other_trim_thresholds)
{
    size_t kept_bytes;

    fill_and_free();
    kept_bytes = resident_bytes();
    cr_assert_leq(kept_bytes, 16 * HM_MIB);
    (void)hm_purge_all(&rig.heap);
    rig.heap.cutoff.trim_threshold_bytes = 64 * HM_MIB;
    fill_and_free();
    cr_assert_leq(resident_bytes(), 16 * HM_MIB);
    (void)hm_purge_all(&rig.heap);
    hm_cutoff_set_trim_threshold(&rig.heap.cutoff, 0);
    fill_and_free();
    cr_assert_leq(resident_bytes(), 16 * HM_MIB);
}

/* --- programs that swing ---------------------------------------------------------------------- */

static void
swing(int count)
{
    static struct hm_run runs[100];

    for (int i = 0; i < count; i++)
        runs[i] = take(512);
    for (int i = 0; i < count; i++)
        give(&runs[i]);
}

Test(purge, what_came_back_twice_is_kept)
{
    rig.conf.huge_start_bytes = 0;
    swing(100);
    cr_assert_leq(resident_bytes(), 16 * HM_MIB);
    swing(100);
    cr_assert_leq(resident_bytes(), 16 * HM_MIB);
    swing(100);
    cr_assert_geq(resident_bytes(), 195 * HM_MIB);
    fake_os_forget(&rig.fake);
    for (int i = 0; i < 10; i++) {
        rig.fake.now_ns += (uint64_t)300 * 1000000;
        swing(100);
    }
    cr_assert_eq(rig.fake.call_count[FAKE_DISCARD], 0);
}

Test(purge, and_goes_back_when_it_is_not_wanted_any_more)
{
    rig.conf.huge_start_bytes = 0;
    for (int i = 0; i < 4; i++)
        swing(100);
    call_after(900);
    cr_assert_geq(resident_bytes(), 195 * HM_MIB);
    cr_assert_eq(rig.fake.lazy_bytes, 0);
    call_after(200);
    cr_assert_geq(resident_bytes(), 195 * HM_MIB);
    cr_assert_geq(rig.fake.lazy_bytes, 195 * HM_MIB, "lent to the kernel");
    call_after(1000);
    call_after(1);
    cr_assert_leq(resident_bytes(), 16 * HM_MIB);
}

Test(purge, and_after_a_silence_at_the_next_call)
{
    rig.conf.huge_start_bytes = 0;
    for (int i = 0; i < 4; i++)
        swing(60);
    call_after(60000);
    cr_assert_leq(resident_bytes(), 16 * HM_MIB);
}

Test(purge, or_at_once_if_so_configured)
{
    rig.conf.huge_start_bytes = 0;
    rig.conf.purge_delay_ms = 0;
    for (int i = 0; i < 4; i++)
        swing(100);
    cr_assert_leq(resident_bytes(), 16 * HM_MIB);
}

Test(purge, or_by_the_clock_alone)
{
    rig.conf.huge_start_bytes = 0;
    for (int i = 0; i < 4; i++)
        swing(100);
    for (int i = 0; i < 4; i++) {
        rig.fake.now_ns += (uint64_t)1000 * 1000000;
        while (hm_purge_tick(&rig.heap))
            ;
    }
    cr_assert_leq(resident_bytes(), 16 * HM_MIB);
}

/* --- core dumps ------------------------------------------------------------------------------- */

static size_t
hidden_bytes(void)
{
    size_t sum_bytes = 0;

    for (struct hm_extent *extent = rig.heap.extents; extent != NULL; extent = extent->next)
        for (size_t i = 0; i < extent->region_count; i++)
            if ((fake_space_flags(&rig.fake.space, extent->addr + i * REGION) & FAKE_HIDDEN) != 0)
                sum_bytes += REGION;
    return sum_bytes;
}

Test(purge, free_memory_is_not_in_core_dumps)
{
    static struct hm_run runs[512];
    size_t all_bytes;

    rig.conf.huge_start_bytes = 0;
    for (int i = 0; i < 512; i++)
        runs[i] = take(512);
    for (int i = 1; i < 512; i++)
        give(&runs[i]);
    all_bytes = rig.heap.extent_regions * REGION;
    cr_assert_geq(hidden_bytes() + 3 * 16 * REGION, all_bytes, "%zu of %zu", hidden_bytes(),
                  all_bytes);
    for (int i = 1; i < 512; i++) {
        runs[i] = take(512);
        cr_assert_eq(fake_space_flags(&rig.fake.space, runs[i].addr) & FAKE_HIDDEN, 0);
    }
    cr_assert_eq(rig.heap.hidden_count * 16 * REGION, hidden_bytes());
}

/* Every 17th region stays in use: the worst there is. */
Test(purge, hiding_takes_few_mappings)
{
    static struct hm_run runs[2048];
    size_t before;

    rig.conf.huge_start_bytes = 0;
    for (int i = 0; i < 2048; i++)
        runs[i] = take(512);
    before = fake_space_vmas(&rig.fake.space);
    for (int i = 0; i < 2048; i++)
        if (i % 32 != 0)
            give(&runs[i]);
    cr_assert_leq(fake_space_vmas(&rig.fake.space), before + 2 * 2048 / 16);
    cr_assert_gt(hidden_bytes(), 0);
}

Test(purge, what_cannot_be_hidden_is_shown)
{
    rig.conf.huge_start_bytes = 0;
    fake_os_fail(&rig.fake, FAKE_HIDE, 1, ENOMEM, true);
    swing(100);
    cr_assert_eq(hidden_bytes(), 0);
    cr_assert_eq(rig.heap.hidden_count, 0);
}
