/* SPDX-License-Identifier: MIT */
/* test_backing.c - the chain: what is asked of the kernel, what follows a refusal, what is
 * counted. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <errno.h>
#include <string.h>

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

Test(backing, a_small_heap_gets_base_pages_and_says_so_to_the_kernel)
{
    struct rig rig;
    enum hm_backing_kind kind;
    uintptr_t addr = begin(&rig, "thp,4k");

    cr_assert_eq(obtain(&rig, addr, HM_MIB, &kind), 0);
    cr_assert_eq(kind, HM_BACKING_4K);
    cr_assert_eq(fake_space_flags(&rig.fake.space, addr), FAKE_COMMITTED | FAKE_WANTS_BASE);
    cr_assert_eq(rig.heap.backing.reason_count[HM_REASON_HEAP_SMALL], 1);
    rig_fini(&rig);
}

Test(backing, a_large_heap_asks_for_huge_pages_before_the_first_touch)
{
    struct rig rig;
    enum hm_backing_kind kind;
    uintptr_t addr = begin(&rig, "thp,4k");

    cr_assert_eq(obtain(&rig, addr, HM_GIB, &kind), 0);
    cr_assert_eq(obtain(&rig, addr + REGION, HM_GIB, &kind), 0);
    cr_assert_eq(kind, HM_BACKING_THP);
    cr_assert_eq(fake_space_flags(&rig.fake.space, addr), FAKE_COMMITTED | FAKE_WANTS_HUGE);
    cr_assert_eq(rig.fake.thp_mode_count, 1, "the mode is read once");
    for (int i = 0; i < HM_REASON_COUNT; i++)
        cr_assert_eq(rig.heap.backing.reason_count[i], 0);
    rig_fini(&rig);
}

Test(backing, a_refused_advice_falls_back_to_base_pages)
{
    struct rig rig;
    enum hm_backing_kind kind;
    uintptr_t addr = begin(&rig, "thp,4k");

    fake_os_fail(&rig.fake, FAKE_ADVISE_HUGE, 1, ENOMEM, false);
    cr_assert_eq(obtain(&rig, addr, HM_GIB, &kind), 0);
    cr_assert_eq(kind, HM_BACKING_4K);
    cr_assert_eq(fake_space_flags(&rig.fake.space, addr), FAKE_COMMITTED | FAKE_WANTS_BASE);
    cr_assert_eq(rig.heap.backing.reason_count[HM_REASON_ADVICE_FAILED], 1);
    rig_fini(&rig);
}

Test(backing, required_huge_pages_fail_instead)
{
    struct rig rig;
    enum hm_backing_kind kind = HM_BACKING_KINDS;
    uintptr_t addr = begin(&rig, "thp");

    fake_os_fail(&rig.fake, FAKE_ADVISE_HUGE, 1, ENOMEM, false);
    cr_assert_eq(obtain(&rig, addr, HM_MIB, &kind), -ENOMEM);
    cr_assert_eq(kind, HM_BACKING_KINDS, "outputs are left alone on failure");
    cr_assert_eq(rig.heap.backing.reason_count[HM_REASON_ADVICE_FAILED], 1);
    cr_assert_eq(obtain(&rig, addr, HM_MIB, &kind), 0);
    cr_assert_eq(kind, HM_BACKING_THP);
    rig_fini(&rig);
}

Test(backing, required_huge_pages_on_a_machine_without_them)
{
    struct rig rig;
    enum hm_backing_kind kind;
    uintptr_t addr = begin(&rig, "thp");

    rig_thp_mode(&rig, HM_THP_NEVER);
    cr_assert_eq(obtain(&rig, addr, HM_GIB, &kind), -ENOMEM);
    cr_assert_eq(rig.heap.backing.reason_count[HM_REASON_THP_NEVER], 1);
    cr_assert_eq(rig.fake.call_count[FAKE_COMMIT], 0);
    rig_fini(&rig);
}

Test(backing, no_memory_at_all)
{
    static const size_t heap_sizes[] = { HM_MIB, HM_GIB };

    for (size_t i = 0; i < 2; i++) {
        struct rig rig;
        enum hm_backing_kind kind;
        uintptr_t addr = begin(&rig, "thp,4k");

        fake_os_fail(&rig.fake, FAKE_COMMIT, 1, ENOMEM, true);
        cr_assert_eq(obtain(&rig, addr, heap_sizes[i], &kind), -ENOMEM);
        cr_assert_eq(fake_space_flags(&rig.fake.space, addr) & FAKE_COMMITTED, 0);
        rig_fini(&rig);
    }
}

/* A kernel without THP knows no MADV_NOHUGEPAGE; there is nothing to prevent, then. */
Test(backing, base_pages_on_a_kernel_without_thp)
{
    struct rig rig;
    enum hm_backing_kind kind;
    uintptr_t addr = begin(&rig, "thp,4k");

    rig_thp_mode(&rig, HM_THP_ABSENT);
    cr_assert_eq(obtain(&rig, addr, HM_MIB, &kind), 0);
    cr_assert_eq(kind, HM_BACKING_4K);
    rig_fini(&rig);
}

