/* SPDX-License-Identifier: MIT */
/* test_huma_ahead.c - memory obtained ahead of its use: touched, locked, or all there will be. */
#include <errno.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/arena.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* Linux 5.18 */
#endif

static struct huma_info
info_of(huma_arena *arena)
{
    struct huma_info info = HUMA_INFO_INIT;

    cr_assert_eq(huma_arena_info(arena, &info), 0);
    return info;
}

Test(huma_ahead, what_is_there_from_the_beginning_is_resident)
{
    for (unsigned threads = 0; threads <= 3; threads++) {
        struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
        huma_arena *arena;

        options.backing = "thp,4k";
        options.initial_bytes = 37 * MIB;
        options.prefault_threads = threads;
        arena = create_with(&options);
        cr_expect_geq(info_of(arena).resident_bytes, 37 * MIB, "%u threads", threads);
        cr_expect_eq(info_of(arena).heap_bytes, 0);
        /* It stays when blocks come and go. */
        for (int round = 0; round < 3; round++) {
            char *block = huma_arena_alloc(arena, 30 * MIB);

            cr_assert_not_null(block);
            huma_arena_free(arena, block);
        }
        cr_expect_geq(info_of(arena).resident_bytes, 30 * MIB);
        (void)huma_arena_trim(arena);
        cr_expect_lt(info_of(arena).resident_bytes, 10 * MIB);
        huma_arena_destroy(arena);
    }
}

static unsigned long
locked_kib(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    unsigned long kib = 0;

    cr_assert_not_null(file);
    while (fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, "VmLck:", 6) == 0)
            kib = strtoul(line + 6, NULL, 10);
    (void)fclose(file);
    return kib;
}

/* What was freed stays, until a trim. */
static void
stay_locked(const struct huma_arena_options *options)
{
    static void *blocks[64];
    huma_arena *arena = create_with(options);
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    cr_assert_neq(page, MAP_FAILED);
    for (size_t i = 0; i < 64; i++) {
        blocks[i] = huma_arena_alloc(arena, 500000);
        cr_assert_not_null(blocks[i], "%s", huma_last_error());
        memset(blocks[i], 1, 500000);
    }
    for (size_t i = 0; i < 64; i++)
        huma_arena_free(arena, blocks[i]);
    cr_expect(info_of(arena).resident_bytes == 0 || info_of(arena).resident_bytes >= 32000000);
    /* Linux 5.18 */
    if (madvise(page, 4096, MADV_DONTNEED_LOCKED) == 0) {
        cr_expect_geq(huma_arena_trim(arena), 32000000);
        cr_expect_lt(info_of(arena).resident_bytes, MIB);
        cr_assert_not_null(memset(huma_arena_alloc(arena, 3 * MIB), 1, 3 * MIB));
        cr_expect_geq(locked_kib(), 3 * 1024);
    }
    huma_arena_destroy(arena);
    cr_assert_eq(munmap(page, 4096), 0);
}

Test(huma_ahead, locked_memory)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    const struct rlimit none = { 0, 0 };
    huma_arena *arena;
    pid_t pid;
    int status;

    options.backing = "4k";
    options.flags = HUMA_ARENA_LOCKED;
    arena = create_with(&options);
    cr_assert_not_null(huma_arena_alloc(arena, 3 * MIB));
    cr_expect_geq(locked_kib(), 3 * 1024);
    huma_arena_destroy(arena);
    cr_expect_eq(locked_kib(), 0);
    stay_locked(&options);
    cr_expect_eq(locked_kib(), 0);
    /* A user without the right to. */
    pid = fork();
    if (pid == 0) {
        if (setrlimit(RLIMIT_MEMLOCK, &none) != 0 || (geteuid() == 0 && setuid(65534) != 0))
            _exit(9);
        arena = huma_arena_create(&options);
        if (arena == NULL || huma_arena_alloc(arena, 100) != NULL || errno != ENOMEM)
            _exit(1);
        _exit(strstr(huma_last_error(), "ulimit -l") != NULL ? 0 : 2);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0, "%d", status);
}

/* --- without the kernel ----------------------------------------------------------------------- */

