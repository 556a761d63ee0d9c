/* SPDX-License-Identifier: MIT */
/* test_direct.c - blocks with a mapping of their own. */
#include <criterion/criterion.h>
#include <errno.h>

#include "heap/direct.h"
#include "heap/heal.h"
#include "heap/pheap.h"
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
    rig_fini(&rig);
}

TestSuite(direct, .init = setup, .fini = teardown);

static struct hm_mapping
map(size_t len_bytes, size_t align_bytes)
{
    struct hm_mapping mapping = { 0 };

    cr_assert_eq(hm_direct_map(&rig.heap, len_bytes, align_bytes, &mapping), 0);
    cr_assert_eq(mapping.len_bytes, len_bytes);
    cr_assert_eq(mapping.addr % align_bytes, 0);
    cr_assert_eq(mapping.addr % (2 * HM_MIB), 0);
    fake_space_touch(&rig.fake.space, mapping.addr, len_bytes);
    return mapping;
}

Test(direct, maps_and_unmaps)
{
    struct hm_mapping a = map(64 * HM_MIB, 4096);
    struct hm_mapping b = map(33 * HM_MIB + 4096, 64 * HM_MIB);

    cr_assert_eq(a.kind, HM_BACKING_THP);
    cr_assert_eq(rig.heap.direct_count, 2);
    cr_assert_eq(rig.heap.direct_bytes, 97 * HM_MIB + 4096);
    cr_assert_eq(rig.heap.direct_kind_bytes[HM_BACKING_THP], 97 * HM_MIB + 4096);
    cr_assert_eq(hm_heap_bytes(&rig.heap), 97 * HM_MIB + 4096);
    hm_direct_unmap(&rig.heap, &a);
    hm_direct_unmap(&rig.heap, &b);
    cr_assert_eq(rig.heap.direct_count, 0);
    cr_assert_eq(rig.heap.direct_bytes, 0);
    cr_assert_eq(rig.fake.space.reserved_bytes, 0, "nothing is left");
    cr_assert_eq(rig.heap.discarded_bytes, 97 * HM_MIB + 4096);
}

Test(direct, is_one_vma_on_huge_pages)
{
    struct hm_mapping mapping = map(64 * HM_MIB + 12288, 4096);
    size_t huge_bytes;

    cr_assert_eq(fake_space_vmas(&rig.fake.space), 1);
    fake_space_resident(&rig.fake.space, mapping.addr, mapping.len_bytes, &huge_bytes);
    cr_assert_eq(huge_bytes, 64 * HM_MIB, "all but the tail");
    hm_direct_unmap(&rig.heap, &mapping);
}

Test(direct, grows_and_shrinks_in_place)
{
    struct hm_mapping mapping = map(64 * HM_MIB, 4096);
    uintptr_t addr = mapping.addr;

    cr_assert_eq(hm_direct_resize(&rig.heap, &mapping, 100 * HM_MIB + 4096, 0), 0);
    cr_assert_eq(mapping.addr, addr);
    cr_assert_eq(mapping.len_bytes, 100 * HM_MIB + 4096);
    cr_assert_eq(rig.heap.direct_bytes, 100 * HM_MIB + 4096);
    cr_assert_eq(hm_direct_resize(&rig.heap, &mapping, 40 * HM_MIB, 0), 0);
    cr_assert_eq(mapping.addr, addr);
    cr_assert_eq(rig.heap.direct_bytes, 40 * HM_MIB);
    cr_assert_eq(rig.fake.space.reserved_bytes, 40 * HM_MIB);
    hm_direct_unmap(&rig.heap, &mapping);
    cr_assert_eq(rig.fake.space.reserved_bytes, 0);
}

Test(direct, moves_pages_where_it_cannot_grow)
{
    struct hm_mapping mapping = map(64 * HM_MIB, 4096);
    uintptr_t addr = mapping.addr;
    size_t huge_bytes;

    rig.fake.no_room_to_grow = true;
    cr_assert_eq(hm_direct_resize(&rig.heap, &mapping, 128 * HM_MIB, 0), 0);
    cr_assert_neq(mapping.addr, addr);
    cr_assert_eq(mapping.addr % (2 * HM_MIB), 0, "huge pages move only between aligned ends");
    cr_assert_eq(rig.fake.space.reserved_bytes, 128 * HM_MIB, "the old range is gone");
    fake_space_resident(&rig.fake.space, mapping.addr, mapping.len_bytes, &huge_bytes);
    cr_assert_eq(huge_bytes, 64 * HM_MIB);
    cr_assert(!fake_space_is_zero(&rig.fake.space, mapping.addr, 64 * HM_MIB));
    cr_assert(fake_space_is_zero(&rig.fake.space, mapping.addr + 64 * HM_MIB, 64 * HM_MIB));
    hm_direct_unmap(&rig.heap, &mapping);
    cr_assert_eq(rig.fake.space.reserved_bytes, 0);
}

