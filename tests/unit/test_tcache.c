/* SPDX-License-Identifier: MIT */
/* test_tcache.c - one thread's spans: current, with room, full, and gone. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "support/rig.h"

static struct rig rig;
static struct hm_tcache *cache;

static void
setup(void)
{
    rig_init(&rig);
    cache = hm_tcache_acquire(&rig.pool, 0);
    cr_assert_not_null(cache);
}

static void
teardown(void)
{
    const char *broken = rig_check(&rig);

    cr_assert_null(broken, "broken: %s", broken);
    rig_fini(&rig);
}

TestSuite(tcache, .init = setup, .fini = teardown);

static uintptr_t
alloc(size_t size_bytes)
{
    return rig_alloc(&rig, cache, size_bytes, 16, NULL);
}

static struct hm_span *
span_at(uintptr_t addr)
{
    return hm_pagemap_get(rig.heap.pagemap, addr);
}

Test(tcache, the_empty_one_has_no_slot_for_any_size)
{
    for (size_t i = 0; i < HM_BY_SIZE_COUNT; i++)
        cr_assert_null(hm_span_pop(hm_tcache_empty.by_size[i]));
    for (unsigned i = 0; i < HM_CLASS_COUNT; i++) {
        cr_assert_null(hm_span_pop(hm_tcache_empty.by_class[i]));
        cr_assert_null(hm_span_pop(hm_tcache_empty.current[i]));
    }
}

Test(tcache, the_tables_agree)
{
    for (size_t size = 0; size <= HM_BY_SIZE_MAX_BYTES; size++)
        cr_assert_neq(alloc(size), 0);
    for (unsigned i = 0; i < HM_CLASS_COUNT; i++)
        cr_assert_eq(cache->by_class[i], cache->current[i]);
    cr_assert_eq(hm_class_of(HM_BY_SIZE_MAX_BYTES), HM_BY_SIZE_CLASSES - 1);
    for (size_t size = 0; size <= HM_BY_SIZE_MAX_BYTES; size++)
        cr_assert_eq(cache->by_size[(size + 15) / 16], cache->current[hm_class_of(size)], "%zu",
                     size);
}

Test(tcache, a_freed_slot_is_taken_again)
{
    uintptr_t addr = alloc(100);
    uintptr_t page = addr & ~(uintptr_t)4095;

    for (int i = 0; i < 1000; i++) {
        rig_free(&rig, cache, addr);
        addr = alloc(100);
        cr_assert_eq(addr & ~(uintptr_t)4095, page, "a page is used up before the next");
    }
    cr_assert_eq(rig.heap.span_count, 1);
}

Test(tcache, all_classes_fill_and_empty)
{
    static uintptr_t addrs[HM_CLASS_COUNT][300];

    for (unsigned k = 0; k < HM_CLASS_COUNT; k++)
        for (int i = 0; i < 300; i++) {
            addrs[k][i] = alloc(hm_class_bytes(k));
            cr_assert_neq(addrs[k][i], 0);
            cr_assert_eq(rig_usable(&rig, addrs[k][i]), hm_class_bytes(k));
        }
    cr_assert_null(rig_check(&rig));
    for (unsigned k = 0; k < HM_CLASS_COUNT; k++)
        for (int i = 0; i < 300; i++)
            rig_free(&rig, cache, addrs[k][i]);
    cr_assert_leq(rig.heap.span_count, HM_CLASS_COUNT, "only current spans stay");
    hm_tcache_trim(cache);
    cr_assert_eq(rig.heap.span_count, 0);
    cr_assert_eq(rig.heap.used_pages, 0);
}

/* Blocks of 200 bytes until their first span is full; returns how many it has. */
static uint32_t
fill(uintptr_t *addrs)
{
    uint32_t count = 0;
    struct hm_span *span;

    do {
        addrs[count] = alloc(200);
        span = span_at(addrs[0]);
    } while (span_at(addrs[count++]) == span);
    rig_free(&rig, cache, addrs[count - 1]);
    cr_assert_eq(count - 1, span->slot_count);
    return count - 1;
}

