/* SPDX-License-Identifier: MIT */
/* test_large.c - blocks over the largest size class. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>

#include "heap/direct.h"
#include "heap/purge.h"
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

TestSuite(large, .init = setup, .fini = teardown);

static struct hm_span *
span_at(uintptr_t addr)
{
    return hm_pagemap_get(&rig.heap.pagemap, addr);
}

static uintptr_t
resize(uintptr_t addr, size_t size_bytes)
{
    return (uintptr_t)hm_large_resize(&rig.heap, span_at(addr), addr, size_bytes);
}

Test(large, sizes_are_rounded_to_pages)
{
    static const size_t sizes[] = { 1,
                                    32769,
                                    128 * HM_KIB,
                                    2 * HM_MIB + 1,
                                    HM_DIRECT_MIN_BYTES - 4096,
                                    HM_DIRECT_MIN_BYTES,
                                    HM_GIB + 5 };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        bool is_zero = false;
        uintptr_t addr = (uintptr_t)hm_large_alloc(&rig.heap, sizes[i], 16, &is_zero);

        cr_assert_neq(addr, 0);
        cr_assert_eq(rig_usable(&rig, addr), hm_align_up(sizes[i], 4096));
        cr_assert_eq(span_at(addr)->kind,
                     sizes[i] >= HM_DIRECT_MIN_BYTES ? HM_SPAN_MAPPED : HM_SPAN_RUN);
        cr_assert_eq(is_zero, fake_space_is_zero(&rig.fake.space, addr, rig_usable(&rig, addr)));
        fake_space_touch(&rig.fake.space, addr, sizes[i]);
        cr_assert_null(rig_check(&rig));
        hm_large_free(&rig.heap, span_at(addr), addr);
        cr_assert_null(span_at(addr));
    }
    cr_assert_eq(rig.heap.used_pages, 0);
    cr_assert_eq(rig.heap.direct_bytes, 0);
    cr_assert_eq(rig.heap.span_count, 0);
}

Test(large, alignments)
{
    for (size_t align = 16; align <= HM_GIB; align *= 2) {
        uintptr_t small = (uintptr_t)hm_large_alloc(&rig.heap, 5000, align, NULL);
        uintptr_t large = (uintptr_t)hm_large_alloc(&rig.heap, 40 * HM_MIB, align, NULL);

        cr_assert_neq(small, 0);
        cr_assert_neq(large, 0);
        cr_assert_eq(small % align, 0);
        cr_assert_eq(large % align, 0);
        hm_large_free(&rig.heap, span_at(small), small);
        hm_large_free(&rig.heap, span_at(large), large);
    }
}

Test(large, impossible_requests)
{
    static const size_t wishes[]
        = { SIZE_MAX,        SIZE_MAX - 4095, PTRDIFF_MAX,    PTRDIFF_MAX / 2 + 1,
            PTRDIFF_MAX / 2, (size_t)1 << 47, (size_t)1 << 48 };

    for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
        cr_assert_null(hm_large_alloc(&rig.heap, wishes[i], 16, NULL), "size %zx", wishes[i]);
    }
    for (unsigned shift = 48; shift < 64; shift++)
        cr_assert_null(hm_large_alloc(&rig.heap, 1, (size_t)1 << shift, NULL), "align %u", shift);
    cr_assert_null(hm_large_alloc(&rig.heap, 64 * HM_MIB, (size_t)1 << 62, NULL));
    cr_assert_eq(rig.heap.span_count, 0);
}

Test(large, runs_grow_and_shrink_in_place)
{
    uintptr_t addr = (uintptr_t)hm_large_alloc(&rig.heap, 100 * HM_KIB, 16, NULL);
    uintptr_t next;

    hm_cutoff_set_mmap_max(&rig.heap.cutoff, 0); /* no block is direct */
    cr_assert_eq(resize(addr, 200 * HM_KIB), addr);
    cr_assert_eq(rig_usable(&rig, addr), 200 * HM_KIB);
    cr_assert_eq(resize(addr, 50 * HM_KIB), addr);
    cr_assert_eq(rig_usable(&rig, addr), 52 * HM_KIB);
    cr_assert_eq(rig.heap.used_pages, 13);
    next = (uintptr_t)hm_large_alloc(&rig.heap, 50 * HM_KIB, 16, NULL);
    cr_assert_eq(next, addr + 52 * HM_KIB, "the tail is used again");
    cr_assert_eq(resize(addr, 60 * HM_KIB), 0, "its neighbour is in the way");
    cr_assert_eq(rig_usable(&rig, addr), 52 * HM_KIB);
    cr_assert_eq(resize(addr, 1000), 0, "that is for a size class");
    cr_assert_eq(resize(addr, 64 * HM_MIB), 0, "that is for a mapping");
    cr_assert_eq(resize(addr, SIZE_MAX), 0);
    cr_assert_null(rig_check(&rig));
}