/* Three regions, of which the first is wanted now. */
static struct hm_range
range_with_rest(uintptr_t addr)
{
    return (struct hm_range){
        .addr = addr, .len_bytes = REGION, .rest_bytes = 2 * REGION, .advised = HM_BACKING_KINDS
    };
}

/* Advice covers the rest, so that it need not be given again, and memory does not. */
Test(backing, the_rest_is_advised_and_not_opened)
{
    struct rig rig;
    enum hm_backing_kind kind;
    uintptr_t addr = begin(&rig, "thp,4k");
    struct hm_range range = range_with_rest(addr);

    cr_assert_eq(hm_backing_obtain(&rig.heap.backing, &range, HM_GIB, &kind), 0);
    cr_assert_eq(range.advised, HM_BACKING_THP);
    cr_assert_eq(fake_space_flags(&rig.fake.space, addr), FAKE_COMMITTED | FAKE_WANTS_HUGE);
    cr_assert_eq(fake_space_flags(&rig.fake.space, addr + 2 * REGION), FAKE_WANTS_HUGE);
    cr_assert_eq(fake_space_flags(&rig.fake.space, addr + 3 * REGION), 0);
    range.addr += REGION;
    range.rest_bytes -= REGION;
    cr_assert_eq(hm_backing_obtain(&rig.heap.backing, &range, HM_GIB, &kind), 0);
    cr_assert_eq(rig.fake.call_count[FAKE_ADVISE_HUGE], 1);
    cr_assert(!rig.heap.backing.is_crowded);
    rig_fini(&rig);
}

/* Without a mapping to spare the rest is opened along, since that parts nothing. */
Test(backing, a_range_that_cannot_be_parted_is_opened_whole)
{
    struct rig rig;
    enum hm_backing_kind kind;
    uintptr_t addr = begin(&rig, "thp,4k");
    struct hm_range range = range_with_rest(addr);

    fake_os_fail(&rig.fake, FAKE_COMMIT, 1, ENOMEM, false);
    cr_assert_eq(hm_backing_obtain(&rig.heap.backing, &range, HM_GIB, &kind), 0);
    cr_assert_eq(kind, HM_BACKING_THP);
    cr_assert_eq(fake_space_flags(&rig.fake.space, addr + 2 * REGION),
                 FAKE_COMMITTED | FAKE_WANTS_HUGE);
    cr_assert(rig.heap.backing.is_crowded);
    rig_fini(&rig);
}

/* Base pages are the last resort: where the range could not be opened apart from base pages before
 * it, it is tried as their like. */
