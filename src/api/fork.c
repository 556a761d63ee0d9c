/* SPDX-License-Identifier: MIT */
/* fork.c - the process-wide heap in fork(): before it, in the parent, in the child.
 *
 * Problem     The child has one thread of the parent's, and a heap that others were at work in.
 *             What it shares with the parent on hugetlb pages kills it where the pool is used up.
 * Idea        heap.lock is held across, so that no region changes and the child does not find it
 *             held by a thread that it does not have; the forking thread itself passes through, for
 *             handlers of other libraries that allocate. Hugetlb pages are copied for the child
 *             (heap/shadow.c). It puts the copies in their place in its handler; but libc makes the
 *             locks of all streams new before, and earlier handlers may write to blocks, too: the
 *             signal that the kernel then sends is answered by doing so at once.
 * State       hm_process; `guard`, between fork_prepare and the handlers after the fork.
 * Locking     heap.lock, held from fork_prepare on, protects `guard`.
 */
#include "api/fork.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h> /* glibc from 2.32 on */
#define IS_THREADED (!__libc_single_threaded)
#else
#define IS_THREADED true
#endif

#include "api/process.h"
#include "api/purger.h"
#include "heap/rejoin.h"
#include "heap/shadow.h"

static struct {
    bool is_set;
    pid_t parent_pid;
    struct sigaction old_action; /* the program's own for SIGBUS */
    sigset_t old_mask;           /* of the forking thread */
} guard;

/* --- the signal between fork() and our handler ------------------------------------------------ */

/* It is ours in the child only, and only once. Any other goes to whom it is meant for: a fault by
 * happening again, one that was sent by being sent again. */
static void
on_sigbus(int signo, siginfo_t *info, void *context)
{
    (void)context;
    if (hm_process.heap.has_shadows && getpid() != guard.parent_pid) {
        hm_shadow_swap(&hm_process.heap);
        return;
    }
    (void)sigaction(SIGBUS, &guard.old_action, NULL);
    if (info->si_code <= 0)
        (void)raise(signo);
}

static void
set_guard(void)
{
    struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    sigset_t mask;

    guard.parent_pid = getpid();
    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGBUS);
    if (sigaction(SIGBUS, &action, &guard.old_action) != 0)
        return;
    (void)pthread_sigmask(SIG_UNBLOCK, &mask, &guard.old_mask);
    guard.is_set = true;
}

/* Unless the program has set another action meanwhile. */
static void
lift_guard(void)
{
    struct sigaction now;

    if (!guard.is_set)
        return;
    guard.is_set = false;
    if (sigaction(SIGBUS, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) != 0
        && now.sa_sigaction == on_sigbus)
        (void)sigaction(SIGBUS, &guard.old_action, NULL);
    (void)pthread_sigmask(SIG_SETMASK, &guard.old_mask, NULL);
}

/* --- handlers --------------------------------------------------------------------------------- */

static void
prepare(void)
{
    struct hm_heap *heap = &hm_process.heap;

    hm_process.was_threaded = IS_THREADED;
    hm_lock_take_for_fork(&heap->lock);
    hm_rejoin_forking(heap);
    if (hm_backing_is_mixed(&heap->backing) && hm_process.conf.fork == HM_FORK_SAFE
        && hm_shadow_cast(heap))
        set_guard();
}

static void
in_parent(void)
{
    lift_guard();
    hm_shadow_drop(&hm_process.heap);
    hm_lock_give_after_fork(&hm_process.heap.lock);
}

static void
in_child(void)
{
    struct hm_tcache *self = hm_thread_cache != &hm_tcache_empty ? hm_thread_cache : NULL;
    struct hm_heap *heap = &hm_process.heap;
    bool is_interrupted = heap->lock.is_interrupted;

    hm_shadow_swap(heap);
    lift_guard();
    hm_shadow_settle(heap);
    /* What a handler interrupted goes on here, and finds all as it left it. */
    if (hm_process.was_threaded && !is_interrupted)
        hm_pool_after_fork(&hm_process.pool, self);
    hm_lock_reset(&heap->lock);
    if (!hm_lock_is_mine(&hm_process.lock))
        hm_lock_reset(&hm_process.lock);
    if (!is_interrupted)
        hm_purger_start();
}

void
hm_fork_watch(void)
{
    (void)pthread_atfork(prepare, in_parent, in_child);
}
