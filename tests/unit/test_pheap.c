/* SPDX-License-Identifier: MIT */
/* test_pheap.c - runs of pages: random takes and gives, packing, alignment, huge heaps. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "heap/purge.h"
#include "support/rig.h"

static struct rig rig;

static void
check(const char *when)
{
    const char *broken = rig_check(&rig);

    /* These tests take runs without spans. */
    if (broken != NULL && strcmp(broken, "every page in use belongs to one span") == 0)
        broken = NULL;
    cr_assert_null(broken, "%s: broken: %s", when, broken);
}

static struct hm_run
take(size_t len_pages, size_t align_pages)
{
    struct hm_run run = { 0 };

    cr_assert_eq(hm_pheap_take(&rig.heap, len_pages, align_pages, &run), 0);
    cr_assert_eq(run.len_pages, len_pages);
    cr_assert_eq(run.addr % hm_pages_to_bytes(&rig.heap.geom, align_pages), 0);
    return run;
}

static void
give(const struct hm_run *run)
{
    hm_pheap_give(&rig.heap, run->region, run->addr, run->len_pages);
}

/* Write to a run, and check that it said the truth about being zero. */
static void
use(const struct hm_run *run)
{
    size_t len_bytes = hm_pages_to_bytes(&rig.heap.geom, run->len_pages);

    if (run->is_zero)
        cr_assert(fake_space_is_zero(&rig.fake.space, run->addr, len_bytes),
                  "a run that was written to is called zero");
    fake_space_touch(&rig.fake.space, run->addr, len_bytes);
}

static void
setup(void)
{
    rig_init(&rig);
}

static void
teardown(void)
{
    rig_fini(&rig);
}

TestSuite(pheap, .init = setup, .fini = teardown);

#define LIVE 200

/* Takes and gives of all lengths; the fake kernel watches what is done to it. */
static void
play(unsigned seed, int step_count, size_t max_pages)
{
    struct hm_run live[LIVE] = { { 0 } };

    for (int step = 0; step < step_count; step++) {
        struct hm_run *run = &live[rand_r(&seed) % LIVE];
        size_t len_pages = 1 + (size_t)rand_r(&seed) % (rand_r(&seed) % 4 ? 16 : max_pages);
        size_t align_pages = (size_t)1 << (rand_r(&seed) % 8 != 0 ? 0 : rand_r(&seed) % 13);

        /* So much is not reserved for an alignment. */
        if (len_pages + align_pages > rig.heap.extent_regions * rig.heap.region_pages)
            align_pages = 1;

        rig.fake.now_ns += 1000000;
        if (run->len_pages != 0) {
            give(run);
            run->len_pages = 0;
        } else {
            *run = take(len_pages, align_pages);
            use(run);
        }
        for (int i = 0; i < LIVE; i++)
            if (&live[i] != run && live[i].len_pages != 0 && run->len_pages != 0)
                cr_assert(run->addr >= live[i].addr + live[i].len_pages * 4096
                              || live[i].addr >= run->addr + run->len_pages * 4096,
                          "step %d: two runs overlap", step);
        check("random");
    }
    for (int i = 0; i < LIVE; i++)
        if (live[i].len_pages != 0)
            give(&live[i]);
    check("at the end");
    cr_assert_eq(rig.heap.used_pages, 0);
    cr_assert_eq(rig.heap.open_count, 0);
}

Test(pheap, random_short_runs)
{
    play(1, 4000, 64);
}

Test(pheap, random_runs_over_several_regions)
{
    play(2, 4000, 3000);
}

Test(pheap, random_runs_with_huge_pages_from_the_start)
{
    rig.conf.huge_start_bytes = 0;
    play(3, 4000, 1500);
}

Test(pheap, random_runs_on_other_page_sizes)
{
    static const size_t sizes[][2] = { { 16 * HM_KIB, 32 * HM_MIB },
                                       { 64 * HM_KIB, 2 * HM_MIB },
                                       { 64 * HM_KIB, 512 * HM_MIB } };

    for (size_t i = 0; i < 3; i++) {
        struct hm_run runs[64];
        unsigned seed = (unsigned)i;

        rig_fini(&rig);
        rig_init_on(&rig, sizes[i][0], sizes[i][1]);
        for (int k = 0; k < 64; k++) {
            runs[k] = take(1 + (size_t)rand_r(&seed) % (2 * rig.heap.region_pages), 1);
            use(&runs[k]);
            check("other page sizes");
        }
        for (int k = 0; k < 64; k++)
            give(&runs[k]);
        check("other page sizes, given back");
        cr_assert_eq(rig.heap.used_pages, 0);
    }
}

