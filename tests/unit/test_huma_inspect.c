/* SPDX-License-Identifier: MIT */
/* test_huma_inspect.c - what an arena says of itself: info, walk, check, dumps. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "support/arena.h"

struct count {
    size_t blocks;
    size_t bytes;
    size_t stop_count;
};

static bool
count_block(void *arg, void *block, size_t size)
{
    struct count *count = arg;

    cr_assert_eq(huma_usable_size(block), size);
    count->blocks++;
    count->bytes += size;
    return count->blocks != count->stop_count;
}

Test(huma_inspect, info_and_walk_count_the_same)
{
    for (size_t k = 0; k < 2; k++) {
        huma_arena *arena = create(kinds[k]);
        struct huma_info info = HUMA_INFO_INIT;
        struct count count = { 0 };
        size_t live_count = 0;

        for (size_t i = 0; i < 5000; i++) {
            char *block = huma_arena_alloc(arena, i % 500 == 0 ? 300 * KIB : 1 + i % 2000);

            cr_assert_not_null(block);
            memset(block, 1, i % 500 == 0 ? 300 * KIB : 1 + i % 2000);
            live_count++;
            if (i % 3 == 0) {
                huma_arena_free(arena, block);
                live_count--;
            }
        }
        cr_assert_eq(huma_arena_walk(arena, count_block, &count), 0);
        cr_assert_eq(huma_arena_info(arena, &info), 0);
        cr_expect_eq(count.blocks, live_count);
        cr_expect_eq(info.live_bytes, count.bytes);
        cr_expect_geq(info.heap_bytes, info.live_bytes);
        cr_expect_geq(info.reserved_bytes, info.heap_bytes);
        cr_expect_geq(info.resident_bytes, info.live_bytes / 2);
        cr_expect_eq(info.limit_bytes, 0);
        cr_expect_eq(info.struct_size, sizeof(info));
        count = (struct count){ .stop_count = 10 };
        cr_expect_eq(huma_arena_walk(arena, count_block, &count), 1);
        cr_expect_eq(count.blocks, 10);
        cr_expect_eq(huma_arena_check(arena), 0, "%s", huma_last_error());
        cr_expect_eq(huma_arena_reset(arena), 0);
        cr_assert_eq(huma_arena_info(arena, &info), 0);
        cr_expect_eq(info.live_bytes, 0);
        cr_expect_eq(info.heap_bytes, 0);
        huma_arena_destroy(arena);
    }
}

/* Of an older program, whose struct was shorter, no byte beyond is written. */
Test(huma_inspect, info_for_other_versions)
{
    huma_arena *arena = create(0);
    struct huma_info info = HUMA_INFO_INIT;

    info.struct_size = 8;
    cr_expect_eq(huma_arena_info(arena, &info), -1);
    cr_expect_eq(errno, EINVAL);
    cr_expect_eq(huma_arena_info(arena, NULL), -1);
    cr_expect_eq(huma_arena_walk(arena, NULL, NULL), -1);
    cr_expect_eq(errno, EINVAL);
    huma_arena_destroy(arena);
}

Test(huma_inspect, damage_is_found)
{
    huma_arena *arena = create(HUMA_ARENA_SINGLE_THREADED);
    char *volatile blocks[3];

    for (size_t i = 0; i < 3; i++)
        blocks[i] = huma_arena_alloc(arena, 64);
    cr_assert_eq(huma_arena_check(arena), 0, "%s", huma_last_error());
    huma_arena_free(arena, blocks[1]);
    cr_assert_eq(huma_arena_check(arena), 0, "%s", huma_last_error());
    memset(blocks[1], 0x41, 64);
    cr_expect_eq(huma_arena_check(arena), -1);
    cr_expect_eq(errno, EUCLEAN);
    cr_expect_not_null(strstr(huma_last_error(), "written to after free"), "%s", huma_last_error());
}

static size_t
dump(huma_arena *arena, unsigned format, char *buf, size_t cap_bytes)
{
    FILE *file = tmpfile();
    size_t len_bytes;

    cr_assert_not_null(file);
    cr_assert_eq(huma_arena_dump(arena, fileno(file), format), 0);
    rewind(file);
    len_bytes = fread(buf, 1, cap_bytes - 1, file);
    buf[len_bytes] = '\0';
    (void)fclose(file);
    return len_bytes;
}

Test(huma_inspect, dumps)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    huma_arena *arena;
    char text[8192];

    options.name = "dumped";
    options.limit_bytes = 64 * MIB;
    arena = huma_arena_create(&options);
    cr_assert_not_null(arena);
    cr_assert_not_null(huma_arena_alloc(arena, 100));
    cr_assert_gt(dump(arena, HUMA_DUMP_TEXT, text, sizeof(text)), 100);
    cr_expect_not_null(strstr(text, "huma: report of arena dumped\n"), "%s", text);
    cr_expect_not_null(strstr(text, "limit"), "%s", text);
    cr_assert_gt(dump(arena, HUMA_DUMP_JSON, text, sizeof(text)), 100);
    cr_expect_not_null(strstr(text, "\"name\": \"dumped\""), "%s", text);
    cr_expect_not_null(strstr(text, "\"limit_bytes\": 67108864"), "%s", text);
    cr_expect_eq(huma_arena_dump(arena, -1, HUMA_DUMP_TEXT), -1);
    cr_expect_eq(huma_arena_dump(arena, 1, 7), -1);
    cr_expect_eq(errno, EINVAL);
    cr_expect_eq(huma_arena_dump(arena, 999, HUMA_DUMP_TEXT), -1);
    cr_expect_eq(errno, EIO);
    huma_arena_destroy(arena);
}
