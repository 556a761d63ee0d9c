/* SPDX-License-Identifier: MIT */
/* test_huma_place.c - where the memory of an arena lies: the caller's, or fenced; on the real
 * kernel. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/arena.h"

/* --- memory of the caller's ------------------------------------------------------------------- */

static char *
take_pages(size_t len_bytes)
{
    char *mem = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    cr_assert_neq(mem, MAP_FAILED);
    memset(mem, 0x77, len_bytes);
    return mem;
}

/* Blocks of a size until there is no more memory. Returns their bytes. */
static size_t
fill(huma_arena *arena, const char *mem, size_t len_bytes, size_t size)
{
    size_t sum = 0;

    for (;;) {
        char *block = huma_arena_calloc(arena, 1, size);

        if (block == NULL)
            break;
        cr_assert(block >= mem && block + size <= mem + len_bytes);
        for (size_t i = 0; i < size; i++)
            cr_assert_eq(block[i], 0);
        memset(block, 0x11, size);
        sum += size;
    }
    cr_assert_eq(errno, ENOMEM);
    return sum;
}

/* What lies around is left alone, whatever its length and where it starts; all but a page at each
 * end serves. */
Test(huma_place, in_memory_of_the_callers)
{
    static const size_t sizes[] = { 64 * KIB, 200 * KIB, 2 * MIB, 7 * MIB };

    for (size_t i = 0; i < 4; i++) {
        for (size_t off = 0; off <= 1000; off += 1000) {
            size_t len_bytes = sizes[i] + 8 * KIB;
            char *around = take_pages(len_bytes);
            char *mem = around + off;
            struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
            struct huma_info info = HUMA_INFO_INIT;
            huma_arena *arena;
            size_t sum;

            options.memory = mem;
            options.memory_bytes = sizes[i];
            arena = create_with(&options);
            for (size_t size = 100; size < 30000; size *= 3) {
                sum = fill(arena, mem, sizes[i], size);
                cr_assert_gt(sum, sizes[i] / 2 - 4 * KIB, "%zu of %zu in blocks of %zu", sum,
                             sizes[i], size);
                cr_assert_eq(huma_arena_check(arena), 0, "%s", huma_last_error());
                cr_assert_eq(huma_arena_info(arena, &info), 0);
                cr_assert_leq(info.heap_bytes, sizes[i]);
                cr_assert_leq(info.reserved_bytes, sizes[i]);
                cr_assert_leq(info.resident_bytes, sizes[i]);
                cr_assert_eq(huma_arena_reset(arena), 0);
            }
            (void)huma_arena_trim(arena);
            huma_arena_destroy(arena);
            for (size_t k = 0; k < off; k++)
                cr_assert_eq(around[k], 0x77);
            for (size_t k = off + sizes[i]; k < len_bytes; k++)
                cr_assert_eq(around[k], 0x77);
            cr_assert_eq(munmap(around, len_bytes), 0);
        }
    }
}

/* A block as large as the memory allows, resized, and aligned ones. */
Test(huma_place, large_blocks_in_memory_of_the_callers)
{
    char *mem = take_pages(4 * MIB);
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    huma_arena *arena;
    char *block;

    options.memory = mem;
    options.memory_bytes = 4 * MIB;
    arena = create_with(&options);
    block = huma_arena_alloc(arena, 3 * MIB);
    cr_assert_not_null(block, "%s", huma_last_error());
    cr_assert_null(huma_arena_alloc(arena, 3 * MIB));
    cr_assert_null(huma_arena_aligned_alloc(arena, 8 * MIB, 1));
    memset(block, 1, 3 * MIB);
    block = huma_arena_realloc(arena, block, 4 * MIB);
    cr_assert_not_null(block, "%s", huma_last_error());
    cr_assert_eq(block[3 * MIB - 1], 1);
    huma_arena_free(arena, block);
    block = huma_arena_aligned_alloc(arena, MIB, MIB);
    cr_assert_not_null(block, "%s", huma_last_error());
    huma_arena_destroy(arena);
    cr_assert_eq(munmap(mem, 4 * MIB), 0);
}

