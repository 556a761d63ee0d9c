/* SPDX-License-Identifier: MIT */
/* test_pagemap.c - from addresses to spans. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

#include "heap/pagemap.h"
#include "support/fake_os.h"

#define GRAIN ((uintptr_t)1 << HM_GRAIN_SHIFT)

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
    cr_assert_eq(hm_pagemap_init(&map, &meta, NULL), 0);
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

    cr_assert_eq(hm_pagemap_set(&map, &meta, addr, 3 * GRAIN, SPAN_A), 0);
    cr_assert_eq(hm_pagemap_get(&map, addr), SPAN_A);
    cr_assert_eq(hm_pagemap_get(&map, addr + 3 * GRAIN - 1), SPAN_A);
    cr_assert_null(hm_pagemap_get(&map, addr - 1));
    cr_assert_null(hm_pagemap_get(&map, addr + 3 * GRAIN));
    cr_assert_eq(hm_pagemap_set(&map, &meta, addr, 3 * GRAIN, NULL), 0);
    cr_assert_null(hm_pagemap_get(&map, addr));
    cr_assert_null(hm_pagemap_get(&map, addr + 3 * GRAIN - 1));
}

Test(pagemap, a_length_of_one_enters_one_grain)
{
    uintptr_t addr = (uintptr_t)3 << 30;

    cr_assert_eq(hm_pagemap_set(&map, &meta, addr, 1, SPAN_A), 0);
    cr_assert_eq(hm_pagemap_get(&map, addr + GRAIN - 1), SPAN_A);
    cr_assert_null(hm_pagemap_get(&map, addr + GRAIN));
}

Test(pagemap, ranges_cross_leaves)
{
    uintptr_t edge = (uintptr_t)5 << (HM_GRAIN_SHIFT + HM_LEAF_SHIFT);

    cr_assert_eq(hm_pagemap_set(&map, &meta, edge - 2 * GRAIN, 4 * GRAIN, SPAN_B), 0);
    for (int i = -2; i < 2; i++)
        cr_assert_eq(hm_pagemap_get(&map, edge + (uintptr_t)((intptr_t)i * (intptr_t)GRAIN)),
                     SPAN_B);
    cr_assert_null(hm_pagemap_get(&map, edge - 3 * GRAIN));
    cr_assert_null(hm_pagemap_get(&map, edge + 2 * GRAIN));
}

Test(pagemap, the_last_user_address)
{
    uintptr_t addr = ((uintptr_t)1 << 47) - GRAIN;

    cr_assert_eq(hm_pagemap_set(&map, &meta, addr, GRAIN, SPAN_A), 0);
    cr_assert_eq(hm_pagemap_get(&map, addr + 1), SPAN_A);
    addr = ((uintptr_t)1 << 48) - GRAIN;
    cr_assert_eq(hm_pagemap_set(&map, &meta, addr, GRAIN, SPAN_B), 0);
    cr_assert_eq(hm_pagemap_get(&map, addr + 1), SPAN_B);
    cr_assert_null(hm_pagemap_get(&map, addr + ((uintptr_t)1 << 48)));
    cr_assert_null(hm_pagemap_get(&map, addr | (uintptr_t)1 << 63));
}

Test(pagemap, without_memory_nothing_is_entered)
{
    uintptr_t edge = (uintptr_t)9 << (HM_GRAIN_SHIFT + HM_LEAF_SHIFT);

    fake_os_fail(&fake, FAKE_MAP_META, 2, ENOMEM, true);
    cr_assert_eq(hm_pagemap_set(&map, &meta, edge - GRAIN, 2 * GRAIN, SPAN_A), -ENOMEM);
    cr_assert_null(hm_pagemap_get(&map, edge - GRAIN));
    cr_assert_null(hm_pagemap_get(&map, edge));
    fake_os_heal(&fake);
    cr_assert_eq(hm_pagemap_set(&map, &meta, edge - GRAIN, 2 * GRAIN, SPAN_A), 0);
    cr_assert_eq(hm_pagemap_get(&map, edge), SPAN_A);
}

/* What was prepared can be entered without memory. */
Test(pagemap, prepares)
{
    uintptr_t addr = (uintptr_t)11 << (HM_GRAIN_SHIFT + HM_LEAF_SHIFT);

    fake_os_fail(&fake, FAKE_MAP_META, 1, ENOMEM, true);
    cr_assert_eq(hm_pagemap_prepare(&map, &meta, addr, 1), -ENOMEM);
    fake_os_heal(&fake);
    cr_assert_eq(hm_pagemap_prepare(&map, &meta, addr, 1), 0);
    cr_assert_null(hm_pagemap_get(&map, addr));
    fake_os_fail(&fake, FAKE_MAP_META, 1, ENOMEM, true);
    cr_assert_eq(hm_pagemap_set(&map, &meta, addr, 1, SPAN_A), 0);
    cr_assert_eq(hm_pagemap_get(&map, addr), SPAN_A);
}

Test(pagemap, takes_a_root_of_the_caller)
{
    static struct hm_span **root[HM_ROOT_COUNT];
    struct hm_pagemap other;

    cr_assert_eq(hm_pagemap_init(&other, &meta, root), 0);
    cr_assert_eq(hm_pagemap_set(&other, &meta, (uintptr_t)1 << 40, 1, SPAN_B), 0);
    cr_assert_eq(hm_pagemap_get(&other, (uintptr_t)1 << 40), SPAN_B);
    cr_assert_eq(other.root, root);
}

/* The short way sees the leaf that was made first, and nothing else. */
Test(pagemap, the_first_leaf_is_near)
{
    uintptr_t leaf_bytes = (uintptr_t)1 << (HM_GRAIN_SHIFT + HM_LEAF_SHIFT);
    uintptr_t addr = 9 * leaf_bytes;

    cr_assert_null(hm_pagemap_get_near(&map, addr));
    cr_assert_null(hm_pagemap_get_near(&map, 0));
    cr_assert_null(hm_pagemap_get_near(&map, UINTPTR_MAX));
    cr_assert_eq(hm_pagemap_set(&map, &meta, addr, 1, SPAN_A), 0);
    cr_assert_eq(hm_pagemap_set(&map, &meta, addr + leaf_bytes - 1, 1, SPAN_B), 0);
    cr_assert_eq(hm_pagemap_set(&map, &meta, addr + leaf_bytes, 1, SPAN_A), 0);
    cr_assert_eq(hm_pagemap_set(&map, &meta, addr - 1, 1, SPAN_B), 0);
    cr_assert_eq(hm_pagemap_get_near(&map, addr), SPAN_A);
    cr_assert_eq(hm_pagemap_get_near(&map, addr + leaf_bytes - 1), SPAN_B);
    cr_assert_null(hm_pagemap_get_near(&map, addr + leaf_bytes));
    cr_assert_null(hm_pagemap_get_near(&map, addr - 1));
    cr_assert_null(hm_pagemap_get_near(&map, 0));
    cr_assert_null(hm_pagemap_get_near(&map, UINTPTR_MAX));
    cr_assert_eq(hm_pagemap_get(&map, addr - 1), SPAN_B);
}

Test(pagemap, no_memory_for_the_root)
{
    struct hm_meta none;
    struct hm_pagemap other;

    hm_meta_init(&none, &fake.os);
    fake_os_fail(&fake, FAKE_MAP_META, 1, ENOMEM, true);
    cr_assert_eq(hm_pagemap_init(&other, &none, NULL), -ENOMEM);
}
