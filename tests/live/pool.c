/* SPDX-License-Identifier: MIT */
/* pool.c - a program with a heap on hugetlb pages, told step by step what to do.
 *
 * Problem     Scripts that change the pool of hugetlb pages must say when a program takes memory,
 *             when it gives it back, and be sure that nothing it held was lost.
 * Idea        Each argument is a step. Contents are checked whenever blocks are freed, and by
 *             `check`. The blocks are chained through their first bytes, so that nothing else is
 *             on the heap. Exit status 0: all contents were right.
 *
 * Usage       pool STEP...
 *             fill MIB    blocks of mixed sizes until they come to so much
 *             one MIB     one block
 *             grow MIB    make the latest block so large
 *             want MIB    one block, which must be refused with ENOMEM
 *             check       compare all contents
 *             free        free all
 *             half        free every second block
 *             trim        malloc_trim(0)
 *             turns COUNT fill 40 MiB, check and free them, so many times
 *             look NAME   print NAME_hugetlb_kib, NAME_coverage_pct, and NAME_unpromised, mappings
 *                         of hugetlb pages that the kernel has promised to nobody
 *             info FILE   malloc_info
 *             wait FILE   until there is such a file
 *             die         by SIGKILL
 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

struct block {
    struct block *next;
    size_t size_bytes;
    unsigned char tag;
};

static struct block *blocks;
static unsigned char next_tag = 1;

static void __attribute__((noreturn)) fail(const char *what)
{
    (void)fflush(stdout);
    (void)fprintf(stderr, "pool: %s\n", what);
    exit(1);
}

static size_t
rest_bytes(const struct block *block)
{
    return block->size_bytes - sizeof(*block);
}

static void
add(size_t size_bytes)
{
    struct block *block = malloc(size_bytes);

    if (block == NULL)
        fail("no memory");
    *block = (struct block){ blocks, size_bytes, next_tag };
    memset(block + 1, next_tag, rest_bytes(block));
    next_tag = (unsigned char)(next_tag % 250 + 1);
    blocks = block;
}

/* All bytes are the same: the first is right, and each equals the one before. */
static void
check(const struct block *block)
{
    const unsigned char *rest = (const unsigned char *)(block + 1);

    if (rest_bytes(block) > 0
        && (rest[0] != block->tag || memcmp(rest, rest + 1, rest_bytes(block) - 1) != 0))
        fail("contents changed");
}

static void
fill(size_t mib)
{
    static const size_t sizes[] = { 64, 700, 5000, 20000, 100000, 1 * MIB, 5 * MIB };
    size_t left_bytes = mib * MIB;

    for (unsigned i = 0; left_bytes > 0; i++) {
        size_t size_bytes = sizes[i % 7] < left_bytes ? sizes[i % 7] : left_bytes;

        add(size_bytes > sizeof(struct block) ? size_bytes : sizeof(struct block));
        left_bytes -= size_bytes;
    }
}

static void
grow(size_t mib)
{
    size_t old_bytes = blocks->size_bytes;
    struct block *block = realloc(blocks, mib * MIB);

    if (block == NULL)
        fail("cannot grow");
    blocks = block;
    check(block);
    memset((char *)block + old_bytes, block->tag, mib * MIB - old_bytes);
    block->size_bytes = mib * MIB;
}

static void
want(size_t mib)
{
    void *volatile mem;

    errno = 0;
    mem = malloc(mib * MIB);
    if (mem != NULL || errno != ENOMEM)
        fail("memory, where none is to be had");
}

static void
free_some(unsigned stride)
{
    struct block **link = &blocks;

    for (unsigned i = 0; *link != NULL; i++) {
        struct block *block = *link;

        check(block);
        if (i % stride != 0) {
            link = &block->next;
            continue;
        }
        *link = block->next;
        free(block);
    }
}

/* Sum of the rows that begin so, in KiB. */
static size_t
sum_rows(const char *path, const char *row)
{
    FILE *file = fopen(path, "re");
    char line[512];
    size_t sum_kib = 0;

    if (file == NULL)
        fail("no /proc");
    while (fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, row, strlen(row)) == 0)
            sum_kib += strtoul(line + strlen(row), NULL, 10);
    (void)fclose(file);
    return sum_kib;
}

/* Mappings with both flags, a blank before each, in smaps. */
static size_t
count_flagged(const char *one, const char *other)
{
    FILE *file = fopen("/proc/self/smaps", "re");
    char line[512];
    size_t count = 0;

    if (file == NULL)
        fail("no /proc");
    while (fgets(line, sizeof(line), file) != NULL)
        count += strncmp(line, "VmFlags:", 8) == 0 && strstr(line, one) && strstr(line, other);
    (void)fclose(file);
    return count;
}

static void
look(const char *name)
{
    size_t hugetlb_kib = sum_rows("/proc/self/status", "HugetlbPages:");
    size_t thp_kib = sum_rows("/proc/self/smaps", "AnonHugePages:");
    size_t rss_kib = sum_rows("/proc/self/status", "VmRSS:");

    printf("%s_hugetlb_kib %zu\n", name, hugetlb_kib);
    printf("%s_coverage_pct %zu\n", name, 100 * (hugetlb_kib + thp_kib) / (hugetlb_kib + rss_kib));
    printf("%s_unpromised %zu\n", name, count_flagged(" ht", " nr"));
    (void)fflush(stdout);
}

static void
info(const char *path)
{
    FILE *file = fopen(path, "we");

    if (file == NULL || malloc_info(0, file) != 0 || fclose(file) != 0)
        fail("no malloc_info");
}

static void
wait_for(const char *path)
{
    for (int i = 0; access(path, F_OK) != 0; i++) {
        if (i == 6000)
            fail("waited for a minute");
        (void)usleep(10000);
    }
}

static void
check_all(void)
{
    for (const struct block *block = blocks; block != NULL; block = block->next)
        check(block);
}

static void
turns(size_t count)
{
    while (count-- > 0) {
        fill(40);
        free_some(1);
    }
}

/* Steps without an argument. Returns whether it was one. */
static int
plain_step(const char *step)
{
    if (!strcmp(step, "check"))
        check_all();
    else if (!strcmp(step, "free"))
        free_some(1);
    else if (!strcmp(step, "half"))
        free_some(2);
    else if (!strcmp(step, "trim"))
        (void)malloc_trim(0);
    else if (!strcmp(step, "die"))
        (void)raise(SIGKILL);
    else
        return 0;
    return 1;
}

int
main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *step = argv[i];

        if (plain_step(step))
            continue;
        if (++i == argc)
            fail("a step lacks its argument");
        if (!strcmp(step, "fill"))
            fill(strtoul(argv[i], NULL, 10));
        else if (!strcmp(step, "one"))
            add(strtoul(argv[i], NULL, 10) * MIB);
        else if (!strcmp(step, "grow"))
            grow(strtoul(argv[i], NULL, 10));
        else if (!strcmp(step, "want"))
            want(strtoul(argv[i], NULL, 10));
        else if (!strcmp(step, "turns"))
            turns(strtoul(argv[i], NULL, 10));
        else if (!strcmp(step, "info"))
            info(argv[i]);
        else if (!strcmp(step, "look"))
            look(argv[i]);
        else if (!strcmp(step, "wait"))
            wait_for(argv[i]);
        else
            fail("no such step");
    }
    check_all();
    return 0;
}
