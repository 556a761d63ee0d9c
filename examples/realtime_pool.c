/* SPDX-License-Identifier: MIT */
/* realtime_pool.c - memory for a real-time thread: no page fault, no system call.
 *
 * Problem     A thread that must answer in microseconds cannot wait for the kernel, which may have
 *             to find memory first.
 * Idea        An arena that gets all its memory when it is made, touched and locked, and does
 *             without the kernel from then on; what it has not got is refused. Here the kernel
 *             watches: after prctl(PR_SET_SECCOMP) it ends the process at any call but read, write
 *             and exit.
 *
 *     cc -O2 realtime_pool.c $(pkg-config --cflags --libs huma) && ./a.out
 */
#define _GNU_SOURCE
#include <errno.h>
#include <huma.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define POOL_BYTES ((size_t)8 << 20)
#define MESSAGES 500

static huma_arena *
create(void)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    huma_arena *arena;

    options.name = "real-time";
    options.initial_bytes = POOL_BYTES;
    options.flags = HUMA_ARENA_FIXED | HUMA_ARENA_LOCKED | HUMA_ARENA_SINGLE_THREADED;
    arena = huma_arena_create(&options);
    if (arena == NULL) {
        fprintf(stderr, "memory is not locked, page faults are possible: %s\n", huma_last_error());
        options.flags &= ~HUMA_ARENA_LOCKED;
        arena = huma_arena_create(&options);
    }
    return arena;
}

/* Messages of many lengths come and go. Returns how many there was no memory for. */
static size_t
work(huma_arena *arena)
{
    char *messages[MESSAGES] = { NULL };
    size_t refused = 0;

    for (size_t i = 0; i < 1000 * MESSAGES; i++) {
        size_t at = i * 7 % MESSAGES;
        size_t size = 16 + i * 31 % 20000;

        huma_arena_free(arena, messages[at]);
        messages[at] = huma_arena_alloc(arena, size);
        if (messages[at] != NULL)
            memset(messages[at], (int)i, size);
        else
            refused++;
    }
    for (size_t i = 0; i < MESSAGES; i++)
        huma_arena_free(arena, messages[i]);
    return refused;
}

int
main(void)
{
    static const char done[] = "all messages had memory; more than there is: refused\n";
    huma_arena *arena = create();
    int status;

    if (arena == NULL) {
        fprintf(stderr, "realtime_pool: %s\n", huma_last_error());
        return 1;
    }
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) {
        perror("realtime_pool: prctl");
        return 1;
    }
    status = work(arena) != 0 || huma_arena_alloc(arena, 2 * POOL_BYTES) != NULL || errno != ENOMEM;
    if (status == 0)
        status = write(STDOUT_FILENO, done, sizeof(done) - 1) < 0;
    /* exit() would make other calls. */
    syscall(SYS_exit, status);
    return 1;
}
