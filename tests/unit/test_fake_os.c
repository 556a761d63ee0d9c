/* SPDX-License-Identifier: MIT */
/* test_fake_os.c - the fake kernel must be as strict as the real one, or it would hide faults. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "support/fake_os.h"

#define REGION (2 * HM_MIB)

static struct fake_os fake;
static uintptr_t base; /* four regions, reserved and committed */

static void
setup(void)
{
    fake_os_init(&fake, 4 * HM_KIB, REGION);
    cr_assert_eq(fake.os.reserve(&fake, 4 * REGION, REGION, &base), 0);
    cr_assert_eq(fake.os.commit(&fake, base, 4 * REGION), 0);
}

static void
teardown(void)
{
    fake_os_fini(&fake);
}

TestSuite(fake_os, .init = setup, .fini = teardown);

static int
advise(uintptr_t addr, size_t len_bytes, enum hm_advice advice)
{
    return fake.os.advise(&fake, addr, len_bytes, advice);
}

Test(fake_os, address_space_is_used_again)
{
    uintptr_t addr = 0;
    uintptr_t again = 0;

    cr_assert_eq(fake.os.reserve(&fake, 10 * REGION, 64 * HM_MIB, &addr), 0);
    cr_assert_eq(addr % (64 * HM_MIB), 0);
    cr_assert_eq(fake.os.unmap(&fake, addr, 10 * REGION), 0);
    cr_assert_eq(fake.os.reserve(&fake, 10 * REGION, 64 * HM_MIB, &again), 0);
    cr_assert_eq(again, addr);
    cr_assert_eq(fake.space.reserved_bytes, 14 * REGION);
}

Test(fake_os, the_end_of_a_mapping_can_go)
{
    size_t reserved_bytes = fake.space.reserved_bytes;
    uintptr_t addr = 0;

    cr_assert_eq(fake.os.reserve(&fake, 4 * REGION + 4096, REGION, &addr), 0);
    cr_assert_eq(fake.os.commit(&fake, addr, 4 * REGION + 4096), 0);
    cr_assert_eq(fake.os.unmap(&fake, addr + 3 * REGION, REGION + 4096), 0);
    cr_assert_eq(fake.space.reserved_bytes, reserved_bytes + 3 * REGION);
    cr_assert(fake_space_has(&fake.space, addr + 3 * REGION - 1));
    cr_assert_not(fake_space_has(&fake.space, addr + 3 * REGION));
    cr_assert_eq(fake.os.unmap(&fake, addr, 3 * REGION), 0);
    cr_assert_eq(fake.space.reserved_bytes, reserved_bytes);
}

Test(fake_os, address_space_is_limited)
{
    uintptr_t addr = 7;

    cr_assert_eq(fake.os.reserve(&fake, (size_t)1 << 47, REGION, &addr), -ENOMEM);
    fake.limit_bytes = 10 * REGION;
    cr_assert_eq(fake.os.reserve(&fake, 7 * REGION, REGION, &addr), -ENOMEM);
    cr_assert_eq(addr, 7);
    cr_assert_eq(fake.os.reserve(&fake, 6 * REGION, REGION, &addr), 0);
}

Test(fake_os, the_first_touch_decides)
{
    struct hm_residency sum = { 0 };

    fake_space_touch(&fake.space, base, 4096);
    cr_assert_eq(advise(base, 2 * REGION, HM_ADVICE_HUGE), 0);
    fake_space_touch(&fake.space, base + REGION - 1, 2);
    cr_assert_eq(fake.os.scan(&fake, base, 4 * REGION, &sum), 0);
    cr_assert_eq(sum.huge_bytes, REGION, "advice after the touch comes too late");
    cr_assert_eq(sum.resident_bytes, REGION + 2 * 4096);
    cr_assert_eq(advise(base, REGION, HM_ADVICE_COLLAPSE), 0);
    sum = (struct hm_residency){ 0 };
    fake.os.scan(&fake, base, 4 * REGION, &sum);
    cr_assert_eq(sum.huge_bytes, 2 * REGION);
}

Test(fake_os, collapse_can_fail_by_itself)
{
    cr_assert_eq(advise(base, REGION, HM_ADVICE_BASE), 0);
    cr_assert_eq(advise(base, REGION, HM_ADVICE_COLLAPSE), -EINVAL);
    cr_assert_eq(advise(base, REGION, HM_ADVICE_HUGE), 0);
    fake.huge_room_bytes = REGION;
    cr_assert_eq(advise(base, REGION, HM_ADVICE_COLLAPSE), 0);
    cr_assert_eq(advise(base + REGION, REGION, HM_ADVICE_COLLAPSE), -ENOMEM);
}

Test(fake_os, discarded_memory_is_zero_and_gone)
{
    struct hm_residency sum = { 0 };

    fake_space_touch(&fake.space, base, REGION);
    cr_assert_eq(advise(base + 4096, 8192, HM_ADVICE_DISCARD), 0);
    cr_assert(fake_space_is_zero(&fake.space, base + 4096, 8192));
    cr_assert(!fake_space_is_zero(&fake.space, base, 8192));
    fake.os.scan(&fake, base, REGION, &sum);
    cr_assert_eq(sum.resident_bytes, REGION - 8192);
}

Test(fake_os, remap_keeps_contents)
{
    uintptr_t to = 0;

    fake_space_touch(&fake.space, base, 4096);
    cr_assert_eq(fake.os.remap(&fake, base, 4 * REGION, 0, 4 * REGION + 4096), 0);
    cr_assert_eq(fake.os.reserve(&fake, 9 * REGION, REGION, &to), 0);
    cr_assert_eq(fake.os.remap(&fake, base, 4 * REGION + 4096, to, 9 * REGION), 0);
    cr_assert(!fake_space_has(&fake.space, base));
    cr_assert(!fake_space_is_zero(&fake.space, to, 4096));
    cr_assert_eq(fake.space.committed_bytes, 9 * REGION);
    cr_assert_eq(fake.os.remap(&fake, to, 9 * REGION, 0, 8192), 0);
    cr_assert_eq(fake.space.committed_bytes, 8192);
    cr_assert_eq(fake.space.reserved_bytes, 8192);
}