/* Blocks of 2.1 MiB must not take 4 MiB each: they lie end to end. */
Test(pheap, blocks_of_odd_sizes_lie_end_to_end)
{
    size_t len_pages = 538;
    struct hm_run runs[400];
    uint32_t touched_regions;

    for (int i = 0; i < 400; i++)
        runs[i] = take(len_pages, 1);
    check("packed");
    touched_regions = (uint32_t)rig.heap.open_count;
    cr_assert_leq(touched_regions, 400 * len_pages / 512 + 25, "%u regions for %zu pages",
                  touched_regions, 400 * len_pages);
    for (int i = 0; i < 400; i++)
        give(&runs[i]);
    cr_assert_eq(rig.heap.used_pages, 0);
    check("given back");
}

/* What is left of the last region of a long run serves small requests. */
Test(pheap, tails_are_used)
{
    struct hm_run large = take(512 + 300, 1);
    size_t open_count = rig.heap.open_count;
    struct hm_run small;

    for (int i = 0; i < 212; i++) {
        small = take(1, 1);
        cr_assert_geq(small.addr, large.addr + large.len_pages * 4096);
    }
    cr_assert_eq(rig.heap.open_count, open_count);
    small = take(1, 1);
    cr_assert_eq(rig.heap.open_count, open_count + 1);
    check("tails");
}

/* What is kept has memory: it is used before a closed region is opened, also by a run that could
 * begin in that one. */
Test(pheap, a_kept_region_comes_before_a_closed_one)
{
    struct hm_run low[8];
    struct hm_run high[4];

    for (int i = 0; i < 8; i++)
        low[i] = take(512, 1);
    for (int i = 0; i < 4; i++)
        high[i] = take(512, 1);
    for (int i = 0; i < 8; i++)
        give(&low[i]);
    hm_purge_all(&rig.heap);
    cr_assert_eq(low[7].region->state, HM_REGION_CLOSED);
    give(&high[0]);
    cr_assert_eq(high[0].region->state, HM_REGION_KEPT);
    cr_assert_eq(high[0].region->addr, low[7].region->addr + hm_region_bytes(&rig.heap.geom));
    low[0] = take(300, 1);
    cr_assert_eq(low[0].region, high[0].region);
    cr_assert_eq(low[7].region->state, HM_REGION_CLOSED);
    check("taken");
}

/* Of several gaps a run of some regions takes the one that has memory. */
Test(pheap, the_gap_with_most_memory_comes_first)
{
    struct hm_run runs[12];

    for (int i = 0; i < 12; i++)
        runs[i] = take(512, 1);
    for (int i = 1; i < 4; i++)
        give(&runs[i]);
    hm_purge_all(&rig.heap);
    for (int i = 6; i < 9; i++)
        give(&runs[i]);
    cr_assert_eq(runs[1].region->state, HM_REGION_CLOSED);
    cr_assert_eq(runs[6].region->state, HM_REGION_KEPT);
    cr_assert_eq(take(3 * 512, 1).addr, runs[6].addr);
    cr_assert_eq(take(3 * 512, 1).addr, runs[1].addr);
    check("taken");
}

/* A sparse region is left alone while a fuller one has room, so that it can become empty. */
Test(pheap, the_fullest_region_is_used_first)
{
    struct hm_run sparse = take(512, 1);
    struct hm_run full = take(512, 1);

    hm_pheap_give(&rig.heap, sparse.region, sparse.addr + 4096, 511);
    hm_pheap_give(&rig.heap, full.region, full.addr + 500 * 4096, 12);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(take(4, 1).region, full.region);
    cr_assert_eq(take(4, 1).region, sparse.region);
    check("fullest first");
}

Test(pheap, alignment_up_to_a_region)
{
    for (size_t align_pages = 1; align_pages <= 512; align_pages *= 2) {
        struct hm_run first = take(3, align_pages);
        struct hm_run second = take(700, align_pages);

        check("aligned");
        give(&first);
        give(&second);
    }
    check("aligned, given back");
    cr_assert_eq(rig.heap.used_pages, 0);
}

