/* SPDX-License-Identifier: MIT */
/* test_class.c - size classes, for every size there is. */
#include <criterion/criterion.h>

#include "os/os.h"
#include "span/class.h"

Test(class, every_size_gets_the_smallest_slot_that_holds_it)
{
    for (size_t size = 0; size <= HM_SMALL_MAX_BYTES; size++) {
        unsigned class_idx = hm_class_of(size);

        cr_assert_lt(class_idx, HM_CLASS_COUNT, "%zu", size);
        cr_assert_geq(hm_class_bytes(class_idx), size, "%zu", size);
        if (class_idx > 0)
            cr_assert_lt(hm_class_bytes(class_idx - 1), size, "%zu", size);
    }
}

Test(class, slots_are_aligned_for_any_type_and_grow)
{
    for (unsigned i = 0; i < HM_CLASS_COUNT; i++) {
        cr_assert_eq(hm_class_bytes(i) % 16, 0);
        cr_assert_eq(hm_class_of(hm_class_bytes(i)), i);
        if (i > 0)
            cr_assert_gt(hm_class_bytes(i), hm_class_bytes(i - 1));
    }
    cr_assert_eq(hm_class_bytes(0), 16);
    cr_assert_eq(hm_class_bytes(HM_CLASS_COUNT - 1), HM_SMALL_MAX_BYTES);
}

/* One eighth is the promise; the smallest sizes pay for the alignment. */
Test(class, little_is_unused_in_a_slot)
{
    for (size_t size = 129; size <= HM_SMALL_MAX_BYTES; size++) {
        size_t slot_bytes = hm_class_bytes(hm_class_of(size));

        cr_assert_leq((slot_bytes - size) * 8, slot_bytes, "%zu in %zu", size, slot_bytes);
    }
}

Test(class, aligned_requests)
{
    for (size_t align = 16; align <= 4096; align *= 2) {
        for (size_t size = 0; size <= HM_SMALL_MAX_BYTES; size += 7) {
            unsigned class_idx = hm_class_of_aligned(size, align);

            if (class_idx == HM_CLASS_COUNT)
                continue;
            cr_assert_geq(hm_class_bytes(class_idx), size);
            cr_assert_eq(hm_class_bytes(class_idx) % align, 0);
        }
        cr_assert_eq(hm_class_of_aligned(HM_SMALL_MAX_BYTES + 1, align), HM_CLASS_COUNT);
        cr_assert_neq(hm_class_of_aligned(align, align), HM_CLASS_COUNT);
    }
    cr_assert_eq(hm_class_of_aligned(SIZE_MAX, 4096), HM_CLASS_COUNT);
    cr_assert_eq(hm_class_of_aligned(100, 16), hm_class_of(100));
}

Test(class, spans_of_all_machines)
{
    static const size_t page_sizes[] = { 4 * HM_KIB, 16 * HM_KIB, 64 * HM_KIB };

    for (size_t p = 0; p < 3; p++) {
        struct hm_geom geom = hm_os_geometry(page_sizes[p], 32 * HM_MIB);

        for (unsigned i = 0; i < HM_CLASS_COUNT; i++) {
            size_t before_pages = 0;

            for (unsigned owned = 0; owned < 20; owned++) {
                size_t len_pages = hm_class_span_pages(&geom, i, owned);
                uint32_t slot_count = hm_class_slots(&geom, i, len_pages);

                cr_assert_geq(len_pages, before_pages, "spans get no shorter");
                cr_assert_gt(slot_count, 0);
                cr_assert_leq(slot_count, HM_SPAN_WORDS_MAX * 64);
                cr_assert_leq(slot_count * hm_class_bytes(i), len_pages * page_sizes[p]);
                cr_assert_lt(len_pages * page_sizes[p] - slot_count * hm_class_bytes(i),
                             hm_class_bytes(i), "no slot fits into what is left");
                before_pages = len_pages;
            }
        }
    }
}

Test(class, the_shortest_spans)
{
    static const size_t page_sizes[] = { 4 * HM_KIB, 64 * HM_KIB };

    for (size_t p = 0; p < 2; p++) {
        struct hm_geom geom = hm_os_geometry(page_sizes[p], 32 * HM_MIB);

        for (unsigned i = 0; i < HM_CLASS_COUNT; i++)
            for (unsigned owned = 0; owned < 20; owned++) {
                size_t len_pages = hm_class_span_pages(&geom, i, owned);
                size_t min_pages = hm_class_min_pages(&geom, i, len_pages);

                cr_assert_leq(min_pages, len_pages);
                cr_assert_geq(min_pages * 4, len_pages);
                cr_assert_geq(hm_class_slots(&geom, i, min_pages), 2);
            }
    }
}

/* A thread with ten objects must not own much for each. */
Test(class, the_first_span_is_short)
{
    struct hm_geom geom = hm_os_geometry(4 * HM_KIB, 2 * HM_MIB);

    for (unsigned i = 0; i < HM_CLASS_COUNT; i++) {
        size_t len_bytes = hm_class_span_pages(&geom, i, 0) * 4096;

        cr_expect(len_bytes == 4096 || len_bytes < 2 * hm_class_bytes(i) + 4096, "%zu bytes",
                  hm_class_bytes(i));
    }
}

/* What no slot fits into at the end of a span is lost. */
Test(class, nothing_is_lost_at_the_end_of_a_span)
{
    struct hm_geom geom = hm_os_geometry(4 * HM_KIB, 2 * HM_MIB);

    for (unsigned i = 0; i < HM_CLASS_COUNT; i++) {
        size_t len_bytes = hm_class_span_pages(&geom, i, 100) * 4096;
        size_t used_bytes = hm_class_slots(&geom, i, len_bytes / 4096) * hm_class_bytes(i);

        cr_expect_eq(used_bytes, len_bytes, "class of %zu bytes: %zu of %zu", hm_class_bytes(i),
                     len_bytes - used_bytes, len_bytes);
    }
}
