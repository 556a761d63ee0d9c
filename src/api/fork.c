/* SPDX-License-Identifier: MIT */
/* fork.c - the process-wide heap in fork(): before it, in the parent, in the child.
 *
 * Problem     The child has one thread of the parent's, and a heap that others were at work in.
 *             What it shares with the parent on hugetlb pages kills it where the pool is used up.
 * Idea        heap.lock is held across, so that no region changes and the child does not find it
 *             held by a thread that it does not have; the forking thread itself passes through, for
 *             handlers of other libraries that allocate. Hugetlb pages are copied for the child
 *             (heap/shadow.c). It puts the copies in their place in its handler; but libc makes the
 *             locks of all streams new before, and earlier handlers may use blocks, too. There is
 *             nothing there yet, and the signal is answered by moving the copies at once.
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

/* fork() uses less of the stack below and above our handlers. */
#define STACK_BYTES (64 * HM_KIB)

static struct {
    bool is_set;
    pid_t parent_pid;
    struct sigaction old_action; /* the program's own for SIGSEGV */
    sigset_t old_mask;           /* of the forking thread */
} guard;

/* --- the signal between fork() and our handler ------------------------------------------------ */

/* To whom it was meant for. Where nobody has an action, the fault happens again without ours, or
 * what was sent is sent again. */
static void
pass_on(int signo, siginfo_t *info, void *context)
{
    const struct sigaction *old = &guard.old_action;

    if ((old->sa_flags & SA_SIGINFO) != 0) {
        old->sa_sigaction(signo, info, context);
    } else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
        old->sa_handler(signo);
    } else {
        (void)sigaction(signo, old, NULL);
        if (info->si_code <= 0)
            (void)raise(signo);
    }
}

/* It is ours in the child only, and only once. */
static void
on_fault(int signo, siginfo_t *info, void *context)
{
    if (hm_process.heap.has_shadows && getpid() != guard.parent_pid)
        hm_shadow_swap(&hm_process.heap);
    else
        pass_on(signo, info, context);
}

static void
set_guard(void)
{
    struct sigaction action;
    sigset_t mask;

    guard.parent_pid = getpid();
    if (sigaction(SIGSEGV, NULL, &guard.old_action) != 0)
        return;
    action = guard.old_action;
    action.sa_sigaction = on_fault;
    action.sa_flags |= SA_SIGINFO | SA_ONSTACK;
    action.sa_flags &= ~(int)SA_RESETHAND;
    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGSEGV);
    guard.is_set = sigaction(SIGSEGV, &action, NULL) == 0;
    (void)pthread_sigmask(SIG_UNBLOCK, &mask, &guard.old_mask);
}

/* Unless the program has set another action meanwhile. */
static void
lift_guard(void)
{
    struct sigaction now;

    if (!guard.is_set)
        return;
    guard.is_set = false;
    if (sigaction(SIGSEGV, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) != 0
        && now.sa_sigaction == on_fault)
        (void)sigaction(SIGSEGV, &guard.old_action, NULL);
    (void)pthread_sigmask(SIG_SETMASK, &guard.old_mask, NULL);
}

/* --- handlers --------------------------------------------------------------------------------- */

static void
prepare(void)
{
    struct hm_heap *heap = &hm_process.heap;
    uintptr_t stack_addr = (uintptr_t)__builtin_frame_address(0);
    uintptr_t needed[HM_SHADOW_NEEDED]
        = { stack_addr - STACK_BYTES, stack_addr, stack_addr + STACK_BYTES, hm_thread_id() };

    hm_process.was_threaded = IS_THREADED;
    hm_lock_take_for_fork(&heap->lock);
    hm_rejoin_forking(heap);
    if (hm_backing_is_mixed(&heap->backing) && hm_process.conf.fork == HM_FORK_SAFE
        && hm_shadow_cast(heap, needed))
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
