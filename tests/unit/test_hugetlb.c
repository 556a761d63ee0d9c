/* SPDX-License-Identifier: MIT */
/* test_hugetlb.c - pages of the pool: how many are taken, when they go back, and what a refusal
 * is called. */
#include <criterion/criterion.h>
#include <errno.h>

#include "heap/purge.h"
#include "support/rig.h"

#define REGION (2 * HM_MIB)

static void
begin(struct rig *rig, const char *chain, size_t pool_bytes)
{
    rig_init(rig);
    rig_chain(rig, chain);
    rig->fake.space.pool_bytes = pool_bytes;
}

static uint64_t
count_of(const struct rig *rig, enum hm_reason reason)
{
    return rig->heap.backing.reason_count[reason];
}

static void
expect_sound(const struct rig *rig)
{
    const char *broken = rig_check(rig);

    cr_expect(broken == NULL, "%s", broken);
}

Test(hugetlb, the_pool_is_used_to_the_last_page_and_the_rest_is_thp)
{
    for (size_t pool_count = 0; pool_count <= 40; pool_count++) {
        struct rig rig;
        uintptr_t addr;
        size_t huge_count = 0;

        begin(&rig, "hugetlb,thp,4k", pool_count * REGION);
        addr = rig_alloc_large(&rig, 40 * REGION, 16, NULL);
        cr_assert_neq(addr, 0);
        cr_expect_eq(rig.fake.space.pool_bytes, 0, "%zu pages", pool_count);
        for (size_t i = 0; i < 40; i++) {
            uintptr_t flags = fake_space_flags(&rig.fake.space, addr + i * REGION);

            huge_count += (flags & FAKE_POOL) != 0;
            cr_expect((flags & (FAKE_POOL | FAKE_WANTS_HUGE)) != 0, "region %zu", i);
        }
        cr_expect_eq(huge_count, pool_count);
        cr_expect_eq(count_of(&rig, HM_REASON_POOL_REFUSED), 40 - pool_count);
        expect_sound(&rig);
        rig_free(&rig, NULL, addr);
        (void)hm_purge_all(&rig.heap);
        cr_expect_eq(rig.fake.space.pool_bytes, pool_count * REGION);
        rig_fini(&rig);
    }
}

Test(hugetlb, empty_regions_go_back_inside_free)
{
    struct rig rig;
    uintptr_t addr;

    begin(&rig, "hugetlb,thp,4k", 256 * REGION);
    addr = rig_alloc_large(&rig, 200 * REGION, 16, NULL);
    cr_assert_eq(rig.fake.space.pool_bytes, 56 * REGION);
    rig_free(&rig, NULL, addr);
    cr_expect_geq(rig.fake.space.pool_bytes, (256 - 4) * REGION, "a small reserve at most is kept");
    addr = rig_alloc_large(&rig, 200 * REGION, 16, NULL);
    cr_expect_eq(rig.fake.space.pool_bytes, 56 * REGION, "they are taken again");
    expect_sound(&rig);
    rig_free(&rig, NULL, addr);
    (void)hm_purge_all(&rig.heap);
    cr_expect_eq(rig.fake.space.pool_bytes, 256 * REGION);
    rig_fini(&rig);
}

Test(hugetlb, the_first_byte_of_a_heap_is_served)
{
    struct rig rig;
    uintptr_t addr;

    begin(&rig, "hugetlb,thp,4k", 4 * REGION);
    addr = rig_alloc_large(&rig, 100 * HM_KIB, 16, NULL);
    cr_expect_neq(fake_space_flags(&rig.fake.space, addr) & FAKE_POOL, 0);
    cr_expect_eq(count_of(&rig, HM_REASON_HEAP_SMALL), 0);
    rig_fini(&rig);
    begin(&rig, "hugetlb,thp,4k", 0);
    addr = rig_alloc_large(&rig, 100 * HM_KIB, 16, NULL);
    cr_expect_neq(fake_space_flags(&rig.fake.space, addr) & FAKE_WANTS_BASE, 0,
                  "without a pool a small heap stays small");
    rig_fini(&rig);
}