Test(backing, what_cannot_be_opened_for_huge_pages_has_a_reason)
{
    struct rig rig;
    enum hm_backing_kind kind;
    uintptr_t addr = begin(&rig, "thp,4k");

    fake_os_fail(&rig.fake, FAKE_COMMIT, 1, ENOMEM, false);
    cr_assert_eq(obtain(&rig, addr, HM_GIB, &kind), 0);
    cr_assert_eq(kind, HM_BACKING_4K);
    cr_assert_eq(rig.heap.backing.reason_count[HM_REASON_COMMIT_FAILED], 1);
    cr_assert_eq(fake_space_flags(&rig.fake.space, addr), FAKE_COMMITTED | FAKE_WANTS_BASE);
    rig_fini(&rig);
}

Test(backing, reasons_are_counted_in_regions)
{
    struct rig rig;
    struct hm_range range = { .len_bytes = 3 * REGION, .advised = HM_BACKING_KINDS };
    enum hm_backing_kind kind;
    uintptr_t addr = begin(&rig, "thp,4k");

    rig_thp_mode(&rig, HM_THP_PRCTL_OFF);
    range.addr = addr;
    cr_assert_eq(hm_backing_obtain(&rig.heap.backing, &range, HM_GIB, &kind), 0);
    cr_assert_eq(rig.heap.backing.reason_count[HM_REASON_THP_PRCTL], 3);
    rig_fini(&rig);
}

/* --- the memory cgroup ------------------------------------------------------------------------ */

Test(backing, a_small_heap_never_reads_the_room)
{
    struct rig rig;
    enum hm_backing_kind kind;
    uintptr_t addr = begin(&rig, "thp,4k");

    for (int i = 0; i < 10; i++)
        cr_assert_eq(obtain(&rig, addr, HM_MIB, &kind), 0);
    cr_assert_eq(rig.fake.room_count, 0);
    rig_fini(&rig);
}

Test(backing, near_the_limit_base_pages_serve)
{
    struct rig rig;
    enum hm_backing_kind kind;
    uintptr_t addr = begin(&rig, "thp,4k");

    rig.fake.room = (struct hm_room){ .limit_bytes = HM_GIB, .left_bytes = 20 * HM_MIB };
    cr_assert_eq(obtain(&rig, addr, 900 * HM_MIB, &kind), 0);
    cr_assert_eq(kind, HM_BACKING_4K);
    cr_assert_eq(rig.heap.backing.reason_count[HM_REASON_CGROUP_ROOM], 1);
    cr_assert(!hm_backing_wants_huge(&rig.heap.backing, 900 * HM_MIB), "nor is collapsed");
    /* Others gave memory back; that is seen when what was read is old. */
    rig.fake.room.left_bytes = HM_GIB / 2;
    cr_assert_eq(obtain(&rig, addr + REGION, 900 * HM_MIB, &kind), 0);
    cr_assert_eq(kind, HM_BACKING_4K);
    rig.fake.now_ns += 200000000;
    cr_assert_eq(obtain(&rig, addr + 2 * REGION, 900 * HM_MIB, &kind), 0);
    cr_assert_eq(kind, HM_BACKING_THP);
    cr_assert_eq(rig.fake.room_count, 2);
    rig_fini(&rig);
}

/* Read often where it matters, rarely where it does not. */
Test(backing, the_room_is_read_anew_by_what_was_opened)
{
    static const struct {
        struct hm_room room;
        uint64_t min_count;
        uint64_t max_count;
    } rooms[] = {
        { { 0, 0 }, 1, 1 },
        { { 100 * HM_GIB, 90 * HM_GIB }, 1, 1 },
        { { HM_GIB, 100 * HM_MIB }, 10, 30 }, /* 36 MiB from where the limit is near */
        { { HM_GIB, 10 * HM_MIB }, 1, 1 },    /* base pages it is, for a tenth of a second */
    };

    for (size_t i = 0; i < sizeof(rooms) / sizeof(rooms[0]); i++) {
        struct rig rig;
        enum hm_backing_kind kind;
        uintptr_t addr = begin(&rig, "thp,4k");

        rig.fake.room = rooms[i].room;
        for (int k = 0; k < 100; k++)
            cr_assert_eq(obtain(&rig, addr, HM_GIB, &kind), 0);
        cr_expect_geq(rig.fake.room_count, rooms[i].min_count, "%zu: %lu", i, rig.fake.room_count);
        cr_expect_leq(rig.fake.room_count, rooms[i].max_count, "%zu: %lu", i, rig.fake.room_count);
        rig_fini(&rig);
    }
}

