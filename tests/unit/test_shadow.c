/* SPDX-License-Identifier: MIT */
/* test_shadow.c - copies of regions on the pool for the child of a fork. */
#include <criterion/criterion.h>
#include <errno.h>

#include "heap/purge.h"
#include "heap/shadow.h"
#include "support/rig.h"

#define REGION (2 * HM_MIB)
#define POOL_COUNT 12

static uintptr_t blocks[3];
static const uintptr_t nowhere[HM_SHADOW_NEEDED];

/* Three blocks: on the pool, half of it, and not. */
static void
begin(struct rig *rig)
{
    rig_init(rig);
    rig_chain(rig, "hugetlb,thp,4k");
    rig->fake.space.pool_bytes = POOL_COUNT * REGION;
    for (unsigned i = 0; i < 3; i++) {
        blocks[i] = rig_alloc_large(rig, 8 * REGION, 16, NULL);
        cr_assert_neq(blocks[i], 0);
    }
    cr_assert_eq(rig->fake.space.pool_bytes, 0);
}

static void
expect_sound(const struct rig *rig)
{
    const char *broken = rig_check(rig);

    cr_expect(broken == NULL, "%s", broken);
}

static bool
is_on_pool(const struct rig *rig, unsigned region_idx)
{
    uintptr_t addr = blocks[region_idx / 8] + region_idx % 8 * REGION;

    return (fake_space_flags(&rig->fake.space, addr) & FAKE_POOL) != 0;
}

/* As the child: what has a copy is not there. */
static void
be_child(struct rig *rig)
{
    for (unsigned i = 0; i < 24; i++) {
        uintptr_t addr = blocks[i / 8] + i % 8 * REGION;

        if (hm_shadow_covers(&rig->heap, addr + REGION - 1))
            cr_assert_eq(rig->heap.os->pool_unmap(rig->heap.os->ctx, addr, REGION), 0);
    }
    for (unsigned twice = 0; twice < 2; twice++)
        hm_shadow_swap(&rig->heap);
    cr_expect_not(hm_shadow_covers(&rig->heap, blocks[0]));
    hm_shadow_settle(&rig->heap);
    hm_shadow_forget(&rig->heap);
}

Test(shadow, the_parent_keeps_its_pages_and_nothing_else)
{
    struct rig rig;
    size_t reserved_bytes;

    begin(&rig);
    reserved_bytes = rig.fake.space.reserved_bytes;
    cr_assert(hm_shadow_cast(&rig.heap, nowhere));
    cr_expect_eq(rig.fake.space.reserved_bytes, reserved_bytes + POOL_COUNT * REGION);
    cr_expect_eq(rig.fake.no_fork_bytes, POOL_COUNT * REGION);
    hm_shadow_drop(&rig.heap);
    cr_expect_eq(rig.fake.no_fork_bytes, 0);
    cr_expect_eq(rig.fake.space.reserved_bytes, reserved_bytes);
    for (unsigned i = 0; i < 24; i++)
        cr_expect_eq(is_on_pool(&rig, i), i < POOL_COUNT, "region %u", i);
    expect_sound(&rig);
    hm_shadow_swap(&rig.heap);
    cr_expect(is_on_pool(&rig, 0), "a swap without copies does nothing");
    rig_fini(&rig);
}

Test(shadow, the_child_has_copies_in_the_place_of_pages_of_the_pool)
{
    struct rig rig;
    size_t reserved_bytes;

    begin(&rig);
    reserved_bytes = rig.fake.space.reserved_bytes;
    cr_assert(hm_shadow_cast(&rig.heap, nowhere));
    be_child(&rig);
    cr_expect_eq(rig.fake.space.reserved_bytes, reserved_bytes);
    cr_expect_eq(rig.fake.space.pool_bytes, POOL_COUNT * REGION);
    for (unsigned i = 0; i < 24; i++) {
        uintptr_t flags = fake_space_flags(&rig.fake.space, blocks[i / 8] + i % 8 * REGION);

        cr_expect((flags & FAKE_COMMITTED) != 0 && (flags & FAKE_WANTS_HUGE) != 0, "region %u", i);
    }
    expect_sound(&rig);
    for (unsigned i = 0; i < 3; i++) {
        rig_free(&rig, NULL, blocks[i]);
        expect_sound(&rig);
    }
    (void)hm_purge_all(&rig.heap);
    expect_sound(&rig);
    rig_fini(&rig);
}

Test(shadow, the_child_may_fork_again_and_take_from_the_pool)
{
    struct rig rig;

    begin(&rig);
    cr_assert(hm_shadow_cast(&rig.heap, nowhere));
    be_child(&rig);
    cr_expect_not(hm_shadow_cast(&rig.heap, nowhere), "nothing is on the pool");
    rig_free(&rig, NULL, blocks[0]);
    (void)hm_purge_all(&rig.heap);
    rig.fake.now_ns += 10000000000u;
    blocks[0] = rig_alloc_large(&rig, 8 * REGION, 16, NULL);
    cr_expect(is_on_pool(&rig, 0));
    cr_expect(hm_shadow_cast(&rig.heap, nowhere));
    hm_shadow_drop(&rig.heap);
    expect_sound(&rig);
    rig_fini(&rig);
}