/* Behind transparent huge pages it stands for them, and does not make small heaps large. */
Test(hugetlb, behind_thp_a_small_heap_stays_on_base_pages)
{
    struct rig rig;
    uintptr_t addr;

    begin(&rig, "thp,hugetlb,4k", 64 * REGION);
    addr = rig_alloc_large(&rig, 100 * HM_KIB, 16, NULL);
    cr_expect_neq(fake_space_flags(&rig.fake.space, addr) & FAKE_WANTS_BASE, 0);
    cr_expect_eq(rig.fake.space.pool_used_bytes, 0);
    cr_expect_eq(count_of(&rig, HM_REASON_HEAP_SMALL), 1);
    rig_fini(&rig);
}

Test(hugetlb, behind_thp_it_serves_where_thp_fails)
{
    static const char *const chains[] = { "thp,hugetlb,4k", "thp,hugetlb" };

    for (size_t i = 0; i < 2; i++) {
        struct rig rig;

        begin(&rig, chains[i], 64 * REGION);
        fake_os_fail(&rig.fake, FAKE_ADVISE_HUGE, 1, EINVAL, true);
        cr_assert_neq(rig_alloc_large(&rig, 32 * REGION, 16, NULL), 0);
        cr_expect_eq(rig.fake.space.pool_used_bytes, 32 * REGION, "%s", chains[i]);
        cr_expect_eq(count_of(&rig, HM_REASON_ADVICE_FAILED), 32, "%s", chains[i]);
        cr_assert_neq(rig_alloc_large(&rig, 40 * REGION, 16, NULL) == 0, i == 0,
                      "what the pool lacks is on base pages, if they are allowed");
        expect_sound(&rig);
        rig_fini(&rig);
    }
}

Test(hugetlb, without_4k_it_is_required)
{
    struct rig rig;
    uintptr_t addr;

    begin(&rig, "hugetlb:2M", 8 * REGION);
    rig.fake.shortage.cause = HM_SHORTAGE_POOL;
    addr = rig_alloc_large(&rig, 8 * REGION, 16, NULL);
    cr_assert_neq(addr, 0);
    cr_expect_eq(rig_alloc_large(&rig, HM_MIB, 16, NULL), 0);
    cr_expect_eq(count_of(&rig, HM_REASON_POOL_EMPTY), 1);
    rig_free(&rig, NULL, addr);
    cr_expect_neq(rig_alloc_large(&rig, HM_MIB, 16, NULL), 0);
    expect_sound(&rig);
    rig_fini(&rig);
}

Test(hugetlb, a_pool_that_grows_is_used_again)
{
    struct rig rig;

    begin(&rig, "hugetlb,4k", 0);
    cr_assert_neq(rig_alloc_large(&rig, REGION, 16, NULL), 0);
    rig.fake.space.pool_bytes = 8 * REGION;
    fake_os_forget(&rig.fake);
    cr_assert_neq(rig_alloc_large(&rig, REGION, 16, NULL), 0);
    cr_expect_eq(rig.fake.call_count[FAKE_POOL_KERNEL], 0, "not asked again at once");
    rig.fake.now_ns += 2000000000u;
    cr_assert_neq(rig_alloc_large(&rig, REGION, 16, NULL), 0);
    cr_expect_eq(rig.fake.space.pool_bytes, 7 * REGION);
    rig_fini(&rig);
}