/* Between two readings the heap's own growth counts. */
Test(backing, the_room_shrinks_as_the_heap_grows)
{
    struct rig rig;
    enum hm_backing_kind kind;
    uintptr_t addr = begin(&rig, "thp,4k");

    rig.fake.room = (struct hm_room){ .limit_bytes = HM_GIB, .left_bytes = 500 * HM_MIB };
    cr_assert_eq(hm_backing_room_bytes(&rig.heap.backing, HM_GIB), UINT64_MAX, "not known yet");
    cr_assert_eq(obtain(&rig, addr, 300 * HM_MIB, &kind), 0);
    cr_assert_eq(hm_backing_room_bytes(&rig.heap.backing, 300 * HM_MIB), 500 * HM_MIB);
    cr_assert_eq(hm_backing_room_bytes(&rig.heap.backing, 400 * HM_MIB), 400 * HM_MIB);
    cr_assert_eq(hm_backing_room_bytes(&rig.heap.backing, 200 * HM_MIB), 600 * HM_MIB);
    cr_assert_eq(hm_backing_room_bytes(&rig.heap.backing, HM_GIB), 0);
    cr_assert_eq(obtain(&rig, addr + REGION, 780 * HM_MIB, &kind), 0);
    cr_assert_eq(kind, HM_BACKING_4K, "no file was read, and yet it is known");
    cr_assert_eq(rig.fake.room_count, 1);
    rig_fini(&rig);
}

/* No descriptor is free for a moment, near the limit. */
Test(backing, what_was_known_stays_when_it_cannot_be_read)
{
    struct rig rig;
    enum hm_backing_kind kind;
    uintptr_t addr = begin(&rig, "thp,4k");

    rig.fake.room_rc = -EMFILE;
    cr_assert_eq(obtain(&rig, addr, 300 * HM_MIB, &kind), 0);
    cr_assert_eq(kind, HM_BACKING_THP, "nothing is known yet");
    rig.fake.room_rc = 0;
    rig.fake.room = (struct hm_room){ .limit_bytes = HM_GIB, .left_bytes = 100 * HM_MIB };
    rig.fake.now_ns += 2000000000;
    cr_assert_eq(obtain(&rig, addr + REGION, 300 * HM_MIB, &kind), 0);
    cr_assert_eq(kind, HM_BACKING_THP);
    rig.fake.room_rc = -EMFILE;
    rig.fake.now_ns += 2000000000;
    cr_assert_eq(obtain(&rig, addr + 2 * REGION, 340 * HM_MIB, &kind), 0);
    cr_assert_eq(kind, HM_BACKING_4K);
    cr_assert_eq(hm_backing_room_bytes(&rig.heap.backing, 340 * HM_MIB), 60 * HM_MIB);
    rig_fini(&rig);
}

/* Whoever locks itself in must not be ended because we open a file. */
Test(backing, no_file_is_opened_once_a_filter_was_added)
{
    struct rig rig;
    enum hm_backing_kind kind;
    uintptr_t addr = begin(&rig, "thp,4k");

    rig.fake.room = (struct hm_room){ .limit_bytes = HM_GIB, .left_bytes = 500 * HM_MIB };
    rig.fake.filters = HM_FILTERS_FIXED;
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(obtain(&rig, addr, 300 * HM_MIB, &kind), 0);
        cr_assert_eq(kind, HM_BACKING_THP);
        rig.fake.now_ns += 2000000000;
    }
    cr_assert_eq(rig.fake.room_count, 0);
    cr_assert_eq(rig.fake.thp_mode_count, 0);
    rig_fini(&rig);
}

