/* SPDX-License-Identifier: MIT */
/* test_extent.c - address space: taken in steps, given back when it lacks elsewhere. */
#include <criterion/criterion.h>
#include <errno.h>

#include "heap/direct.h"
#include "heap/extent.h"
#include "heap/pheap.h"
#include "heap/purge.h"
#include "support/rig.h"

#define REGION (2 * HM_MIB)

static struct rig rig;

static void
setup(void)
{
    rig_init(&rig);
    rig.conf.huge_start_bytes = 0;
    rig.fake.limit_bytes = SIZE_MAX / 2; /* there is one, and it does not bind */
}

static void
teardown(void)
{
    cr_assert_null(hm_pheap_check(&rig.heap), "broken: %s", hm_pheap_check(&rig.heap));
    rig_fini(&rig);
}

TestSuite(extent, .init = setup, .fini = teardown);

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

/* Regions one by one until there are no more, at most 1000. Returns how many. */
static size_t
take_all(struct hm_run *runs)
{
    size_t count = 0;

    while (hm_pheap_take(&rig.heap, 512, 1, &runs[count]) == 0) {
        fake_space_touch(&rig.fake.space, runs[count].addr, REGION);
        cr_assert_lt(++count, 1000);
    }
    return count;
}

static size_t
idle_count(void)
{
    size_t count = 0;

    for (int i = 0; i < HM_EXTENT_ROOMS; i++)
        for (struct hm_extent *extent = rig.heap.idle_extents[i]; extent != NULL;
             extent = extent->next)
            count++;
    return count;
}

/* The limit is set when the heap has asked. */
static size_t
no_limit(void *ctx)
{
    (void)ctx;
    return SIZE_MAX;
}

/* --- taking ----------------------------------------------------------------------------------- */

Test(extent, is_aligned_and_large_enough)
{
    struct hm_extent *extent = hm_extent_add(&rig.heap, 3, 0);

    cr_assert_geq(extent->region_count, 3);
    cr_assert_eq(extent->addr % REGION, 0);
    cr_assert_eq(rig.fake.space.reserved_bytes, extent->region_count * REGION);
    cr_assert_eq(rig.fake.space.committed_bytes, 0, "reserved is not committed");
    extent = hm_extent_add(&rig.heap, 100, 0);
    cr_assert_eq(extent->region_count, 100);
    cr_assert_eq(rig.heap.last_extent, extent);
}

/* The wish is given up step by step, the need is not. */
Test(extent, the_wish_shrinks_to_what_there_is)
{
    struct hm_extent *extent;

    rig.heap.backing.is_crowded = true;
    rig.fake.limit_bytes = 1000 * REGION;
    extent = hm_extent_add(&rig.heap, 3, 0);
    cr_assert_eq(extent->region_count, 1000 / 64);
    cr_assert_null(hm_extent_add(&rig.heap, 1001, 0));
    rig.fake.os.address_limit = no_limit;
    rig.fake.limit_bytes = 21 * REGION;
    extent = hm_extent_add(&rig.heap, 3, 0);
    cr_assert_geq(extent->region_count, 3);
    cr_assert_leq(rig.fake.space.reserved_bytes, 21 * REGION);
}

/* Neither for the structs nor for the page map. */
Test(extent, without_metadata_the_address_space_goes_back)
{
    for (uint64_t nth = 1; nth <= 3; nth++) {
        size_t before_bytes = rig.fake.space.reserved_bytes;

        fake_os_fail(&rig.fake, FAKE_MAP_META, nth, ENOMEM, true);
        cr_assert_null(hm_extent_add(&rig.heap, 1 << 16, 0));
        fake_os_heal(&rig.fake);
        cr_assert_eq(rig.fake.space.reserved_bytes, before_bytes);
        cr_assert_null(hm_pheap_check(&rig.heap));
    }
    cr_assert_not_null(hm_extent_add(&rig.heap, 1 << 16, 0));
}

/* --- giving back ------------------------------------------------------------------------------ */

/* What small blocks had, a large one gets. */
Test(extent, an_empty_heap_makes_room_for_a_mapping)
{
    static struct hm_run runs[1000];
    struct hm_mapping map;
    size_t count;

    rig.fake.limit_bytes = 32 * REGION;
    count = take_all(runs);
    cr_assert_eq(count, 32);
    cr_assert_eq(hm_direct_map(&rig.heap, 20 * REGION, 4096, &map), -ENOMEM);
    cr_assert_null(hm_pheap_check(&rig.heap));
    for (size_t i = 0; i < count; i++)
        give(&runs[i]);
    cr_assert_eq(hm_direct_map(&rig.heap, 32 * REGION, 4096, &map), 0);
    cr_assert_null(rig.heap.extents);
    cr_assert_eq(rig.heap.extent_regions, 0);
    cr_assert_eq(rig.heap.kept_count, 0);
    hm_direct_unmap(&rig.heap, &map);
    cr_assert_eq(take_all(runs), 32, "and the other way round");
}

