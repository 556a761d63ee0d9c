/* SPDX-License-Identifier: MIT */
/* signals.c - signals that arrive in the middle of malloc.
 *
 * Problem     A handler may not call malloc, but it may leave the process, start a program, or just
 *             come often; and malloc may be anywhere at that moment, with its lock held.
 * Idea        Timers that fire after random times, up to thousands a second, over a storm of calls.
 *             In children the handler ends the process by _exit, replaces it by exec, or makes a
 *             copy with fork or _Fork that does; the parent looks at the wait status, and an alarm
 *             ends whoever hangs. At last handlers that only count, in several threads, and every
 *             block must be what it was.
 */
#include "preload/expect.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

enum { CHILDREN = 120, LIMIT_S = 60, SLOTS = 64, THREADS = 4, COUNTED = 3000, STATUS = 42 };

extern char **environ;
static char again_word[] = "again";
static char *again_argv[] = { again_word, again_word, NULL };

static volatile sig_atomic_t signal_count;
static volatile sig_atomic_t failed_count;
static atomic_bool is_over;

/* Calls on every path: small, medium, large, mapped, aligned, resized. Ends when is_over. */
static void
storm(uint64_t seed, long rounds)
{
    uint64_t random = seed * 0x9e3779b97f4a7c15u + 1;
    unsigned char *blocks[SLOTS] = { NULL };
    size_t sizes[SLOTS] = { 0 };
    while (rounds-- != 0 && !is_over) {
        uint64_t bits = draw(&random);
        size_t i = bits % SLOTS;
        size_t size = (bits >> 16) % (32u << (bits >> 8) % 12);
        size = bits >> 54 == 1 ? (bits >> 16) % (40u << 20) : size;
        expect(pattern_holds(blocks[i], sizes[i] < 256 ? sizes[i] : 256, i), "%zu bytes", sizes[i]);
        if (bits >> 62 == 0) {
            blocks[i] = realloc(blocks[i], size + 1);
        } else {
            free(blocks[i]);
            blocks[i] = bits >> 62 == 1 ? aligned_alloc(4096, size + 1) : malloc(size + 1);
        }
        expect(blocks[i] != NULL, "no memory for %zu bytes", size);
        sizes[i] = size < 256 ? size : 256;
        pattern_fill(blocks[i], sizes[i], i);
    }
    for (size_t i = 0; i < SLOTS; i++)
        free(blocks[i]);
}

/* --- handlers --------------------------------------------------------------------------------- */

static void
leave(int number)
{
    (void)number;
    _exit(STATUS);
}

static void
replace(int number)
{
    (void)number;
    (void)execve("/proc/self/exe", again_argv, environ);
    _exit(1);
}

/* _Fork runs no fork handlers; fork does, and may be called from a handler all the same. */
static void
copy(int number)
{
    int saved_errno = errno;
    int status = -1;
    pid_t child = signal_count % 2 == 0 ? _Fork() : fork();
    if (child == 0)
        replace(number);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    failed_count += !WIFEXITED(status) || WEXITSTATUS(status) != STATUS;
    signal_count++;
    errno = saved_errno;
}

static void
count(int number)
{
    (void)number;
    signal_count++;
}

static void
handle(int number, void (*handler)(int))
{
    struct sigaction action = { .sa_handler = handler };
    (void)sigemptyset(&action.sa_mask);
    expect(sigaction(number, &action, NULL) == 0, "sigaction");
}

static void
start_timer(long first_us, long every_us)
{
    struct itimerval timer = { .it_interval = { 0, every_us }, .it_value = { 0, first_us } };
    expect(setitimer(ITIMER_REAL, &timer, NULL) == 0, "setitimer");
}

/* --- scenes ----------------------------------------------------------------------------------- */

static void *
run_storm(void *arg)
{
    storm((uintptr_t)arg, -1);
    return NULL;
}

/* A program that cannot allocate after it was started from a handler shows it by its status. */
static int
live_again(void)
{
    storm(5, 200);
    return STATUS;
}

/* Ended by its handler; the watchdog is another process, since the alarm is in use. */
static void __attribute__((noreturn)) live_until_signal(int number, void (*handler)(int))
{
    pthread_t thread;
    handle(SIGALRM, handler);
    if (number % 4 == 0) /* the handler may then run in either */
        (void)pthread_create(&thread, NULL, run_storm, (void *)1);
    start_timer(50 + number * 37 % 1500, 0);
    storm((uint64_t)number + 1, -1);
    _exit(1);
}

static void
expect_status(pid_t child, const char *who)
{
    struct timespec pause = { 0, 1000000 };
    int status = -1;
    for (long ms = 0; waitpid(child, &status, WNOHANG) == 0; ms++) {
        if (ms > LIMIT_S * 1000L) {
            (void)kill(child, SIGKILL);
            expect(false, "%s hangs", who);
        }
        (void)nanosleep(&pause, NULL);
    }
    expect(WIFEXITED(status) && WEXITSTATUS(status) == STATUS, "%s: wait status %#x", who,
           (unsigned)status);
}

static void
try_leaving(const char *who, void (*handler)(int))
{
    for (int i = 0; i < CHILDREN; i++) {
        pid_t child = fork();
        if (child == 0)
            live_until_signal(i, handler);
        expect(child > 0, "fork");
        expect_status(child, who);
    }
}

static void
try_copying(void)
{
    handle(SIGALRM, copy);
    for (int i = 0; i < CHILDREN; i++) {
        int before = signal_count;
        start_timer(50 + i * 37 % 1500, 0);
        while (signal_count == before)
            storm((uint64_t)i + 1, 50);
    }
    expect(failed_count == 0, "%d of %d programs started from a handler failed", (int)failed_count,
           CHILDREN);
}

static void
try_counting(void)
{
    pthread_t threads[THREADS];
    handle(SIGALRM, count);
    handle(SIGUSR1, count);
    for (uintptr_t i = 0; i < THREADS; i++)
        expect(pthread_create(&threads[i], NULL, run_storm, (void *)(i + 1)) == 0, "a thread");
    signal_count = 0;
    start_timer(200, 200);
    /* On a busy machine few come at first, and many are sent while one is pending. */
    for (int i = 0; i < COUNTED || signal_count <= COUNTED / 10; i++) {
        (void)pthread_kill(threads[i % THREADS], SIGUSR1);
        storm((uint64_t)i, 20);
    }
    start_timer(0, 0);
    is_over = true;
    for (int i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
}

int
main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "again") == 0)
        return live_again();
    try_leaving("_exit from a handler", leave);
    try_leaving("exec from a handler", replace);
    try_copying();
    try_counting();
    (void)dprintf(STDOUT_FILENO, "%d signals in the middle of malloc\n", 3 * CHILDREN + COUNTED);
    return 0;
}
