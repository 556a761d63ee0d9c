/* SPDX-License-Identifier: MIT */
/* arena_pool.c - one arena of the default chain, filled, emptied and destroyed; told in steps.
 *
 * Usage       arena_pool STEP...
 *   create CHAIN    an arena; "default" for the default chain. What refuses is told: refused ERRNO
 *   ahead MIB N     the same of the default chain, with MIB of initial memory, touched by N threads
 *   one MIB         a block, written to
 *   fill MIB        blocks of 100 bytes to 200 KiB, written to
 *   reset, trim, destroy
 *   check           huma_arena_check, and every block has what was written to it
 *   look NAME       print NAME_resident_kib, NAME_hugetlb_kib, NAME_thp_kib, NAME_permille (of
 *                   resident memory on huge pages), and NAME_free_pages (of the pool)
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "huma.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

enum { BLOCKS = 1 << 20 };

static struct {
    char *start;
    size_t size_bytes;
} blocks[BLOCKS];
static size_t block_count;
static huma_arena *arena;

static void __attribute__((noreturn)) fail(const char *what)
{
    (void)fprintf(stderr, "arena_pool: %s; %s\n", what, huma_last_error());
    _exit(1);
}

static size_t
number(char **args)
{
    if (*args == NULL)
        fail("a number is missing");
    return strtoul(*args, NULL, 10);
}

static void
make(const char *chain, size_t initial_bytes, unsigned thread_count)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;

    if (chain != NULL && strcmp(chain, "default") != 0)
        options.backing = chain;
    options.name = "live";
    options.initial_bytes = initial_bytes;
    options.prefault_threads = thread_count;
    options.flags = HUMA_ARENA_HUGE_FIRST;
    arena = huma_arena_create(&options);
    if (arena == NULL)
        printf("refused %d\nsaid %s\n", errno, huma_last_error());
}

/* Returns whether there was memory. */
static bool
take(size_t size_bytes)
{
    char *start = huma_arena_alloc(arena, size_bytes);

    if (start == NULL) {
        printf("refused %d\nsaid %s\n", errno, huma_last_error());
        return false;
    }
    if (block_count == BLOCKS)
        fail("more blocks than there is room for");
    memset(start, (int)(block_count % 251), size_bytes);
    blocks[block_count].start = start;
    blocks[block_count++].size_bytes = size_bytes;
    return true;
}

/* Small and large blocks in turn. */
static void
fill(size_t len_bytes)
{
    uint64_t state = 88172645463325252u;

    for (size_t sum_bytes = 0; sum_bytes < len_bytes;) {
        size_t size_bytes = 100;

        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        size_bytes += (size_t)(state >> 20) % (state % 8 == 0 ? 200 * KIB : 4 * KIB);
        if (size_bytes > len_bytes - sum_bytes)
            size_bytes = len_bytes - sum_bytes;
        if (!take(size_bytes))
            return;
        sum_bytes += size_bytes;
    }
}

static void
check(void)
{
    if (huma_arena_check(arena) != 0)
        fail("huma_arena_check");
    for (size_t i = 0; i < block_count; i++)
        for (size_t off = 0; off < blocks[i].size_bytes; off += 61)
            if (blocks[i].start[off] != (char)(i % 251))
                fail("contents changed");
}

static unsigned long
free_pages(void)
{
    FILE *file = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "r");
    unsigned long count = 0;

    if (file == NULL || fscanf(file, "%lu", &count) != 1)
        fail("the pool cannot be read");
    (void)fclose(file);
    return count;
}

static void
look(const char *name)
{
    struct huma_info info = HUMA_INFO_INIT;
    uint64_t permille = 1000;

    if (arena != NULL && huma_arena_info(arena, &info) != 0)
        fail("huma_arena_info");
    if (info.resident_bytes != 0)
        permille = (info.hugetlb_bytes + info.thp_bytes) * 1000 / info.resident_bytes;
    printf("%s_resident_kib %llu\n%s_hugetlb_kib %llu\n%s_thp_kib %llu\n", name,
           (unsigned long long)info.resident_bytes / 1024, name,
           (unsigned long long)info.hugetlb_bytes / 1024, name,
           (unsigned long long)info.thp_bytes / 1024);
    printf("%s_permille %llu\n%s_free_pages %lu\n", name, (unsigned long long)permille, name,
           free_pages());
}

static char **
step(char **args)
{
    const char *what = *args++;

    if (strcmp(what, "create") == 0) {
        make(*args++, 0, 0);
    } else if (strcmp(what, "ahead") == 0) {
        make(NULL, number(args) * MIB, (unsigned)number(args + 1));
        args += 2;
    } else if (strcmp(what, "one") == 0) {
        (void)take(number(args++) * MIB);
    } else if (strcmp(what, "fill") == 0) {
        fill(number(args++) * MIB);
    } else if (strcmp(what, "look") == 0) {
        look(*args++);
    } else if (strcmp(what, "check") == 0) {
        check();
    } else if (strcmp(what, "reset") == 0) {
        if (huma_arena_reset(arena) != 0)
            fail("huma_arena_reset");
        block_count = 0;
    } else if (strcmp(what, "trim") == 0) {
        (void)huma_arena_trim(arena);
    } else if (strcmp(what, "destroy") == 0) {
        huma_arena_destroy(arena);
        arena = NULL;
        block_count = 0;
    } else {
        fail("no such step");
    }
    return args;
}

int
main(int argc, char **argv)
{
    char **args = argv + 1;

    if (argc < 2)
        fail("usage: arena_pool STEP...");
    while (*args != NULL)
        args = step(args);
    return 0;
}
