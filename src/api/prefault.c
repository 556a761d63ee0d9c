/* SPDX-License-Identifier: MIT */
/* prefault.c - threads that have memory filled (see prefault.h). */
#include "api/prefault.h"

#include <pthread.h>
#include <signal.h>

#define THREADS_MAX 64

/* A thread takes so much at a time: whole huge pages. Of a pool, whose pages come in batches, less:
 * but no less than one of them. */
#define SHARE_BYTES (8 * HM_MIB)
#define POOL_SHARE_BYTES (2 * HM_MIB)

struct job {
    uintptr_t next; /* nobody has filled from here on; atomic */
    uintptr_t end;
    size_t share_bytes;
    size_t page_bytes; /* touch one byte in so many; 0: by hm_os_populate */
    int rc;            /* of a populate that failed, or 0; atomic */
};

static void
fill(struct job *job, uintptr_t addr, uintptr_t end)
{
    int rc;

    if (job->page_bytes != 0) {
        for (; addr < end; addr += job->page_bytes)
            *(volatile char *)addr = 0;
        return;
    }
    rc = hm_os_populate(NULL, addr, end - addr);
    if (rc == 0)
        return;
    __atomic_store_n(&job->rc, rc, __ATOMIC_RELAXED);
    __atomic_store_n(&job->next, job->end, __ATOMIC_RELAXED);
}

static void *
work(void *arg)
{
    struct job *job = arg;
    uintptr_t addr;

    while ((addr = __atomic_fetch_add(&job->next, job->share_bytes, __ATOMIC_RELAXED)) < job->end)
        fill(job, addr, job->end - addr < job->share_bytes ? job->end : addr + job->share_bytes);
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

static void
run(struct job *job, unsigned thread_count)
{
    size_t share_count = (job->end - job->next + job->share_bytes - 1) / job->share_bytes;
    pthread_t ids[THREADS_MAX];
    unsigned started = 0;
    int cancel_state;

    if (thread_count > THREADS_MAX)
        thread_count = THREADS_MAX;
    if (thread_count > share_count)
        thread_count = (unsigned)share_count;
    /* The job is on a stack until all are back. */
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    if (thread_count > 1)
        started = start(ids, thread_count - 1, job);
    (void)work(job);
    for (unsigned i = 0; i < started; i++)
        (void)pthread_join(ids[i], NULL);
    (void)pthread_setcancelstate(cancel_state, NULL);
}

void
hm_prefault(uintptr_t addr, size_t len_bytes, size_t page_bytes, unsigned thread_count)
{
    struct job job = { addr, addr + len_bytes, SHARE_BYTES, page_bytes, 0 };

    run(&job, thread_count);
}

/* --- pages of a pool -------------------------------------------------------------------------- */

struct pool_fill {
    size_t page_bytes;
    unsigned thread_count;
};

static int
populate(void *ctx, uintptr_t addr, size_t len_bytes)
{
    const struct pool_fill *of = ctx;
    size_t share_bytes = of->page_bytes > POOL_SHARE_BYTES ? of->page_bytes : POOL_SHARE_BYTES;
    struct job job = { addr, addr + len_bytes, share_bytes, 0, 0 };

    run(&job, of->thread_count);
    return job.rc;
}

static int
map(void *ctx, const struct hm_pool_range *range, enum hm_pool_step *out_step)
{
    const struct hm_prefault_os *self = ctx;
    struct pool_fill of = { (size_t)1 << range->page_shift, self->thread_count };
    struct hm_pool_range filled = *range;

    filled.populate = populate;
    filled.populate_ctx = &of;
    return hm_os_real.pool_map(hm_os_real.ctx, &filled, out_step);
}

void
hm_prefault_os_init(struct hm_prefault_os *out_os, unsigned thread_count)
{
    out_os->os = hm_os_real;
    /* No other service of the real ones needs it. */
    out_os->os.ctx = out_os;
    out_os->os.pool_map = map;
    out_os->thread_count = thread_count;
}