/* Where it could not be told later, it is read at the start, and estimated from there. */
Test(backing, a_process_that_may_add_filters_reads_at_the_start)
{
    struct rig rig;
    enum hm_backing_kind kind;
    uintptr_t addr = begin(&rig, "thp,4k");

    rig.fake.room = (struct hm_room){ .limit_bytes = HM_GIB, .left_bytes = 500 * HM_MIB };
    rig.fake.filters = HM_FILTERS_OPEN;
    hm_backing_init(&rig.heap.backing, &rig.fake.os, &rig.conf, &rig.fake.space.geom);
    cr_assert_eq(rig.fake.room_count, 1);
    cr_assert_eq(rig.fake.thp_mode_count, 1);
    rig.fake.now_ns += 2000000000;
    cr_assert_eq(obtain(&rig, addr, 300 * HM_MIB, &kind), 0);
    cr_assert_eq(kind, HM_BACKING_THP);
    cr_assert_eq(obtain(&rig, addr + REGION, 480 * HM_MIB, &kind), 0);
    cr_assert_eq(kind, HM_BACKING_4K);
    cr_assert_eq(rig.fake.room_count, 1);
    rig_fini(&rig);
}

Test(backing, collapse_takes_both_advices)
{
    struct rig rig;
    enum hm_backing_kind kind;
    uintptr_t addr = begin(&rig, "thp,4k");

    cr_assert_eq(obtain(&rig, addr, HM_MIB, &kind), 0);
    cr_assert_eq(hm_backing_collapse(&rig.heap.backing, addr, REGION), 0);
    cr_assert_eq(fake_space_flags(&rig.fake.space, addr),
                 FAKE_COMMITTED | FAKE_WANTS_HUGE | FAKE_IS_HUGE);
    rig_fini(&rig);
}

Test(backing, a_failed_collapse_leaves_the_region_as_it_was)
{
    static const enum fake_call_kind kinds[] = { FAKE_ADVISE_HUGE, FAKE_COLLAPSE };

    for (size_t i = 0; i < 2; i++) {
        struct rig rig;
        enum hm_backing_kind kind;
        uintptr_t addr = begin(&rig, "thp,4k");

        cr_assert_eq(obtain(&rig, addr, HM_MIB, &kind), 0);
        fake_os_fail(&rig.fake, kinds[i], 1, EAGAIN, false);
        cr_assert_eq(hm_backing_collapse(&rig.heap.backing, addr, REGION), -EAGAIN);
        cr_assert_eq(fake_space_flags(&rig.fake.space, addr), FAKE_COMMITTED | FAKE_WANTS_BASE);
        cr_assert_eq(rig.heap.backing.reason_count[HM_REASON_COLLAPSE_FAILED], 1);
        rig_fini(&rig);
    }
}

Test(backing, verbose_tells_each_reason_once, .init = cr_redirect_stderr)
{
    struct rig rig;
    enum hm_backing_kind kind;
    uintptr_t addr = begin(&rig, "thp,4k");

    rig.conf.verbose = true;
    rig_thp_mode(&rig, HM_THP_NEVER);
    cr_assert_eq(obtain(&rig, addr, HM_MIB, &kind), 0, "a small heap is not worth a line");
    cr_assert_eq(obtain(&rig, addr, HM_GIB, &kind), 0);
    cr_assert_eq(obtain(&rig, addr + REGION, HM_GIB, &kind), 0);
    cr_assert_stderr_eq_str("huma: fell back (thp-never): transparent huge pages are switched "
                            "off on this machine; cure: echo madvise > "
                            "/sys/kernel/mm/transparent_hugepage/enabled (or "
                            "hugepages-SIZE/enabled)\n");
    rig_fini(&rig);
}