Test(fake_os, the_nth_call_fails)
{
    fake_os_fail(&fake, FAKE_ANY, 3, EAGAIN, false);
    cr_assert_eq(advise(base, REGION, HM_ADVICE_HUGE), 0);
    cr_assert_eq(fake.os.commit(&fake, base, REGION), 0);
    cr_assert_eq(advise(base, REGION, HM_ADVICE_DISCARD), -EAGAIN);
    cr_assert_eq(advise(base, REGION, HM_ADVICE_DISCARD), 0);
    fake_os_fail(&fake, FAKE_DISCARD, 1, ENOMEM, true);
    cr_assert_eq(fake.os.commit(&fake, base, REGION), 0);
    cr_assert_eq(advise(base, REGION, HM_ADVICE_DISCARD), -ENOMEM);
    cr_assert_eq(advise(base, REGION, HM_ADVICE_DISCARD), -ENOMEM);
    cr_assert_eq(fake.fault.failed_count, 2);
    fake_os_heal(&fake);
    cr_assert_eq(advise(base, REGION, HM_ADVICE_DISCARD), 0);
}

Test(fake_os, calls_are_counted_and_logged)
{
    fake_os_forget(&fake);
    advise(base, REGION, HM_ADVICE_HUGE);
    fake.os.unmap(&fake, base, 4 * REGION);
    cr_assert_eq(fake_os_calls(&fake), 2);
    cr_assert_eq(fake.call_count[FAKE_ADVISE_HUGE], 1);
    cr_assert_eq(fake_os_logged(&fake, 0)->kind, FAKE_UNMAP);
    cr_assert_eq(fake_os_logged(&fake, 1)->addr, base);
    cr_assert_eq(fake.space.reserved_bytes, 0);
}

Test(fake_os, every_kind_has_errors_and_a_name)
{
    for (int kind = 0; kind < FAKE_CALL_KINDS; kind++) {
        cr_assert_neq(fake_os_errors((enum fake_call_kind)kind)[0], 0);
        cr_assert_gt(strlen(fake_os_kind_name((enum fake_call_kind)kind)), 0);
    }
}

Test(fake_os, vmas_are_counted_as_the_kernel_does)
{
    cr_assert_eq(fake_space_vmas(&fake.space), 1);
    advise(base + REGION, REGION, HM_ADVICE_HUGE);
    cr_assert_eq(fake_space_vmas(&fake.space), 3);
    advise(base, 4 * REGION, HM_ADVICE_HUGE);
    cr_assert_eq(fake_space_vmas(&fake.space), 1);
}

/* --- what ends a test ------------------------------------------------------------------------- */

Test(fake_os, discard_of_what_is_not_reserved, .signal = SIGABRT)
{
    advise(base + 4 * REGION, REGION, HM_ADVICE_DISCARD);
}

Test(fake_os, discard_beyond_the_end, .signal = SIGABRT)
{
    advise(base + 3 * REGION, 2 * REGION, HM_ADVICE_DISCARD);
}

Test(fake_os, discard_of_a_part_of_a_huge_page, .signal = SIGABRT)
{
    advise(base, REGION, HM_ADVICE_HUGE);
    fake_space_touch(&fake.space, base, 4096);
    advise(base, 4096, HM_ADVICE_DISCARD);
}

Test(fake_os, discard_of_what_is_not_committed, .signal = SIGABRT)
{
    uintptr_t addr = 0;

    fake.os.reserve(&fake, REGION, REGION, &addr);
    advise(addr, REGION, HM_ADVICE_DISCARD);
}

Test(fake_os, unmap_of_half, .signal = SIGABRT)
{
    fake.os.unmap(&fake, base, 2 * REGION);
}

Test(fake_os, unmap_of_a_part_of_a_region, .signal = SIGABRT)
{
    fake.os.unmap(&fake, base + 4 * REGION - 4096, 4096);
}

Test(fake_os, unmap_twice, .signal = SIGABRT)
{
    fake.os.unmap(&fake, base, 4 * REGION);
    fake.os.unmap(&fake, base, 4 * REGION);
}

Test(fake_os, advice_on_a_part_of_a_huge_page, .signal = SIGABRT)
{
    advise(base, 4096, HM_ADVICE_HUGE);
}

Test(fake_os, an_address_that_is_no_page, .signal = SIGABRT)
{
    advise(base + 1, REGION, HM_ADVICE_DISCARD);
}

Test(fake_os, remap_of_two_vmas, .signal = SIGABRT)
{
    advise(base, REGION, HM_ADVICE_HUGE);
    fake.os.remap(&fake, base, 4 * REGION, 0, 5 * REGION);
}

Test(fake_os, remap_over_memory_in_use, .signal = SIGABRT)
{
    uintptr_t to = 0;

    fake.os.reserve(&fake, 5 * REGION, REGION, &to);
    fake.os.commit(&fake, to, 5 * REGION);
    fake_space_touch(&fake.space, to, REGION);
    fake.os.remap(&fake, base, 4 * REGION, to, 5 * REGION);
}

Test(fake_os, access_to_what_is_not_committed, .signal = SIGABRT)
{
    uintptr_t addr = 0;

    fake.os.reserve(&fake, REGION, REGION, &addr);
    fake_space_touch(&fake.space, addr, 1);
}