Test(shadow, where_base_pages_are_wanted_the_copies_are_on_them)
{
    struct rig rig;

    begin(&rig);
    rig.fake.thp_mode = HM_THP_NEVER;
    rig.heap.backing.thp_mode = HM_THP_NEVER;
    cr_assert(hm_shadow_cast(&rig.heap, nowhere));
    be_child(&rig);
    expect_sound(&rig);
    for (unsigned i = 0; i < 3; i++)
        rig_free(&rig, NULL, blocks[i]);
    expect_sound(&rig);
    rig_fini(&rig);
}

Test(shadow, what_the_child_needs_at_once_is_not_taken_from_it)
{
    struct rig rig;
    uintptr_t needed[HM_SHADOW_NEEDED] = { 0 };

    begin(&rig);
    needed[HM_SHADOW_STACK] = blocks[0] + 3 * REGION + 100;
    needed[HM_SHADOW_BELOW] = blocks[0] + 3 * REGION - 1;
    needed[HM_SHADOW_THREAD] = blocks[0] + 5 * REGION - 1;
    cr_assert(hm_shadow_cast(&rig.heap, needed));
    cr_expect_eq(rig.fake.no_fork_bytes, (POOL_COUNT - 3) * REGION);
    be_child(&rig);
    for (unsigned i = 0; i < POOL_COUNT; i++)
        cr_expect_eq(is_on_pool(&rig, i), i >= 2 && i <= 4, "region %u", i);
    expect_sound(&rig);
    rig_fini(&rig);
}

/* The stack of a thread is a mapping of its own, and may end where the heap begins. */
Test(shadow, a_stack_beside_the_heap_shares_nothing)
{
    struct rig rig;
    uintptr_t needed[HM_SHADOW_NEEDED] = { 0 };

    begin(&rig);
    needed[HM_SHADOW_STACK] = blocks[0] - 4096;
    needed[HM_SHADOW_ABOVE] = blocks[0] + 60000;
    cr_assert(hm_shadow_cast(&rig.heap, needed));
    cr_expect_eq(rig.fake.no_fork_bytes, POOL_COUNT * REGION);
    hm_shadow_drop(&rig.heap);
    rig_fini(&rig);
}

static void
expect_no_copy(struct rig *rig, const char *why)
{
    size_t reserved_bytes = rig->fake.space.reserved_bytes;

    cr_expect_not(hm_shadow_cast(&rig->heap, nowhere), "%s", why);
    cr_expect_neq(rig->heap.backing.reason_count[HM_REASON_FORK_ROOM], 0, "%s", why);
    cr_expect_eq(rig->fake.space.reserved_bytes, reserved_bytes, "%s", why);
    be_child(rig);
    cr_expect(is_on_pool(rig, 0), "%s", why);
    expect_sound(rig);
    rig_fini(rig);
}

Test(shadow, without_memory_for_it_there_is_no_copy_and_the_report_says_so)
{
    struct rig rig;

    begin(&rig);
    rig.fake.available_bytes = POOL_COUNT * REGION;
    expect_no_copy(&rig, "the machine");
    begin(&rig);
    rig.fake.room = (struct hm_room){ .limit_bytes = HM_GIB, .left_bytes = POOL_COUNT * REGION };
    expect_no_copy(&rig, "a control group");
    begin(&rig);
    fake_os_fail(&rig.fake, FAKE_RESERVE, 1, ENOMEM, true);
    expect_no_copy(&rig, "address space");
    begin(&rig);
    fake_os_fail(&rig.fake, FAKE_COMMIT, 1, ENOMEM, true);
    expect_no_copy(&rig, "overcommit");
    begin(&rig);
    fake_os_fail(&rig.fake, FAKE_NO_FORK, 1, ENOMEM, true);
    expect_no_copy(&rig, "advice");
    begin(&rig);
    fake_os_fail(&rig.fake, FAKE_HIDE, 3, ENOMEM, false);
    expect_no_copy(&rig, "the number of mappings");
}

Test(shadow, what_the_program_protected_is_shared_and_the_rest_is_copied)
{
    struct rig rig;
    size_t reserved_bytes;

    begin(&rig);
    reserved_bytes = rig.fake.space.reserved_bytes;
    rig.fake.unreadable_addr = blocks[0] + 2 * REGION;
    cr_assert(hm_shadow_cast(&rig.heap, nowhere));
    cr_expect_eq(rig.fake.no_fork_bytes, (POOL_COUNT - 1) * REGION);
    be_child(&rig);
    for (unsigned i = 0; i < POOL_COUNT; i++)
        cr_expect_eq(is_on_pool(&rig, i), i == 2, "region %u", i);
    cr_expect_eq(rig.fake.space.reserved_bytes, reserved_bytes);
    cr_expect_eq(rig.heap.backing.reason_count[HM_REASON_FORK_ROOM], 0);
    expect_sound(&rig);
    rig_fini(&rig);
}
