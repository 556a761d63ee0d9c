/* SPDX-License-Identifier: MIT */
/* test_pagemap.c - from addresses to spans. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

#include "heap/pagemap.h"
#include "support/fake_os.h"

#define GRAIN ((uintptr_t)1 << HM_GRAIN_SHIFT)
#define LEAF_BYTES ((uintptr_t)1 << (HM_GRAIN_SHIFT + HM_LEAF_SHIFT))

static struct fake_os fake;
static struct hm_meta meta;
static struct hm_pagemap map;

/* Entries are compared, never followed. */
#define SPAN_A ((struct hm_span *)0x1000)
#define SPAN_B ((struct hm_span *)0x2000)

static void
setup(void)
{
    fake_os_init(&fake, 4 * HM_KIB, 2 * HM_MIB);
    hm_meta_init(&meta, &fake.os);
    cr_assert_eq(hm_pagemap_init(&map, &meta, SIZE_MAX), 0);
}

static void
teardown(void)
{
    fake_os_fini(&fake);
}

TestSuite(pagemap, .init = setup, .fini = teardown);

Test(pagemap, knows_nothing_at_first)
{
    static const uintptr_t addrs[] = { 0, 1, GRAIN, (uintptr_t)1 << 47, UINTPTR_MAX };

    for (size_t i = 0; i < sizeof(addrs) / sizeof(addrs[0]); i++)
        cr_assert_null(hm_pagemap_get(&map, addrs[i]));
}

Test(pagemap, covers_exactly_the_range)
{
    uintptr_t addr = (uintptr_t)77 << 40;

    cr_assert_eq(hm_pagemap_set(&map, addr, 3 * GRAIN, SPAN_A), 0);
    cr_assert_eq(hm_pagemap_get(&map, addr), SPAN_A);
    cr_assert_eq(hm_pagemap_get(&map, addr + 3 * GRAIN - 1), SPAN_A);
    cr_assert_null(hm_pagemap_get(&map, addr - 1));
    cr_assert_null(hm_pagemap_get(&map, addr + 3 * GRAIN));
    cr_assert_eq(hm_pagemap_set(&map, addr, 3 * GRAIN, NULL), 0);
    cr_assert_null(hm_pagemap_get(&map, addr));
    cr_assert_null(hm_pagemap_get(&map, addr + 3 * GRAIN - 1));
}

Test(pagemap, a_length_of_one_enters_one_grain)
{
    uintptr_t addr = (uintptr_t)3 << 30;

    cr_assert_eq(hm_pagemap_set(&map, addr, 1, SPAN_A), 0);
    cr_assert_eq(hm_pagemap_get(&map, addr + GRAIN - 1), SPAN_A);
    cr_assert_null(hm_pagemap_get(&map, addr + GRAIN));
}

Test(pagemap, ranges_cross_leaves)
{
    uintptr_t edge = (uintptr_t)5 << (HM_GRAIN_SHIFT + HM_LEAF_SHIFT);

    cr_assert_eq(hm_pagemap_set(&map, edge - 2 * GRAIN, 4 * GRAIN, SPAN_B), 0);
    for (int i = -2; i < 2; i++)
        cr_assert_eq(hm_pagemap_get(&map, edge + (uintptr_t)((intptr_t)i * (intptr_t)GRAIN)),
                     SPAN_B);
    cr_assert_null(hm_pagemap_get(&map, edge - 3 * GRAIN));
    cr_assert_null(hm_pagemap_get(&map, edge + 2 * GRAIN));
}

Test(pagemap, the_last_user_address)
{
    uintptr_t addr = ((uintptr_t)1 << 47) - GRAIN;

    cr_assert_eq(hm_pagemap_set(&map, addr, GRAIN, SPAN_A), 0);
    cr_assert_eq(hm_pagemap_get(&map, addr + 1), SPAN_A);
    addr = ((uintptr_t)1 << 48) - GRAIN;
    cr_assert_eq(hm_pagemap_set(&map, addr, GRAIN, SPAN_B), 0);
    cr_assert_eq(hm_pagemap_get(&map, addr + 1), SPAN_B);
    cr_assert_null(hm_pagemap_get(&map, addr + ((uintptr_t)1 << 48)));
    cr_assert_null(hm_pagemap_get(&map, addr | (uintptr_t)1 << 63));
}

/* Something is entered elsewhere, so that all that follows is far. */
static void
be_far(void)
{
    cr_assert_eq(hm_pagemap_set(&map, 1000 * LEAF_BYTES, GRAIN, SPAN_A), 0);
}

Test(pagemap, without_memory_nothing_is_entered)
{
    uintptr_t edge = 9 * LEAF_BYTES;

    be_far();
    for (unsigned nth = 1; nth <= 3; nth++) { /* the root, and two leaves */
        fake_os_fail(&fake, FAKE_MAP_META, nth == 1 ? 1 : 2, ENOMEM, true);
        cr_assert_eq(hm_pagemap_set(&map, edge - GRAIN, 2 * GRAIN, SPAN_A), -ENOMEM);
        cr_assert_null(hm_pagemap_get(&map, edge - GRAIN));
        cr_assert_null(hm_pagemap_get(&map, edge));
        fake_os_heal(&fake);
    }
    cr_assert_eq(hm_pagemap_set(&map, edge - GRAIN, 2 * GRAIN, SPAN_A), 0);
    cr_assert_eq(hm_pagemap_get(&map, edge), SPAN_A);
}