Test(large, mappings_grow_shrink_and_move)
{
    uintptr_t addr = (uintptr_t)hm_large_alloc(&rig.heap, 64 * HM_MIB, 16, NULL);
    uintptr_t moved;

    cr_assert_eq(resize(addr, 128 * HM_MIB), addr);
    cr_assert_eq(resize(addr, 40 * HM_MIB), addr);
    cr_assert_eq(rig_usable(&rig, addr), 40 * HM_MIB);
    rig.fake.no_room_to_grow = true;
    moved = resize(addr, 200 * HM_MIB);
    cr_assert_neq(moved, 0);
    cr_assert_neq(moved, addr);
    cr_assert_null(span_at(addr), "the old address is no block any more");
    cr_assert_eq(rig_usable(&rig, moved), 200 * HM_MIB);
    cr_assert_eq(resize(moved, HM_MIB), 0, "that is for a run");
    cr_assert_null(rig_check(&rig));
    hm_large_free(&rig.heap, span_at(moved), moved);
    cr_assert_eq(rig.fake.space.reserved_bytes, 0);
}

/* A move to where the pagemap has no leaf needs memory for one. */
Test(large, a_move_without_memory_for_the_pagemap)
{
    uintptr_t addr = (uintptr_t)hm_large_alloc(&rig.heap, 64 * HM_MIB, 16, NULL);

    rig.fake.space.base_addr += HM_GIB << 8;
    rig.fake.no_room_to_grow = true;
    fake_os_fail(&rig.fake, FAKE_MAP_META, 1, ENOMEM, true);
    cr_assert_eq(resize(addr, 128 * HM_MIB), 0);
    cr_assert_eq(rig.fake.space.reserved_bytes, 64 * HM_MIB);
    cr_assert_eq(rig_usable(&rig, addr), 64 * HM_MIB);
    cr_assert_null(rig_check(&rig));
    fake_os_heal(&rig.fake);
    addr = resize(addr, 128 * HM_MIB);
    cr_assert_neq(addr, 0);
    hm_large_free(&rig.heap, span_at(addr), addr);
}

Test(large, zero_is_promised_only_for_untouched_memory)
{
    bool is_zero;
    uintptr_t addr = (uintptr_t)hm_large_alloc(&rig.heap, HM_MIB, 16, &is_zero);

    cr_assert(is_zero);
    fake_space_touch(&rig.fake.space, addr, HM_MIB);
    hm_large_free(&rig.heap, span_at(addr), addr);
    addr = (uintptr_t)hm_large_alloc(&rig.heap, HM_MIB, 16, &is_zero);
    cr_assert(!is_zero);
    hm_large_free(&rig.heap, span_at(addr), addr);
    hm_lock_take(&rig.heap.lock);
    hm_purge_all(&rig.heap);
    hm_lock_give(&rig.heap.lock);
    addr = (uintptr_t)hm_large_alloc(&rig.heap, HM_MIB, 16, &is_zero);
    cr_assert(is_zero);
    cr_assert(fake_space_is_zero(&rig.fake.space, addr, HM_MIB));
}

/* --- direct blocks ---------------------------------------------------------------------------- */

/* The charge of a block; 0 if it is not direct. */
static size_t
charge_of(uintptr_t addr)
{
    return span_at(addr)->charge.mapped_bytes;
}

