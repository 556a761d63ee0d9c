/* SPDX-License-Identifier: MIT */
/* test_pinned.c - which huge pages are split that a sleeping thread pins. */
#include <criterion/criterion.h>
#include <errno.h>

#include "heap/purge.h"
#include "support/rig.h"

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
    cr_assert_null(hm_pheap_check(&rig.heap), "broken: %s", hm_pheap_check(&rig.heap));
    rig_fini(&rig);
}

TestSuite(pinned, .init = setup, .fini = teardown);

static struct hm_run
take(size_t len_pages)
{
    struct hm_run run = { 0 };

    cr_assert_eq(hm_pheap_take(&rig.heap, len_pages, 1, &run), 0);
    fake_space_touch(&rig.fake.space, run.addr, len_pages * 4096);
    return run;
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

/* No epoch has ended: a thread that sleeps may pin them for any time. */
Test(pinned, huge_pages_are_split_that_a_sleeper_pins)
{
    static struct hm_run runs[200];

    riddle(runs, 200);
    hm_purge_abandoned(&rig.heap);
    cr_assert_eq(rig.heap.split_count, 2, "a few in each call");
    for (int i = 0; i < 200; i++)
        hm_purge_abandoned(&rig.heap);
    cr_assert_gt(rig.heap.huge_free_pages * 4096, 16 * HM_MIB, "the reserve stays whole");
    cr_assert_leq(rig.heap.huge_free_pages * 4096, 32 * HM_MIB);
    cr_assert_eq(rig.heap.dirty_free_pages, 0);
    for (int i = 0; i < 200; i++)
        cr_assert(!fake_space_is_zero(&rig.fake.space, runs[i].addr, 4096), "pages in use stay");
}

Test(pinned, nothing_is_split_for_a_sleeper_while_half_is_in_use)
{
    static struct hm_run runs[100];

    riddle(runs, 50);
    for (int i = 50; i < 100; i++)
        runs[i] = take(512);
    hm_purge_abandoned(&rig.heap);
    cr_assert_eq(rig.heap.split_count, 0);
}

Test(pinned, nothing_is_split_for_a_sleeper_that_is_wanted_again)
{
    static struct hm_run runs[200];
    static struct hm_run more[200];

    riddle(runs, 200);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 200; i++)
            more[i] = take(500);
        for (int i = 0; i < 200; i++)
            hm_pheap_give(&rig.heap, more[i].region, more[i].addr, 500);
    }
    hm_purge_abandoned(&rig.heap);
    cr_assert_eq(rig.heap.split_count, 0);
}

/* After a search in vain: not at once, but as soon as another huge page is worth it. */
Test(pinned, a_search_in_vain_is_not_repeated_at_once)
{
    static struct hm_run runs[42];

    riddle(runs, 40);
    fake_os_fail(&rig.fake, FAKE_ADVISE_BASE, 1, ENOMEM, true);
    hm_purge_abandoned(&rig.heap);
    cr_assert_eq(rig.heap.split_count, 0);
    fake_os_heal(&rig.fake);
    hm_purge_abandoned(&rig.heap);
    cr_assert_eq(rig.heap.split_count, 0);
    riddle(runs + 40, 2);
    hm_purge_abandoned(&rig.heap);
    cr_assert_gt(rig.heap.split_count, 0);
}
