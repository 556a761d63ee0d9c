/* SPDX-License-Identifier: MIT */
/* test_span.c - slots and their bits. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <errno.h>
#include <signal.h>

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

TestSuite(span, .init = setup, .fini = teardown);

static struct hm_span *
create(unsigned class_idx)
{
    struct hm_span *span = hm_span_create(&rig.heap, class_idx, 0);

    cr_assert_not_null(span);
    return span;
}

static void
destroy(struct hm_span *span)
{
    hm_lock_take(&rig.heap.lock);
    hm_span_destroy(&rig.heap, span);
    hm_lock_give(&rig.heap.lock);
}

/* Take the next slot, as malloc does. */
static uintptr_t
pop(struct hm_span *span)
{
    if (*span->word == 0 && !hm_span_next_word(span))
        return 0;
    return (uintptr_t)hm_span_pop(span, *span->word);
}

Test(span, hands_out_each_slot_once)
{
    for (unsigned class_idx = 0; class_idx < HM_CLASS_COUNT; class_idx++) {
        struct hm_span *span = create(class_idx);
        uintptr_t end = span->base + span->len_pages * 4096;

        for (uint32_t i = 0; i < span->slot_count; i++) {
            uintptr_t addr = pop(span);

            cr_assert_eq(addr, span->base + i * hm_class_bytes(class_idx), "lowest first");
            cr_assert_leq(addr + hm_class_bytes(class_idx), end);
            cr_assert_eq(hm_span_slot_idx(span, addr), i);
            cr_assert(hm_span_is_live(span, addr));
        }
        cr_assert_eq(pop(span), 0);
        cr_assert_eq(span->used, span->slot_count);
        cr_assert_eq(hm_span_live_count(span), span->slot_count);
        for (uint32_t i = 0; i < span->slot_count; i++)
            cr_assert(hm_span_push(span, span->base + i * hm_class_bytes(class_idx)));
        span->used = 0;
        cr_assert_eq(hm_span_live_count(span), 0);
        destroy(span);
    }
}

/* The multiplication must agree with a division for every address, of the slots and beside them. */
Test(span, only_starts_of_slots_have_an_index)
{
    for (unsigned class_idx = 0; class_idx < HM_CLASS_COUNT; class_idx++) {
        struct hm_span *span = create(class_idx);
        size_t slot_bytes = hm_class_bytes(class_idx);

        for (size_t off = 0; off < span->len_pages * 4096; off++) {
            uint64_t slot_idx = hm_span_slot_idx(span, span->base + off);

            if (off % slot_bytes == 0)
                cr_assert_eq(slot_idx, off / slot_bytes);
            else
                cr_assert_geq(slot_idx, span->slot_count);
        }
        cr_assert_geq(hm_span_slot_idx(span, span->base - 16), span->slot_count);
        cr_assert_geq(hm_span_slot_idx(span, span->base - slot_bytes), span->slot_count);
        destroy(span);
    }
}

Test(span, is_found_from_every_page_while_it_lives)
{
    struct hm_span *span = create(HM_CLASS_COUNT - 1);
    uintptr_t base = span->base;
    size_t len_bytes = span->len_pages * 4096;

    for (size_t off = 0; off < len_bytes; off += 4096)
        cr_assert_eq(hm_pagemap_get(&rig.heap.pagemap, base + off), span);
    cr_assert_neq(hm_pagemap_get(&rig.heap.pagemap, base + len_bytes), span);
    cr_assert_eq(rig.heap.span_count, 1);
    destroy(span);
    for (size_t off = 0; off < len_bytes; off += 4096)
        cr_assert_null(hm_pagemap_get(&rig.heap.pagemap, base + off));
    cr_assert_eq(rig.heap.span_count, 0);
    cr_assert_eq(rig.heap.used_pages, 0);
}

Test(span, structs_are_used_again)
{
    struct hm_span *span = create(3);

    for (int i = 0; i < 1000; i++) {
        destroy(span);
        cr_assert_eq(create(3), span);
    }
    destroy(span);
}

Test(span, push_refuses_what_is_no_live_block)
{
    struct hm_span *span = create(4);
    uintptr_t addr = pop(span);

    cr_assert(!hm_span_push(span, addr + 1));
    cr_assert(!hm_span_push(span, addr + 16));
    cr_assert(!hm_span_push(span, span->base + span->slot_count * span->slot_bytes));
    cr_assert(hm_span_push(span, addr));
    cr_assert(!hm_span_push(span, addr), "a second free");
    cr_assert(!hm_span_is_live(span, addr));
}

Test(span, no_memory_leaves_nothing)
{
    for (uint64_t nth = 1; nth < 20; nth++) {
        struct hm_span *span;

        fake_os_fail(&rig.fake, FAKE_ANY, nth, ENOMEM, true);
        span = hm_span_create(&rig.heap, 70, 0);
        fake_os_heal(&rig.fake);
        if (span != NULL) {
            destroy(span);
            break;
        }
        cr_assert_eq(rig.heap.span_count, 0);
        cr_assert_eq(rig.heap.used_pages, 0);
        cr_assert_null(rig_check(&rig));
    }
    destroy(create(70));
}

Test(span, a_struct_is_not_lost_where_pages_are_refused)
{
    size_t left_bytes = 0;

    fake_os_fail(&rig.fake, FAKE_COMMIT, 1, ENOMEM, true);
    for (int i = 0; i < 3; i++) {
        cr_assert_null(hm_span_create(&rig.heap, 5, 0));
        cr_assert(i < 2 || rig.heap.meta.left_bytes == left_bytes);
        left_bytes = rig.heap.meta.left_bytes;
    }
}

static void
redirected(void)
{
    cr_redirect_stderr();
    setup();
}

Test(span, misuse_is_told_in_one_line, .init = redirected, .signal = SIGABRT)
{
    struct hm_span *span = create(4);

    hm_span_misuse(span, pop(span) + 8, "free()");
}
