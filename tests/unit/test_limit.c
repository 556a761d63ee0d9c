/* SPDX-License-Identifier: MIT */
/* test_limit.c - a heap with a limit, and the end of a heap. */
#include <criterion/criterion.h>
#include <errno.h>

#include "span/realloc.h"
#include "support/rig.h"

static struct rig rig;
static struct hm_tcache *cache;

static void
setup(void)
{
    rig_init(&rig);
    cache = hm_tcache_acquire(&rig.pool, 1);
    cr_assert_not_null(cache);
}

static void
teardown(void)
{
    const char *broken = rig_check(&rig);

    cr_assert_null(broken, "broken: %s", broken);
    rig_fini(&rig);
}

TestSuite(limit, .init = setup, .fini = teardown);

static struct hm_span *
span_at(uintptr_t addr)
{
    return hm_pagemap_get(rig.heap.pagemap, addr);
}

Test(limit, one_block_of_just_the_limit)
{
    uintptr_t addr;

    for (size_t limit_bytes = HM_MIB; limit_bytes <= 512 * HM_MIB; limit_bytes *= 8) {
        rig.conf.limit_bytes = limit_bytes;
        cr_assert_eq(rig_alloc_large(&rig, limit_bytes + 1, 16, NULL), 0);
        addr = rig_alloc_large(&rig, limit_bytes, 16, NULL);
        cr_assert_neq(addr, 0);
        cr_assert_eq(hm_heap_bytes(&rig.heap), limit_bytes);
        cr_assert_eq(rig_alloc_large(&rig, 100000, 16, NULL), 0);
        cr_assert_eq(rig_alloc(&rig, cache, 100, 16, NULL), 0);
        hm_large_free(&rig.heap, span_at(addr), addr);
        cr_assert_eq(hm_heap_bytes(&rig.heap), 0);
    }
}

Test(limit, many_blocks)
{
    uintptr_t addrs[64];
    size_t count = 0;

    rig.conf.limit_bytes = 10 * HM_MIB;
    for (int round = 0; round < 3; round++) {
        while ((addrs[count] = rig_alloc_large(&rig, 300 * HM_KIB, 16, NULL)) != 0)
            count++;
        cr_assert_eq(count, 10 * HM_MIB / (300 * HM_KIB));
        while (count > 0) {
            count--;
            hm_large_free(&rig.heap, span_at(addrs[count]), addrs[count]);
        }
    }
}

/* Spans are cut short where the limit comes near, so that its last page serves. */
Test(limit, slots_use_it_up)
{
    uintptr_t addr;
    size_t count = 0;

    rig.conf.limit_bytes = 3 * HM_MIB + 5 * 4096;
    while ((addr = rig_alloc(&rig, cache, 64, 16, NULL)) != 0)
        count++;
    cr_assert_eq(hm_heap_bytes(&rig.heap), rig.conf.limit_bytes);
    cr_assert_geq(count * 64, rig.conf.limit_bytes - rig.conf.limit_bytes / 100);
}

Test(limit, a_run_grows_up_to_it)
{
    uintptr_t addr = rig_alloc_large(&rig, HM_MIB, 16, NULL);

    rig.conf.limit_bytes = 2 * HM_MIB;
    cr_assert_eq(rig_resize_large(&rig, span_at(addr), addr, 2 * HM_MIB + 1), 0);
    cr_assert_eq(rig_resize_large(&rig, span_at(addr), addr, 2 * HM_MIB), addr);
    cr_assert_eq(hm_heap_bytes(&rig.heap), 2 * HM_MIB);
    cr_assert_eq(rig_resize_large(&rig, span_at(addr), addr, HM_MIB), addr);
    cr_assert_neq(rig_alloc_large(&rig, HM_MIB, 16, NULL), 0);
}

Test(limit, a_mapping_grows_up_to_it)
{
    uintptr_t addr = rig_alloc_large(&rig, 300 * HM_MIB, 16, NULL);

    cr_assert_eq(span_at(addr)->kind, HM_SPAN_MAPPED);
    rig.conf.limit_bytes = 401 * HM_MIB;
    cr_assert_eq(rig_resize_large(&rig, span_at(addr), addr, 401 * HM_MIB + 1), 0);
    addr = rig_resize_large(&rig, span_at(addr), addr, 401 * HM_MIB);
    cr_assert_neq(addr, 0);
    cr_assert_eq(hm_heap_bytes(&rig.heap), 401 * HM_MIB);
    cr_assert_neq(rig_resize_large(&rig, span_at(addr), addr, 400 * HM_MIB), 0);
}