/* What was prepared can be entered without memory. */
Test(pagemap, prepares)
{
    uintptr_t addr = 11 * LEAF_BYTES;

    be_far();
    fake_os_fail(&fake, FAKE_MAP_META, 1, ENOMEM, true);
    cr_assert_eq(hm_pagemap_prepare(&map, addr, 1), -ENOMEM);
    fake_os_heal(&fake);
    cr_assert_eq(hm_pagemap_prepare(&map, addr, 1), 0);
    cr_assert_null(hm_pagemap_get(&map, addr));
    fake_os_fail(&fake, FAKE_MAP_META, 1, ENOMEM, true);
    cr_assert_eq(hm_pagemap_set(&map, addr, 1, SPAN_A), 0);
    cr_assert_eq(hm_pagemap_get(&map, addr), SPAN_A);
}

/* The short way sees the table around the first address and nothing else, the long way the rest. */
Test(pagemap, the_first_address_is_near)
{
    uintptr_t addr = 9 * LEAF_BYTES + 12345 * GRAIN;
    uintptr_t end;

    cr_assert_null(hm_pagemap_get_near(&map, addr));
    cr_assert_null(hm_pagemap_get_near(&map, 0));
    cr_assert_null(hm_pagemap_get_near(&map, UINTPTR_MAX));
    cr_assert_eq(hm_pagemap_set(&map, addr, 1, SPAN_A), 0);
    cr_assert_null(map.root, "no need for a tree yet");
    cr_assert_eq(hm_pagemap_get_near(&map, addr), SPAN_A);
    end = map.near_addr + (map.near_count << HM_GRAIN_SHIFT);
    cr_assert_eq(end - map.near_addr, LEAF_BYTES);
    cr_assert_lt(map.near_addr, addr - LEAF_BYTES / 2, "most of it lies below");
    cr_assert_gt(end, addr + LEAF_BYTES / 16);

    cr_assert_eq(hm_pagemap_set(&map, end - 2 * GRAIN, 4 * GRAIN, SPAN_B), 0);
    cr_assert_eq(hm_pagemap_set(&map, map.near_addr - GRAIN, 2 * GRAIN, SPAN_A), 0);
    for (uintptr_t at = end - 2 * GRAIN; at < end + 2 * GRAIN; at += GRAIN) {
        cr_assert_eq(hm_pagemap_get(&map, at), SPAN_B);
        cr_assert_eq(hm_pagemap_get_near(&map, at), at < end ? SPAN_B : NULL);
        cr_assert_eq(hm_pagemap_get_far(&map, at), at < end ? NULL : SPAN_B);
    }
    cr_assert_eq(hm_pagemap_get_near(&map, map.near_addr), SPAN_A);
    cr_assert_eq(hm_pagemap_get_far(&map, map.near_addr - 1), SPAN_A);
    cr_assert_null(hm_pagemap_get_near(&map, 0));
    cr_assert_null(hm_pagemap_get_near(&map, UINTPTR_MAX));
}

Test(pagemap, low_addresses)
{
    cr_assert_eq(hm_pagemap_set(&map, 16 * GRAIN, 2 * GRAIN, SPAN_A), 0);
    cr_assert_eq(map.near_addr, 0);
    cr_assert_eq(hm_pagemap_get(&map, 17 * GRAIN), SPAN_A);
    cr_assert_null(hm_pagemap_get(&map, 0));
}

/* Under RLIMIT_AS the table is small, and what is beyond it is found all the same. */
Test(pagemap, a_small_address_space_has_a_small_table)
{
    static const size_t limits[] = { 0, 3 * HM_MIB, 16 * HM_MIB, 256 * HM_MIB };

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        uintptr_t addr = (uintptr_t)70 << 40;
        uintptr_t far_addr = addr + HM_GIB + limits[i];
        struct hm_meta other_meta;
        struct hm_pagemap other;

        hm_meta_init(&other_meta, &fake.os);
        cr_assert_eq(hm_pagemap_init(&other, &other_meta, limits[i]), 0);
        cr_assert_leq(other_meta.mapped_bytes, 256 * HM_KIB + limits[i] / 100);
        cr_assert_eq(hm_pagemap_set(&other, addr, GRAIN, SPAN_A), 0);
        cr_assert_null(other.root, "limit %zu", limits[i]);
        cr_assert_eq(hm_pagemap_get(&other, addr), SPAN_A);
        cr_assert_eq(hm_pagemap_set(&other, far_addr, 1, SPAN_B), 0);
        cr_assert_not_null(other.root);
        cr_assert_eq(hm_pagemap_get(&other, far_addr), SPAN_B);
        cr_assert_eq(hm_pagemap_get(&other, addr), SPAN_A);
    }
}

Test(pagemap, no_memory_for_the_near_table)
{
    struct hm_meta none;
    struct hm_pagemap other;

    hm_meta_init(&none, &fake.os);
    fake_os_fail(&fake, FAKE_MAP_META, 1, ENOMEM, true);
    cr_assert_eq(hm_pagemap_init(&other, &none, SIZE_MAX), -ENOMEM);
}
