/* SPDX-License-Identifier: MIT */
/* test_pick.c - the whole decision as a table: chain, machine, THP mode and heap size to backing
 * and reason. */
#include <criterion/criterion.h>
#include <string.h>

#include "backing/pick.h"

#define NOTHING HM_BACKING_KINDS

static const struct hm_chain thp_4k
    = { .kind = { HM_BACKING_THP, HM_BACKING_4K }, .kind_count = 2 };
static const struct hm_chain only_thp = { .kind = { HM_BACKING_THP }, .kind_count = 1 };
static const struct hm_chain only_4k = { .kind = { HM_BACKING_4K }, .kind_count = 1 };
static const struct hm_chain base_first
    = { .kind = { HM_BACKING_4K, HM_BACKING_THP }, .kind_count = 2 };
static const struct hm_chain empty = { .kind = { 0 }, .kind_count = 0 };

static struct hm_pick
pick(const struct hm_chain *chain, enum hm_thp_mode mode, size_t heap_bytes)
{
    struct hm_geom geom = hm_os_geometry(4 * HM_KIB, 2 * HM_MIB);
    struct hm_pick_in in = {
        .chain = chain,
        .geom = &geom,
        .thp_mode = mode,
        .heap_bytes = heap_bytes,
        .huge_start_bytes = 8 * HM_MIB,
    };

    return hm_pick_backing(&in);
}

static const struct {
    const char *what;
    const struct hm_chain *chain;
    size_t heap_bytes;
    struct hm_pick expected[5]; /* by enum hm_thp_mode */
} decisions[] = {
    { "small heap, thp,4k",
      &thp_4k,
      8 * HM_MIB - 1,
      { { HM_BACKING_4K, HM_REASON_HEAP_SMALL },
        { HM_BACKING_4K, HM_REASON_HEAP_SMALL },
        { HM_BACKING_4K, HM_REASON_HEAP_SMALL },
        { HM_BACKING_4K, HM_REASON_HEAP_SMALL },
        { HM_BACKING_4K, HM_REASON_HEAP_SMALL } } },
    { "large heap, thp,4k",
      &thp_4k,
      8 * HM_MIB,
      { { HM_BACKING_4K, HM_REASON_THP_ABSENT },
        { HM_BACKING_4K, HM_REASON_THP_NEVER },
        { HM_BACKING_THP, HM_REASON_NONE },
        { HM_BACKING_THP, HM_REASON_NONE },
        { HM_BACKING_4K, HM_REASON_THP_PRCTL } } },
    { "small heap, thp required",
      &only_thp,
      0,
      { { NOTHING, HM_REASON_THP_ABSENT },
        { NOTHING, HM_REASON_THP_NEVER },
        { HM_BACKING_THP, HM_REASON_NONE },
        { HM_BACKING_THP, HM_REASON_NONE },
        { NOTHING, HM_REASON_THP_PRCTL } } },
    { "large heap, thp required",
      &only_thp,
      HM_GIB,
      { { NOTHING, HM_REASON_THP_ABSENT },
        { NOTHING, HM_REASON_THP_NEVER },
        { HM_BACKING_THP, HM_REASON_NONE },
        { HM_BACKING_THP, HM_REASON_NONE },
        { NOTHING, HM_REASON_THP_PRCTL } } },
    { "large heap, 4k",
      &only_4k,
      HM_GIB,
      { { HM_BACKING_4K, HM_REASON_NOT_IN_CHAIN },
        { HM_BACKING_4K, HM_REASON_NOT_IN_CHAIN },
        { HM_BACKING_4K, HM_REASON_NOT_IN_CHAIN },
        { HM_BACKING_4K, HM_REASON_NOT_IN_CHAIN },
        { HM_BACKING_4K, HM_REASON_NOT_IN_CHAIN } } },
    { "large heap, 4k,thp",
      &base_first,
      HM_GIB,
      { { HM_BACKING_4K, HM_REASON_NONE },
        { HM_BACKING_4K, HM_REASON_NONE },
        { HM_BACKING_4K, HM_REASON_NONE },
        { HM_BACKING_4K, HM_REASON_NONE },
        { HM_BACKING_4K, HM_REASON_NONE } } },
    { "no chain",
      &empty,
      HM_GIB,
      { { NOTHING, HM_REASON_NOT_IN_CHAIN },
        { NOTHING, HM_REASON_NOT_IN_CHAIN },
        { NOTHING, HM_REASON_NOT_IN_CHAIN },
        { NOTHING, HM_REASON_NOT_IN_CHAIN },
        { NOTHING, HM_REASON_NOT_IN_CHAIN } } },
};

Test(pick, every_combination)
{
    for (size_t i = 0; i < sizeof(decisions) / sizeof(decisions[0]); i++) {
        for (int mode = HM_THP_ABSENT; mode <= HM_THP_PRCTL_OFF; mode++) {
            struct hm_pick got
                = pick(decisions[i].chain, (enum hm_thp_mode)mode, decisions[i].heap_bytes);

            cr_expect_eq(got.kind, decisions[i].expected[mode].kind, "%s, mode %d: kind %d",
                         decisions[i].what, mode, (int)got.kind);
            cr_expect_eq(got.reason, decisions[i].expected[mode].reason, "%s, mode %d: %s",
                         decisions[i].what, mode, hm_reason_code(got.reason));
        }
    }
}

