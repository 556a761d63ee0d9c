/* SPDX-License-Identifier: MIT */
/* test_span.c - slots, their marks and lists. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <errno.h>
#include <signal.h>
#include <string.h>

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

static void
redirected(void)
{
    cr_redirect_stderr();
    setup();
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
    void *mem = hm_span_pop(span);

    if (mem == NULL && hm_span_refill(span, &rig.heap))
        mem = hm_span_pop(span);
    return (uintptr_t)mem;
}

/* Free a slot, as its owner does. */
static void
push(struct hm_span *span, uintptr_t addr)
{
    cr_assert(hm_span_is_live(span, addr));
    hm_span_put(span, (struct hm_slot *)addr);
    span->alarm--;
    cr_assert(!hm_span_is_live(span, addr));
}

Test(span, hands_out_each_slot_once)
{
    for (unsigned class_idx = 0; class_idx < HM_CLASS_COUNT; class_idx++) {
        struct hm_span *span = create(class_idx);
        size_t slot_bytes = hm_class_bytes(class_idx);
        uintptr_t first = span->end_addr - span->slot_count * slot_bytes;

        cr_assert_geq(first, span->base);
        cr_assert_lt(first - span->base, slot_bytes);
        for (uint32_t i = 0; i < span->slot_count; i++) {
            uintptr_t addr = pop(span);

            cr_assert_eq(addr, first + i * slot_bytes, "lowest first");
            cr_assert_eq(hm_span_slot_idx(span, addr), span->slot_count - 1 - i);
            cr_assert_eq(hm_span_slot_addr(span, span->slot_count - 1 - i), addr);
            cr_assert(hm_span_is_live(span, addr));
            cr_assert_eq(hm_span_live_count(span), i + 1);
        }
        cr_assert_eq(pop(span), 0);
        cr_assert_eq(span->alarm, span->slot_count);
        for (uint32_t i = 0; i < span->slot_count; i++)
            push(span, first + i * slot_bytes);
        cr_assert_eq(hm_span_live_count(span), 0);
        cr_assert_eq(span->alarm, 0);
        destroy(span);
    }
}

/* The multiplication must agree with a division for every address, of the slots and beside them. */
Test(span, only_starts_of_slots_have_an_index)
{
    for (unsigned class_idx = 0; class_idx < HM_CLASS_COUNT; class_idx++) {
        struct hm_span *span = create(class_idx);
        size_t slot_bytes = hm_class_bytes(class_idx);
        uintptr_t first = span->end_addr - span->slot_count * slot_bytes;

        for (uintptr_t addr = span->base; addr < span->end_addr; addr++) {
            bool is_start = addr >= first && (addr - first) % slot_bytes == 0;

            cr_assert_eq(hm_span_has_slot(span, addr), is_start);
            if (is_start)
                cr_assert_eq(hm_span_slot_idx(span, addr),
                             (span->end_addr - addr) / slot_bytes - 1);
            else
                cr_assert_geq(hm_span_slot_idx(span, addr), span->slot_count);
        }
        destroy(span);
    }
}

/* A slot that was never handed out is no block, and so is not found. */
Test(span, is_found_from_pages_whose_slots_were_handed_out)
{
    for (unsigned class_idx = 0; class_idx < HM_CLASS_COUNT; class_idx++) {
        struct hm_span *span = create(class_idx);
        uintptr_t base = span->base;
        uintptr_t end = span->end_addr;

        cr_assert_null(hm_pagemap_get(rig.heap.pagemap, base));
        while (span->carved < span->slot_count) {
            uintptr_t next;

            while (hm_span_pop(span) != NULL)
                continue;
            hm_span_carve(span, &rig.heap);
            next = hm_span_slot_addr(span, span->slot_count - 1 - span->carved);
            for (uint32_t i = 0; i < span->carved; i++)
                cr_assert_eq(hm_pagemap_get(rig.heap.pagemap,
                                            hm_span_slot_addr(span, span->slot_count - 1 - i)),
                             span);
            if (span->carved < span->slot_count)
                cr_assert_null(hm_pagemap_get(rig.heap.pagemap, next));
        }
        cr_assert_neq(hm_pagemap_get(rig.heap.pagemap, end), span);
        cr_assert_eq(rig.heap.span_count, 1);
        hm_span_unready(span);
        span->alarm = 0;
        destroy(span);
        for (uintptr_t addr = base; addr < end; addr += 4096)
            cr_assert_null(hm_pagemap_get(rig.heap.pagemap, addr));
        cr_assert_eq(rig.heap.span_count, 0);
        cr_assert_eq(rig.heap.used_pages, 0);
    }
}