Test(hugetlb, a_pool_without_another_backing_is_asked_each_time)
{
    struct rig rig;
    uintptr_t addr;

    begin(&rig, "hugetlb", 8 * REGION);
    addr = rig_alloc_large(&rig, 6 * REGION, 16, NULL);
    cr_assert_neq(addr, 0);
    cr_expect_eq(rig_alloc_large(&rig, 12 * REGION, 16, NULL), 0);
    rig_free(&rig, NULL, addr);
    addr = rig_alloc_large(&rig, 8 * REGION, 16, NULL);
    cr_expect_neq(addr, 0, "all pages are free again, and no time has passed");
    expect_sound(&rig);
    rig_fini(&rig);
}

/* Something is left for base pages; where hugetlb pages are not counted, they need no room. */
Test(hugetlb, a_memory_cgroup_that_counts_hugetlb_pages)
{
    for (unsigned is_charged = 0; is_charged < 2; is_charged++) {
        struct rig rig;

        begin(&rig, "hugetlb,thp,4k", 64 * REGION);
        rig.fake.is_pool_charged = is_charged != 0;
        rig.fake.room = (struct hm_room){ 40 * REGION, 30 * REGION };
        rig.fake.now_ns += 5000000000u;
        cr_assert_neq(rig_alloc_large(&rig, 8 * REGION, 16, NULL), 0);
        cr_expect_eq(rig.fake.space.pool_used_bytes, 8 * REGION);
        rig.fake.room.left_bytes = 8 * REGION;
        rig.fake.now_ns += 5000000000u;
        cr_assert_neq(rig_alloc_large(&rig, 4 * REGION, 16, NULL), 0);
        cr_expect_eq(rig.fake.space.pool_used_bytes, (is_charged ? 8 : 12) * REGION);
        cr_expect_eq(count_of(&rig, HM_REASON_POOL_MEMCG), is_charged ? 4 : 0);
        expect_sound(&rig);
        rig_fini(&rig);
    }
}

/* A node whose pages are used up does not keep others waiting. */
Test(hugetlb, a_short_node_waits_alone)
{
    struct rig rig;
    struct hm_range range = { .len_bytes = REGION, .is_regions = true, .is_placed = true };
    enum hm_backing_kind kind = HM_BACKING_KINDS;

    begin(&rig, "hugetlb,4k", 8 * REGION);
    range.advised = HM_BACKING_KINDS;
    cr_assert_eq(rig.fake.os.reserve(&rig.fake, 4 * REGION, REGION, &range.addr), 0);
    fake_os_fail(&rig.fake, FAKE_POOL_FILL, 1, EFAULT, false);
    cr_assert_eq(hm_backing_obtain(&rig.heap.backing, &range, REGION, &kind), 0);
    cr_expect_eq(kind, HM_BACKING_4K);
    cr_expect_eq(count_of(&rig, HM_REASON_POOL_NODE), 1);
    range.addr += REGION;
    cr_assert_eq(hm_backing_obtain(&rig.heap.backing, &range, REGION, &kind), 0);
    cr_expect_eq(kind, HM_BACKING_4K, "the same node, at once");
    range.addr += REGION;
    range.node = 1;
    cr_assert_eq(hm_backing_obtain(&rig.heap.backing, &range, REGION, &kind), 0);
    cr_expect_eq(kind, HM_BACKING_HUGETLB, "another one");
    cr_expect_eq(count_of(&rig, HM_REASON_POOL_NODE), 2);
    rig_fini(&rig);
}

Test(hugetlb, what_waiting_does_not_change_is_not_asked_again)
{
    struct rig rig;

    begin(&rig, "hugetlb,4k", 8 * REGION);
    fake_os_fail(&rig.fake, FAKE_POOL_KERNEL, 1, ENOSYS, false);
    cr_assert_neq(rig_alloc_large(&rig, 4 * REGION, 16, NULL), 0);
    rig.fake.now_ns += 3600u * (uint64_t)1000000000;
    cr_assert_neq(rig_alloc_large(&rig, REGION, 16, NULL), 0);
    cr_expect_eq(rig.fake.call_count[FAKE_POOL_KERNEL], 1);
    cr_expect_eq(count_of(&rig, HM_REASON_POOL_KERNEL), 5);
    rig_fini(&rig);
}