Test(pick, a_start_of_0_means_from_the_first_byte)
{
    struct hm_geom geom = hm_os_geometry(4 * HM_KIB, 2 * HM_MIB);
    struct hm_pick_in in = { .chain = &thp_4k, .geom = &geom, .thp_mode = HM_THP_MADVISE };

    cr_assert_eq(hm_pick_backing(&in).kind, HM_BACKING_THP);
}

/* Huge pages larger than a region are in test_sizes.c. */
Test(pick, a_machine_without_huge_pages)
{
    struct hm_geom geom = hm_os_geometry(4 * HM_KIB, 0);
    struct hm_pick_in in
        = { .chain = &thp_4k, .geom = &geom, .thp_mode = HM_THP_ALWAYS, .heap_bytes = HM_GIB };

    cr_expect_eq(hm_pick_backing(&in).kind, HM_BACKING_4K);
    cr_expect_eq(hm_pick_backing(&in).reason, HM_REASON_THP_ABSENT);
    in.chain = &only_thp;
    cr_expect_eq(hm_pick_backing(&in).kind, NOTHING);
}

/* Small processes that HUMA_ONLY passes over miss nothing. */
Test(pick, passed_over)
{
    struct hm_geom geom = hm_os_geometry(4 * HM_KIB, 2 * HM_MIB);
    struct hm_pick_in in = { .chain = &only_4k,
                             .is_passed_over = true,
                             .geom = &geom,
                             .thp_mode = HM_THP_MADVISE,
                             .heap_bytes = 8 * HM_MIB - 1,
                             .huge_start_bytes = 8 * HM_MIB };

    cr_assert_eq(hm_pick_backing(&in).kind, HM_BACKING_4K);
    cr_assert_eq(hm_pick_backing(&in).reason, HM_REASON_HEAP_SMALL);
    in.heap_bytes++;
    cr_assert_eq(hm_pick_backing(&in).kind, HM_BACKING_4K);
    cr_assert_eq(hm_pick_backing(&in).reason, HM_REASON_NOT_SELECTED);
}

/* A memory cgroup near its limit: eight huge pages, a sixteenth of the limit, a gigabyte at most;
 * and what is asked for must fit in on top. */
Test(pick, room_in_a_memory_cgroup)
{
    static const struct {
        const char *what;
        struct hm_room room;
        size_t len_bytes;
        enum hm_reason expected;
    } rooms[] = {
        { "no limit", { 0, 0 }, 2 * HM_MIB, HM_REASON_NONE },
        { "plenty", { HM_GIB, HM_GIB / 2 }, 2 * HM_MIB, HM_REASON_NONE },
        { "just enough of 1 GiB", { HM_GIB, 66 * HM_MIB }, 2 * HM_MIB, HM_REASON_NONE },
        { "too little of 1 GiB", { HM_GIB, 66 * HM_MIB - 1 }, 2 * HM_MIB, HM_REASON_CGROUP_ROOM },
        { "just enough of 64 MiB", { 64 * HM_MIB, 18 * HM_MIB }, 2 * HM_MIB, HM_REASON_NONE },
        { "too little", { 64 * HM_MIB, 18 * HM_MIB - 1 }, 2 * HM_MIB, HM_REASON_CGROUP_ROOM },
        { "a group of a few MiB", { 14 * HM_MIB, 14 * HM_MIB }, 2 * HM_MIB, HM_REASON_CGROUP_ROOM },
        { "a block too large", { HM_GIB, 600 * HM_MIB }, 600 * HM_MIB, HM_REASON_CGROUP_ROOM },
        { "1 TiB", { 1024 * HM_GIB, 2 * HM_GIB }, HM_GIB, HM_REASON_NONE },
        { "too little of 1 TiB", { 1024 * HM_GIB, HM_GIB }, 2 * HM_MIB, HM_REASON_CGROUP_ROOM },
        { "nothing", { HM_GIB, 0 }, 2 * HM_MIB, HM_REASON_CGROUP_ROOM },
    };
    struct hm_geom geom = hm_os_geometry(4 * HM_KIB, 2 * HM_MIB);

    for (size_t i = 0; i < sizeof(rooms) / sizeof(rooms[0]); i++) {
        struct hm_pick_in in = { .chain = &thp_4k,
                                 .geom = &geom,
                                 .thp_mode = HM_THP_MADVISE,
                                 .heap_bytes = HM_GIB,
                                 .len_bytes = rooms[i].len_bytes,
                                 .room = rooms[i].room };
        struct hm_pick got = hm_pick_backing(&in);

        cr_expect_eq(got.reason, rooms[i].expected, "%s: %s", rooms[i].what,
                     hm_reason_code(got.reason));
        cr_expect_eq(got.kind, got.reason == HM_REASON_NONE ? HM_BACKING_THP : HM_BACKING_4K);
        in.chain = &only_thp;
        cr_expect_eq(hm_pick_backing(&in).kind, HM_BACKING_THP, "required is required");
    }
}

Test(pick, every_reason_has_a_text)
{
    for (int i = 0; i < HM_REASON_COUNT; i++) {
        enum hm_reason reason = (enum hm_reason)i;

        cr_expect_gt(strlen(hm_reason_code(reason)), 0);
        cr_expect_gt(strlen(hm_reason_sentence(reason)), 0);
        cr_expect_gt(strlen(hm_reason_cure(reason)), 0);
        for (int k = 0; k < i; k++)
            cr_expect_str_neq(hm_reason_code(reason), hm_reason_code((enum hm_reason)k));
    }
    cr_assert_str_eq(hm_reason_code(HM_REASON_NONE), "none");
}
