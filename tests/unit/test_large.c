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
    return hm_pagemap_get(rig.heap.pagemap, addr);
}

/* The length of its run or mapping. */
static size_t
length(uintptr_t addr)
{
    return hm_pages_to_bytes(&rig.heap.geom, span_at(addr)->len_pages);
}

static uintptr_t
resize(uintptr_t addr, size_t size_bytes)
{
    return rig_resize_large(&rig, span_at(addr), addr, size_bytes);
}

/* The charge of a block; 0 if it is not direct. */
static size_t
charge_of(uintptr_t addr)
{
    return span_at(addr)->charge.mapped_bytes;
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
        uintptr_t addr = rig_alloc_large(&rig, sizes[i], 16, &is_zero);

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
        uintptr_t small = rig_alloc_large(&rig, 5000, align, NULL);
        uintptr_t large = rig_alloc_large(&rig, 40 * HM_MIB, align, NULL);

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
        cr_assert_null((void *)rig_alloc_large(&rig, wishes[i], 16, NULL), "size %zx", wishes[i]);
    }
    for (unsigned shift = 48; shift < 64; shift++)
        cr_assert_null((void *)rig_alloc_large(&rig, 1, (size_t)1 << shift, NULL), "align %u",
                       shift);
    cr_assert_null((void *)rig_alloc_large(&rig, 64 * HM_MIB, (size_t)1 << 62, NULL));
    cr_assert_eq(rig.heap.span_count, 0);
}

Test(large, runs_grow_and_shrink_in_place)
{
    uintptr_t addr = rig_alloc_large(&rig, 100 * HM_KIB, 16, NULL);
    uintptr_t next;

    hm_cutoff_set_mmap_max(&rig.heap.cutoff, 0); /* no block is direct */
    cr_assert_eq(resize(addr, 200 * HM_KIB), addr);
    cr_assert_eq(rig_usable(&rig, addr), 200 * HM_KIB);
    cr_assert_eq(resize(addr, 50 * HM_KIB), addr);
    cr_assert_eq(rig_usable(&rig, addr), 52 * HM_KIB);
    cr_assert_eq(rig.heap.used_pages, 13);
    next = rig_alloc_large(&rig, 50 * HM_KIB, 16, NULL);
    cr_assert_eq(next, addr + 52 * HM_KIB, "the tail is used again");
    cr_assert_eq(resize(addr, 60 * HM_KIB), 0, "its neighbour is in the way");
    cr_assert_eq(rig_usable(&rig, addr), 52 * HM_KIB);
    cr_assert_eq(resize(addr, 1000), 0, "that is for a size class");
    cr_assert_eq(resize(addr, HM_GIB), 0, "that is for a mapping");
    cr_assert_eq(resize(addr, SIZE_MAX), 0);
    cr_assert_null(rig_check(&rig));
}

Test(large, mappings_grow_shrink_and_move)
{
    uintptr_t addr = rig_alloc_large(&rig, 512 * HM_MIB, 16, NULL);
    uintptr_t moved;

    cr_assert_eq(resize(addr, 1024 * HM_MIB), addr);
    cr_assert_eq(resize(addr, 300 * HM_MIB), addr);
    cr_assert_eq(rig_usable(&rig, addr), 300 * HM_MIB);
    rig.fake.no_room_to_grow = true;
    moved = resize(addr, 1000 * HM_MIB);
    cr_assert_neq(moved, 0);
    cr_assert_neq(moved, addr);
    cr_assert_eq(moved % (2 * HM_MIB), 0);
    cr_assert_null(span_at(addr), "the old address is no block any more");
    cr_assert_eq(rig_usable(&rig, moved), 1000 * HM_MIB);
    cr_assert_eq(resize(moved, HM_MIB), 0, "that is for a run");
    cr_assert_null(rig_check(&rig));
    hm_large_free(&rig.heap, span_at(moved), moved);
    cr_assert_eq(rig.fake.space.reserved_bytes, 0);
}