Test(tcache, a_full_span_comes_back_when_enough_of_it_is_free)
{
    uintptr_t addrs[300];
    uint32_t count = fill(addrs);
    struct hm_span *span = span_at(addrs[0]);
    uint32_t worth = 1 + count / HM_SPAN_WORTH;
    struct hm_list *room = &cache->room[span->class_idx];

    for (uint32_t i = 0; i < worth; i++) {
        cr_assert(hm_list_is_empty(room));
        rig_free(&rig, cache, addrs[i]);
        cr_assert_eq(hm_span_live_count(span), count - 1 - i);
    }
    cr_assert_eq(room->next, &span->link);
    while (cache->current[span->class_idx] != span)
        cr_assert_neq(alloc(200), 0);
    cr_assert_eq(rig.heap.span_count, 2, "before a new one is made");
}

/* Where spans are many, those that have much room are left to empty. */
Test(tcache, of_many_spans_the_fullest_serves_first)
{
    enum { COUNT = 4096, SIZE = 8192 };
    static uintptr_t addrs[COUNT];
    unsigned class_idx = hm_class_of(SIZE);
    struct hm_span *first = NULL;
    int freed = 0;

    for (int i = 0; i < COUNT; i++)
        addrs[i] = alloc(SIZE);
    for (int i = 0; i < COUNT; i++) {
        struct hm_span *span = span_at(addrs[i]);

        /* All but one of the first ones, which wait longest, and a few of each that follows. */
        if (span->slot_count != 16 || i % 16 > (freed < 64 ? 14 : 3))
            continue;
        rig_free(&rig, cache, addrs[i]);
        freed++;
        first = first == NULL ? span : first;
    }
    cr_assert_eq(cache->room[class_idx].prev, &first->link);
    cr_assert_geq(cache->owned_count[class_idx], 64);
    for (int i = 0; i < 100; i++)
        cr_assert_neq(alloc(SIZE), 0);
    cr_assert_eq(cache->room[class_idx].prev, &first->link, "it may empty");
}

/* Before a thread gets a new span, it looks for the few free slots of full ones. */
Test(tcache, a_full_span_with_one_free_slot_is_found)
{
    uintptr_t addrs[300];
    uint32_t count = fill(addrs);
    struct hm_span *span = span_at(addrs[0]);

    cr_assert_gt(count / HM_SPAN_WORTH, 0);
    rig_free(&rig, cache, addrs[2]);
    while (cache->current[span->class_idx] != span)
        cr_assert_neq(alloc(200), 0);
    cr_assert_eq(hm_span_live_count(span), count);
    cr_assert_eq(rig.heap.span_count, 2);
}

/* Also not one that comes from the list of those with room: it may be given back from here. */
Test(tcache, a_current_span_is_in_no_list)
{
    uintptr_t addrs[300];
    uint32_t count = fill(addrs);
    struct hm_span *span = span_at(addrs[0]);

    for (uint32_t i = 0; i < 1 + count / HM_SPAN_WORTH; i++)
        rig_free(&rig, cache, addrs[i]);
    cr_assert_eq(cache->room[span->class_idx].next, &span->link);
    while (cache->current[span->class_idx] != span)
        cr_assert_neq(alloc(200), 0);
    cr_assert(hm_list_is_empty(&cache->room[span->class_idx]));
    cr_assert(hm_list_is_empty(&span->link));
}

Test(tcache, an_empty_span_goes_back)
{
    uintptr_t addrs[200];
    struct hm_span *last;

    for (int i = 0; i < 200; i++)
        addrs[i] = alloc(2000);
    last = span_at(addrs[199]);
    cr_assert_gt(rig.heap.span_count, 4);
    for (int i = 0; i < 200; i++)
        if (span_at(addrs[i]) != last)
            rig_free(&rig, cache, addrs[i]);
    cr_assert_eq(rig.heap.span_count, 1);
    cr_assert_eq(cache->owned_count[hm_class_of(2000)], 1);
}

