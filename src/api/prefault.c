/* SPDX-License-Identifier: MIT */
/* prefault.c - threads that touch memory (see prefault.h). */
#include "api/prefault.h"

#include <pthread.h>
#include <signal.h>

#define THREADS_MAX 64

/* A thread takes so much at a time: whole huge pages. */
#define SHARE_BYTES (8 * HM_MIB)

struct job {
    uintptr_t next; /* nobody has touched from here on; atomic */
    uintptr_t end;
    size_t page_bytes;
};

static void *
work(void *arg)
{
    struct job *job = arg;
    uintptr_t addr;

    while ((addr = __atomic_fetch_add(&job->next, SHARE_BYTES, __ATOMIC_RELAXED)) < job->end) {
        uintptr_t end = job->end - addr < SHARE_BYTES ? job->end : addr + SHARE_BYTES;

        for (; addr < end; addr += job->page_bytes)
            *(volatile char *)addr = 0;
    }
    return NULL;
}

/* The threads take no signals of the program's. Returns how many there are. */
static unsigned
start(pthread_t *ids, unsigned count, struct job *job)
{
    sigset_t all;
    sigset_t old;
    unsigned started = 0;

    (void)sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &old) != 0)
        return 0;
    while (started < count && pthread_create(&ids[started], NULL, work, job) == 0)
        started++;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return started;
}

void
hm_prefault(uintptr_t addr, size_t len_bytes, size_t page_bytes, unsigned thread_count)
{
    struct job job = { addr, addr + len_bytes, page_bytes };
    pthread_t ids[THREADS_MAX];
    unsigned started = 0;
    int cancel_state;

    if (thread_count > THREADS_MAX)
        thread_count = THREADS_MAX;
    /* The job is on this stack until all are back. */
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    if (thread_count > 1)
        started = start(ids, thread_count - 1, &job);
    (void)work(&job);
    for (unsigned i = 0; i < started; i++)
        (void)pthread_join(ids[i], NULL);
    (void)pthread_setcancelstate(cancel_state, NULL);
}