/* What is moved once gets room to grow on. */
Test(large, a_moved_mapping_grows_in_place)
{
    uintptr_t addr = rig_alloc_large(&rig, 400 * HM_MIB, 16, NULL);
    uint64_t remap_count;

    rig.fake.no_room_to_grow = true;
    addr = resize(addr, 401 * HM_MIB);
    cr_assert_eq(length(addr), 602 * HM_MIB);
    cr_assert_eq(rig_usable(&rig, addr), 401 * HM_MIB);
    remap_count = rig.fake.call_count[FAKE_REMAP];
    for (size_t mib = 402; mib <= 602; mib++)
        cr_assert_eq(resize(addr, mib * HM_MIB), addr);
    cr_assert_eq(rig.fake.call_count[FAKE_REMAP], remap_count);
    cr_assert_eq(rig.heap.direct_bytes, 602 * HM_MIB);
    cr_assert_neq(resize(addr, 603 * HM_MIB), addr);
    cr_assert_null(rig_check(&rig));
}

/* If there is no room for that, it gets what it needs. */
Test(large, a_moved_mapping_without_room_to_grow)
{
    uintptr_t addr = rig_alloc_large(&rig, 400 * HM_MIB, 16, NULL);

    rig.fake.no_room_to_grow = true;
    rig.fake.limit_bytes = 900 * HM_MIB;
    addr = resize(addr, 440 * HM_MIB);
    cr_assert_neq(addr, 0);
    cr_assert_eq(rig.fake.space.reserved_bytes, 440 * HM_MIB);
    cr_assert_eq(resize(addr, 500 * HM_MIB), 0);
    cr_assert_eq(rig_usable(&rig, addr), 440 * HM_MIB);
    cr_assert_null(rig_check(&rig));
}

/* A block that outgrew its pages has a mapping from much smaller sizes on. */
Test(large, grown_blocks_are_mapped)
{
    uintptr_t small = (uintptr_t)hm_large_alloc_grown(&rig.heap, HM_GROWN_MIN_BYTES - 4096, 4096);
    uintptr_t slow = (uintptr_t)hm_large_obtain(&rig.heap, 5 * HM_MIB, 4096);
    uintptr_t large = (uintptr_t)hm_large_alloc_grown(&rig.heap, 5 * HM_MIB, HM_MIB);

    cr_assert_eq(span_at(small)->kind, HM_SPAN_RUN);
    cr_assert_eq(span_at(large)->kind, HM_SPAN_MAPPED);
    cr_assert_eq(length(large), 6 * HM_MIB, "the next step fills it");
    cr_assert_eq(span_at(slow)->kind, HM_SPAN_MAPPED);
    cr_assert_eq(length(slow), 5 * HM_MIB);
    cr_assert_eq(resize(large, 5 * HM_MIB + 4096), large);
    cr_assert_eq(length(large), 6 * HM_MIB);
    large = resize(large, 64 * HM_MIB - 4096);
    cr_assert_eq(length(large), 64 * HM_MIB);
    cr_assert_eq(rig_usable(&rig, large), 64 * HM_MIB - 4096);
    cr_assert_eq(resize(large, 33 * HM_MIB), large);
    cr_assert_eq(length(large), 34 * HM_MIB, "to cut it would split a huge page");
    cr_assert_eq(resize(large, 6 * HM_MIB + 4096), large);
    cr_assert_eq(length(large), 6 * HM_MIB + 4096, "too much would be unused");
    cr_assert_eq(resize(large, 3 * HM_MIB), 0, "that is for a run");
    cr_assert_null(rig_check(&rig));
    hm_large_free(&rig.heap, span_at(small), small);
    hm_large_free(&rig.heap, span_at(large), large);
    hm_large_free(&rig.heap, span_at(slow), slow);
    cr_assert_eq(rig.heap.direct_bytes, 0);
}

/* The room behind a block is not the program's: what grows into it past the cutoff is direct. */
Test(large, a_mapped_block_becomes_direct_in_its_room)
{
    uintptr_t addr;

    hm_cutoff_set_mmap_threshold(&rig.heap.cutoff, 5 * HM_MIB + HM_MIB / 2);
    addr = (uintptr_t)hm_large_alloc_grown(&rig.heap, 5 * HM_MIB, HM_MIB);
    cr_assert_eq(charge_of(addr), 0);
    cr_assert_eq(resize(addr, 5 * HM_MIB + 4096), addr);
    cr_assert_eq(charge_of(addr), 0);
    cr_assert_eq(resize(addr, 6 * HM_MIB - 4096), addr);
    cr_assert_eq(charge_of(addr), 6 * HM_MIB);
}