/* A run that cannot grow becomes a mapping, which has whole regions. */
Test(limit, a_run_is_carried_up_to_it)
{
    uintptr_t addr = rig_alloc_large(&rig, 5 * HM_MIB, 16, NULL);

    cr_assert_eq(span_at(addr)->kind, HM_SPAN_RUN);
    rig.conf.limit_bytes = 5 * HM_MIB + 100 * HM_KIB;
    cr_assert_eq(rig_resize_large(&rig, span_at(addr), addr, 5 * HM_MIB + 200 * HM_KIB), 0);
    cr_assert_eq(hm_heap_bytes(&rig.heap), 5 * HM_MIB);
    rig.conf.limit_bytes = 12 * HM_MIB;
    cr_assert_neq(rig_alloc_large(&rig, HM_MIB, 16, NULL), 0);
    cr_assert_neq(rig_resize_large(&rig, span_at(addr), addr, 5 * HM_MIB + 200 * HM_KIB), 0);
    cr_assert_leq(hm_heap_bytes(&rig.heap), rig.conf.limit_bytes);
}

/* Nothing is left, and other heaps of the pagemap have what they had. */
Test(limit, the_end_of_a_heap)
{
    static struct hm_meta meta;
    static struct hm_pagemap pagemap;
    struct hm_heap heaps[2];
    void *mems[2][3];
    size_t reserved_bytes = rig.fake.space.reserved_bytes;
    size_t meta_bytes;

    hm_meta_init(&meta, &rig.fake.os);
    cr_assert_eq(hm_pagemap_init(&pagemap, &meta, SIZE_MAX), 0);
    meta_bytes = rig.fake.meta_bytes;
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(hm_heap_init(&heaps[i], &pagemap, &rig.fake.os, &rig.conf, &rig.heap.geom), 0);
        mems[i][0] = hm_large_alloc(&heaps[i], 100000, 16, NULL);
        mems[i][1] = hm_large_alloc(&heaps[i], 70 * HM_MIB, 16, NULL);
        mems[i][2] = hm_large_alloc(&heaps[i], 20 * HM_MIB, 4096, NULL);
        for (int k = 0; k < 3; k++)
            cr_assert_not_null(hm_pagemap_get(&pagemap, (uintptr_t)mems[i][k]));
    }
    hm_heap_fini(&heaps[0], true);
    for (int k = 0; k < 3; k++) {
        cr_assert_null(hm_pagemap_get(&pagemap, (uintptr_t)mems[0][k]));
        cr_assert_not_null(hm_pagemap_get(&pagemap, (uintptr_t)mems[1][k]));
    }
    hm_heap_fini(&heaps[1], true);
    cr_assert_eq(rig.fake.space.reserved_bytes, reserved_bytes);
    cr_assert_eq(rig.fake.meta_bytes, meta_bytes);
}

/* What cannot be unmapped is left without memory: pages of the pool are free for others. */
Test(limit, the_end_of_a_heap_that_stays_mapped)
{
    size_t huge_bytes = 0;

    rig_chain(&rig, "hugetlb,thp,4k");
    rig.conf.huge_start_bytes = 0;
    rig.fake.space.pool_bytes = 6 * HM_MIB;
    for (int i = 0; i < 3; i++) {
        uintptr_t addr = rig_alloc_large(&rig, 3 * HM_MIB, 16, NULL);

        cr_assert_neq(addr, 0);
        fake_space_touch(&rig.fake.space, addr, 3 * HM_MIB);
    }
    cr_assert_eq(rig.fake.space.pool_used_bytes, 6 * HM_MIB);
    fake_os_fail(&rig.fake, FAKE_UNMAP, 1, ENOMEM, true);
    hm_heap_fini(&rig.heap, true);
    cr_assert_eq(rig.fake.space.pool_used_bytes, 0);
    cr_assert_eq(fake_space_resident(&rig.fake.space, rig.fake.space.mappings[0].addr,
                                     rig.fake.space.mappings[0].len_bytes, &huge_bytes),
                 0);
    rig_fini(&rig);
    setup();
}
