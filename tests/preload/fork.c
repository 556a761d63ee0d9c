/* SPDX-License-Identifier: MIT */
/* fork.c - fork() in a threaded program whose other threads are inside malloc at that moment.
 *
 * Problem     The child has one thread; locks that others held, and half-made changes of theirs,
 *             are copied with the memory.
 * Idea        Four threads allocate and free without pause while 50 children are forked, by main
 *             and by another thread. Each child checks and frees blocks of its parent, allocates
 *             small and large, forks again, and now and then starts the program anew. A child that
 *             hangs is ended by its own alarm.
 */
#include "expect.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { THREAD_COUNT = 4, FORK_COUNT = 50, INHERITED_COUNT = 400, CHILD_LIMIT_S = 30 };

static atomic_bool is_over;
static void *inherited[INHERITED_COUNT];

static size_t
inherited_size(int i)
{
    return i % 50 == 0 ? (size_t)i * 10000 + 1 : (size_t)i * 13 % 3000 + 1;
}

static void *
churn(void *arg)
{
    void *blocks[64] = { 0 };
    uint64_t random = (uint64_t)(uintptr_t)arg + 1;
    while (!is_over) {
        uint64_t bits = draw(&random);
        free(blocks[bits % 64]);
        blocks[bits % 64] = malloc(bits % 1000 ? (bits >> 32) % 2000 : (bits >> 32) % 2000000);
    }
    for (int i = 0; i < 64; i++)
        free(blocks[i]);
    return NULL;
}

static void
allocate_some(void)
{
    void *blocks[300];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 300; i++) {
            blocks[i] = malloc(inherited_size(i));
            expect(blocks[i] != NULL, "in a child: %zu bytes", inherited_size(i));
            pattern_fill(blocks[i], inherited_size(i), (uint64_t)i);
        }
        for (int i = 0; i < 300; i++) {
            expect(pattern_holds(blocks[i], inherited_size(i), (uint64_t)i), "in a child: %d", i);
            free(blocks[i]);
        }
    }
}

static void *
allocate_in_thread(void *arg)
{
    allocate_some();
    return arg;
}

static void
wait_for(pid_t child, const char *who)
{
    int status = -1;
    expect(child > 0 && waitpid(child, &status, 0) == child, "%s: fork or wait failed", who);
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s ended with wait status %#x", who,
           (unsigned)status);
}

static void
live_as_child(int number)
{
    (void)alarm(CHILD_LIMIT_S);
    for (int i = 0; i < INHERITED_COUNT; i++) {
        size_t size = inherited_size(i);
        expect(pattern_holds(inherited[i], size, (uint64_t)i), "in a child: inherited block %d", i);
        if ((i + number) % 2)
            free(inherited[i]);
        else
            free(realloc(inherited[i], 2 * size));
    }
    allocate_some();
    pid_t grandchild = fork();
    if (grandchild == 0) {
        (void)alarm(CHILD_LIMIT_S);
        pthread_t thread;
        expect(pthread_create(&thread, NULL, allocate_in_thread, NULL) == 0,
               "a thread in a grandchild");
        allocate_some();
        (void)pthread_join(thread, NULL);
        _exit(0);
    }
    wait_for(grandchild, "a grandchild");
    if (number % 10 == 0) {
        (void)execl("/proc/self/exe", "fork", "again", (char *)NULL);
        _exit(2);
    }
    if (number % 10 == 1)
        exit(0);
    _exit(0);
}

static void *
fork_many(void *arg)
{
    int first = *(int *)arg;
    for (int i = first; i < first + FORK_COUNT / 2; i++) {
        pid_t child = fork();
        if (child == 0)
            live_as_child(i);
        wait_for(child, "a child");
    }
    return NULL;
}

int
main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "again") == 0) {
        allocate_some();
        return 0;
    }
    pthread_t threads[THREAD_COUNT];
    pthread_t forker;
    int firsts[] = { 0, FORK_COUNT / 2 };
    for (int i = 0; i < INHERITED_COUNT; i++) {
        inherited[i] = malloc(inherited_size(i));
        pattern_fill(inherited[i], inherited_size(i), (uint64_t)i);
    }
    for (uintptr_t i = 0; i < THREAD_COUNT; i++)
        expect(pthread_create(&threads[i], NULL, churn, (void *)i) == 0, "thread %zu", (size_t)i);
    expect(pthread_create(&forker, NULL, fork_many, &firsts[0]) == 0, "the forking thread");
    (void)fork_many(&firsts[1]);
    (void)pthread_join(forker, NULL);
    is_over = true;
    for (int i = 0; i < THREAD_COUNT; i++)
        (void)pthread_join(threads[i], NULL);
    (void)printf("%d children\n", FORK_COUNT);
    return 0;
}
