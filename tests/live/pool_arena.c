/* SPDX-License-Identifier: MIT */
/* pool_arena.c - arenas on hugetlb pages, all of which are in use, when the process forks.
 *
 * Idea        Two arenas fill the pool. Parent and child write to every page, in both orders, and
 *             check that each sees its own; then the arenas are destroyed, and the pages are free.
 *             With the preload library on the same pool, two copies of huma fork together.
 *
 * Usage       pool_arena MIB
 * Prints      hugetlb_kib, the pages of both arenas as huma_arena_info has them, before the forks.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "huma.h"

#define MIB ((size_t)1 << 20)

static char *words[3];
static size_t len_bytes;

static void __attribute__((noreturn)) fail(const char *what)
{
    (void)fprintf(stderr, "pool_arena: process %d: %s; %s\n", (int)getpid(), what,
                  huma_last_error());
    _exit(1);
}

static void
write_all(char value)
{
    for (int i = 0; i < 3; i++)
        for (size_t off = 0; off < len_bytes; off += 64)
            words[i][off] = value;
}

static void
check_all(char value)
{
    for (int i = 0; i < 3; i++)
        for (size_t off = 0; off < len_bytes; off += 64)
            if (words[i][off] != value)
                fail("contents changed");
}

static void
fork_once(bool is_child_first)
{
    int gate[2];
    int status;
    pid_t pid;

    write_all('p');
    if (pipe(gate) != 0 || (pid = fork()) < 0)
        fail("fork");
    if (pid == 0) {
        char byte;

        (void)close(gate[1]);
        if (!is_child_first && read(gate[0], &byte, 1) != 0)
            fail("the gate");
        check_all('p');
        write_all('c');
        check_all('c');
        _exit(0);
    }
    if (is_child_first && waitpid(pid, &status, 0) != pid)
        fail("waitpid");
    write_all('q');
    (void)close(gate[1]);
    (void)close(gate[0]);
    if (!is_child_first && waitpid(pid, &status, 0) != pid)
        fail("waitpid");
    if (WIFSIGNALED(status)) {
        (void)fprintf(stderr, "pool_arena: a child was ended by signal %d\n", WTERMSIG(status));
        _exit(1);
    }
    if (status != 0)
        fail("a child failed");
    check_all('q');
}

int
main(int argc, char **argv)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    struct huma_info infos[2] = { HUMA_INFO_INIT, HUMA_INFO_INIT };
    huma_arena *arenas[2];

    if (argc != 2)
        fail("usage: pool_arena MIB");
    len_bytes = strtoul(argv[1], NULL, 10) * MIB / 3;
    options.name = "shared";
    arenas[0] = huma_arena_create(&options);
    options.name = "own";
    options.flags = HUMA_ARENA_SINGLE_THREADED;
    arenas[1] = huma_arena_create(&options);
    words[0] = huma_arena_alloc(arenas[0], len_bytes);
    words[1] = huma_arena_alloc(arenas[1], len_bytes);
    words[2] = malloc(len_bytes);
    if (words[0] == NULL || words[1] == NULL || words[2] == NULL)
        fail("no memory");
    write_all(0);
    if (huma_arena_info(arenas[0], &infos[0]) != 0 || huma_arena_info(arenas[1], &infos[1]) != 0)
        fail("huma_arena_info");
    printf("hugetlb_kib %llu\n",
           (unsigned long long)(infos[0].hugetlb_bytes + infos[1].hugetlb_bytes) / 1024);
    (void)fflush(stdout);
    for (int i = 0; i < 6; i++)
        fork_once(i % 2 == 0);
    if (huma_arena_check(arenas[0]) != 0 || huma_arena_check(arenas[1]) != 0)
        fail("huma_arena_check");
    huma_arena_destroy(arenas[0]);
    huma_arena_destroy(arenas[1]);
    free(words[2]);
    return 0;
}
