/* SPDX-License-Identifier: MIT */
/* test_mode.c - when the THP mode is read, and what happens while it is unknown. */
#include <criterion/criterion.h>
#include <errno.h>

#include "support/rig.h"

#define REGION (2 * HM_MIB)

/* Address space of four regions, and a heap whose backing serves it. */
static uintptr_t
begin(struct rig *rig, const char *chain)
{
    uintptr_t addr = 0;

    rig_init(rig);
    rig_chain(rig, chain);
    cr_assert_eq(rig->fake.os.reserve(&rig->fake, 4 * REGION, REGION, &addr), 0);
    cr_assert_eq(rig->fake.thp_mode_count, 0);
    fake_os_forget(&rig->fake);
    return addr;
}

static int
obtain(struct rig *rig, uintptr_t addr, size_t heap_bytes, enum hm_backing_kind *out_kind)
{
    struct hm_range range = { .addr = addr, .len_bytes = REGION, .advised = HM_BACKING_KINDS };

    return hm_backing_obtain(&rig->heap.backing, &range, heap_bytes, out_kind);
}

/* A page fault obeys the administrator. A collapse does not, so that it must know him. */
Test(mode, what_the_mode_is_must_be_known_for_a_collapse)
{
    struct rig rig;
    enum hm_backing_kind kind;
    uintptr_t addr = begin(&rig, "thp,4k");

    rig.fake.thp_mode = HM_THP_UNKNOWN; /* no descriptor is free */
    cr_assert_eq(obtain(&rig, addr, HM_GIB, &kind), 0);
    cr_assert_eq(kind, HM_BACKING_THP);
    cr_assert_eq(hm_backing_collapse(&rig.heap.backing, addr, REGION), -EAGAIN);
    rig.fake.thp_mode = HM_THP_MADVISE;
    cr_assert_eq(hm_backing_collapse(&rig.heap.backing, addr, REGION), 0);
    cr_assert_eq(rig.heap.backing.reason_count[HM_REASON_COLLAPSE_FAILED], 0);
    rig_fini(&rig);

    addr = begin(&rig, "thp,4k");
    rig.fake.filters = HM_FILTERS_FIXED;
    cr_assert_eq(obtain(&rig, addr, HM_GIB, &kind), 0);
    cr_assert_eq(kind, HM_BACKING_THP);
    cr_assert_eq(hm_backing_collapse(&rig.heap.backing, addr, REGION), -EAGAIN);
    cr_assert_eq(rig.fake.thp_mode_count, 0);
    rig_fini(&rig);
}

/* A heap that starts when the program runs already cannot tell what was there before. */
Test(mode, a_late_start_opens_no_file)
{
    struct rig rig;
    enum hm_backing_kind kind;
    uintptr_t addr = begin(&rig, "thp,4k");

    rig.conf.is_late = true;
    rig.fake.filters = HM_FILTERS_OPEN;
    hm_backing_init(&rig.heap.backing, &rig.fake.os, &rig.conf, &rig.fake.space.geom);
    cr_assert_eq(obtain(&rig, addr, 300 * HM_MIB, &kind), 0);
    cr_assert_eq(kind, HM_BACKING_THP);
    cr_assert_eq(rig.fake.room_count + rig.fake.thp_mode_count, 0);
    rig_fini(&rig);
}
