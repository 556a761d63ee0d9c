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
    bool is_holding; /* signals of the forking thread, and `old_mask` is what it had */
    bool is_set;     /* the action for SIGSEGV is ours, and `old_action` the program's own */
    struct sigaction old_action;
    sigset_t old_mask;
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

static HM_LATER void
on_fault(int signo, siginfo_t *info, void *context)
{
    if (info->si_code == SEGV_MAPERR
        && hm_shadow_covers(&hm_process.heap, (uintptr_t)info->si_addr))
        hm_shadow_swap(&hm_process.heap);
    else
        pass_on(signo, info, context);
}

static bool
is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) != 0 && action->sa_sigaction == on_fault;
}

/* Who read the action of the process during an earlier fork may have set ours again. */
static void
set_guard(void)
{
    struct sigaction old;
    struct sigaction action;

    if (sigaction(SIGSEGV, NULL, &old) != 0)
        return;
    if (!is_ours(&old))
        guard.old_action = old;
    action = guard.old_action;
    action.sa_sigaction = on_fault;
    action.sa_flags |= SA_SIGINFO | SA_ONSTACK;
    action.sa_flags &= ~(int)SA_RESETHAND;
    guard.is_set = sigaction(SIGSEGV, &action, NULL) == 0;
}

/* Unless the program has set another action meanwhile. */
static void
lift_guard(void)
{
    struct sigaction now;

    if (guard.is_set && sigaction(SIGSEGV, NULL, &now) == 0 && is_ours(&now))
        (void)sigaction(SIGSEGV, &guard.old_action, NULL);
    guard.is_set = false;
}

/* A handler that forks in between would find the copies half made. Faults are not for later, and
 * ours must come through; but one that somebody sent and blocked stays where it is. */
static void
hold_signals(void)
{
    static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
    sigset_t mask;

    (void)sigfillset(&mask);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        (void)sigdelset(&mask, faults[i]);
    guard.is_holding = pthread_sigmask(SIG_BLOCK, &mask, &guard.old_mask) == 0;
    if (sigpending(&mask) != 0 || sigismember(&mask, SIGSEGV) != 0)
        return;
    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGSEGV);
    (void)pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
}

static void
let_signals(void)
{
    if (guard.is_holding)
        (void)pthread_sigmask(SIG_SETMASK, &guard.old_mask, NULL);
    guard.is_holding = false;
}

/* --- handlers --------------------------------------------------------------------------------- */

static HM_LATER void
prepare(void)
{
    struct hm_heap *heap = &hm_process.heap;
    uintptr_t stack_addr = (uintptr_t)__builtin_frame_address(0);
    uintptr_t needed[HM_SHADOW_NEEDED] = {
        [HM_SHADOW_STACK] = stack_addr,
        [HM_SHADOW_BELOW] = stack_addr - STACK_BYTES,
        [HM_SHADOW_ABOVE] = stack_addr + STACK_BYTES,
        [HM_SHADOW_THREAD] = hm_thread_id(),
    };

    hm_process.was_threaded = IS_THREADED;
    hm_lock_take_for_fork(&heap->lock);
    hm_rejoin_forking(heap);
    if (!hm_backing_has_pool(&heap->backing) || hm_process.conf.fork != HM_FORK_SAFE)
        return;
    hold_signals();
    if (hm_shadow_cast(heap, needed))
        set_guard();
}

static HM_LATER void
in_parent(void)
{
    lift_guard();
    hm_shadow_drop(&hm_process.heap);
    hm_lock_give_after_fork(&hm_process.heap.lock);
    let_signals();
}

static HM_LATER void
in_child(void)
{
    struct hm_tcache *self = hm_thread_cache != &hm_tcache_empty ? hm_thread_cache : NULL;
    struct hm_heap *heap = &hm_process.heap;
    bool is_interrupted = heap->lock.is_interrupted;

    hm_shadow_swap(heap);
    lift_guard();
    /* What a handler interrupted goes on here, and finds all as it left it. */
    if (!is_interrupted)
        hm_shadow_settle(heap);
    if (hm_process.was_threaded && !is_interrupted)
        hm_pool_after_fork(&hm_process.pool, self);
    hm_shadow_forget(heap);
    hm_lock_reset(&heap->lock);
    if (!hm_lock_is_mine(&hm_process.lock))
        hm_lock_reset(&hm_process.lock);
    if (!is_interrupted)
        hm_purger_start();
    let_signals();
}

void
hm_fork_watch(void)
{
    (void)pthread_atfork(prepare, in_parent, in_child);
}