Test(tcache, trim_keeps_what_is_in_use)
{
    uintptr_t used = alloc(64);
    uintptr_t freed = alloc(128);

    rig_free(&rig, cache, freed);
    hm_tcache_trim(cache);
    cr_assert_eq(rig.heap.span_count, 1);
    cr_assert_not_null(span_at(used));
    cr_assert_null(span_at(freed));
    cr_assert_neq(alloc(128), 0);
    rig_free(&rig, cache, used);
}

/* A program that tears down much leaves no empty span behind in the classes that it used before. */
Test(tcache, idle_current_spans_go_when_much_is_freed)
{
    static uintptr_t addrs[2000];
    uintptr_t last = alloc(32);

    for (size_t size = 64; size <= 1024; size *= 2)
        rig_free(&rig, cache, alloc(size));
    cr_assert_eq(rig.heap.span_count, 6, "held for the next request");
    for (int i = 0; i < 2000; i++)
        addrs[i] = alloc(2000);
    for (int i = 0; i < 2000; i++)
        rig_free(&rig, cache, addrs[i]);
    cr_assert_leq(rig.heap.span_count, 2, "%zu spans are left", rig.heap.span_count);
    rig_free(&rig, cache, last);
    cr_assert_leq(rig.heap.span_count, 1, "nor is the one held whose last block goes later");
    cr_assert_null(span_at(last));
    cr_assert_neq(alloc(32), 0);
}

/* Take and free `count` blocks of 32 KiB in turn. */
static void
come_and_go(uintptr_t *addrs, int count, int round_count)
{
    for (int round = 0; round < round_count; round++) {
        for (int i = 0; i < count; i++) {
            addrs[i] = alloc(32 * HM_KIB);
            cr_assert_neq(addrs[i], 0);
        }
        for (int i = 0; i < count; i++)
            rig_free(&rig, cache, addrs[i]);
        cr_assert_null(rig_check(&rig));
    }
}

Test(tcache, spans_wanted_anew_each_time_stay)
{
    uintptr_t addrs[5];
    size_t span_count;

    come_and_go(addrs, 5, 1);
    cr_assert_eq(rig.heap.span_count, 1, "nothing speaks for keeping them yet");
    come_and_go(addrs, 5, 8);
    span_count = rig.heap.span_count;
    cr_assert_gt(span_count, 1);
    cr_assert_eq(cache->spare_count, span_count - 1);
    for (int round = 0; round < 8; round++) {
        come_and_go(addrs, 5, 1);
        cr_assert_eq(rig.heap.span_count, span_count);
    }
    hm_tcache_trim(cache);
    cr_assert_eq(rig.heap.span_count, 0);
    cr_assert_eq(cache->spare_bytes, 0);
    cr_assert_eq(rig.heap.used_pages, 0);
}

Test(tcache, spares_are_few)
{
    static uintptr_t addrs[300];

    come_and_go(addrs, 300, 10);
    cr_assert_leq(cache->spare_bytes, 512 * HM_KIB);
    cr_assert_leq(cache->spare_count, 8);
    cr_assert_leq(rig.heap.span_count, 9);
}

/* Else each thread that goes to sleep would hold some. */
Test(tcache, who_frees_all_keeps_no_spare)
{
    static uintptr_t addrs[2000];

    come_and_go(addrs, 5, 9);
    cr_assert_gt(cache->spare_count, 0);
    for (int i = 0; i < 2000; i++)
        addrs[i] = alloc(2000);
    for (int i = 0; i < 2000; i++)
        rig_free(&rig, cache, addrs[i]);
    cr_assert_eq(cache->spare_count, 0);
    cr_assert_leq(rig.heap.span_count, 2);
}

Test(tcache, spares_of_a_thread_that_ends_go_back)
{
    uintptr_t addrs[5];

    come_and_go(addrs, 5, 9);
    cr_assert_gt(cache->spare_count, 0);
    hm_tcache_retire(cache);
    cr_assert_eq(rig.heap.span_count, 0);
    cache = hm_tcache_acquire(&rig.pool, 0);
    cr_assert_eq(cache->spare_count, 0);
    cr_assert_eq(cache->credit_bytes, 0);
}

