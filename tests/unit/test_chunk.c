/* SPDX-License-Identifier: MIT */
/* test_chunk.c - what can be a header of glibc's, and what cannot. Whether glibc writes
 * such headers, tests/preload/foreign.c sees. */
#include <criterion/criterion.h>

#include "api/chunk.h"

#define PAGE_BYTES ((size_t)4096)
#define SPAN_BYTES (64 * HM_MIB)
#define BASE ((uintptr_t)0x7f0000000000)

static enum hm_chunk_kind
kind_of(uintptr_t addr, size_t prev_bytes, size_t head)
{
    struct hm_chunk chunk = { .addr = addr, .prev_bytes = prev_bytes, .head = head };

    return hm_chunk_kind(&chunk, PAGE_BYTES);
}

Test(chunk, flags_tell_the_kind)
{
    cr_expect_eq(kind_of(BASE + 0x2a0, 0, 0x21), HM_CHUNK_MAIN);
    cr_expect_eq(kind_of(BASE + 0x2a0, 0x5a5a, 0x20), HM_CHUNK_MAIN, "the first word may be data");
    cr_expect_eq(kind_of(BASE + 0x2a0, 0, 0x25), HM_CHUNK_ARENA);
    cr_expect_eq(kind_of(BASE + 0x2a0, 0, 0x24), HM_CHUNK_ARENA);
    cr_expect_eq(kind_of(BASE + 16, 0, 0x31002), HM_CHUNK_MAPPED);
}

Test(chunk, sizes_have_little_freedom)
{
    static const size_t heads[] = { 0,
                                    1,
                                    0x10,
                                    0x11,
                                    0x28,
                                    0x29,
                                    0x1f,
                                    (size_t)1 << 57 | 1,
                                    SIZE_MAX,
                                    SIZE_MAX - 7,
                                    SIZE_MAX - 0xf };

    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
        cr_expect_eq(kind_of(BASE + 0x2a0, 0, heads[i]), HM_CHUNK_NONE, "head %zx", heads[i]);
}

Test(chunk, blocks_are_aligned_and_not_at_the_ends_of_memory)
{
    cr_expect_eq(kind_of(BASE + 0x2a8, 0, 0x21), HM_CHUNK_NONE);
    cr_expect_eq(kind_of(BASE + 0x2a1, 0, 0x21), HM_CHUNK_NONE);
    cr_expect_eq(kind_of(16, 0, 0x21), HM_CHUNK_NONE);
    cr_expect_eq(kind_of(UINTPTR_MAX - 15, 0, 0x41), HM_CHUNK_NONE);
}

Test(chunk, mappings_are_whole_pages)
{
    cr_expect_eq(kind_of(BASE + 16, 0, 0x31012), HM_CHUNK_NONE, "ends inside a page");
    cr_expect_eq(kind_of(BASE + 32, 0, 0x31002), HM_CHUNK_NONE, "starts inside a page");
    cr_expect_eq(kind_of(BASE + 32, 16, 0x30ff2), HM_CHUNK_MAPPED, "what lies before counts");
    cr_expect_eq(kind_of(BASE + 0x30, 0x20, 0x30fe2), HM_CHUNK_NONE, "no alignment gives this");
    cr_expect_eq(kind_of(BASE + 0x1000, 0xff0, 0x4a012), HM_CHUNK_MAPPED, "aligned to a page");
    cr_expect_eq(kind_of(BASE + 0x10000, 0xfff0, 0x4a012), HM_CHUNK_MAPPED, "to more than a page");
    cr_expect_eq(kind_of(BASE + 0x1000, BASE, 0x4a012), HM_CHUNK_NONE);
    cr_expect_eq(kind_of(BASE + 16, 0, 0x31006), HM_CHUNK_NONE, "of an arena, too");
    cr_expect_eq(kind_of(BASE + 16, 1, 0x30ffa), HM_CHUNK_MAPPED, "last word left out, and a flag");
}

Test(chunk, where_things_end)
{
    struct hm_chunk small = { .addr = BASE + 0x2a0, .head = 0x71 };
    struct hm_chunk mapped = { .addr = BASE + 0x40, .prev_bytes = 0x30, .head = 0x49fd2 };

    cr_expect_eq(hm_chunk_next(&small), BASE + 0x300);
    cr_expect_eq(hm_chunk_room_bytes(&small, HM_CHUNK_MAIN), 104);
    cr_expect_eq(hm_chunk_map_start(&mapped), BASE);
    cr_expect_eq(hm_chunk_map_end(&mapped), BASE + 0x4a000);
    cr_expect_eq(hm_chunk_room_bytes(&mapped, HM_CHUNK_MAPPED), 0x4a000 - 0x40);
}

Test(chunk, what_may_follow)
{
    cr_expect(hm_chunk_is_next(0x11), "a fence");
    cr_expect(hm_chunk_is_next(0x20d61));
    cr_expect(hm_chunk_is_next(0x25));
    cr_expect(!hm_chunk_is_next(0x20), "says that the one before is free");
    cr_expect(!hm_chunk_is_next(0x23), "no mapped chunk has a neighbour");
    cr_expect(!hm_chunk_is_next(1));
    cr_expect(!hm_chunk_is_next(0x29));
    cr_expect(!hm_chunk_is_next(SIZE_MAX & ~(size_t)0xe));
}

static bool
is_heap(uintptr_t arena, uintptr_t prev, size_t len_bytes)
{
    struct hm_arena_heap heap = { .arena = arena, .prev = prev, .len_bytes = len_bytes };

    return hm_arena_heap_is_plausible(&heap, BASE, SPAN_BYTES, PAGE_BYTES);
}

Test(chunk, arena_heaps)
{
    cr_expect(is_heap(BASE + 0x30, 0, 0x21000), "the first of its arena");
    cr_expect(is_heap(BASE - SPAN_BYTES + 0x30, BASE - SPAN_BYTES, SPAN_BYTES), "a later one");
    cr_expect(!is_heap(BASE + 0x30, BASE - SPAN_BYTES, 0x21000), "first, and one before it");
    cr_expect(!is_heap(BASE - SPAN_BYTES + 0x30, 0, 0x21000), "later, and none before it");
    cr_expect(!is_heap(BASE, 0, 0x21000));
    cr_expect(!is_heap(BASE + 0x38, 0, 0x21000));
    cr_expect(!is_heap(BASE + 0x1000, 0, 0x21000));
    cr_expect(!is_heap(BASE + 0x30, 0, 0));
    cr_expect(!is_heap(BASE + 0x30, 0, 0x21010));
    cr_expect(!is_heap(BASE + 0x30, 0, 2 * SPAN_BYTES));
    cr_expect(!is_heap(0, 0, 0));
}