Test(pheap, extends_across_regions)
{
    struct hm_run run = take(500, 1);
    size_t room_pages = rig.heap.extents->region_count * 512;
    struct hm_run next;

    cr_assert(hm_pheap_extend(&rig.heap, run.region, run.addr + 500 * 4096, 12 + 512 + 100));
    check("over closed regions");
    cr_assert_eq(rig.heap.used_pages, 1124);
    cr_assert_eq(rig.heap.open_count, 3);
    next = take(10, 1);
    cr_assert_eq(next.addr, run.addr + 1124 * 4096);
    cr_assert(!hm_pheap_extend(&rig.heap, run.region, run.addr + 1124 * 4096, 412));
    give(&next);
    cr_assert(!hm_pheap_extend(&rig.heap, run.region, run.addr + 1124 * 4096, room_pages - 1123),
              "not beyond the extent");
    cr_assert(hm_pheap_extend(&rig.heap, run.region, run.addr + 1124 * 4096, room_pages - 1124));
    check("to the end of the extent");
    cr_assert(!hm_pheap_extend(&rig.heap, run.region, run.addr + room_pages * 4096, 1));
    hm_pheap_give(&rig.heap, run.region, run.addr, room_pages);
    check("given back");
    cr_assert_eq(rig.heap.used_pages, 0);
}

Test(pheap, extends_only_where_there_is_memory)
{
    struct hm_run run = take(500, 1);

    fake_os_fail(&rig.fake, FAKE_COMMIT, 1, ENOMEM, true);
    cr_assert(!hm_pheap_extend(&rig.heap, run.region, run.addr + 500 * 4096, 100));
    check("nothing has changed");
    cr_assert_eq(rig.heap.used_pages, 500);
    fake_os_heal(&rig.fake);
    cr_assert(hm_pheap_extend(&rig.heap, run.region, run.addr + 500 * 4096, 100));
    hm_pheap_give(&rig.heap, run.region, run.addr, 600);
}

Test(pheap, extends_in_place_while_there_is_room)
{
    struct hm_run run = take(10, 1);
    struct hm_run next;

    cr_assert(hm_pheap_extend(&rig.heap, run.region, run.addr + 10 * 4096, 30));
    check("extended");
    cr_assert_eq(rig.heap.used_pages, 40);
    next = take(1, 1);
    cr_assert_eq(next.addr, run.addr + 40 * 4096);
    cr_assert(!hm_pheap_extend(&rig.heap, run.region, run.addr + 40 * 4096, 1));
    give(&next);
    cr_assert(hm_pheap_extend(&rig.heap, run.region, run.addr + 40 * 4096, 472));
    check("full");
    hm_pheap_give(&rig.heap, run.region, run.addr, 512);
    cr_assert_eq(rig.heap.used_pages, 0);
}

Test(pheap, new_and_discarded_runs_are_zero)
{
    struct hm_run run = take(512, 1);

    cr_assert(run.is_zero);
    use(&run);
    give(&run);
    run = take(512, 1);
    cr_assert(!run.is_zero, "kept memory was written to");
    give(&run);
    hm_purge_all(&rig.heap);
    run = take(512, 1);
    cr_assert(run.is_zero, "discarded memory is zero");
    use(&run);
    check("zero");
}

/* Half of address space, at one word per huge page. */
Test(pheap, a_heap_of_a_terabyte)
{
    size_t run_pages = (size_t)16 * 512 - 5;
    size_t run_count = ((size_t)1 << 40) / (run_pages * 4096);
    struct hm_run *runs = calloc(run_count, sizeof(*runs));

    for (size_t i = 0; i < run_count; i++)
        runs[i] = take(run_pages, 1);
    check("terabyte");
    cr_assert_leq(rig.heap.open_count * 512, run_count * run_pages * 51 / 50, "packed within 2 %%");
    cr_assert_leq(fake_space_vmas(&rig.fake.space), 4000, "few VMAs");
    cr_assert_leq(rig.heap.meta.mapped_bytes, (size_t)1 << 33, "metadata is below 1 %%");
    for (size_t i = 0; i < run_count; i++)
        give(&runs[i]);
    cr_assert_eq(rig.heap.used_pages, 0);
    check("terabyte given back");
    free(runs);
}

Test(pheap, no_memory_leaves_the_heap_as_it_was)
{
    struct hm_run run = take(600, 1);
    struct hm_run none = { 0 };

    fake_os_fail(&rig.fake, FAKE_ANY, 1, ENOMEM, true);
    cr_assert_eq(hm_pheap_take(&rig.heap, 100000, 1, &none), -ENOMEM);
    cr_assert_eq(none.len_pages, 0);
    cr_assert_eq(rig.heap.used_pages, 600);
    check("no memory");
    fake_os_heal(&rig.fake);
    none = take(100000, 1);
    give(&none);
    give(&run);
    check("healed");
}

