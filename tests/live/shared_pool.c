/* SPDX-License-Identifier: MIT */
/* shared_pool.c - a shared arena of a chain, filled by two processes; told in figures.
 *
 * Usage       shared_pool CHAIN MIB [kill]     kill: both processes end by SIGKILL
 * Prints      page_kib, resident_kib, huge_kib, and free_pages of the pool while it is full; or
 *             refused ERRNO, and what was said
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "huma.h"

#define MIB ((size_t)1 << 20)

static huma_shared *shared;

static void __attribute__((noreturn)) fail(const char *what)
{
    (void)fprintf(stderr, "shared_pool: %s; %s\n", what, huma_last_error());
    _exit(1);
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

/* A block of half the arena, written to, in a cell. */
static void
fill_half(const char *name, size_t half_bytes)
{
    uint64_t block = huma_shared_alloc(shared, half_bytes);

    if (block == 0)
        fail("alloc");
    memset(huma_shared_at(shared, block), 7, half_bytes);
    if (huma_shared_publish(shared, huma_shared_root(shared, name), block) != 0)
        fail("publish");
}

/* What another process has written. */
static void
check_half(const char *name, size_t half_bytes)
{
    uint64_t block = huma_shared_take(shared, huma_shared_root(shared, name));
    const char *start = block != 0 ? huma_shared_at(shared, block) : NULL;

    for (size_t i = 0; i < half_bytes; i += 512)
        if (start == NULL || start[i] != 7)
            fail("what the child has written");
}

static void
look(void)
{
    struct huma_shared_state found = HUMA_SHARED_STATE_INIT;

    if (huma_shared_verify(shared) != 0 || huma_shared_info(shared, &found) != 0)
        fail("info");
    printf("page_kib %llu\nresident_kib %llu\nhuge_kib %llu\nfree_pages %lu\n",
           (unsigned long long)found.page_bytes / 1024,
           (unsigned long long)found.resident_bytes / 1024,
           (unsigned long long)found.huge_bytes / 1024, free_pages());
    (void)fflush(stdout);
}

int
main(int argc, char **argv)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    bool is_killed = argc > 3;
    int status;
    pid_t pid;

    if (argc < 3)
        fail("usage: shared_pool CHAIN MIB [kill]");
    options.backing = argv[1];
    options.limit_bytes = strtoul(argv[2], NULL, 10) * MIB;
    shared = huma_shared_create(&options);
    if (shared == NULL) {
        printf("refused %d\nsaid %s\n", errno, huma_last_error());
        return 0;
    }
    fill_half("ours", options.limit_bytes / 2);
    pid = fork();
    if (pid == 0) {
        fill_half("child's", options.limit_bytes / 2);
        _exit(0);
    }
    if (waitpid(pid, &status, 0) != pid || status != 0)
        fail("the child");
    check_half("child's", options.limit_bytes / 2);
    look();
    if (is_killed)
        (void)raise(SIGKILL);
    huma_shared_detach(shared);
    return 0;
}