Test(extent, an_empty_heap_makes_room_for_a_mapping_that_grows)
{
    struct hm_mapping map;
    struct hm_run run;

    rig.fake.limit_bytes = 150 * REGION;
    cr_assert_eq(hm_direct_map(&rig.heap, 40 * REGION, 4096, &map), 0);
    run = take(60 * 512);
    rig.fake.no_room_to_grow = true;
    cr_assert_eq(hm_direct_resize(&rig.heap, &map, 80 * REGION, 0), -ENOMEM);
    give(&run);
    cr_assert_eq(hm_direct_resize(&rig.heap, &map, 80 * REGION, 0), 0);
    cr_assert_eq(map.len_bytes, 80 * REGION);
    cr_assert_eq(rig.fake.space.reserved_bytes, 80 * REGION);
    hm_direct_unmap(&rig.heap, &map);
}

/* Pieces that are free, but not side by side. */
Test(extent, small_empty_extents_make_room_for_a_large_one)
{
    static struct hm_run runs[1000];
    struct hm_run run;
    size_t count;

    rig.fake.limit_bytes = 32 * REGION;
    count = take_all(runs);
    cr_assert_eq(hm_pheap_take(&rig.heap, 15 * 512, 1, &run), -ENOMEM);
    for (size_t i = 0; i < count; i++)
        give(&runs[i]);
    run = take(15 * 512);
    give(&run);
}

/* Of an extent that is in use, the end goes. */
Test(extent, is_cut_behind_its_last_region_in_use)
{
    struct hm_run low = take(512);
    struct hm_run mid = take(3 * 512);
    struct hm_run high = take(2 * 512);
    struct hm_extent *extent = rig.heap.extents;

    give(&high);
    give(&low);
    cr_assert(hm_extent_trim(&rig.heap));
    cr_assert_eq(rig.heap.extents, extent);
    cr_assert_eq(extent->region_count, 4);
    cr_assert_eq(rig.heap.extent_regions, 4);
    cr_assert_eq(rig.fake.space.reserved_bytes, 4 * REGION);
    cr_assert_eq(rig.heap.kept_count, 1, "the one in front stays");
    cr_assert_eq(rig.heap.discarded_bytes, 2 * REGION);
    cr_assert_null(hm_pheap_check(&rig.heap));
    cr_assert_not(hm_extent_trim(&rig.heap), "there is nothing left to give");
    low = take(512);
    cr_assert_eq(low.addr, extent->addr);
    high = take(2 * 512);
    cr_assert_eq(rig.heap.last_extent, extent->next);
    give(&low);
    give(&mid);
    give(&high);
}

/* The list stays in order, whichever goes. */
Test(extent, any_of_a_list_can_go)
{
    for (unsigned gone = 0; gone < 8; gone++) {
        struct hm_extent *extents[3];
        struct hm_run runs[3];
        struct hm_run more;

        for (int i = 0; i < 3; i++) {
            runs[i] = take(200 * 512);
            extents[i] = runs[i].region->extent;
            cr_assert_eq(rig.heap.last_extent, extents[i]);
        }
        for (int i = 0; i < 3; i++)
            if ((gone & 1u << i) != 0)
                give(&runs[i]);
        hm_extent_trim(&rig.heap);
        cr_assert_null(hm_pheap_check(&rig.heap));
        cr_assert_geq(idle_count(), (size_t)__builtin_popcount(gone));
        more = take(200 * 512);
        cr_assert_eq(more.region->extent, rig.heap.last_extent);
        cr_assert_null(hm_pheap_check(&rig.heap));
        give(&more);
        for (int i = 0; i < 3; i++)
            if ((gone & 1u << i) == 0)
                give(&runs[i]);
        hm_extent_trim(&rig.heap);
        cr_assert_null(rig.heap.extents);
        cr_assert_eq(rig.fake.space.reserved_bytes, 0);
    }
}

/* Structs of extents are used again, of whatever sizes these are. */
Test(extent, going_back_and_forth_takes_no_metadata)
{
    size_t meta_bytes = 0;
    size_t left_bytes = 0;

    for (int i = 0; i < 2000; i++) {
        size_t len_pages = (size_t)(i * 7 % 100 + 1) * 512;
        struct hm_run a = take(len_pages);
        struct hm_run b = take(len_pages / 2 + 1);

        cr_assert_null(hm_pheap_check(&rig.heap));
        cr_assert(a.is_zero && b.is_zero);
        give(&a);
        give(&b);
        cr_assert(hm_extent_trim(&rig.heap));
        cr_assert_null(rig.heap.extents);
        if (i == 100) {
            meta_bytes = rig.heap.meta.mapped_bytes;
            left_bytes = rig.heap.meta.left_bytes;
        }
    }
    cr_assert_eq(rig.heap.meta.mapped_bytes, meta_bytes);
    cr_assert_eq(rig.heap.meta.left_bytes, left_bytes);
}