/* Each way to be refused has its name. */
Test(hugetlb, reasons)
{
    static const struct {
        enum fake_call_kind step;
        int error;
        enum hm_shortage_cause cause;
        enum hm_reason expected;
    } cases[] = {
        { FAKE_POOL_KERNEL, ENOSYS, HM_SHORTAGE_UNKNOWN, HM_REASON_POOL_KERNEL },
        { FAKE_POOL_RESERVE, ENOMEM, HM_SHORTAGE_POOL, HM_REASON_POOL_EMPTY },
        { FAKE_POOL_RESERVE, ENOMEM, HM_SHORTAGE_RSVD, HM_REASON_POOL_RSVD },
        { FAKE_POOL_RESERVE, ENOMEM, HM_SHORTAGE_UNKNOWN, HM_REASON_POOL_REFUSED },
        { FAKE_POOL_RESERVE, EAGAIN, HM_SHORTAGE_UNKNOWN, HM_REASON_POOL_MEMLOCK },
        { FAKE_POOL_RESERVE, EINVAL, HM_SHORTAGE_UNKNOWN, HM_REASON_POOL_SIZE },
        { FAKE_POOL_RESERVE, ENOSYS, HM_SHORTAGE_UNKNOWN, HM_REASON_POOL_SIZE },
        { FAKE_POOL_RESERVE, EPERM, HM_SHORTAGE_UNKNOWN, HM_REASON_POOL_REFUSED },
        { FAKE_POOL_FILL, EFAULT, HM_SHORTAGE_MAX, HM_REASON_POOL_MAX },
        { FAKE_POOL_FILL, EFAULT, HM_SHORTAGE_UNKNOWN, HM_REASON_POOL_NODE },
        { FAKE_POOL_FILL, EFAULT, HM_SHORTAGE_POOL, HM_REASON_POOL_NODE },
        { FAKE_POOL_FILL, ENOMEM, HM_SHORTAGE_UNKNOWN, HM_REASON_POOL_MEMCG },
        { FAKE_POOL_FILL, EINVAL, HM_SHORTAGE_UNKNOWN, HM_REASON_POOL_KERNEL },
        { FAKE_POOL_MOVE, ENOMEM, HM_SHORTAGE_UNKNOWN, HM_REASON_POOL_REFUSED },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rig rig;

        begin(&rig, "hugetlb,4k", 8 * REGION);
        rig.fake.shortage.cause = cases[i].cause;
        fake_os_fail(&rig.fake, cases[i].step, 1, cases[i].error, true);
        cr_assert_neq(rig_alloc_large(&rig, REGION, 16, NULL), 0);
        cr_expect_eq(count_of(&rig, cases[i].expected), 1, "case %zu", i);
        rig_fini(&rig);
    }
}

Test(hugetlb, in_a_sandbox_no_file_is_opened)
{
    struct rig rig;

    begin(&rig, "hugetlb,4k", 0);
    rig.heap.backing.filters = HM_FILTERS_OPEN;
    cr_assert_neq(rig_alloc_large(&rig, REGION, 16, NULL), 0);
    cr_expect_eq(rig.fake.call_count[FAKE_SHORTAGE], 0);
    cr_expect_eq(count_of(&rig, HM_REASON_POOL_REFUSED), 1);
    rig_fini(&rig);
}

Test(hugetlb, a_limit_that_shows_only_when_pages_are_filled)
{
    struct rig rig;
    uintptr_t addr;

    begin(&rig, "hugetlb,thp,4k", 64 * REGION);
    rig.fake.pool_max_bytes = 11 * REGION;
    rig.fake.shortage.cause = HM_SHORTAGE_MAX;
    addr = rig_alloc_large(&rig, 40 * REGION, 16, NULL);
    cr_assert_neq(addr, 0);
    cr_expect_eq(rig.fake.space.pool_used_bytes, 11 * REGION);
    cr_expect_eq(count_of(&rig, HM_REASON_POOL_MAX), 29);
    expect_sound(&rig);
    rig_fini(&rig);
}