/* Where no mapping can be had, alignments beyond a region are found in what is there. */
Test(huma_place, alignments_without_the_kernel)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    char *mem = take_pages(24 * MIB);

    for (int is_supplied = 0; is_supplied < 2; is_supplied++) {
        huma_arena *arena;
        struct huma_info info = HUMA_INFO_INIT;

        options.memory = is_supplied ? mem : NULL;
        options.memory_bytes = is_supplied ? 24 * MIB : 0;
        options.initial_bytes = is_supplied ? 0 : 24 * MIB;
        options.flags = is_supplied ? 0 : HUMA_ARENA_FIXED;
        options.backing = is_supplied ? NULL : "4k";
        arena = create_with(&options);
        for (int round = 0; round < 3; round++) {
            char *first = huma_arena_aligned_alloc(arena, 8 * MIB, 8 * MIB);
            char *second = huma_arena_aligned_alloc(arena, 4 * MIB, 100);

            cr_assert_not_null(first, "%s", huma_last_error());
            cr_assert_not_null(second, "%s", huma_last_error());
            cr_assert_eq((uintptr_t)first % (8 * MIB), 0);
            cr_assert_eq((uintptr_t)second % (4 * MIB), 0);
            memset(first, 1, 8 * MIB);
            memset(second, 1, 100);
            cr_assert_eq(huma_arena_check(arena), 0, "%s", huma_last_error());
            huma_arena_free(arena, first);
            huma_arena_free(arena, second);
        }
        cr_assert_null(huma_arena_aligned_alloc(arena, 64 * MIB, 24 * MIB));
        cr_assert_not_null(strstr(huma_last_error(), "at a multiple of 67108864"), "%s",
                           huma_last_error());
        cr_assert_eq(huma_arena_info(arena, &info), 0);
        cr_assert_eq(info.heap_bytes, 0);
        huma_arena_destroy(arena);
    }
    cr_assert_eq(munmap(mem, 24 * MIB), 0);
}

/* Blocks of a class that no span fits for any more have what is left. */
Test(huma_place, the_last_page)
{
    const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    char *mem = take_pages(3 * page_bytes);
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    huma_arena *arena;

    options.memory = mem;
    options.memory_bytes = 3 * page_bytes;
    arena = create_with(&options);
    for (size_t i = 0; i < 3; i++) {
        char *block = huma_arena_alloc(arena, page_bytes - 100);

        cr_assert_not_null(block, "%zu: %s", i, huma_last_error());
        memset(block, 1, page_bytes - 100);
    }
    cr_assert_null(huma_arena_alloc(arena, 1));
    cr_assert_eq(huma_arena_reset(arena), 0);
    cr_assert_not_null(huma_arena_alloc(arena, 2 * page_bytes + 100));
    cr_assert_eq(huma_arena_check(arena), 0, "%s", huma_last_error());
    huma_arena_destroy(arena);
    cr_assert_eq(munmap(mem, 3 * page_bytes), 0);
}

/* Used again after that, by an arena that never calls the kernel, and in a child. */
Test(huma_place, fixed_in_memory_of_the_callers)
{
    char *mem = take_pages(MIB);
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    huma_arena *arena;
    int status = 0;
    pid_t pid;

    options.memory = mem;
    options.memory_bytes = MIB;
    options.flags = HUMA_ARENA_FIXED;
    for (int round = 0; round < 3; round++) {
        arena = create_with(&options);
        cr_assert_gt(fill(arena, mem, MIB, 500), MIB / 2);
        pid = fork();
        if (pid == 0) {
            (void)huma_arena_reset(arena);
            _exit(huma_arena_alloc(arena, 500) != NULL && huma_arena_check(arena) == 0 ? 0 : 1);
        }
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        cr_assert_eq(status, 0);
        huma_arena_destroy(arena);
    }
    cr_assert_eq(munmap(mem, MIB), 0);
}

