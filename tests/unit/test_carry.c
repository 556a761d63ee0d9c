/* SPDX-License-Identifier: MIT */
/* test_carry.c - a large block that outgrows its run takes its pages along. */
#include <criterion/criterion.h>
#include <errno.h>

#include "support/rig.h"

static struct rig rig;

static void
setup(void)
{
    rig_init(&rig);
}

static void
teardown(void)
{
    const char *broken = rig_check(&rig);

    cr_assert_null(broken, "broken: %s", broken);
    rig_fini(&rig);
}

TestSuite(carry, .init = setup, .fini = teardown);

static struct hm_span *
span_at(uintptr_t addr)
{
    return hm_pagemap_get(rig.heap.pagemap, addr);
}

static uintptr_t
resize(uintptr_t addr, size_t size_bytes)
{
    return rig_resize_large(&rig, span_at(addr), addr, size_bytes);
}

/* A run of this size, touched, and what lies behind it so that it cannot grow. */
static uintptr_t
alloc_hemmed(size_t size_bytes)
{
    uintptr_t addr = rig_alloc_large(&rig, size_bytes, 16, NULL);

    cr_assert_neq(rig_alloc_large(&rig, 64 * HM_MIB, 16, NULL), 0);
    fake_space_touch(&rig.fake.space, addr, size_bytes);
    cr_assert_eq(span_at(addr)->kind, HM_SPAN_RUN);
    cr_assert_eq(addr % (2 * HM_MIB), 0);
    return addr;
}

static size_t
huge_bytes_at(uintptr_t addr, size_t len_bytes)
{
    size_t huge_bytes = 0;

    (void)fake_space_resident(&rig.fake.space, addr, len_bytes, &huge_bytes);
    return huge_bytes;
}

Test(carry, a_run_moves_into_a_mapping)
{
    uintptr_t addr = alloc_hemmed(39 * HM_MIB);
    size_t open_count = rig.heap.open_count;
    uintptr_t moved = resize(addr, 50 * HM_MIB);

    cr_assert_neq(moved, 0);
    cr_assert_neq(moved, addr);
    cr_assert_null(span_at(addr));
    cr_assert_eq(span_at(moved)->kind, HM_SPAN_MAPPED);
    cr_assert_eq(rig_usable(&rig, moved), 50 * HM_MIB);
    cr_assert_eq(huge_bytes_at(moved, 50 * HM_MIB), 40 * HM_MIB);
    cr_assert_eq(huge_bytes_at(addr, 40 * HM_MIB), 0, "nothing is left behind");
    cr_assert_eq(rig.heap.open_count, open_count - 20);
    cr_assert_eq(rig.fake.call_count[FAKE_DISCARD], 0);
    cr_assert_null(rig_check(&rig));
    /* The regions serve again, as fresh ones. */
    cr_assert_eq(rig_alloc_large(&rig, 40 * HM_MIB, 16, NULL), addr);
    hm_large_free(&rig.heap, span_at(moved), moved);
}

/* The pages are gone from the run before it is vacant: it must not be healed meanwhile, which would
 * fill it anew. */
Test(carry, what_is_left_behind_is_not_healed)
{
    uintptr_t addr, moved;
    size_t huge_bytes;

    rig.conf.huge_start_bytes = 100 * HM_MIB;
    addr = rig_alloc_large(&rig, 39 * HM_MIB, 16, NULL);
    cr_assert_neq(rig_alloc_large(&rig, 10 * HM_MIB, 16, NULL), 0);
    fake_space_touch(&rig.fake.space, addr, 39 * HM_MIB);
    cr_assert_eq(huge_bytes_at(addr, 39 * HM_MIB), 0);
    moved = resize(addr, 200 * HM_MIB);
    cr_assert_neq(moved, 0);
    cr_assert_eq(span_at(moved)->kind, HM_SPAN_MAPPED);
    cr_assert_eq(fake_space_resident(&rig.fake.space, addr, 39 * HM_MIB, &huge_bytes), 0);
    hm_large_free(&rig.heap, span_at(moved), moved);
}