/* Each reason that can come up on the way, and each once. */
Test(backing, verbose_tells_all_reasons, .init = cr_redirect_stderr)
{
    struct rig rig;
    enum hm_backing_kind kind;
    uintptr_t addr = begin(&rig, "thp,4k");

    rig.conf.verbose = true;
    for (int i = 0; i < 2; i++) {
        static const enum fake_call_kind kinds[] = { FAKE_ADVISE_HUGE, FAKE_COMMIT };

        for (int k = 0; k < 2; k++) {
            fake_os_fail(&rig.fake, kinds[k], 1, ENOMEM, false);
            cr_assert_eq(obtain(&rig, addr, HM_GIB, &kind), 0);
        }
        fake_os_fail(&rig.fake, FAKE_COLLAPSE, 1, ENOMEM, false);
        (void)hm_backing_collapse(&rig.heap.backing, addr, REGION);
        rig.fake.room = (struct hm_room){ .limit_bytes = HM_GIB };
        rig.fake.now_ns += 2000000000;
        cr_assert_eq(obtain(&rig, addr, HM_GIB, &kind), 0);
        rig.fake.room.limit_bytes = 0;
        rig.fake.now_ns += 2000000000;
    }
    rig_chain(&rig, "4k");
    cr_assert_eq(obtain(&rig, addr, HM_GIB, &kind), 0);
    rig.conf.is_passed_over = true;
    cr_assert_eq(obtain(&rig, addr, HM_GIB, &kind), 0);
    cr_assert_stderr_eq_str(
        "huma: fell back (advice-failed): the kernel refused madvise(MADV_HUGEPAGE); cure: "
        "vm.max_map_count may be used up; for errno: strace -f -e trace=madvise\n"
        "huma: fell back (commit-failed): the kernel refused mprotect on address space that was "
        "reserved for huge pages; cure: raise vm.max_map_count or ulimit -d; with "
        "vm.overcommit_memory=2: vm.overcommit_ratio\n"
        "huma: fell back (collapse-failed): base pages of the heap could not be collapsed into a "
        "huge page; cure: run Linux 6.1 or newer; if memory is fragmented: echo 1 > "
        "/proc/sys/vm/compact_memory\n"
        "huma: fell back (cgroup-room): a memory cgroup of this process is near its limit, and "
        "huge pages round up; cure: raise memory.max or memory.high (version 1: "
        "memory.limit_in_bytes); systemd: MemoryMax=\n"
        "huma: fell back (not-in-chain): HUMA_BACKING does not name a huge-page backing; cure: "
        "add thp to HUMA_BACKING, or unset it\n"
        "huma: fell back (not-selected): HUMA_ONLY does not name this executable; cure: add its "
        "file name to HUMA_ONLY, or unset it; of a script, that of the interpreter\n");
    rig_fini(&rig);
}

/* Whoever requires huge pages is told why there is no memory, asked or not. */
Test(backing, a_required_backing_that_fails_is_told, .init = cr_redirect_stderr)
{
    struct rig rig;
    enum hm_backing_kind kind;
    uintptr_t addr = begin(&rig, "thp");

    rig_thp_mode(&rig, HM_THP_ABSENT);
    cr_assert_eq(obtain(&rig, addr, HM_GIB, &kind), -ENOMEM);
    cr_assert_eq(obtain(&rig, addr, HM_GIB, &kind), -ENOMEM);
    cr_assert_stderr_eq_str("huma: fell back (thp-absent): the kernel shows no transparent huge "
                            "pages in /sys; cure: run a kernel with CONFIG_TRANSPARENT_HUGEPAGE; "
                            "in a sandbox: mount /sys\n");
    rig_fini(&rig);
}
