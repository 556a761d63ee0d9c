/* SPDX-License-Identifier: MIT */
/* rows.h - what the programs of this folder have in common.
 *
 * Each shows one technique of shared memory. It ends at the first thing that is not as it should
 * be, with a sentence; what it has seen is its last line. run.sh runs all of them. */
#ifndef ROWS_H
#define ROWS_H

#include <errno.h>
#include <huma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* Exit status of what cannot be shown here; the last line is the reason. */
#define SKIPPED 77

static inline void
need_failed(const char *file, int line, const char *condition)
{
    int error = errno;

    (void)fprintf(stderr, "%s:%d: this does not hold: %s (errno: %s; huma: %s)\n", file, line,
                  condition, strerror(error), huma_last_error());
    _exit(1);
}

#define need(condition) ((condition) ? (void)0 : need_failed(__FILE__, __LINE__, #condition))

static inline double
now_s(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static inline void
sleep_ms(long ms)
{
    struct timespec time = { ms / 1000, ms % 1000 * 1000000 };

    (void)nanosleep(&time, NULL);
}

/* Wait for a child; whether it ended as it should. */
static inline int
is_well(pid_t child)
{
    int status = -1;

    return waitpid(child, &status, 0) == child && status == 0;
}

static inline struct huma_shared_state
state_of(huma_shared *shared)
{
    struct huma_shared_state state = HUMA_SHARED_STATE_INIT;

    need(huma_shared_info(shared, &state) == 0);
    return state;
}

#endif