Test(carry, what_shares_its_last_region_is_copied)
{
    uintptr_t addr = alloc_hemmed(39 * HM_MIB);
    uintptr_t small = rig_alloc_large(&rig, 100000, 16, NULL);
    size_t used_pages = rig.heap.used_pages;
    uintptr_t moved;

    cr_assert_eq(small, addr + 39 * HM_MIB);
    fake_space_touch(&rig.fake.space, small, 100000);
    moved = resize(addr, 50 * HM_MIB);
    cr_assert_neq(moved, 0);
    cr_assert_eq(huge_bytes_at(moved, 50 * HM_MIB), 40 * HM_MIB);
    cr_assert(!fake_space_is_zero(&rig.fake.space, small, 4096));
    cr_assert_eq(rig.heap.used_pages, used_pages - (39 * HM_MIB >> 12));
    cr_assert_null(rig_check(&rig));
    hm_large_free(&rig.heap, span_at(moved), moved);
    hm_large_free(&rig.heap, span_at(small), small);
}

Test(carry, a_run_that_cannot_move_stays)
{
    uintptr_t addr = alloc_hemmed(40 * HM_MIB);

    fake_os_fail(&rig.fake, FAKE_CARRY, 1, EINVAL, false);
    cr_assert_eq(resize(addr, 50 * HM_MIB), 0);
    cr_assert_eq(span_at(addr)->kind, HM_SPAN_RUN);
    cr_assert_eq(rig.heap.direct_count, 0);
    cr_assert_eq(huge_bytes_at(addr, 40 * HM_MIB), 40 * HM_MIB);
}

/* What was moved is copied back. */
Test(carry, a_run_whose_mapping_cannot_grow_stays)
{
    uintptr_t addr = alloc_hemmed(40 * HM_MIB);
    size_t reserved_bytes = rig.fake.space.reserved_bytes;

    fake_os_fail(&rig.fake, FAKE_REMAP, 1, EFAULT, false);
    cr_assert_eq(resize(addr, 50 * HM_MIB), 0);
    cr_assert_eq(span_at(addr)->kind, HM_SPAN_RUN);
    cr_assert_eq(rig.heap.direct_count, 0);
    cr_assert_eq(rig.fake.space.reserved_bytes, reserved_bytes);
    cr_assert_eq(huge_bytes_at(addr, 40 * HM_MIB), 40 * HM_MIB);
    hm_large_free(&rig.heap, span_at(addr), addr);
}

/* One that begins within a region, or lies on pages of two kinds, is copied. */
Test(carry, only_whole_regions_move)
{
    uintptr_t first = rig_alloc_large(&rig, 300000, 16, NULL);
    uintptr_t addr = rig_alloc_large(&rig, 5 * HM_MIB, 16, NULL);

    cr_assert_neq(rig_alloc_large(&rig, 64 * HM_MIB, 16, NULL), 0);
    cr_assert_neq(addr % (2 * HM_MIB), 0);
    cr_assert_eq(resize(addr, 50 * HM_MIB), 0);
    cr_assert_eq(rig.fake.call_count[FAKE_CARRY], 0);
    addr = alloc_hemmed(40 * HM_MIB);
    hm_extent_region(span_at(addr)->region->extent,
                     hm_region_idx(span_at(addr)->region, &rig.heap.geom) + 3)
        ->backing
        = HM_BACKING_4K;
    cr_assert_eq(resize(addr, 50 * HM_MIB), 0);
    cr_assert_eq(rig.fake.call_count[FAKE_CARRY], 0);
    hm_extent_region(span_at(addr)->region->extent,
                     hm_region_idx(span_at(addr)->region, &rig.heap.geom) + 3)
        ->backing
        = HM_BACKING_THP;
    hm_large_free(&rig.heap, span_at(first), first);
}
