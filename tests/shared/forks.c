/* SPDX-License-Identifier: MIT */
/* forks.c - processes that share an arena, and how they come into being and go.
 *
 * Problem     A child has its parent's memory, descriptors and locks as they were in the middle of
 *             whatever the parent's other threads were at; one that was made by clone(2) itself has
 *             been through none of the handlers that put this right. There may be more children
 *             than the arena has room for, and any of them may be killed.
 * Idea        Children come in all of these ways, from a parent that is at work or not, and
 *             allocate, free, attach, detach, end or are killed. In the end the parent has what it
 *             had, every byte of it, and nothing else is left.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "huma.h"

enum {
    CHILDREN = 150,
    BOMB_CHILDREN = 40,
    BOMB_ROUNDS = 30,
    SEATS = 8,
    OWN = 300, /* blocks of the parent's */
    HUNG_S = 30,
};

extern char **environ;

struct test {
    const char *name;
    void (*run)(const struct test *test);
    pid_t (*make)(void);
    void *(*meanwhile)(void *);
};

static huma_shared *shared;
static uint64_t own[OWN];
static bool is_over; /* for threads */

/* Also in children: what they say is their parent's failure. */
#define NEED(condition) ((condition) ? (void)0 : fail(__LINE__, #condition))

static void __attribute__((noreturn)) fail(int line, const char *condition)
{
    (void)fprintf(stderr, "forks.c:%d: %s; errno %d; %s\n", line, condition, errno,
                  huma_last_error());
    _exit(1);
}

/* --- the parent's arena ----------------------------------------------------------------------- */

static void
open_arena(unsigned process_count)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;

    options.backing = "4k";
    options.limit_bytes = (size_t)32 << 20;
    options.process_count = process_count;
    shared = huma_shared_create(&options);
    NEED(shared != NULL);
    for (unsigned i = 0; i < OWN; i++) {
        size_t size = i % 50 == 0 ? 70000 : 20 + i * 5;

        own[i] = huma_shared_alloc(shared, size);
        NEED(own[i] != 0);
        memset(huma_shared_at(shared, own[i]), (int)i, size);
    }
}

static void
check_own(void)
{
    for (unsigned i = 0; i < OWN; i++) {
        const unsigned char *start = huma_shared_at(shared, own[i]);
        size_t size = i % 50 == 0 ? 70000 : 20 + i * 5;

        NEED(huma_shared_usable_size(shared, own[i]) >= size);
        for (size_t at = 0; at < size; at++)
            NEED(start[at] == (unsigned char)i);
    }
}

static struct huma_shared_state
state_of(void)
{
    struct huma_shared_state state = HUMA_SHARED_STATE_INIT;

    NEED(huma_shared_verify(shared) == 0);
    NEED(huma_shared_info(shared, &state) == 0);
    return state;
}

/* The parent has what it had, and nobody anything else. */
static void
close_arena(void)
{
    uint64_t own_bytes = 0;
    struct huma_shared_state state;

    (void)huma_shared_recover(shared);
    check_own();
    for (unsigned i = 0; i < OWN; i++)
        own_bytes += huma_shared_usable_size(shared, own[i]);
    state = state_of();
    NEED(state.private_bytes == own_bytes && state.published_bytes == 0);
    NEED(state.process_count == 1);
    for (unsigned i = 0; i < OWN; i++)
        NEED(huma_shared_free(shared, own[i]) == 0);
    (void)huma_shared_trim(shared);
    state = state_of();
    NEED(state.private_bytes == 0 && state.heap_bytes == 0 && state.ready_bytes == 0);
    huma_shared_detach(shared);
}

/* --- children --------------------------------------------------------------------------------- */

static pid_t
fork_child(void)
{
    return fork();
}

/* Without libc's handlers. */
static pid_t
clone_child(void)
{
    return (pid_t)syscall(SYS_clone, (unsigned long)SIGCHLD, 0, 0, 0, 0);
}

/* Nobody is left if this test is killed, or hangs. */
static void
begin_child(void)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)alarm(HUNG_S);
}

static void __attribute__((noreturn)) end_child(bool is_killed)
{
    if (is_killed)
        (void)kill((pid_t)syscall(SYS_getpid), SIGKILL);
    _exit(0);
}

