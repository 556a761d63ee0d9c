/* SPDX-License-Identifier: MIT */
/* test_huma.c - the arena API, as programs see it, on the real kernel. */
#include <errno.h>
#include <string.h>

#include "support/arena.h"

/* --- blocks ----------------------------------------------------------------------------------- */

Test(huma, blocks_of_all_sizes)
{
    for (size_t k = 0; k < 2; k++) {
        huma_arena *arena = create(kinds[k]);

        for (size_t size = 0; size < 8 * MIB; size = size * 2 + 1) {
            char *block = huma_arena_alloc(arena, size);

            cr_assert_not_null(block);
            cr_assert_eq((uintptr_t)block % 16, 0);
            cr_assert_geq(huma_usable_size(block), size);
            cr_assert(huma_arena_owns(arena, block));
            memset(block, 0x5a, huma_usable_size(block));
            huma_arena_free_sized(arena, block, size);
            cr_assert_not(huma_arena_owns(arena, block));
        }
        huma_arena_free(arena, NULL);
        huma_arena_destroy(arena);
    }
}

Test(huma, sizes_that_the_compiler_knows)
{
    huma_arena *arena = create(0);
    char *blocks[] = { huma_arena_alloc(arena, 0),    huma_arena_alloc(arena, 1),
                       huma_arena_alloc(arena, 16),   huma_arena_alloc(arena, 17),
                       huma_arena_alloc(arena, 1024), huma_arena_alloc(arena, 1025) };
    static const size_t sizes[] = { 0, 1, 16, 17, 1024, 1025 };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        cr_assert_not_null(blocks[i]);
        cr_expect_geq(huma_usable_size(blocks[i]), sizes[i]);
        huma_arena_free(arena, blocks[i]);
    }
    huma_arena_destroy(arena);
}

Test(huma, calloc_is_zero_also_where_blocks_were)
{
    volatile size_t half = SIZE_MAX / 2;

    for (size_t k = 0; k < 2; k++) {
        huma_arena *arena = create(kinds[k]);

        for (int round = 0; round < 2; round++) {
            for (size_t size = 1; size < 4 * MIB; size *= 3) {
                char *block = huma_arena_calloc(arena, size, 1);

                cr_assert_not_null(block);
                for (size_t i = 0; i < size; i++)
                    cr_assert_eq(block[i], 0);
                memset(block, 1, size);
                huma_arena_free(arena, block);
            }
        }
        cr_assert_null(huma_arena_calloc(arena, half, 3));
        cr_assert_eq(errno, ENOMEM);
        huma_arena_destroy(arena);
    }
}

Test(huma, aligned_blocks)
{
    huma_arena *arena = create(0);

    for (size_t alignment = 1; alignment <= 4 * MIB; alignment *= 2) {
        void *block = huma_arena_aligned_alloc(arena, alignment, 100);

        cr_assert_not_null(block);
        cr_assert_eq((uintptr_t)block % alignment, 0);
    }
    cr_assert_null(huma_arena_aligned_alloc(arena, 24, 100));
    cr_assert_eq(errno, EINVAL);
    cr_assert_not_null(strstr(huma_last_error(), "power of two"));
    cr_assert_null(huma_arena_aligned_alloc(arena, 0, 100));
    cr_assert_eq(errno, EINVAL);
    huma_arena_destroy(arena);
}

Test(huma, realloc_keeps_what_fits)
{
    huma_arena *arena = create(0);
    unsigned char *block = huma_arena_realloc(arena, NULL, 10);
    size_t size = 10;

    cr_assert_not_null(block);
    memset(block, 7, size);
    while (size < 16 * MIB) {
        block = huma_arena_realloc(arena, block, 3 * size);
        cr_assert_not_null(block);
        for (size_t i = 0; i < size; i++)
            cr_assert_eq(block[i], 7);
        size *= 3;
        memset(block, 7, size);
    }
    block = huma_arena_realloc(arena, block, 0);
    cr_assert_not_null(block);
    huma_arena_free(arena, block);
    huma_arena_destroy(arena);
}

/* --- the limit -------------------------------------------------------------------------------- */

Test(huma, a_limit_is_exact)
{
    static const size_t sizes[] = { 4 * KIB, 16, 100, 3000, 40 * KIB, 200 * KIB };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
        huma_arena *arena;
        size_t sum = 0;

        options.name = "limited";
        options.backing = "4k";
        options.limit_bytes = 8 * MIB;
        arena = huma_arena_create(&options);
        cr_assert_not_null(arena);
        while (huma_arena_alloc(arena, sizes[i]) != NULL)
            sum += sizes[i];
        cr_expect_eq(errno, ENOMEM);
        cr_expect_leq(sum, options.limit_bytes);
        cr_expect_gt(sum, options.limit_bytes - options.limit_bytes / 8, "size %zu: %zu", sizes[i],
                     sum);
        cr_expect_not_null(strstr(huma_last_error(), "limited"));
        cr_expect_not_null(strstr(huma_last_error(), "limit of 8388608"), "%s", huma_last_error());
        cr_assert_eq(huma_arena_reset(arena), 0);
        cr_expect_not_null(huma_arena_alloc(arena, options.limit_bytes));
        cr_expect_null(huma_arena_alloc(arena, 1));
        huma_arena_destroy(arena);
    }
}