/* A move to where the pagemap has no leaf needs memory for one. */
Test(large, a_move_without_memory_for_the_pagemap)
{
    uintptr_t addr = rig_alloc_large(&rig, 512 * HM_MIB, 16, NULL);

    rig.fake.space.base_addr += HM_GIB << 8;
    rig.fake.no_room_to_grow = true;
    fake_os_fail(&rig.fake, FAKE_MAP_META, 1, ENOMEM, true);
    cr_assert_eq(resize(addr, 1024 * HM_MIB), 0);
    cr_assert_eq(rig.fake.space.reserved_bytes, 512 * HM_MIB);
    cr_assert_eq(rig_usable(&rig, addr), 512 * HM_MIB);
    cr_assert_null(rig_check(&rig));
    fake_os_heal(&rig.fake);
    addr = resize(addr, 1024 * HM_MIB);
    cr_assert_neq(addr, 0);
    hm_large_free(&rig.heap, span_at(addr), addr);
}

Test(large, zero_is_promised_only_for_untouched_memory)
{
    bool is_zero;
    uintptr_t addr = rig_alloc_large(&rig, HM_MIB, 16, &is_zero);

    cr_assert(is_zero);
    fake_space_touch(&rig.fake.space, addr, HM_MIB);
    hm_large_free(&rig.heap, span_at(addr), addr);
    addr = rig_alloc_large(&rig, HM_MIB, 16, &is_zero);
    cr_assert(!is_zero);
    hm_large_free(&rig.heap, span_at(addr), addr);
    hm_lock_take(&rig.heap.lock);
    hm_purge_all(&rig.heap);
    hm_lock_give(&rig.heap.lock);
    addr = rig_alloc_large(&rig, HM_MIB, 16, &is_zero);
    cr_assert(is_zero);
    cr_assert(fake_space_is_zero(&rig.fake.space, addr, HM_MIB));
}

/* A run over regions that were used and others that were not. */
Test(large, of_a_run_partly_fresh_the_rest_is_known)
{
    uintptr_t used = rig_alloc_large(&rig, 4 * HM_MIB, 16, NULL);
    struct hm_stale stale;
    uintptr_t addr;

    fake_space_touch(&rig.fake.space, used, 4 * HM_MIB);
    hm_large_free(&rig.heap, span_at(used), used);
    addr = (uintptr_t)hm_large_alloc(&rig.heap, 10 * HM_MIB, 16, &stale);
    cr_assert_eq(addr, used);
    cr_assert_eq(stale.from_off, 0);
    cr_assert_eq(stale.to_off, 4 * HM_MIB);
    cr_assert(fake_space_is_zero(&rig.fake.space, addr + 4 * HM_MIB, 6 * HM_MIB));
}

/* --- direct blocks ---------------------------------------------------------------------------- */

Test(large, direct_from_the_cutoff_on)
{
    static const size_t sizes[] = { 0, 1, 131048, 131049, 40 * HM_MIB };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uintptr_t addr = rig_alloc_large(&rig, sizes[i], 16, NULL);

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
    addr = rig_alloc_large(&rig, 0, 16, NULL);
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
    cr_assert_null((void *)rig_alloc_large(&rig, 64 * HM_MIB, 16, NULL));
    cr_assert_eq(rig.heap.cutoff.live_count, 0);
    cr_assert_eq(rig.heap.cutoff.max_live_count, 0);
}

/* In place as long as it can be, then on other pages; direct throughout. */
Test(large, a_direct_block_stays_direct)
{
    static const size_t sizes[] = { 300 * HM_KIB, 100, 50 * HM_KIB, 64 * HM_MIB, 200 * HM_KIB, 1 };
    uintptr_t addr = rig_alloc_large(&rig, 200 * HM_KIB, 16, NULL);

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
    uintptr_t addr = rig_alloc_large(&rig, 100 * HM_KIB, 16, NULL);

    cr_assert_eq(resize(addr, 120 * HM_KIB), addr);
    cr_assert_eq(charge_of(addr), 0);
    cr_assert_eq(resize(addr, 200 * HM_KIB), addr);
    cr_assert_eq(charge_of(addr), 0x33000);
    cr_assert_eq(rig.heap.cutoff.live_count, 1);
}