Test(span, freed_slots_are_ready_again_when_enough_of_them_are)
{
    struct hm_span *span = create(4);
    uintptr_t addrs[64];
    uint32_t count;

    for (count = 0; count < 64 && (addrs[count] = pop(span)) != 0; count++)
        continue;
    while (pop(span) != 0)
        continue;
    for (uint32_t i = 0; i < 1 + span->carved / HM_SPAN_WORTH; i++) {
        cr_assert_eq(pop(span), 0);
        cr_assert_eq(hm_span_freed_count(span), i);
        push(span, addrs[i]);
    }
    cr_assert_neq(pop(span), 0);
    cr_assert_eq(hm_span_live_count(span), span->slot_count - span->carved / HM_SPAN_WORTH);
    hm_span_unready(span);
    cr_assert_eq(span->alarm, hm_span_live_count(span));
}

/* The mark in a live block, by chance or by a copy of memory that was free, is no double free. */
Test(span, the_lists_have_the_last_word)
{
    struct hm_span *span = create(4);
    struct hm_slot *block = (struct hm_slot *)pop(span);
    uintptr_t other = pop(span);

    block->mark = span;
    cr_assert(hm_span_is_live(span, (uintptr_t)block));
    push(span, other);
    cr_assert(hm_span_is_live(span, (uintptr_t)block));
    push(span, (uintptr_t)block);
}

/* After fork, the marks alone tell what is free. */
Test(span, is_mended_from_its_marks)
{
    struct hm_span *span = create(4);
    uintptr_t addrs[40];

    for (int i = 0; i < 40; i++)
        addrs[i] = pop(span);
    for (int i = 0; i < 40; i += 3)
        push(span, addrs[i]);
    span->is_torn = true;
    span->freed = (struct hm_slot *)(uintptr_t)16;
    span->ready = (struct hm_slot *)(uintptr_t)32;
    cr_assert_eq(hm_span_live_count(span), 26);
    span->freed = hm_span_end(span);
    span->ready = hm_span_end(span);
    span->alarm = span->carved;
    /* as if the pagemap had been copied before the span */
    hm_pagemap_enter(rig.heap.pagemap, span->base, 4096, NULL);
    hm_span_mend(span, &rig.heap);
    cr_assert_eq(hm_pagemap_get(rig.heap.pagemap, addrs[0]), span);
    cr_assert(!span->is_torn);
    cr_assert_eq(span->alarm, 26);
    cr_assert_eq(hm_span_live_count(span), 26);
    for (int i = 0; i < 40; i++)
        cr_assert_eq(hm_span_is_live(span, addrs[i]), i % 3 != 0);
}

/* Rather a shorter span than another huge page, while one has room. */
Test(span, fills_a_gap)
{
    unsigned class_idx = hm_class_of(1000);
    size_t wish_pages = hm_class_span_pages(&rig.heap.geom, class_idx, 100);
    size_t len_pages = wish_pages - 3;
    struct hm_span *few = create(class_idx); /* so that the region stays open */
    struct hm_run run;
    struct hm_span *span;

    cr_assert_eq(
        hm_pheap_take(&rig.heap, rig.heap.region_pages - few->len_pages - len_pages, 1, &run), 0);
    span = hm_span_create(&rig.heap, class_idx, 100);
    cr_assert_eq(span->len_pages, len_pages);
    cr_assert_eq(span->slot_count, hm_class_slots(&rig.heap.geom, class_idx, len_pages));
    cr_assert_eq(rig.heap.open_count, 1);
    cr_assert_eq(rig.heap.used_pages, rig.heap.region_pages);
    for (uint32_t i = 0; i < span->slot_count; i++)
        cr_assert_neq(pop(span), 0);
    hm_pheap_give(&rig.heap, run.region, run.addr, run.len_pages);
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

Test(span, what_is_no_live_block)
{
    struct hm_span *span = create(4);
    uintptr_t addr = pop(span);

    cr_assert(!hm_span_is_live(span, addr + 1));
    cr_assert(!hm_span_is_live(span, addr + 16));
    cr_assert(!hm_span_is_live(span, addr + span->slot_bytes), "ready, but not handed out");
    cr_assert(!hm_span_is_live(span, span->base - span->slot_bytes));
}

Test(span, a_slot_written_to_while_free_is_found, .init = redirected, .signal = SIGABRT)
{
    struct hm_span *span = create(4);
    uintptr_t addr = pop(span);

    while (pop(span) != 0)
        continue;
    for (uint32_t i = 0; i <= span->carved / HM_SPAN_WORTH; i++)
        push(span, addr + i * span->slot_bytes);
    memset((void *)addr, 'A', span->slot_bytes);
    while (pop(span) != 0)
        continue;
    hm_span_unready(span);
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

Test(span, misuse_is_told_in_one_line, .init = redirected, .signal = SIGABRT)
{
    struct hm_span *span = create(4);

    hm_span_misuse(span, pop(span) + 8, "free()");
}