Test(huma, what_is_too_large_for_anything)
{
    huma_arena *arena = create(0);
    volatile size_t size = SIZE_MAX - 100;

    cr_assert_null(huma_arena_alloc(arena, size));
    cr_assert_eq(errno, ENOMEM);
    cr_assert_not_null(strstr(huma_last_error(), "more than any block"));
    huma_arena_destroy(arena);
}

/* --- all blocks ------------------------------------------------------------------------------- */

/* Whoever fails is named. */
Test(huma, who_was_called)
{
    const size_t many = (size_t)1 << 20;

    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    huma_arena *arena;

    options.limit_bytes = 64 * KIB;
    arena = huma_arena_create(&options);
    cr_assert_not_null(arena, "%s", huma_last_error());
    (void)huma_arena_set_current(arena);
#define EXPECT_NAME(call, text)                                                                    \
    do {                                                                                           \
        cr_assert_null(call);                                                                      \
        cr_assert_eq(strncmp(huma_last_error(), text "():", strlen(text) + 3), 0, "%s",            \
                     huma_last_error());                                                           \
    } while (0)
    EXPECT_NAME(huma_arena_alloc(arena, many), "huma_arena_alloc");
    EXPECT_NAME(huma_arena_calloc(arena, 2, many), "huma_arena_calloc");
    EXPECT_NAME(huma_arena_realloc(arena, NULL, many), "huma_arena_realloc");
    EXPECT_NAME(huma_arena_realloc(arena, huma_arena_alloc(arena, 1), many), "huma_arena_realloc");
    EXPECT_NAME(huma_arena_aligned_alloc(arena, 32, many), "huma_arena_aligned_alloc");
    EXPECT_NAME(huma_arena_aligned_alloc(arena, 33, many), "huma_arena_aligned_alloc");
    EXPECT_NAME(huma_malloc(many), "huma_malloc");
    EXPECT_NAME(huma_calloc(many, 2), "huma_calloc");
    EXPECT_NAME(huma_realloc(NULL, many), "huma_realloc");
    EXPECT_NAME(huma_realloc(huma_malloc(1), many), "huma_realloc");
    EXPECT_NAME(huma_aligned_alloc(64, many), "huma_aligned_alloc");
#undef EXPECT_NAME
    huma_arena_destroy(arena);
}

Test(huma, reset_and_trim)
{
    for (size_t k = 0; k < 2; k++) {
        huma_arena *arena = create(kinds[k]);

        for (int round = 0; round < 5; round++) {
            char *first = huma_arena_alloc(arena, 100);

            for (size_t i = 0; i < 20000; i++) {
                char *block = huma_arena_alloc(arena, 1 + i % 3000);

                cr_assert_not_null(block);
                memset(block, (int)i, 1 + i % 3000);
            }
            cr_assert_not_null(huma_arena_alloc(arena, 3 * MIB));
            cr_assert_eq(huma_arena_reset(arena), 0);
            cr_assert_not(huma_arena_owns(arena, first));
        }
        cr_assert_gt(huma_arena_trim(arena), MIB);
        cr_assert_not_null(huma_arena_alloc(arena, 100));
        huma_arena_destroy(arena);
    }
}

/* --- the current arena ------------------------------------------------------------------------ */

Test(huma, the_current_arena)
{
    huma_arena *outer = create(0);
    huma_arena *inner = create(HUMA_ARENA_SINGLE_THREADED);
    char *common = huma_malloc(50);
    char *one;
    char *two;

    cr_assert_not_null(common);
    cr_assert_null(huma_arena_set_current(outer));
    one = huma_calloc(5, 10);
    cr_assert_eq(huma_arena_set_current(inner), outer);
    two = huma_aligned_alloc(64, 50);
    cr_assert_eq(huma_arena_set_current(outer), inner);
    cr_assert(huma_arena_owns(outer, one));
    cr_assert(huma_arena_owns(inner, two));
    cr_assert_not(huma_arena_owns(outer, common));
    two = huma_realloc(two, 50 * KIB);
    cr_assert(huma_arena_owns(inner, two), "a block stays in its arena");
    common = huma_realloc(common, 500);
    cr_assert_not(huma_arena_owns(outer, common));
    huma_free(two);
    huma_free(one);
    huma_free(common);
    huma_free(NULL);
    cr_assert_not(huma_arena_owns(outer, one));
    cr_assert_eq(huma_arena_set_current(NULL), outer);
    huma_arena_destroy(outer);
    huma_arena_destroy(inner);
}

/* --- arguments -------------------------------------------------------------------------------- */