/* A check that finds nothing proves nothing. */
Test(pheap, the_check_finds_damage)
{
    struct hm_run run = take(100, 1);
    struct hm_region *region = run.region;
    struct hm_region saved = *region;
    uint64_t *dirty = hm_region_dirty_bits(region, 512);

#define EXPECT_BROKEN(damage, repair)                                                              \
    damage;                                                                                        \
    cr_expect_not_null(hm_pheap_check(&rig.heap), #damage);                                        \
    repair;                                                                                        \
    cr_assert_null(hm_pheap_check(&rig.heap), #repair)

    EXPECT_BROKEN(region->used_pages++, region->used_pages--);
    EXPECT_BROKEN(region->longest_free_pages--, region->longest_free_pages++);
    EXPECT_BROKEN(region->dirty_pages--, region->dirty_pages++);
    EXPECT_BROKEN(region->bits[3] |= 1, region->bits[3] = 0);
    EXPECT_BROKEN(dirty[0] ^= 3u << 30; dirty[2] = 3, dirty[0] ^= 3u << 30; dirty[2] = 0);
    EXPECT_BROKEN(region->state = HM_REGION_KEPT, region->state = saved.state);
    EXPECT_BROKEN(region->extent->in_use[0] = 0, region->extent->in_use[0] = 1);
    EXPECT_BROKEN(rig.heap.fits->runs_map[0] ^= 2, rig.heap.fits->runs_map[0] ^= 2);
    EXPECT_BROKEN(region->seam_pages = 9, region->seam_pages = 0);
    EXPECT_BROKEN(rig.heap.fits->seams_map[0] ^= 2, rig.heap.fits->seams_map[0] ^= 2);
    EXPECT_BROKEN(rig.heap.used_pages--, rig.heap.used_pages++);
    EXPECT_BROKEN(rig.heap.open_count++, rig.heap.open_count--);
    EXPECT_BROKEN(rig.heap.kept_count++, rig.heap.kept_count--);
}

/* --- under limits ----------------------------------------------------------------------------- */

/* A limit of address space is the program's, too: the heap takes it in small steps. */
Test(pheap, a_small_limit_makes_small_steps)
{
    struct hm_run run;

    rig.fake.limit_bytes = 256 * HM_MIB;
    run = take(1, 1);
    cr_assert_leq(rig.fake.space.reserved_bytes, 256 * HM_MIB / 32);
    give(&run);
    rig.fake.limit_bytes = SIZE_MAX;
    (void)take(64 * 512, 1);
    run = take(1, 1);
    cr_assert_geq(rig.fake.space.reserved_bytes, 128 * HM_MIB);
}

/* With 2 MiB for each region, all but the steps is to be had. */
Test(pheap, a_limit_is_used_to_the_last_region)
{
    struct hm_run run;
    size_t got_count = 0;

    rig.fake.limit_bytes = 101 * HM_MIB;
    while (hm_pheap_take(&rig.heap, 512, 1, &run) == 0)
        got_count++;
    cr_assert_eq(got_count, 50);
    cr_assert_not_null(rig.heap.extents->next, "in several steps");
}

/* Where mappings are scarce, the next piece of address space is a large one. */
Test(pheap, scarce_mappings_make_large_steps)
{
    (void)take(1, 1);
    rig.heap.backing.is_crowded = true;
    while (rig.heap.extents->next == NULL)
        (void)take(512, 1);
    cr_assert_geq(rig.heap.last_extent->region_count, 512);
}

/* At the limit of mappings neither a part nor another advice can be had; all of the extent can. */
Test(pheap, goes_on_where_nothing_can_be_parted)
{
    struct hm_run first = take(1, 1);
    size_t advise_count;

    use(&first);
    fake_os_fail(&rig.fake, FAKE_COMMIT, 1, ENOMEM, false);
    (void)take(512, 1);
    advise_count = rig.fake.call_count[FAKE_ADVISE_BASE];
    for (int i = 0; i < 2; i++)
        (void)take(512, 1);
    cr_assert_eq(rig.fake.call_count[FAKE_ADVISE_BASE], advise_count, "advised once");
    check("after all");
}
