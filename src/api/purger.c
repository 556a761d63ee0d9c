/* SPDX-License-Identifier: MIT */
/* purger.c - a thread with a clock (see purger.h). */
#include "api/purger.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "api/process.h"
#include "base/fmt.h"
#include "heap/purge.h"

/* It looks once in an epoch, but not more often. */
#define PERIOD_MIN_MS 100

static bool
tick(void)
{
    bool has_more;

    hm_lock_take(&hm_process.heap.lock);
    has_more = hm_purge_tick(&hm_process.heap);
    hm_lock_give(&hm_process.heap.lock);
    return has_more;
}

static void *
run(void *arg)
{
    unsigned period_ms = hm_process.conf.purge_delay_ms;
    struct timespec period;

    if (period_ms < PERIOD_MIN_MS)
        period_ms = PERIOD_MIN_MS;
    period = (struct timespec){ .tv_sec = period_ms / 1000,
                                .tv_nsec = (long)(period_ms % 1000) * 1000000 };
    hm_os_name_thread("huma-purge");
    for (;;) {
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &period, NULL);
        while (tick())
            (void)sched_yield();
    }
    return arg;
}

static int
create(void)
{
    pthread_attr_t attr;
    pthread_t thread;
    int rc = pthread_attr_init(&attr);

    if (rc != 0)
        return rc;
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    rc = pthread_create(&thread, &attr, run, NULL);
    (void)pthread_attr_destroy(&attr);
    return rc;
}

void
hm_purger_start(void)
{
    sigset_t all;
    sigset_t before;
    int rc;

    if (!hm_process.conf.purge_thread)
        return;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = create();
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        char buf[160];
        struct hm_fmt out = hm_fmt_init(buf, sizeof(buf), STDERR_FILENO);

        hm_fmt_str(&out, "huma: HUMA_PURGE_THREAD: no thread could be started; allow the process "
                         "one more, or unset the option\n");
        hm_fmt_flush(&out);
    }
}
