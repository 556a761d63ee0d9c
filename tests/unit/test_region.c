/* SPDX-License-Identifier: MIT */
/* test_region.c - the pages of one region, and extents under a limit of address space. */
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

static struct hm_extent *
create(size_t need_count, size_t wish_count)
{
    return hm_extent_create(&fake.os, &meta, &fake.space.geom, need_count, wish_count);
}

Test(region, take_and_give_keep_the_counts)
{
    struct hm_extent *extent = create(2, 2);
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
    struct hm_extent *extent = create(1, 1);
    struct hm_region *region = hm_extent_region(extent, 0);

    cr_assert_eq(hm_region_take(region, PAGES, 0, PAGES), 0);
    cr_assert_eq(region->longest_free_pages, 0);
    hm_region_give(region, PAGES, PAGES - 1, 1);
    cr_assert_eq(region->longest_free_pages, 1);
}

Test(region, an_extent_is_aligned_and_large_enough)
{
    struct hm_extent *extent = create(3, 40);

    cr_assert_not_null(extent);
    cr_assert_eq(extent->region_count, 40);
    cr_assert_eq(extent->addr % (2 * HM_MIB), 0);
    cr_assert_eq(fake.space.reserved_bytes, 80 * HM_MIB);
    cr_assert_eq(fake.space.committed_bytes, 0, "reserved is not committed");
    extent = create(40, 3);
    cr_assert_eq(extent->region_count, 40);
}

Test(region, region_structs_do_not_overlap)
{
    struct hm_extent *extent = create(4, 4);

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

/* Under RLIMIT_AS the wish is given up step by step, the need is not. */
Test(region, the_wish_shrinks_to_what_there_is)
{
    struct hm_extent *extent;

    fake.limit_bytes = 20 * HM_MIB;
    extent = create(3, 400);
    cr_assert_not_null(extent);
    cr_assert_geq(extent->region_count, 3);
    cr_assert_leq(extent->region_count, 10);
    cr_assert_null(create(11, 11));
    cr_assert_null(create(8, 8));
}

Test(region, without_metadata_the_address_space_goes_back)
{
    cr_assert_not_null(hm_meta_alloc(&meta, 64, 64));
    for (uint64_t nth = 1; nth <= 2; nth++) {
        size_t before_bytes = fake.space.reserved_bytes;
        struct hm_extent *extent;

        fake_os_fail(&fake, FAKE_MAP_META, nth, ENOMEM, true);
        extent = create(1 << 20, 1 << 20);
        fake_os_heal(&fake);
        if (extent == NULL)
            cr_assert_eq(fake.space.reserved_bytes, before_bytes);
        else
            cr_assert_gt(fake.space.reserved_bytes, before_bytes);
        cr_assert(extent == NULL || nth > 1);
    }
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
    extent = hm_extent_create(&other.os, &other_meta, &other.space.geom, 2, 2);
    cr_assert_not_null(extent);
    cr_assert_eq(hm_region_take(hm_extent_region(extent, 0), pages, 0, pages), 0);
    cr_assert_eq(hm_extent_region(extent, 1)->used_pages, 0);
    fake_os_fini(&other);
}