Test(tcache, a_double_free_in_a_spare_aborts, .signal = SIGABRT)
{
    uintptr_t addrs[5];

    come_and_go(addrs, 5, 9);
    for (int i = 0; i < 5; i++)
        if (span_at(addrs[i]) != cache->current[hm_class_of(32 * HM_KIB)])
            rig_free(&rig, cache, addrs[i]);
}

/* Remote frees may empty a span just when its owner wants a slot of it. */
Test(tcache, a_span_that_others_emptied)
{
    uintptr_t addr = alloc(5000);

    hm_tcache_trim(cache);
    cr_assert_eq(cache->current[hm_class_of(5000)], &hm_span_none);
    rig_free(&rig, NULL, addr);
    addr = alloc(5000);
    cr_assert_neq(addr, 0);
    cr_assert_eq(hm_span_live_count(span_at(addr)), 1);
    cr_assert_eq(rig.heap.span_count, 1);
}

Test(tcache, a_small_thread_owns_little)
{
    for (unsigned k = 0; k < HM_CLASS_COUNT; k++)
        cr_assert_neq(alloc(hm_class_bytes(k)), 0);
    cr_assert_leq(rig.heap.used_pages * 4096, 2 * HM_MIB);
}

Test(tcache, no_memory_and_then_some)
{
    uintptr_t addr;

    fake_os_fail(&rig.fake, FAKE_ANY, 1, ENOMEM, true);
    cr_assert_eq(alloc(500), 0);
    cr_assert_null(rig_check(&rig));
    fake_os_heal(&rig.fake);
    addr = alloc(500);
    cr_assert_neq(addr, 0);
    fake_os_fail(&rig.fake, FAKE_ANY, 1, ENOMEM, true);
    while (alloc(32 * HM_KIB) != 0)
        continue;
    rig_free(&rig, cache, addr);
    addr = alloc(500);
    cr_assert_neq(addr, 0, "what is there is handed out all the same");
    cr_assert_null(rig_check(&rig));
}

Test(tcache, random_operations)
{
    static uintptr_t addrs[3000];
    unsigned seed = 7;

    for (int step = 0; step < 100000; step++) {
        uintptr_t *slot = &addrs[rand_r(&seed) % 3000];

        if (*slot != 0) {
            rig_free(&rig, cache, *slot);
            *slot = 0;
        } else {
            *slot = alloc((size_t)rand_r(&seed) % ((size_t)1 << (rand_r(&seed) % 15)));
            cr_assert_neq(*slot, 0);
        }
        if (step % 1000 == 0)
            cr_assert_null(rig_check(&rig));
    }
    for (int i = 0; i < 3000; i++)
        if (addrs[i] != 0)
            rig_free(&rig, cache, addrs[i]);
    hm_tcache_trim(cache);
    cr_assert_eq(rig.heap.used_pages, 0);
}

Test(tcache, a_double_free_aborts, .signal = SIGABRT)
{
    uintptr_t addr = alloc(100);

    (void)alloc(100);
    rig_free(&rig, cache, addr);
    rig_free(&rig, cache, addr);
}

/* The second free of a block that was written to in between is not seen; but its span counts one
 * free too many, and is not given away with the block that lives. */
Test(tcache, a_span_is_not_given_away_by_a_wrong_count, .signal = SIGABRT)
{
    uintptr_t addrs[300];
    uint32_t count = fill(addrs);

    memset((void *)addrs[0], 1, 1000);
    memset((void *)addrs[1], 1, 1000);
    rig_free(&rig, cache, addrs[0]);
    memset((void *)addrs[0], 1, 1000);
    for (uint32_t i = 0; i < count; i++)
        if (i != 1)
            rig_free(&rig, cache, addrs[i]);
}

Test(tcache, a_double_free_in_a_full_span_aborts, .signal = SIGABRT)
{
    uintptr_t addr = alloc(16 * HM_KIB);
    struct hm_span *span = span_at(addr);

    while (cache->current[span->class_idx] == span)
        (void)alloc(16 * HM_KIB);
    rig_free(&rig, cache, addr);
    rig_free(&rig, cache, addr);
}

Test(tcache, a_free_inside_a_block_aborts, .signal = SIGABRT)
{
    rig_free(&rig, cache, alloc(100) + 16);
}