Test(direct, a_move_makes_room_for_more)
{
    struct hm_mapping mapping = map(64 * HM_MIB, 4096);

    cr_assert_eq(hm_direct_resize(&rig.heap, &mapping, 70 * HM_MIB, 20 * HM_MIB), 0);
    cr_assert_eq(mapping.len_bytes, 70 * HM_MIB, "not in place");
    rig.fake.no_room_to_grow = true;
    cr_assert_eq(hm_direct_resize(&rig.heap, &mapping, 80 * HM_MIB, 20 * HM_MIB), 0);
    cr_assert_eq(mapping.len_bytes, 100 * HM_MIB);
    cr_assert_eq(rig.heap.direct_bytes, 100 * HM_MIB);
    cr_assert_eq(rig.fake.space.reserved_bytes, 100 * HM_MIB);
    rig.fake.limit_bytes = 230 * HM_MIB;
    cr_assert_eq(hm_direct_resize(&rig.heap, &mapping, 110 * HM_MIB, 50 * HM_MIB), 0);
    cr_assert_eq(mapping.len_bytes, 110 * HM_MIB, "as much as there is");
    hm_direct_unmap(&rig.heap, &mapping);
    cr_assert_eq(rig.heap.direct_bytes, 0);
    cr_assert_eq(rig.fake.space.reserved_bytes, 0);
}

/* Below the start of huge pages it begins on base pages, and its growth comes on huge ones. */
Test(direct, past_the_start_it_grows_by_huge_pages)
{
    struct hm_mapping mapping = { 0 };
    size_t huge_bytes;

    rig.conf.huge_start_bytes = 100 * HM_MIB;
    cr_assert_eq(hm_direct_map(&rig.heap, 64 * HM_MIB, 4096, &mapping), 0);
    cr_assert_eq(mapping.kind, HM_BACKING_4K);
    fake_space_touch(&rig.fake.space, mapping.addr, mapping.len_bytes);
    cr_assert_eq(hm_direct_resize(&rig.heap, &mapping, 80 * HM_MIB, 0), 0);
    cr_assert_eq(mapping.kind, HM_BACKING_4K);
    fake_os_fail(&rig.fake, FAKE_ADVISE_HUGE, 1, EINVAL, true);
    cr_assert_eq(hm_direct_resize(&rig.heap, &mapping, 110 * HM_MIB, 0), 0);
    cr_assert_eq(mapping.kind, HM_BACKING_4K, "as it was");
    fake_os_heal(&rig.fake);
    cr_assert_eq(hm_direct_resize(&rig.heap, &mapping, 128 * HM_MIB, 0), 0);
    hm_heal_visit(&rig.heap);
    cr_assert_eq(mapping.kind, HM_BACKING_THP);
    cr_assert_eq(rig.heap.direct_kind_bytes[HM_BACKING_4K], 0);
    cr_assert_eq(rig.heap.direct_kind_bytes[HM_BACKING_THP], 128 * HM_MIB);
    cr_assert_eq(fake_space_vmas(&rig.fake.space), 1);
    fake_space_touch(&rig.fake.space, mapping.addr, mapping.len_bytes);
    fake_space_resident(&rig.fake.space, mapping.addr, mapping.len_bytes, &huge_bytes);
    cr_assert_eq(huge_bytes, mapping.len_bytes);
    hm_direct_unmap(&rig.heap, &mapping);
    cr_assert_eq(rig.heap.direct_kind_bytes[HM_BACKING_THP], 0);
}

Test(direct, a_failed_map_leaves_nothing)
{
    static const enum fake_call_kind kinds[] = { FAKE_RESERVE, FAKE_COMMIT };

    for (size_t i = 0; i < 2; i++) {
        struct hm_mapping mapping = { 0 };

        fake_os_fail(&rig.fake, kinds[i], 1, ENOMEM, true);
        cr_assert_eq(hm_direct_map(&rig.heap, 64 * HM_MIB, 4096, &mapping), -ENOMEM);
        cr_assert_eq(mapping.addr, 0);
        cr_assert_eq(rig.fake.space.reserved_bytes, 0);
        cr_assert_eq(rig.heap.direct_count, 0);
        cr_assert_eq(rig.heap.direct_bytes, 0);
        fake_os_heal(&rig.fake);
    }
}

Test(direct, a_failed_resize_changes_nothing)
{
    static const enum fake_call_kind kinds[] = { FAKE_RESERVE, FAKE_COMMIT, FAKE_REMAP };

    rig.fake.no_room_to_grow = true;
    for (size_t i = 0; i < 3; i++) {
        struct hm_mapping mapping = map(64 * HM_MIB, 4096);
        struct hm_mapping before = mapping;

        fake_os_fail(&rig.fake, kinds[i], 1, ENOMEM, true);
        cr_assert_eq(hm_direct_resize(&rig.heap, &mapping, 128 * HM_MIB, 0), -ENOMEM);
        cr_assert_eq(mapping.addr, before.addr);
        cr_assert_eq(mapping.len_bytes, before.len_bytes);
        cr_assert_eq(rig.heap.direct_bytes, 64 * HM_MIB);
        cr_assert_eq(rig.fake.space.reserved_bytes, 64 * HM_MIB);
        fake_os_heal(&rig.fake);
        hm_direct_unmap(&rig.heap, &mapping);
    }
}