Test(huma, options_that_are_wrong)
{
    static const char *const names[] = { "", "a\nb", "x[1]", "caf\xc3\xa9",
                                         ("0123456789012345678901234567890123456789"
                                          "012345678901234567890123") };
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        options.name = names[i];
        errno = 0;
        cr_expect_null(huma_arena_create(&options), "name %zu", i);
        cr_expect_eq(errno, EINVAL);
        cr_expect_not_null(strstr(huma_last_error(), "name"), "%s", huma_last_error());
    }
    options = (struct huma_arena_options)HUMA_ARENA_OPTIONS_INIT;
    options.backing = "thp,,4k";
    cr_expect_null(huma_arena_create(&options));
    cr_expect_eq(errno, EINVAL);
    cr_expect_not_null(strstr(huma_last_error(), "backing"));
    options = (struct huma_arena_options)HUMA_ARENA_OPTIONS_INIT;
    options.flags = (uint64_t)1 << 40;
    cr_expect_null(huma_arena_create(&options));
    cr_expect_eq(errno, EINVAL);
    cr_expect_not_null(strstr(huma_last_error(), "flags"));
}

/* A program that was compiled for another version. */
Test(huma, structs_of_other_sizes)
{
    struct {
        struct huma_arena_options known;
        size_t later[2];
    } options = { .known = HUMA_ARENA_OPTIONS_INIT };
    huma_arena *arena;

    options.known.struct_size = sizeof(options);
    arena = huma_arena_create(&options.known);
    cr_assert_not_null(arena, "%s", huma_last_error());
    huma_arena_destroy(arena);
    options.later[1] = 1;
    cr_expect_null(huma_arena_create(&options.known));
    cr_expect_eq(errno, E2BIG);
    options.known.struct_size = 8;
    cr_expect_null(huma_arena_create(&options.known));
    cr_expect_eq(errno, EINVAL);
    options.known.struct_size = 0;
    cr_expect_null(huma_arena_create(&options.known));
    cr_expect_eq(errno, EINVAL);
    cr_expect_not_null(strstr(huma_last_error(), "HUMA_ARENA_OPTIONS_INIT"));
}

Test(huma, no_arena)
{
    huma_arena *volatile none = NULL;

    cr_expect_null(huma_arena_alloc(none, 64));
    cr_expect_eq(errno, EINVAL);
    cr_expect_not_null(strstr(huma_last_error(), "NULL"));
    errno = 0;
    cr_expect_null(huma_arena_calloc(none, 1, 64));
    cr_expect_eq(errno, EINVAL);
    cr_expect_null(huma_arena_realloc(none, NULL, 64));
    cr_expect_null(huma_arena_aligned_alloc(none, 64, 64));
    cr_expect_not(huma_arena_owns(none, ""));
    cr_expect_eq(huma_arena_reset(none), -1);
    cr_expect_eq(huma_arena_trim(none), 0);
    cr_expect_eq(huma_usable_size(NULL), 0);
    huma_arena_free(none, NULL);
    huma_arena_destroy(none);
}

Test(huma, errno_is_kept)
{
    huma_arena *arena;
    void *block;

    errno = 77;
    arena = create(0);
    block = huma_arena_alloc(arena, 300);
    huma_arena_free(arena, huma_arena_realloc(arena, block, 3 * MIB));
    (void)huma_arena_reset(arena);
    (void)huma_arena_trim(arena);
    huma_arena_destroy(arena);
    cr_expect_eq(errno, 77);
    cr_expect_str_eq(huma_last_error(), "");
}

/* --- many ------------------------------------------------------------------------------------- */

/* Structs are used again, and what a thread remembers of an arena that is gone is not believed. */
Test(huma, one_after_the_other)
{
    for (int round = 0; round < 3000; round++) {
        huma_arena *arena = create(kinds[round % 2]);
        char *blocks[20];

        for (size_t i = 0; i < 20; i++) {
            blocks[i] = huma_arena_alloc(arena, 64 + i);
            cr_assert_not_null(blocks[i]);
            memset(blocks[i], round, 64 + i);
        }
        for (size_t i = 0; i < 20; i += 2)
            huma_arena_free(arena, blocks[i]);
        huma_arena_destroy(arena);
    }
}

Test(huma, many_at_a_time)
{
    enum { COUNT = 300 };
    static huma_arena *arenas[COUNT];
    static char *blocks[COUNT][10];

    for (size_t i = 0; i < COUNT; i++)
        arenas[i] = create(kinds[i % 3 == 0]);
    for (size_t b = 0; b < 10; b++) {
        for (size_t i = 0; i < COUNT; i++) {
            blocks[i][b] = huma_arena_alloc(arenas[i], 40);
            cr_assert_not_null(blocks[i][b]);
            memset(blocks[i][b], (int)i, 40);
        }
    }
    for (size_t i = 0; i < COUNT; i++) {
        for (size_t b = 0; b < 10; b++) {
            cr_assert(huma_arena_owns(arenas[i], blocks[i][b]));
            cr_assert_eq(blocks[i][b][39], (char)i);
            if (i % 2 == 0)
                huma_arena_free(arenas[i], blocks[i][b]);
        }
        huma_arena_destroy(arenas[i]);
    }
}