/* At the limit of mappings a mapping cannot be split. */
Test(extent, a_refused_unmap_changes_nothing)
{
    struct hm_run low = take(512);
    struct hm_run high = take(512);
    size_t reserved_bytes = rig.fake.space.reserved_bytes;

    give(&high);
    fake_os_fail(&rig.fake, FAKE_UNMAP, 1, ENOMEM, false);
    cr_assert_not(hm_extent_trim(&rig.heap));
    cr_assert_eq(rig.fake.space.reserved_bytes, reserved_bytes);
    cr_assert_eq(rig.heap.kept_count, 1);
    cr_assert_eq(rig.heap.last_extent, rig.heap.extents);
    give(&low);
}

/* What is given back where a sandbox forbids mmap would be lost for good. */
Test(extent, only_want_of_room_makes_room)
{
    struct hm_run run = take(512);
    struct hm_mapping map;

    give(&run);
    fake_os_forget(&rig.fake);
    fake_os_fail(&rig.fake, FAKE_RESERVE, 1, EPERM, true);
    cr_assert_eq(hm_direct_map(&rig.heap, 20 * REGION, 4096, &map), -ENOMEM);
    cr_assert_null(hm_extent_add(&rig.heap, 20, 0));
    cr_assert_eq(rig.fake.call_count[FAKE_UNMAP], 0);
    cr_assert_eq(rig.heap.kept_count, 1);
    fake_os_fail(&rig.fake, FAKE_RESERVE, 1, ENOMEM, false);
    cr_assert_eq(hm_direct_map(&rig.heap, 20 * REGION, 4096, &map), 0);
    cr_assert_eq(rig.heap.kept_count, 0);
    hm_direct_unmap(&rig.heap, &map);
}

/* Without a limit it is the mappings that are scarce: what the heap has is worth keeping. */
Test(extent, scarce_mappings_make_no_room)
{
    struct hm_run run = take(512);
    struct hm_mapping map;

    give(&run);
    rig.fake.limit_bytes = SIZE_MAX;
    fake_os_forget(&rig.fake);
    fake_os_fail(&rig.fake, FAKE_RESERVE, 1, ENOMEM, true);
    cr_assert_eq(hm_direct_map(&rig.heap, 20 * REGION, 4096, &map), -ENOMEM);
    cr_assert_eq(rig.fake.call_count[FAKE_UNMAP], 0);
    cr_assert_eq(rig.heap.kept_count, 1);
}

/* All calls of the way back and on can fail; then there is no block, and nothing else happens. */
Test(extent, whatever_fails_while_room_is_made)
{
    static struct hm_run runs[1000];
    bool is_through = false;

    rig.fake.limit_bytes = 32 * REGION;
    for (uint64_t nth = 1; !is_through; nth++) {
        size_t count = take_all(runs);
        struct hm_mapping map;
        int rc;

        cr_assert_eq(count, 32, "before call %d fails", (int)nth);
        for (size_t i = 0; i < count; i++)
            give(&runs[i]);
        fake_os_fail(&rig.fake, FAKE_ANY, nth, ENOMEM, false);
        rc = hm_direct_map(&rig.heap, 30 * REGION, 4096, &map);
        is_through = rig.fake.fault.failed_count == 0;
        fake_os_heal(&rig.fake);
        cr_assert_null(hm_pheap_check(&rig.heap));
        cr_assert(rc == 0 || !is_through);
        if (rc != 0)
            cr_assert_eq(hm_direct_map(&rig.heap, 30 * REGION, 4096, &map), 0);
        hm_direct_unmap(&rig.heap, &map);
        rig.fake.fault.failed_count = 0;
    }
}

/* A range that the kernel would not unmap may be no whole number of regions. */
Test(extent, what_was_adopted_goes_whole)
{
    struct hm_mapping map;

    cr_assert_eq(hm_direct_map(&rig.heap, 20 * REGION + 4096, 4096, &map), 0);
    fake_os_fail(&rig.fake, FAKE_UNMAP, 1, ENOMEM, false);
    hm_direct_unmap(&rig.heap, &map);
    cr_assert_eq(rig.heap.extent_regions, 20);
    cr_assert(hm_extent_trim(&rig.heap));
    cr_assert_eq(rig.fake.space.reserved_bytes, 0);
}

/* malloc_trim gives address space back where it is counted. */
Test(extent, purge_gives_address_space_back_under_a_limit)
{
    struct hm_run run = take(512);
    size_t reserved_bytes = rig.fake.space.reserved_bytes;

    give(&run);
    rig.fake.limit_bytes = SIZE_MAX;
    cr_assert_eq(hm_purge_all(&rig.heap), REGION);
    cr_assert_eq(rig.fake.space.reserved_bytes, reserved_bytes);
    rig.fake.limit_bytes = 1000 * REGION;
    cr_assert_eq(hm_purge_all(&rig.heap), 0);
    cr_assert_eq(rig.fake.space.reserved_bytes, 0);
    cr_assert_eq(rig.heap.discarded_bytes, REGION, "counted once");
}
