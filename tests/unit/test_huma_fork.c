/* SPDX-License-Identifier: MIT */
/* test_huma_fork.c - arenas when the process forks: contents, threads that are gone, and arenas
 * that children shall not have. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "huma.h"

enum { SHARED_COUNT = 3, THREAD_COUNT = 4, FORK_COUNT = 40, BLOCK_COUNT = 200 };

static huma_arena *
create(uint64_t flags)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    huma_arena *arena;

    options.name = "forked";
    options.backing = "thp,4k";
    options.flags = flags;
    arena = huma_arena_create(&options);
    cr_assert_not_null(arena, "%s", huma_last_error());
    return arena;
}

/* The child's exit status, or the signal that ended it times 1000. */
static int
reap(pid_t pid)
{
    int status;

    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) * 1000 : WEXITSTATUS(status);
}

/* Take, check and free blocks of many sizes. Returns whether all was well. */
static bool
use(huma_arena *arena)
{
    unsigned char *blocks[BLOCK_COUNT];

    for (size_t i = 0; i < BLOCK_COUNT; i++) {
        blocks[i] = huma_arena_alloc(arena, 1 + i * i);
        if (blocks[i] == NULL)
            return false;
        memset(blocks[i], (int)i, 1 + i * i);
    }
    for (size_t i = 0; i < BLOCK_COUNT; i++) {
        if (blocks[i][0] != (unsigned char)i || blocks[i][i * i] != (unsigned char)i)
            return false;
        huma_arena_free(arena, blocks[i]);
    }
    return true;
}

Test(huma_fork, a_child_has_what_the_parent_had)
{
    static const uint64_t kinds[] = { 0, HUMA_ARENA_SINGLE_THREADED };

    for (size_t k = 0; k < 2; k++) {
        huma_arena *arena = create(kinds[k]);
        char *small = huma_arena_alloc(arena, 100);
        char *large = huma_arena_alloc(arena, 3 << 20);
        pid_t pid;

        memset(small, 'a', 100);
        memset(large, 'b', 3 << 20);
        pid = fork();
        if (pid == 0) {
            if (small[99] != 'a' || large[(3 << 20) - 1] != 'b')
                _exit(1);
            memset(small, 'x', 100);
            huma_arena_free(arena, large);
            huma_arena_free(arena, small);
            if (!use(arena) || huma_arena_check(arena) != 0)
                _exit(2);
            huma_arena_destroy(arena);
            _exit(use(create(kinds[k])) ? 0 : 3);
        }
        cr_assert_eq(reap(pid), 0);
        cr_assert_eq(small[99], 'a');
        cr_assert(use(arena));
        huma_arena_destroy(arena);
    }
}

/* --- threads that the child does not have ----------------------------------------------------- */

static huma_arena *shared[SHARED_COUNT];
static huma_arena *own[THREAD_COUNT];
static char *handed[SHARED_COUNT]; /* live blocks; written before the threads start */
static int is_over;                /* atomic */

static void *
work(void *arg)
{
    size_t number = (size_t)(uintptr_t)arg;

    while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
        cr_assert(use(own[number]));
        for (size_t i = 0; i < SHARED_COUNT; i++)
            cr_assert(use(shared[i]));
    }
    return NULL;
}

static void __attribute__((noreturn)) be_child(void)
{
    (void)alarm(20);
    for (size_t i = 0; i < SHARED_COUNT; i++) {
        if (handed[i][0] != 'h' || !use(shared[i]))
            _exit(1);
        huma_arena_free(shared[i], handed[i]);
    }
    for (size_t i = 0; i < THREAD_COUNT; i++)
        if (!use(own[i]))
            _exit(2);
    for (size_t i = 0; i < SHARED_COUNT; i++)
        huma_arena_destroy(shared[i]);
    for (size_t i = 0; i < THREAD_COUNT; i++)
        huma_arena_destroy(own[i]);
    _exit(0);
}

Test(huma_fork, while_threads_are_at_work)
{
    pthread_t ids[THREAD_COUNT];

    for (size_t i = 0; i < SHARED_COUNT; i++) {
        shared[i] = create(0);
        handed[i] = huma_arena_alloc(shared[i], 500);
        cr_assert_not_null(handed[i]);
        handed[i][0] = 'h';
    }
    for (size_t i = 0; i < THREAD_COUNT; i++) {
        own[i] = create(HUMA_ARENA_SINGLE_THREADED);
        cr_assert_eq(pthread_create(&ids[i], NULL, work, (void *)(uintptr_t)i), 0);
    }
    for (size_t i = 0; i < FORK_COUNT; i++) {
        pid_t pid = fork();

        if (pid == 0)
            be_child();
        cr_assert_eq(reap(pid), 0, "fork %zu", i);
    }
    __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
    for (size_t i = 0; i < THREAD_COUNT; i++)
        cr_assert_eq(pthread_join(ids[i], NULL), 0);
    for (size_t i = 0; i < SHARED_COUNT; i++)
        cr_expect_eq(huma_arena_check(shared[i]), 0, "%s", huma_last_error());
}

/* --- left out --------------------------------------------------------------------------------- */

/* Whether the kernel has anything at an address. */
static bool
is_mapped(const void *addr)
{
    int ends[2];
    bool is_there;

    cr_assert_eq(pipe(ends), 0);
    is_there = write(ends[1], addr, 1) == 1;
    (void)close(ends[0]);
    (void)close(ends[1]);
    return is_there;
}

Test(huma_fork, what_is_left_out_is_not_there)
{
    huma_arena *secret = create(HUMA_ARENA_NO_FORK);
    huma_arena *open = create(0);
    char *blocks[] = { huma_arena_alloc(secret, 100), huma_arena_alloc(secret, 5 << 20) };
    pid_t pid;

    memset(blocks[0], 's', 100);
    memset(blocks[1], 's', 5 << 20);
    pid = fork();
    if (pid == 0) {
        if (is_mapped(blocks[0]) || is_mapped(blocks[1] + (4 << 20)))
            _exit(1);
        if (!use(open) || huma_arena_owns(open, blocks[0]))
            _exit(2);
        /* Its struct serves another. */
        for (int i = 0; i < 3; i++)
            if (!use(create(HUMA_ARENA_NO_FORK)))
                _exit(3);
        _exit(0);
    }
    cr_assert_eq(reap(pid), 0);
    cr_assert_eq(blocks[0][99], 's');
    cr_assert_eq(blocks[1][4 << 20], 's');
    cr_assert(use(secret));
    /* And again. */
    pid = fork();
    if (pid == 0)
        _exit(is_mapped(blocks[0]) ? 1 : 0);
    cr_assert_eq(reap(pid), 0);
    huma_arena_destroy(secret);
}

Test(huma_fork, who_uses_what_was_left_out_is_told)
{
    huma_arena *secret = create(HUMA_ARENA_NO_FORK);
    char *block = huma_arena_alloc(secret, 100);
    pid_t pid;

    pid = fork();
    if (pid == 0)
        _exit(huma_arena_alloc(secret, 100) != NULL);
    cr_assert_eq(reap(pid), SIGABRT * 1000);
    pid = fork();
    if (pid == 0) {
        huma_free(block);
        _exit(0);
    }
    cr_assert_eq(reap(pid), SIGABRT * 1000);
    huma_arena_destroy(secret);
}
