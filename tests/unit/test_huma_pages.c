/* SPDX-License-Identifier: MIT */
/* test_huma_pages.c - on which pages and nodes the memory of an arena lies; on the real kernel. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/arena.h"

Test(huma_pages, page_sizes)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    struct huma_info info = HUMA_INFO_INIT;
    huma_arena *arena;

    for (size_t bytes = (size_t)sysconf(_SC_PAGESIZE); bytes <= 16384 * MIB; bytes *= 2) {
        options.page_bytes = bytes;
        arena = create_with(&options);
        cr_assert_not_null(huma_arena_calloc(arena, 3, MIB), "%s", huma_last_error());
        huma_arena_destroy(arena);
    }
    options.page_bytes = 3 * MIB;
    expect_refusal(&options, EINVAL, "page_bytes");
    options.page_bytes = 1;
    expect_refusal(&options, EINVAL, "page_bytes");
    options.page_bytes = 32768 * MIB;
    expect_refusal(&options, EINVAL, "page_bytes");
    /* Base pages also where there is a pool, and beyond the size from which huge pages serve. */
    options.page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    options.flags = HUMA_ARENA_HUGE_FIRST;
    arena = create_with(&options);
    cr_assert_not_null(memset(huma_arena_alloc(arena, 32 * MIB), 1, 32 * MIB));
    cr_assert_eq(huma_arena_info(arena, &info), 0);
    cr_assert_eq(info.thp_bytes + info.hugetlb_bytes, 0);
    huma_arena_destroy(arena);
}

/* What is printed from now on goes to a file. */
static void
expect_silence(void)
{
    FILE *file = tmpfile();

    cr_assert_not_null(file);
    cr_assert_eq(dup2(fileno(file), STDERR_FILENO), STDERR_FILENO);
}

/* On this machine, whichever nodes it has, the first of them. */
Test(huma_pages, nodes)
{
    static const char *const good[]
        = { "0", "0-0", "all", "local", "preferred=0", "interleave=0", "interleave=all" };
    static const char *const bad[] = { "",
                                       "x",
                                       "preferred=",
                                       "preferred=all,",
                                       "interleave=",
                                       "interleaved=0",
                                       "0,",
                                       ",0",
                                       "0-",
                                       "-0",
                                       "0 ",
                                       "0-1000",
                                       "99999999999",
                                       "1000",
                                       "preferred=1000",
                                       "0,1000" };
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    uint64_t bytes[2] = { 7, 7 };
    huma_arena *arena = create_with(NULL);
    int number = huma_arena_node_bytes(arena, NULL, 0);

    huma_arena_destroy(arena);
    if (number < 0)
        cr_skip("the kernel cannot be asked for nodes: %s", huma_last_error());
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        options.nodes = good[i];
        arena = create_with(&options);
        cr_assert_not_null(memset(huma_arena_alloc(arena, 3 * MIB), 1, 3 * MIB));
        cr_assert_eq(huma_arena_node_bytes(arena, bytes, 2), number);
        cr_assert(number > 1 || bytes[1] == 0);
        cr_assert(bytes[0] + bytes[1] >= 3 * MIB || number > 2);
        huma_arena_destroy(arena);
    }
    expect_silence();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        options.nodes = bad[i];
        expect_refusal(&options, EINVAL, "nodes");
    }
    cr_assert_eq(lseek(STDERR_FILENO, 0, SEEK_END), 0, "something was printed");
    cr_assert_eq(huma_arena_node_bytes(NULL, bytes, 2), -1);
    cr_assert_eq(errno, EINVAL);
}

/* What the pool lacks is told in numbers, with a command. */
Test(huma_pages, what_a_pool_lacks)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    huma_arena *arena;

    if (access("/sys/kernel/mm/hugepages/hugepages-2048kB", F_OK) != 0)
        cr_skip("the kernel has no pool of 2 MiB pages");
    options.backing = "hugetlb:2M";
    arena = create_with(&options);
    cr_assert_null(huma_arena_alloc(arena, (size_t)1 << 40));
    cr_assert_eq(errno, ENOMEM);
    cr_assert(strstr(huma_last_error(), " pages of 2048 KiB are free, ") != NULL
                  && strstr(huma_last_error(), "cure: echo ") != NULL
                  && strstr(huma_last_error(), "hugepages-2048kB/nr_hugepages") != NULL,
              "%s", huma_last_error());
    huma_arena_destroy(arena);
}
