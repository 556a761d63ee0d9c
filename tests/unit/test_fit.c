/* SPDX-License-Identifier: MIT */
/* test_fit.c - free runs across two regions, and what fits where. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "heap/pheap.h"
#include "support/rig.h"

static struct rig rig;

static void
check(const char *when)
{
    const char *broken = hm_pheap_check(&rig.heap);

    cr_assert_null(broken, "%s: broken: %s", when, broken);
}

static struct hm_run
take(size_t len_pages, size_t align_pages)
{
    struct hm_run run = { 0 };

    cr_assert_eq(hm_pheap_take(&rig.heap, len_pages, align_pages, &run), 0);
    return run;
}

static void
give(const struct hm_run *run)
{
    hm_pheap_give(&rig.heap, run->region, run->addr, run->len_pages);
}

static void
setup(void)
{
    rig_init(&rig);
}

static void
teardown(void)
{
    check("at the end");
    rig_fini(&rig);
}

TestSuite(fit, .init = setup, .fini = teardown);

/* Runs end to end over `count` regions of one extent, all of them full. */
static size_t
fill(struct hm_run *runs, size_t run_pages, size_t region_count)
{
    size_t run_count = region_count * 512 / run_pages;

    for (size_t i = 0; i < run_count; i++)
        runs[i] = take(run_pages, 1);
    (void)take(region_count * 512 - run_count * run_pages, 1);
    return run_count;
}

/* A hole that crosses from one region in use into the next is as good as any. */
Test(fit, a_hole_across_two_regions_is_used)
{
    struct hm_run runs[32];
    size_t run_count = fill(runs, 150, 8);
    size_t open_count = rig.heap.open_count;
    struct hm_run again;

    cr_assert_eq(runs[3].addr + 62 * 4096, runs[0].region->addr + 512 * 4096, "crosses");
    give(&runs[3]);
    check("a hole");
    again = take(150, 1);
    cr_assert_eq(again.addr, runs[3].addr);
    check("the hole is used");
    give(&again);
    again = take(140, 8);
    cr_assert_eq(again.addr, runs[3].addr + (uintptr_t)6 * 4096);
    check("in part, aligned");
    cr_assert_eq(rig.heap.open_count, open_count);
    cr_assert_eq(run_count, 27);
}

/* A run leaves what is left of a hole in one piece, wherever the hole begins. */
Test(fit, a_hole_across_two_regions_stays_whole)
{
    struct hm_run runs[32];
    struct hm_run again;

    (void)fill(runs, 150, 8);
    give(&runs[3]);
    give(&runs[4]);
    again = take(150, 1);
    cr_assert_eq(again.addr, runs[4].addr, "from its end");
    again = take(150, 1);
    cr_assert_eq(again.addr, runs[3].addr, "the rest of it");
    check("both");
}

/* Blocks of one size, most of them freed at random and taken again, need no more than before. */
static void
refill(size_t run_pages)
{
    struct hm_run runs[400];
    unsigned seed = 5;
    size_t open_count;

    for (int i = 0; i < 400; i++)
        runs[i] = take(run_pages, 1);
    open_count = rig.heap.open_count;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 400; i++) {
            if (rand_r(&seed) % 4 == 0)
                continue;
            give(&runs[i]);
            runs[i].len_pages = 0;
        }
        check("freed");
        for (int i = 0; i < 400; i++)
            if (runs[i].len_pages == 0)
                runs[i] = take(run_pages, 1);
        check("taken again");
        cr_assert_leq(rig.heap.open_count, open_count + 1, "%zu pages each, round %d", run_pages,
                      round);
    }
}

Test(fit, refilled_with_runs_below_a_region)
{
    refill(150);
}

Test(fit, refilled_with_runs_above_a_region)
{
    refill(538);
}

Test(fit, a_run_is_fitted_to_what_is_free)
{
    size_t region_pages = rig.heap.region_pages;
    struct hm_run most;
    struct hm_run gap;

    cr_assert_eq(hm_pheap_fit_pages(&rig.heap, 8, 32), 32, "no region is open");
    most = take(region_pages / 4, 1);
    gap = take(30, 1);
    while (rig.heap.used_pages < region_pages - 20)
        (void)take(1, 1);
    cr_assert_eq(rig.heap.used_pages, region_pages - 20);
    cr_assert_eq(hm_pheap_fit_pages(&rig.heap, 8, 16), 16);
    cr_assert_eq(hm_pheap_fit_pages(&rig.heap, 8, 20), 20);
    cr_assert_eq(hm_pheap_fit_pages(&rig.heap, 8, 32), 20, "all that is free");
    cr_assert_eq(hm_pheap_fit_pages(&rig.heap, 21, 32), 32, "less than is needed");
    give(&gap);
    cr_assert_eq(hm_pheap_fit_pages(&rig.heap, 8, 32), 30, "the longer of two");
    give(&most);
}