static void
expect_end(pid_t pid, bool is_killed)
{
    int status;

    NEED(pid > 0 && waitpid(pid, &status, 0) == pid);
    if (is_killed)
        NEED(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    else
        NEED(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Blocks of several sizes, none of which is the parent's. */
static void
use(unsigned seed)
{
    for (unsigned i = 0; i < 40; i++) {
        size_t size = i % 20 == 19 ? 66000 : 16 + (i + seed) % 30 * 50;
        uint64_t block = huma_shared_alloc(shared, size);

        NEED(block != 0);
        for (unsigned k = 0; k < OWN; k++)
            NEED(block != own[k]);
        memset(huma_shared_at(shared, block), 0xee, size);
        if (i % 3 == 0)
            NEED(huma_shared_free(shared, block) == 0);
    }
}

/* Descriptors with a lock on them: one that was inherited would have its parent alive for ever. */
static unsigned
count_locks(void)
{
    char path[64];
    char line[256];
    unsigned count = 0;

    for (int fd = 0; fd < 64; fd++) {
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
        file = fopen(path, "r");
        while (file != NULL && fgets(line, sizeof(line), file) != NULL)
            count += strncmp(line, "lock:", 5) == 0;
        if (file != NULL)
            (void)fclose(file);
    }
    return count;
}

/* --- threads that are at work meanwhile ------------------------------------------------------- */

static void *
allocate(void *unused)
{
    (void)unused;
    while (!__atomic_load_n(&is_over, __ATOMIC_RELAXED)) {
        uint64_t blocks[20];

        for (unsigned i = 0; i < 20; i++)
            blocks[i] = huma_shared_alloc(shared, 30 + i * 200 + (i == 19 ? 80000 : 0));
        for (unsigned i = 0; i < 20; i++)
            NEED(blocks[i] != 0 && huma_shared_free(shared, blocks[i]) == 0);
    }
    return NULL;
}

static void *
come_and_go(void *unused)
{
    (void)unused;
    while (!__atomic_load_n(&is_over, __ATOMIC_RELAXED)) {
        huma_shared *again = huma_shared_attach(huma_shared_fd(shared), 0);

        NEED(again != NULL && huma_shared_alloc(again, 100) != 0);
        huma_shared_detach(again);
    }
    return NULL;
}

static pthread_t
begin_thread(void *(*work)(void *))
{
    pthread_t thread;

    is_over = false;
    NEED(pthread_create(&thread, NULL, work, NULL) == 0);
    return thread;
}

static void
end_thread(pthread_t thread)
{
    __atomic_store_n(&is_over, true, __ATOMIC_RELAXED);
    NEED(pthread_join(thread, NULL) == 0);
}

/* --- tests ------------------------------------------------------------------------------------ */

/* One child after the other; every other one is killed. */
static void
children(const struct test *test)
{
    pthread_t thread = 0;

    open_arena(SEATS);
    if (test->meanwhile != NULL)
        thread = begin_thread(test->meanwhile);
    for (unsigned i = 0; i < CHILDREN; i++) {
        bool is_killed = i % 2 == 0;
        pid_t pid = test->make();

        if (pid == 0) {
            begin_child();
            /* Nobody can know of the others before they use the arena. */
            NEED(test->make != fork_child || count_locks() == 0);
            use(i);
            NEED(count_locks() == 1);
            end_child(is_killed);
        }
        expect_end(pid, is_killed);
    }
    if (test->meanwhile != NULL)
        end_thread(thread);
    close_arena();
}

/* What it inherited is not its to give up. */
static void
children_that_leave(const struct test *test)
{
    open_arena(SEATS);
    for (unsigned i = 0; i < 20; i++) {
        pid_t pid = test->make();

        if (pid == 0) {
            begin_child();
            if (i % 2 == 0)
                use(i);
            huma_shared_detach(shared);
            end_child(false);
        }
        expect_end(pid, false);
        check_own();
    }
    close_arena();
}

/* Both go on, and both have blocks of the same spans of the parent's in view. */
static void
both_allocate(const struct test *test)
{
    uint64_t *theirs = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t ours[100];
    int ends[2];
    char byte;
    pid_t pid;

    open_arena(SEATS);
    NEED(theirs != MAP_FAILED && pipe(ends) == 0);
    pid = test->make();
    if (pid == 0) {
        begin_child();
        for (unsigned i = 0; i < 100; i++)
            theirs[i] = huma_shared_alloc(shared, 600);
        (void)!write(ends[1], "x", 1);
        for (;;)
            (void)pause();
    }
    NEED(pid > 0 && read(ends[0], &byte, 1) == 1);
    for (unsigned i = 0; i < 100; i++) {
        ours[i] = huma_shared_alloc(shared, 600);
        NEED(ours[i] != 0 && theirs[i] != 0);
    }
    for (unsigned i = 0; i < 10000; i++)
        NEED(ours[i / 100] != theirs[i % 100]);
    NEED(state_of().process_count == 2);
    NEED(kill(pid, SIGKILL) == 0);
    expect_end(pid, true);
    NEED(huma_shared_recover(shared) == 1);
    for (unsigned i = 0; i < 100; i++) {
        NEED(huma_shared_usable_size(shared, theirs[i]) == 0);
        NEED(huma_shared_free(shared, ours[i]) == 0);
    }
    (void)close(ends[0]);
    (void)close(ends[1]);
    (void)munmap(theirs, 4096);
    close_arena();
}

/* A program that is started has the parent's memory for a moment, and its descriptors. */
static void
programs(const struct test *unused)
{
    char *arguments[] = { (char[]){ "true" }, NULL };

    (void)unused;
    open_arena(SEATS);
    for (unsigned i = 0; i < 10; i++) {
        pid_t pid;

        NEED(posix_spawnp(&pid, "true", NULL, NULL, arguments, environ) == 0);
        expect_end(pid, false);
        pid = fork();
        if (pid == 0) {
            NEED(huma_shared_recover(shared) == 0);
            huma_shared_detach(shared);
            end_child(false);
        }
        expect_end(pid, false);
        check_own();
    }
    close_arena();
}

/* Far more at once than there may be, which come and go, or are killed. */
static void
bomb(const struct test *unused)
{
    pid_t pids[BOMB_CHILDREN];
    uint64_t *attached
        = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    (void)unused;
    open_arena(SEATS);
    NEED(attached != MAP_FAILED);
    for (unsigned i = 0; i < BOMB_CHILDREN; i++) {
        pids[i] = fork();
        for (unsigned round = 0; pids[i] == 0 && round < BOMB_ROUNDS; round++) {
            huma_shared *again;

            if (round == 0)
                begin_child();
            again = huma_shared_attach(huma_shared_fd(shared), 0);
            if (again == NULL) {
                NEED(errno == EUSERS && strstr(huma_last_error(), "process_count") != NULL);
                continue;
            }
            (void)__atomic_add_fetch(attached, 1, __ATOMIC_RELAXED);
            NEED(huma_shared_alloc(again, 10 + round * 100) != 0);
            if (i % 3 == 0 && round == BOMB_ROUNDS / 2)
                end_child(true);
            huma_shared_detach(again);
        }
        if (pids[i] == 0)
            end_child(i % 3 == 0);
    }
    for (unsigned i = 0; i < BOMB_CHILDREN; i++)
        expect_end(pids[i], i % 3 == 0);
    NEED(*attached > 0);
    (void)munmap(attached, 4096);
    close_arena();
}

/* All seats are held by living processes, then by one less. */
static void
no_seat(const struct test *unused)
{
    pid_t pids[SEATS - 1];
    int ends[2];
    char byte;
    pid_t pid;

    (void)unused;
    open_arena(SEATS);
    NEED(pipe(ends) == 0);
    for (unsigned i = 0; i < SEATS - 1; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            begin_child();
            NEED(huma_shared_alloc(shared, 5000) != 0 && write(ends[1], "x", 1) == 1);
            for (;;)
                (void)pause();
        }
        NEED(read(ends[0], &byte, 1) == 1);
    }
    NEED(state_of().process_count == SEATS);
    pid = fork();
    if (pid == 0) {
        begin_child();
        errno = 0;
        NEED(huma_shared_alloc(shared, 1) == 0 && errno == EUSERS);
        NEED(strstr(huma_last_error(), "process_count") != NULL);
        NEED(huma_shared_attach(huma_shared_fd(shared), 0) == NULL && errno == EUSERS);
        NEED(strstr(huma_last_error(), "huma_shared_attach(): ") == huma_last_error());
        NEED(strstr(huma_last_error(), "process_count") != NULL);
        NEED(kill(pids[3], SIGKILL) == 0);
        /* Its parent waits for it, but dead it is. */
        while (huma_shared_alloc(shared, 1) == 0)
            NEED(errno == EUSERS);
        end_child(false);
    }
    expect_end(pid, false);
    for (unsigned i = 0; i < SEATS - 1; i++) {
        NEED(i == 3 || kill(pids[i], SIGKILL) == 0);
        expect_end(pids[i], true);
    }
    (void)close(ends[0]);
    (void)close(ends[1]);
    close_arena();
}

static const struct test tests[] = {
    { "forked children", children, fork_child, NULL },
    { "forked children while a thread allocates", children, fork_child, allocate },
    { "forked children while a thread comes and goes", children, fork_child, come_and_go },
    { "forked children that detach", children_that_leave, fork_child, NULL },
    { "a forked child and its parent", both_allocate, fork_child, NULL },
    { "programs that are started", programs, NULL, NULL },
    { "more processes than there may be", bomb, NULL, NULL },
    { "no seat is free", no_seat, NULL, NULL },
    { "cloned children", children, clone_child, NULL },
    { "cloned children while a thread allocates", children, clone_child, allocate },
    { "cloned children that detach", children_that_leave, clone_child, NULL },
    { "a cloned child and its parent", both_allocate, clone_child, NULL },
};

int
main(void)
{
    int fault_count = 0;

    for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        pid_t pid = fork();
        int status;

        if (pid == 0) {
            tests[i].run(&tests[i]);
            _exit(0);
        }
        NEED(pid > 0 && waitpid(pid, &status, 0) == pid);
        printf("%s: %s\n", tests[i].name, status == 0 ? "ok" : "FAILED");
        (void)fflush(stdout);
        fault_count += status != 0;
    }
    return fault_count > 0;
}