Test(large, direct_from_the_cutoff_on)
{
    static const size_t sizes[] = { 0, 1, 131048, 131049, 40 * HM_MIB };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uintptr_t addr = (uintptr_t)hm_large_alloc(&rig.heap, sizes[i], 16, NULL);

        cr_assert_neq(addr, 0, "%zu", sizes[i]);
        cr_assert_eq(charge_of(addr) != 0, sizes[i] >= 131049, "%zu", sizes[i]);
        cr_assert_eq(rig.heap.cutoff.live_bytes, charge_of(addr));
        hm_large_free(&rig.heap, span_at(addr), addr);
        cr_assert_eq(rig.heap.cutoff.live_count, 0);
        cr_assert_eq(rig.heap.cutoff.live_bytes, 0);
    }
    cr_assert_eq(rig.heap.cutoff.mmap_threshold_bytes, 0x21000, "moved by the free of 131049");
}

Test(large, direct_at_any_size)
{
    uintptr_t addr;

    hm_cutoff_set_mmap_threshold(&rig.heap.cutoff, 0);
    addr = (uintptr_t)hm_large_alloc(&rig.heap, 0, 16, NULL);
    cr_assert_eq(charge_of(addr), 4096);
    cr_assert_eq(rig_usable(&rig, addr), 4096);
    cr_assert_eq(resize(addr, 20), addr);
    cr_assert_eq(resize(addr, 5000), addr);
    cr_assert_eq(charge_of(addr), 8192);
    hm_large_free(&rig.heap, span_at(addr), addr);
    cr_assert_eq(rig.heap.cutoff.live_count, 0);
}

Test(large, a_failed_allocation_counts_for_nothing)
{
    fake_os_fail(&rig.fake, FAKE_RESERVE, 1, ENOMEM, true);
    cr_assert_null(hm_large_alloc(&rig.heap, 64 * HM_MIB, 16, NULL));
    cr_assert_eq(rig.heap.cutoff.live_count, 0);
    cr_assert_eq(rig.heap.cutoff.max_live_count, 0);
}

/* In place as long as it can be, then on other pages; direct throughout. */
Test(large, a_direct_block_stays_direct)
{
    static const size_t sizes[] = { 300 * HM_KIB, 100, 50 * HM_KIB, 64 * HM_MIB, 200 * HM_KIB, 1 };
    uintptr_t addr = (uintptr_t)hm_large_alloc(&rig.heap, 200 * HM_KIB, 16, NULL);

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        addr = rig_realloc(&rig, NULL, addr, sizes[i]);
        cr_assert_neq(addr, 0);
        cr_assert_geq(rig_usable(&rig, addr), sizes[i]);
        cr_assert_eq(rig.heap.cutoff.live_count, 1);
        cr_assert_eq(rig.heap.cutoff.live_bytes, hm_align_up(sizes[i] + 24, 4096));
        cr_assert_eq(charge_of(addr), rig.heap.cutoff.live_bytes);
        cr_assert_eq(rig.heap.span_count, 1, "the old pages went back");
        cr_assert_null(rig_check(&rig));
    }
    cr_assert_eq(rig.heap.cutoff.mmap_threshold_bytes, 128 * HM_KIB);
    hm_large_free(&rig.heap, span_at(addr), addr);
    cr_assert_eq(rig.heap.cutoff.mmap_threshold_bytes, 128 * HM_KIB);
    cr_assert_eq(rig.heap.cutoff.live_count, 0);
}

Test(large, a_block_that_grows_past_the_cutoff_becomes_direct)
{
    uintptr_t addr = (uintptr_t)hm_large_alloc(&rig.heap, 100 * HM_KIB, 16, NULL);

    cr_assert_eq(resize(addr, 120 * HM_KIB), addr);
    cr_assert_eq(charge_of(addr), 0);
    cr_assert_eq(resize(addr, 200 * HM_KIB), addr);
    cr_assert_eq(charge_of(addr), 0x33000);
    cr_assert_eq(rig.heap.cutoff.live_count, 1);
}

