/* SPDX-License-Identifier: MIT */
/* pool_fork_libc.c - fork() with a heap on hugetlb pages, and what else libc and the kernel keep in
 * blocks of malloc.
 *
 * Problem     Before the child's handlers have run, blocks are used by others than the program: the
 *             list of streams by libc, the alternate stack for signals by the kernel. A handler
 *             that runs before fork() changes blocks, too. And two threads that fork at a time must
 *             not get each other's signal mask.
 * Idea        One mode for each; each child allocates and ends as it should.
 *
 * Usage       pool_fork_libc masks|streams|stack|handler MIB
 */
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define BLOCK_BYTES 3000

enum { FORK_COUNT = 60, THREAD_COUNT = 4, STREAM_COUNT = 20, BLOCK_COUNT = 200 };

static void __attribute__((noreturn)) fail(const char *what)
{
    (void)fprintf(stderr, "pool_fork_libc: process %d: %s\n", (int)getpid(), what);
    _exit(1);
}

/* A child that allocates must not find blocks in use. */
static void
fork_once(void)
{
    pid_t pid = fork();
    int status;

    if (pid < 0)
        fail("fork");
    if (pid == 0) {
        (void)alarm(5);
        for (int i = 0; i < BLOCK_COUNT; i++)
            memset(malloc(BLOCK_BYTES), i, BLOCK_BYTES);
        _exit(0);
    }
    if (waitpid(pid, &status, 0) != pid)
        fail("waitpid");
    if (WIFSIGNALED(status)) {
        (void)fprintf(stderr, "pool_fork_libc: a child was ended by signal %d\n", WTERMSIG(status));
        _exit(1);
    }
    if (status != 0)
        fail("a child failed");
}

static void
in_threads(void *(*run)(void *))
{
    pthread_t ids[THREAD_COUNT];

    for (size_t i = 0; i < THREAD_COUNT; i++)
        if (pthread_create(&ids[i], NULL, run, (char *)i) != 0)
            fail("pthread_create");
    for (size_t i = 0; i < THREAD_COUNT; i++)
        (void)pthread_join(ids[i], NULL);
}

/* --- masks ------------------------------------------------------------------------------------ */

/* Every other thread blocks a signal. */
static void *
fork_with_mask(void *arg)
{
    bool is_odd = (size_t)(char *)arg % 2 != 0;
    sigset_t mask;

    (void)sigemptyset(&mask);
    if (is_odd)
        (void)sigaddset(&mask, SIGUSR1);
    (void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
    for (int i = 0; i < FORK_COUNT; i++) {
        fork_once();
        (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
        if (sigismember(&mask, SIGTERM) != 0 || sigismember(&mask, SIGUSR1) != (is_odd ? 1 : 0))
            fail("a thread has another signal mask after fork()");
    }
    return NULL;
}

static void
masks(void)
{
    in_threads(fork_with_mask);
}

/* --- streams ---------------------------------------------------------------------------------- */

static int is_over; /* atomic */

/* Open and close streams, and let other blocks have their places. */
static void *
open_and_close(void *arg)
{
    FILE *streams[STREAM_COUNT];
    char *blocks[2 * STREAM_COUNT];

    while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
        for (int i = 0; i < STREAM_COUNT; i++)
            if ((streams[i] = fopen("/dev/null", "we")) == NULL)
                fail("fopen");
        for (int i = 0; i < STREAM_COUNT; i++)
            (void)fclose(streams[i]);
        for (int i = 0; i < 2 * STREAM_COUNT; i++) {
            blocks[i] = malloc(472);
            memset(blocks[i], 0x41, 472);
        }
        for (int i = 0; i < 2 * STREAM_COUNT; i++)
            free(blocks[i]);
    }
    return arg;
}

static void
streams(void)
{
    pthread_t id;

    if (pthread_create(&id, NULL, open_and_close, NULL) != 0)
        fail("pthread_create");
    for (int i = 0; i < FORK_COUNT; i++)
        fork_once();
    __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
    (void)pthread_join(id, NULL);
}

/* --- a stack for signals ---------------------------------------------------------------------- */

static void *
fork_with_stack(void *arg)
{
    stack_t mine = { .ss_size = 64 * 1024 };
    stack_t now;

    mine.ss_sp = malloc(mine.ss_size);
    if (mine.ss_sp == NULL || sigaltstack(&mine, NULL) != 0)
        fail("sigaltstack");
    for (int i = 0; i < FORK_COUNT; i++) {
        fork_once();
        if (sigaltstack(NULL, &now) != 0 || now.ss_sp != mine.ss_sp || now.ss_size != mine.ss_size
            || now.ss_flags != 0)
            fail("a thread has another alternate stack after fork()");
    }
    return arg;
}

static void
stack(void)
{
    in_threads(fork_with_stack);
}

/* --- a handler that was there before the first request ---------------------------------------- */

static void *freed_by_handler;

static void
prepare(void)
{
    free(freed_by_handler);
    freed_by_handler = NULL;
}

static void
handler(void)
{
    void *blocks[BLOCK_COUNT];

    for (int i = 0; i < BLOCK_COUNT; i++) {
        blocks[i] = malloc(BLOCK_BYTES);
        memset(blocks[i], 0x41, BLOCK_BYTES);
    }
    freed_by_handler = blocks[BLOCK_COUNT - 2];
    fork_once();
}

static const struct {
    const char *name;
    void (*run)(void);
} modes[] = {
    { "masks", masks },
    { "streams", streams },
    { "stack", stack },
    { "handler", handler },
};

int
main(int argc, char **argv)
{
    char *mem;
    size_t len_bytes;

    (void)pthread_atfork(prepare, NULL, NULL);
    if (argc != 3)
        fail("usage: pool_fork_libc masks|streams|stack|handler MIB");
    len_bytes = strtoul(argv[2], NULL, 10) * MIB;
    mem = malloc(len_bytes);
    /* A stream: libc makes its lock new in the child. */
    if (mem == NULL || fopen("/dev/null", "we") == NULL)
        fail("no memory");
    memset(mem, 1, len_bytes);
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (strcmp(argv[1], modes[i].name) == 0)
            modes[i].run();
    free(mem);
    return 0;
}