/* Any call but read, write, exit and return from a signal ends the process. */
static void
live_without_kernel(huma_arena *arena)
{
    static char *blocks[40000];
    size_t count = 0;
    unsigned state = 1;

    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0)
        _exit(9);
    for (int round = 0; round < 20; round++) {
        size_t refused = 0;

        while (count < sizeof(blocks) / sizeof(blocks[0]) && refused < 100) {
            size_t size = (state = state * 1103515245u + 12345u) >> 8;
            char *block;

            size = size % 20 == 0 ? size % 300000 : size % 2000;
            block = huma_arena_alloc(arena, size);
            if (block == NULL) {
                refused++;
                continue;
            }
            memset(block, round, size);
            blocks[count++] = block;
        }
        if (count > 0 && round % 3 == 0)
            blocks[0] = huma_arena_realloc(arena, blocks[0], 100 + 100000u * (unsigned)round);
        if (blocks[0] == NULL)
            blocks[0] = huma_arena_alloc(arena, 10);
        for (size_t i = 0; i < count; i += 1 + (unsigned)round % 3) {
            huma_arena_free(arena, blocks[i]);
            blocks[i] = blocks[--count];
        }
        if (round == 10) {
            (void)huma_arena_reset(arena);
            count = 0;
        }
        (void)huma_arena_trim(arena);
    }
    (void)syscall(SYS_exit, 0);
}

Test(huma_ahead, no_call_of_the_kernel)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    huma_arena *arena;
    pid_t pid;
    int status;

    options.backing = "thp,4k";
    options.initial_bytes = 24 * MIB;
    options.flags = HUMA_ARENA_SINGLE_THREADED | HUMA_ARENA_FIXED;
    arena = create_with(&options);
    pid = fork();
    if (pid == 0)
        live_without_kernel(arena);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect(WIFEXITED(status), "ended by signal %d", WTERMSIG(status));
    cr_expect_eq(WEXITSTATUS(status), 0);
}

Test(huma_ahead, a_fixed_arena_does_not_grow)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    huma_arena *arena;
    size_t sum = 0;
    uint64_t before;

    options.name = "fixed";
    options.initial_bytes = 16 * MIB;
    options.flags = HUMA_ARENA_FIXED;
    arena = create_with(&options);
    before = info_of(arena).reserved_bytes;
    while (huma_arena_alloc(arena, 5000) != NULL)
        sum += 5000;
    cr_expect_eq(errno, ENOMEM);
    cr_expect_gt(sum, 14 * MIB);
    cr_expect_leq(sum, 34 * MIB);
    cr_expect_eq(info_of(arena).reserved_bytes, before);
    cr_expect_eq(huma_arena_check(arena), 0, "%s", huma_last_error());
    cr_assert_eq(huma_arena_reset(arena), 0);
    cr_expect_not_null(huma_arena_alloc(arena, 12 * MIB));
    huma_arena_destroy(arena);
}

Test(huma_ahead, a_fixed_arena_in_a_child)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    huma_arena *arena;
    pid_t pid;
    int status;

    options.initial_bytes = 8 * MIB;
    options.flags = HUMA_ARENA_FIXED | HUMA_ARENA_SINGLE_THREADED;
    arena = create_with(&options);
    cr_assert_not_null(huma_arena_alloc(arena, MIB));
    pid = fork();
    if (pid == 0) {
        if (huma_arena_alloc(arena, MIB) == NULL || huma_arena_alloc(arena, 99 * MIB) != NULL)
            _exit(1);
        huma_arena_destroy(arena);
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0);
    cr_expect_null(huma_arena_alloc(arena, 99 * MIB));
    huma_arena_destroy(arena);
}

Test(huma_ahead, options_that_do_not_fit_together)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;

    options.flags = HUMA_ARENA_FIXED;
    cr_expect_null(huma_arena_create(&options));
    cr_expect_eq(errno, EINVAL);
    cr_expect_not_null(strstr(huma_last_error(), "initial_bytes"));
    options.flags = 0;
    options.initial_bytes = 2 * MIB;
    options.limit_bytes = MIB;
    cr_expect_null(huma_arena_create(&options));
    cr_expect_eq(errno, EINVAL);
    options.limit_bytes = 0;
    options.initial_bytes = (size_t)1 << 60;
    cr_expect_null(huma_arena_create(&options));
    cr_expect_eq(errno, ENOMEM, "%s", huma_last_error());
}
