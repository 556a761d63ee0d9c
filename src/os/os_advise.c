/* SPDX-License-Identifier: MIT */
/* os_advise.c - the madvise family, names of mappings, clocks.
 *
 * Sources     madvise(2); mlock(2); prctl(2); clock_gettime(2).
 */
#include <errno.h>
#include <sys/prctl.h>
#include <time.h>

#include "os/os.h"
#include "os/os_linux.h"

static const int advice_numbers[] = {
    [HM_ADVICE_HUGE] = MADV_HUGEPAGE,
    [HM_ADVICE_BASE] = MADV_NOHUGEPAGE,
    [HM_ADVICE_COLLAPSE] = MADV_COLLAPSE,
    [HM_ADVICE_DISCARD] = MADV_DONTNEED,
    [HM_ADVICE_DISCARD_LOCKED] = MADV_DONTNEED_LOCKED,
    [HM_ADVICE_LAZY] = MADV_FREE,
    [HM_ADVICE_COLD] = MADV_COLD,
    [HM_ADVICE_HIDE] = MADV_DONTDUMP,
    [HM_ADVICE_SHOW] = MADV_DODUMP,
    [HM_ADVICE_NO_FORK] = MADV_DONTFORK,
    [HM_ADVICE_FORK] = MADV_DOFORK,
};

int
hm_os_advise(void *ctx, uintptr_t addr, size_t len_bytes, enum hm_advice advice)
{
    (void)ctx;
    if (advice == HM_ADVICE_LOCK)
        return mlock2((void *)addr, len_bytes, MLOCK_ONFAULT) == 0 ? 0 : -errno;
    return madvise((void *)addr, len_bytes, advice_numbers[advice]) == 0 ? 0 : -errno;
}

void
hm_os_name(void *ctx, uintptr_t addr, size_t len_bytes, const char *name)
{
    (void)ctx;
    (void)prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, addr, len_bytes, name);
}

void
hm_os_name_thread(const char *name)
{
    (void)prctl(PR_SET_NAME, name);
}

static uint64_t
read_clock(clockid_t clock)
{
    struct timespec now = { 0 };

    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t
hm_os_now_ns(void *ctx)
{
    (void)ctx;
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t
hm_os_cpu_ns(void *ctx)
{
    (void)ctx;
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}