/* What the kernel objects to for other reasons than room, it would object to elsewhere, too. */
Test(direct, moves_only_for_want_of_room)
{
    struct hm_mapping mapping = map(64 * HM_MIB, 4096);
    uint64_t reserve_count = rig.fake.call_count[FAKE_RESERVE];

    fake_os_fail(&rig.fake, FAKE_REMAP, 1, EFAULT, false);
    cr_assert_eq(hm_direct_resize(&rig.heap, &mapping, 128 * HM_MIB, 0), -ENOMEM);
    cr_assert_eq(rig.fake.call_count[FAKE_REMAP], 1);
    cr_assert_eq(rig.fake.call_count[FAKE_RESERVE], reserve_count);
    hm_direct_unmap(&rig.heap, &mapping);
}

/* What is asked of the target is asked before the kernel unmaps it; after that it is not ours. */
Test(direct, a_target_is_not_unmapped_twice)
{
    struct hm_mapping mapping = map(64 * HM_MIB, 4096);
    uint64_t remap_count;

    rig.fake.no_room_to_grow = true;
    remap_count = rig.fake.call_count[FAKE_REMAP];
    fake_os_fail(&rig.fake, FAKE_COMMIT, 1, ENOMEM, true);
    cr_assert_eq(hm_direct_resize(&rig.heap, &mapping, 65 * HM_MIB, 0), -ENOMEM);
    cr_assert_eq(rig.fake.call_count[FAKE_REMAP], remap_count + 1, "in place, and no more");
    fake_os_fail(&rig.fake, FAKE_REMAP, 2, ENOMEM, false);
    fake_os_forget(&rig.fake);
    cr_assert_eq(hm_direct_resize(&rig.heap, &mapping, 65 * HM_MIB, 0), -ENOMEM);
    cr_assert_eq(rig.fake.call_count[FAKE_UNMAP], 0);
    cr_assert_eq(rig.fake.space.reserved_bytes, 64 * HM_MIB);
    hm_direct_unmap(&rig.heap, &mapping);
}

Test(direct, shrinks_where_it_is_or_not_at_all)
{
    struct hm_mapping mapping = map(64 * HM_MIB, 4096);
    uint64_t reserve_count = rig.fake.call_count[FAKE_RESERVE];

    fake_os_fail(&rig.fake, FAKE_REMAP, 1, ENOMEM, false);
    cr_assert_eq(hm_direct_resize(&rig.heap, &mapping, 32 * HM_MIB, 20 * HM_MIB), -ENOMEM);
    cr_assert_eq(mapping.len_bytes, 64 * HM_MIB);
    cr_assert_eq(rig.fake.call_count[FAKE_RESERVE], reserve_count);
    hm_direct_unmap(&rig.heap, &mapping);
}

/* munmap can fail for want of map entries; the memory goes back all the same. */
Test(direct, a_refused_unmap_gives_the_memory_back)
{
    struct hm_mapping mapping = map(64 * HM_MIB, 4096);
    size_t huge_bytes;

    fake_os_fail(&rig.fake, FAKE_UNMAP, 1, ENOMEM, false);
    hm_direct_unmap(&rig.heap, &mapping);
    cr_assert_eq(rig.heap.direct_bytes, 0);
    cr_assert_eq(fake_space_resident(&rig.fake.space, mapping.addr, 64 * HM_MIB, &huge_bytes), 0);
}

/* What the kernel would not unmap is not lost: the page heap cuts runs from it. */
Test(direct, a_refused_unmap_leaves_address_space_for_runs)
{
    struct hm_mapping mapping = map(64 * HM_MIB + 4096, 4096);
    size_t reserved_bytes;
    struct hm_run run;

    fake_os_fail(&rig.fake, FAKE_UNMAP, 1, ENOMEM, false);
    hm_direct_unmap(&rig.heap, &mapping);
    cr_assert_null(rig_check(&rig));
    reserved_bytes = rig.fake.space.reserved_bytes;
    cr_assert_eq(hm_pheap_take(&rig.heap, 32 * 512, 1, &run), 0);
    cr_assert_eq(run.addr, mapping.addr);
    cr_assert(run.is_zero);
    cr_assert_eq(rig.fake.space.reserved_bytes, reserved_bytes, "nothing new was reserved");
    hm_pheap_give(&rig.heap, run.region, run.addr, run.len_pages);
    cr_assert_null(rig_check(&rig));
}

Test(direct, a_chain_without_base_pages_fails_where_huge_ones_are_off)
{
    struct hm_mapping mapping = { 0 };

    rig_chain(&rig, "thp");
    rig_thp_mode(&rig, HM_THP_NEVER);
    cr_assert_eq(hm_direct_map(&rig.heap, 64 * HM_MIB, 4096, &mapping), -ENOMEM);
    cr_assert_eq(rig.fake.space.reserved_bytes, 0);
}