/* Where the cutoff has fallen below a block, shrinking it must not make it direct. */
Test(large, a_block_that_shrinks_does_not_become_direct)
{
    uintptr_t run = rig_alloc_large(&rig, 100 * HM_KIB, 16, NULL);
    uintptr_t mapped;

    hm_cutoff_set_mmap_max(&rig.heap.cutoff, 0);
    mapped = rig_alloc_large(&rig, 64 * HM_MIB, 16, NULL);
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
    uintptr_t heap = rig_alloc_large(&rig, 100 * HM_KIB, 16, NULL);
    uintptr_t direct = rig_alloc_large(&rig, 200 * HM_KIB, 16, NULL);

    cr_assert(!hm_large_must_stay(&rig.heap, span_at(heap), 1000));
    cr_assert(!hm_large_must_stay(&rig.heap, span_at(heap), HM_MIB), "malloc decides anew");
    cr_assert(hm_large_must_stay(&rig.heap, span_at(direct), 1000));
    cr_assert(hm_large_must_stay(&rig.heap, span_at(direct), HM_GIB));
    cr_assert(!hm_large_must_stay(&rig.heap, span_at(direct), SIZE_MAX));
}

Test(large, a_second_free_aborts, .signal = SIGABRT)
{
    uintptr_t addr = rig_alloc_large(&rig, HM_MIB, 16, NULL);
    struct hm_span *span = span_at(addr);

    hm_large_free(&rig.heap, span, addr);
    hm_large_free(&rig.heap, span, addr);
}

Test(large, a_free_inside_aborts, .signal = SIGABRT)
{
    uintptr_t addr = rig_alloc_large(&rig, HM_MIB, 16, NULL);

    hm_large_free(&rig.heap, span_at(addr), addr + 64);
}

/* Where the kernel gives no mapping any more, address space that the heap holds serves. */
Test(large, a_refused_mapping_falls_back_to_a_run)
{
    uintptr_t small = rig_alloc_large(&rig, 40 * HM_MIB, 16, NULL);
    uintptr_t addr;

    cr_assert_neq(small, 0);
    rig.heap.backing.is_crowded = true; /* the next extent has room for it */
    cr_assert_neq(rig_alloc_large(&rig, 31 * HM_MIB, 16, NULL), 0);
    fake_os_fail(&rig.fake, FAKE_RESERVE, 1, ENOMEM, true);
    addr = rig_alloc_large(&rig, 300 * HM_MIB, 16, NULL);
    cr_assert_neq(addr, 0);
    cr_assert_eq(span_at(addr)->kind, HM_SPAN_RUN);
    cr_assert_eq(rig_usable(&rig, addr), 300 * HM_MIB);
    rig.fake.limit_bytes = rig.fake.space.reserved_bytes;
    cr_assert_eq(resize(addr, 310 * HM_MIB), 0, "that is for a mapping");
    cr_assert_eq(resize(addr, 20 * HM_MIB), addr);
    cr_assert_null((void *)rig_alloc_large(&rig, 40 * HM_MIB, 4 * HM_MIB, NULL));
    hm_large_free(&rig.heap, span_at(addr), addr);
}

/* What the kernel does not take back stays, for the next growth. */
Test(large, a_mapping_that_cannot_shrink_stays)
{
    uintptr_t addr = rig_alloc_large(&rig, 400 * HM_MIB, 16, NULL);

    fake_os_fail(&rig.fake, FAKE_REMAP, 1, ENOMEM, false);
    cr_assert_eq(resize(addr, 300 * HM_MIB), addr);
    cr_assert_eq(rig_usable(&rig, addr), 300 * HM_MIB);
    cr_assert_eq(length(addr), 400 * HM_MIB);
    cr_assert_eq(resize(addr, 350 * HM_MIB), addr);
    cr_assert_eq(length(addr), 400 * HM_MIB);
    hm_large_free(&rig.heap, span_at(addr), addr);
}