Test(hugetlb, a_page_that_cannot_go_back_is_kept_and_used)
{
    struct rig rig;
    uintptr_t addr;

    begin(&rig, "hugetlb,4k", 8 * REGION);
    addr = rig_alloc_large(&rig, 8 * REGION, 16, NULL);
    fake_os_fail(&rig.fake, FAKE_POOL_UNMAP, 1, ENOMEM, true);
    rig_free(&rig, NULL, addr);
    (void)hm_purge_all(&rig.heap);
    cr_expect_eq(rig.fake.space.pool_bytes, 0);
    expect_sound(&rig);
    fake_os_heal(&rig.fake);
    addr = rig_alloc_large(&rig, 8 * REGION, 16, NULL);
    cr_expect_neq(fake_space_flags(&rig.fake.space, addr + 7 * REGION) & FAKE_POOL, 0);
    rig_free(&rig, NULL, addr);
    (void)hm_purge_all(&rig.heap);
    cr_expect_eq(rig.fake.space.pool_bytes, 8 * REGION);
    rig_fini(&rig);
}

/* No block has a mapping of its own, so that parts of it may come from elsewhere; none is carried
 * or resized by the kernel. Whatever else is asked on hugetlb pages, the fake kernel aborts. */
Test(hugetlb, blocks_grow_and_shrink_in_runs)
{
    struct rig rig;
    uintptr_t addr;

    begin(&rig, "hugetlb,thp,4k", 400 * REGION);
    addr = rig_alloc(&rig, NULL, 300 * REGION, 16, NULL);
    fake_space_touch(&rig.fake.space, addr, 300 * REGION);
    addr = rig_realloc(&rig, NULL, addr, 100 * REGION + 12345);
    cr_assert_neq(addr, 0);
    addr = rig_realloc(&rig, NULL, addr, 350 * REGION);
    cr_assert_neq(addr, 0);
    cr_expect_eq(rig.heap.direct_count, 0);
    cr_expect_eq(rig.fake.call_count[FAKE_REMAP] + rig.fake.call_count[FAKE_CARRY], 0);
    rig.fake.now_ns += 5000000000u;
    rig_free(&rig, NULL, addr);
    (void)hm_purge_all(&rig.heap);
    cr_expect_eq(rig.fake.space.pool_bytes, 400 * REGION);
    expect_sound(&rig);
    rig_fini(&rig);
}

Test(hugetlb, a_block_aligned_beyond_a_region_is_served_from_the_next_backing)
{
    struct rig rig;
    uintptr_t addr;

    begin(&rig, "hugetlb,thp,4k", 8 * REGION);
    addr = rig_alloc(&rig, NULL, REGION, 8 * REGION, NULL);
    cr_assert_neq(addr, 0);
    cr_expect_eq(addr % (8 * REGION), 0);
    cr_expect_eq(fake_space_flags(&rig.fake.space, addr) & FAKE_POOL, 0);
    cr_expect_eq(count_of(&rig, HM_REASON_POOL_ALIGN), 1);
    rig_free(&rig, NULL, addr);
    rig_fini(&rig);
}

Test(hugetlb, the_default_chain_asks_no_pool)
{
    struct rig rig;
    uintptr_t addr;

    begin(&rig, "thp,4k", 64 * REGION);
    addr = rig_alloc_large(&rig, 40 * REGION, 16, NULL);
    rig_free(&rig, NULL, addr);
    cr_expect_eq(rig.fake.call_count[FAKE_POOL_KERNEL] + rig.fake.call_count[FAKE_SHORTAGE], 0);
    rig_fini(&rig);
}
