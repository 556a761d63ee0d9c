/* SPDX-License-Identifier: MIT */
/* test_region.c - the pages of one region, and the structs of an extent. */
#include <criterion/criterion.h>
#include <errno.h>

#include "heap/region.h"
#include "support/fake_os.h"

#define PAGES 512

static struct fake_os fake;
static struct hm_meta meta;

static void
setup(void)
{
    fake_os_init(&fake, 4 * HM_KIB, 2 * HM_MIB);
    hm_meta_init(&meta, &fake.os);
}

static void
teardown(void)
{
    fake_os_fini(&fake);
}

TestSuite(region, .init = setup, .fini = teardown);

/* An extent at an address where nothing is. */
static struct hm_extent *
create(size_t region_count)
{
    struct hm_extent *extent = hm_extent_create(&meta, &fake.space.geom, region_count);

    cr_assert_not_null(extent);
    hm_extent_place(extent, &fake.space.geom, HM_GIB, region_count * 2 * HM_MIB);
    return extent;
}

Test(region, take_and_give_keep_the_counts)
{
    struct hm_extent *extent = create(2);
    struct hm_region *region = hm_extent_region(extent, 1);

    cr_assert_eq(hm_region_take(region, PAGES, 0, 10), 0);
    cr_assert_eq(hm_region_take(region, PAGES, 100, 1), 0);
    cr_assert_eq(region->used_pages, 11);
    cr_assert_eq(region->dirty_pages, 11);
    cr_assert_eq(region->longest_free_pages, PAGES - 101);
    hm_region_give(region, PAGES, 0, 10);
    cr_assert_eq(region->used_pages, 1);
    cr_assert_eq(region->dirty_pages, 11, "what was written stays dirty");
    cr_assert_eq(hm_region_take(region, PAGES, 5, 10), 5, "five of these were dirty");
    cr_assert_eq(region->dirty_pages, 16);
}

Test(region, a_full_one_has_no_free_run)
{
    struct hm_extent *extent = create(1);
    struct hm_region *region = hm_extent_region(extent, 0);

    cr_assert_eq(hm_region_take(region, PAGES, 0, PAGES), 0);
    cr_assert_eq(region->longest_free_pages, 0);
    hm_region_give(region, PAGES, PAGES - 1, 1);
    cr_assert_eq(region->longest_free_pages, 1);
}

Test(region, an_extent_has_the_whole_regions_of_its_range)
{
    struct hm_extent *extent = create(40);

    cr_assert_eq(extent->region_count, 40);
    cr_assert_eq(extent->tail_idx, 0, "none was opened");
    hm_extent_place(extent, &fake.space.geom, 2 * HM_GIB, 9 * HM_MIB + 4096);
    cr_assert_eq(extent->addr, 2 * HM_GIB);
    cr_assert_eq(extent->end_addr, 2 * HM_GIB + 9 * HM_MIB + 4096);
    cr_assert_eq(extent->region_count, 4);
    cr_assert_eq(extent->room_count, 40);
}

Test(region, region_structs_do_not_overlap)
{
    struct hm_extent *extent = create(4);

    for (size_t i = 0; i < 4; i++) {
        struct hm_region *region = hm_extent_region(extent, i);

        hm_bitmap_set_run(region->bits, 0, PAGES);
        hm_bitmap_set_run(hm_region_dirty_bits(region, PAGES), 0, PAGES);
    }
    for (size_t i = 0; i < 4; i++) {
        struct hm_region *region = hm_extent_region(extent, i);

        cr_assert_null(region->next);
        cr_assert_eq(region->used_pages, 0);
        cr_assert_eq(region->state, HM_REGION_CLOSED);
    }
    cr_assert_eq(hm_bitmap_count_run(extent->in_use, 0, 4), 0);
}

Test(region, without_metadata_there_is_none)
{
    fake_os_fail(&fake, FAKE_MAP_META, 1, ENOMEM, false);
    cr_assert_null(hm_extent_create(&meta, &fake.space.geom, 1));
    cr_assert_not_null(hm_extent_create(&meta, &fake.space.geom, 1));
}

Test(region, other_page_sizes)
{
    struct fake_os other;
    struct hm_meta other_meta;
    struct hm_extent *extent;
    uint32_t pages;

    fake_os_init(&other, 16 * HM_KIB, 32 * HM_MIB);
    hm_meta_init(&other_meta, &other.os);
    pages = hm_region_pages(&other.space.geom);
    cr_assert_eq(pages, 2048);
    extent = hm_extent_create(&other_meta, &other.space.geom, 2);
    cr_assert_not_null(extent);
    cr_assert_eq(hm_region_take(hm_extent_region(extent, 0), pages, 0, pages), 0);
    cr_assert_eq(hm_extent_region(extent, 1)->used_pages, 0);
    fake_os_fini(&other);
}