/* All of it is touched, wherever it begins and ends in regions. */
Test(huma_place, fixed_where_regions_begin_elsewhere)
{
    char *mem = take_pages(16 * MIB);

    for (size_t off = 0; off < 2 * MIB; off += 7 * MIB / 16) {
        struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
        huma_arena *arena;
        char *block;

        options.memory = mem + off;
        options.memory_bytes = 8 * MIB;
        options.flags = HUMA_ARENA_FIXED;
        arena = create_with(&options);
        block = huma_arena_alloc(arena, 4 * MIB);
        cr_assert_not_null(block, "%s", huma_last_error());
        memset(block, 'x', 4 * MIB);
        huma_arena_destroy(arena);
    }
    cr_assert_eq(munmap(mem, 16 * MIB), 0);
}

Test(huma_place, memory_that_is_wrong)
{
    static char mem[64 * KIB];
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    huma_arena *arena;

    options.memory_bytes = 1;
    expect_refusal(&options, EINVAL, "memory_bytes");
    options.memory = mem;
    options.memory_bytes = 0;
    expect_refusal(&options, EINVAL, "memory_bytes");
    options.memory_bytes = SIZE_MAX;
    expect_refusal(&options, EINVAL, "memory_bytes");
    options.memory_bytes = 100;
    expect_refusal(&options, EINVAL, "no whole page");
    options.memory_bytes = sizeof(mem);
    options.initial_bytes = sizeof(mem) + 1;
    expect_refusal(&options, EINVAL, "initial_bytes");
    options.initial_bytes = 0;
    options.memory = (void *)(UINTPTR_MAX - 64 * KIB);
    options.memory_bytes = 32 * KIB;
    expect_refusal(&options, EINVAL, "memory_bytes");
    options.memory = mem;
    options.memory_bytes = sizeof(mem);
    options.flags = HUMA_ARENA_LOCKED;
    expect_refusal(&options, EINVAL, "memory");
    options.flags = 0;
    options.backing = "thp";
    expect_refusal(&options, EINVAL, "memory");
    options.backing = NULL;
    options.nodes = "0";
    expect_refusal(&options, EINVAL, "memory");
    options.nodes = NULL;
    options.page_bytes = 4 * KIB;
    expect_refusal(&options, EINVAL, "memory");
    options.page_bytes = 0;
    arena = create_with(&options);
    expect_refusal(&options, EINVAL, "another arena's");
    options.memory = mem + 32 * KIB;
    options.memory_bytes = 16 * KIB;
    expect_refusal(&options, EINVAL, "another arena's");
    huma_arena_destroy(arena);
    huma_arena_destroy(create_with(&options));
}

/* Memory of two arenas in one region; and memory that is none of the caller's. */
Test(huma_place, neighbours_in_a_region)
{
    char *mem = take_pages(MIB);
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    huma_arena *arenas[3];
    char *block;

    for (size_t i = 0; i < 3; i++) {
        options.memory = mem + i * 256 * KIB;
        options.memory_bytes = 256 * KIB;
        options.flags = i == 2 ? HUMA_ARENA_FIXED : 0;
        arenas[i] = create_with(&options);
        cr_assert_not_null(huma_arena_alloc(arenas[i], 1000));
    }
    block = huma_arena_alloc(arenas[0], 50 * KIB);
    huma_arena_destroy(arenas[1]);
    cr_assert_geq(huma_usable_size(block), 50 * KIB);
    cr_assert_eq(huma_arena_check(arenas[0]), 0, "%s", huma_last_error());
    cr_assert_eq(huma_arena_check(arenas[2]), 0, "%s", huma_last_error());
    options.memory = mem;
    expect_refusal(&options, EINVAL, "another arena");
    huma_arena_free(arenas[0], block);
    huma_arena_destroy(arenas[0]);
    huma_arena_destroy(arenas[2]);
    options.memory_bytes = MIB;
    huma_arena_destroy(create_with(&options));
    cr_assert_eq(munmap(mem, MIB), 0);
}