/* Where the cutoff has fallen below a block, shrinking it must not make it direct. */
Test(large, a_block_that_shrinks_does_not_become_direct)
{
    uintptr_t run = (uintptr_t)hm_large_alloc(&rig.heap, 100 * HM_KIB, 16, NULL);
    uintptr_t mapped;

    hm_cutoff_set_mmap_max(&rig.heap.cutoff, 0);
    mapped = (uintptr_t)hm_large_alloc(&rig.heap, 64 * HM_MIB, 16, NULL);
    hm_cutoff_set_mmap_max(&rig.heap.cutoff, 10);
    hm_cutoff_set_mmap_threshold(&rig.heap.cutoff, 0);
    run = rig_realloc(&rig, NULL, run, 80 * HM_KIB);
    cr_assert_eq(charge_of(run), 0);
    run = rig_realloc(&rig, NULL, run, 100);
    cr_assert_eq(charge_of(run), 0);
    mapped = rig_realloc(&rig, NULL, mapped, 40 * HM_MIB);
    cr_assert_eq(charge_of(mapped), 0);
    mapped = rig_realloc(&rig, NULL, mapped, HM_MIB);
    cr_assert_eq(charge_of(mapped), 0);
    cr_assert_eq(span_at(mapped)->kind, HM_SPAN_RUN);
    cr_assert_eq(rig.heap.cutoff.live_count, 0);
}

Test(large, only_who_may_leave_is_exchanged)
{
    uintptr_t heap = (uintptr_t)hm_large_alloc(&rig.heap, 100 * HM_KIB, 16, NULL);
    uintptr_t direct = (uintptr_t)hm_large_alloc(&rig.heap, 200 * HM_KIB, 16, NULL);

    cr_assert(!hm_large_must_stay(&rig.heap, span_at(heap), 1000));
    cr_assert(!hm_large_must_stay(&rig.heap, span_at(heap), HM_MIB), "malloc decides anew");
    cr_assert(hm_large_must_stay(&rig.heap, span_at(direct), 1000));
    cr_assert(hm_large_must_stay(&rig.heap, span_at(direct), HM_GIB));
    cr_assert(!hm_large_must_stay(&rig.heap, span_at(direct), SIZE_MAX));
}

Test(large, a_second_free_aborts, .signal = SIGABRT)
{
    uintptr_t addr = (uintptr_t)hm_large_alloc(&rig.heap, HM_MIB, 16, NULL);
    struct hm_span *span = span_at(addr);

    hm_large_free(&rig.heap, span, addr);
    hm_large_free(&rig.heap, span, addr);
}

Test(large, a_free_inside_aborts, .signal = SIGABRT)
{
    uintptr_t addr = (uintptr_t)hm_large_alloc(&rig.heap, HM_MIB, 16, NULL);

    hm_large_free(&rig.heap, span_at(addr), addr + 64);
}

/* Where the kernel gives no mapping any more, address space that the heap holds serves. */
Test(large, a_refused_mapping_falls_back_to_a_run)
{
    uintptr_t small = (uintptr_t)hm_large_alloc(&rig.heap, 32 * HM_MIB - 4096, 16, NULL);
    uintptr_t addr;

    cr_assert_neq(small, 0);
    rig.heap.backing.is_crowded = true; /* the next extent has room for it */
    cr_assert_neq(hm_large_alloc(&rig.heap, 31 * HM_MIB, 16, NULL), 0);
    fake_os_fail(&rig.fake, FAKE_RESERVE, 1, ENOMEM, true);
    addr = (uintptr_t)hm_large_alloc(&rig.heap, 40 * HM_MIB, 16, NULL);
    cr_assert_neq(addr, 0);
    cr_assert_eq(span_at(addr)->kind, HM_SPAN_RUN);
    cr_assert_eq(rig_usable(&rig, addr), 40 * HM_MIB);
    cr_assert_eq(resize(addr, 50 * HM_MIB), 0, "it cannot grow in place");
    cr_assert_eq(resize(addr, 20 * HM_MIB), addr);
    cr_assert_null((void *)hm_large_alloc(&rig.heap, 40 * HM_MIB, 4 * HM_MIB, NULL));
    hm_large_free(&rig.heap, span_at(addr), addr);
}