/* All that a fixed arena hands out was touched before. */
Test(huma_place, fixed_has_no_page_faults)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    struct rusage before;
    struct rusage after;
    huma_arena *arena;
    char *block;

    options.backing = "4k";
    options.initial_bytes = 64 * KIB;
    options.flags = HUMA_ARENA_FIXED | HUMA_ARENA_SINGLE_THREADED;
    arena = create_with(&options);
    (void)getrusage(RUSAGE_SELF, &before);
    while ((block = huma_arena_alloc(arena, 3000)) != NULL)
        memset(block, 1, 3000);
    (void)getrusage(RUSAGE_SELF, &after);
    cr_expect_lt(after.ru_minflt - before.ru_minflt, 10);
    huma_arena_destroy(arena);
}

/* --- guards ----------------------------------------------------------------------------------- */

/* Whether a child that writes there gets a signal. */
static bool
is_fatal(volatile char *addr)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        (void)signal(SIGSEGV, SIG_DFL);
        *addr = 1;
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

/* Extents and mappings have guards at both ends, whatever the kernel put beside them. */
Test(huma_place, guards)
{
    static const size_t aligns[] = { 16, 16 * MIB };

    for (size_t i = 0; i < 2; i++) {
        struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
        struct huma_info info = HUMA_INFO_INIT;
        huma_arena *arena;
        char *block;

        options.backing = "thp,4k";
        options.flags = HUMA_ARENA_GUARDED;
        arena = create_with(&options);
        block = huma_arena_aligned_alloc(arena, aligns[i], 320 * MIB);
        cr_assert_not_null(block, "%s", huma_last_error());
        cr_assert_eq((uintptr_t)block % aligns[i], 0);
        block[0] = block[320 * MIB - 1] = 1;
        cr_assert(is_fatal(block - 1));
        cr_assert(is_fatal(block - MIB));
        block = huma_arena_realloc(arena, block, 330 * MIB);
        cr_assert_not_null(block, "%s", huma_last_error());
        cr_assert_eq(block[0], 1);
        cr_assert_eq(block[320 * MIB - 1], 1);
        cr_assert_eq(huma_arena_info(arena, &info), 0);
        huma_arena_free(arena, block);
        cr_assert_eq(huma_arena_check(arena), 0, "%s", huma_last_error());
        (void)huma_arena_trim(arena);
        huma_arena_destroy(arena);
    }
}

/* A limit counts blocks, not guards. */
Test(huma_place, guards_and_a_limit)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    huma_arena *arena;
    char *block;

    options.backing = "4k";
    options.limit_bytes = 64 * MIB;
    options.flags = HUMA_ARENA_GUARDED;
    arena = create_with(&options);
    block = huma_arena_alloc(arena, 64 * MIB);
    cr_assert_not_null(block, "%s", huma_last_error());
    cr_assert_null(huma_arena_alloc(arena, 1));
    huma_arena_free(arena, block);
    cr_assert_not_null(huma_arena_alloc(arena, 1));
    huma_arena_destroy(arena);
}

/* Not that of a backing which would not have helped either. */
Test(huma_place, what_a_fixed_arena_lacks)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    huma_arena *arena;

    options.initial_bytes = MIB;
    options.flags = HUMA_ARENA_FIXED;
    arena = create_with(&options);
    cr_assert_null(huma_arena_alloc(arena, 3 * MIB));
    cr_assert_not_null(strstr(huma_last_error(), "there will be no more"), "%s", huma_last_error());
    huma_arena_destroy(arena);
}
