/* SPDX-License-Identifier: MIT */
/* fork.c - the heaps of a library in fork(): before it, in the parent, in the child.
 *
 * Problem     The child has one thread of the parent's, and heaps that others were at work in.
 *             What it shares with the parent on hugetlb pages kills it where the pool is used up.
 * Idea        The locks of all heaps are held across, so that no region changes and the child does
 *             not find one held by a thread that it does not have; the forking thread itself
 *             passes through, for handlers of other libraries that allocate. Hugetlb pages are
 *             copied for the child (heap/shadow.c). It puts the copies in their place in its
 *             handler; but libc makes the locks of all streams new before, and earlier handlers may
 *             use blocks, too. There is nothing there yet, and the signal is answered by moving the
 *             copies at once.
 *             Streams are blocks, linked to each other and to a variable of libc: none may be
 *             opened or closed after the copy.
 * State       `guard`; but for `ops` only between prepare and the handlers after the fork.
 * Locking     The lock of libc's list of streams, what keeps the list of heaps, then heap->lock of
 *             all of them: held from prepare on, they protect `guard`.
 * Sources     glibc posix/fork.c: what happens between the handlers, and that fork() takes the same
 *             lock of the streams.
 */
#include "api/fork.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "heap/rejoin.h"
#include "heap/shadow.h"

/* fork() uses less of the stack below and above our handlers. */
#define STACK_BYTES (64 * HM_KIB)

/* What the forking thread had before. */
struct thread_state {
    bool has_mask;
    bool has_stack;
    sigset_t mask;
    stack_t stack; /* the alternate one, for signals */
};

static struct {
    const struct hm_fork_ops *ops;
    struct thread_state old;
    bool was_threaded;
    bool has_streams; /* the lock of their list is held */
    bool is_set;      /* the action for SIGSEGV is ours, and `old_action` the program's own */
    struct sigaction old_action;
} guard;

/* glibc's, recursive; other C libraries lack them. */
extern void streams_take(void) __asm__("_IO_list_lock") __attribute__((weak));
extern void streams_give(void) __asm__("_IO_list_unlock") __attribute__((weak));
extern void streams_reset(void) __asm__("_IO_list_resetlock") __attribute__((weak));

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

/* The next heap that children have, in *inout. */
static bool
next_shared(struct hm_fork_heap *inout)
{
    do {
        if (!guard.ops->next(inout))
            return false;
    } while (inout->is_left_out);
    return true;
}

static void
swap_all(void)
{
    struct hm_fork_heap at = { .heap = NULL };

    while (next_shared(&at))
        hm_shadow_swap(at.heap);
}

static bool
is_covered(uintptr_t addr)
{
    struct hm_fork_heap at = { .heap = NULL };

    while (next_shared(&at))
        if (hm_shadow_covers(at.heap, addr))
            return true;
    return false;
}

static HM_LATER void
on_fault(int signo, siginfo_t *info, void *context)
{
    if (info->si_code == SEGV_MAPERR && is_covered((uintptr_t)info->si_addr))
        swap_all();
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
hold_signals(struct thread_state *out_old)
{
    static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
    sigset_t mask;

    (void)sigfillset(&mask);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        (void)sigdelset(&mask, faults[i]);
    out_old->has_mask = pthread_sigmask(SIG_BLOCK, &mask, &out_old->mask) == 0;
    if (sigpending(&mask) != 0 || sigismember(&mask, SIGSEGV) != 0)
        return;
    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGSEGV);
    (void)pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
}

/* An alternate stack may be a block, which the child lacks. One that is in use stays: then it is
 * the stack that hm_shadow_cast is told of. */
static void
leave_stack(struct thread_state *out_old)
{
    stack_t none = { .ss_flags = SS_DISABLE };

    out_old->has_stack = sigaltstack(NULL, &out_old->stack) == 0
                         && (out_old->stack.ss_flags & (SS_DISABLE | SS_ONSTACK)) == 0
                         && sigaltstack(&none, NULL) == 0;
}

/* Unless a handler has set another meanwhile. */
static void
restore(const struct thread_state *old)
{
    stack_t now;

    if (old->has_stack && sigaltstack(NULL, &now) == 0 && (now.ss_flags & SS_DISABLE) != 0)
        (void)sigaltstack(&old->stack, NULL);
    if (old->has_mask)
        (void)pthread_sigmask(SIG_SETMASK, &old->mask, NULL);
}

/* --- handlers --------------------------------------------------------------------------------- */

/* Returns whether there is any copy. */
static bool
cast_all(const uintptr_t *needed)
{
    struct hm_fork_heap at = { .heap = NULL };
    bool is_cast = false;

    while (next_shared(&at))
        if (hm_backing_has_pool(&at.heap->backing) && at.heap->backing.conf->fork == HM_FORK_SAFE)
            is_cast |= hm_shadow_cast(at.heap, needed);
    return is_cast;
}

static void
take_locks(void)
{
    struct hm_fork_heap at = { .heap = NULL };

    guard.ops->hold();
    while (guard.ops->next(&at)) {
        hm_lock_take_for_fork(&at.heap->lock);
        if (guard.ops->enter != NULL)
            guard.ops->enter(&at);
        if (!at.is_left_out)
            hm_rejoin_forking(at.heap);
    }
}

static HM_LATER void
prepare(void)
{
    uintptr_t stack_addr = (uintptr_t)__builtin_frame_address(0);
    uintptr_t needed[HM_SHADOW_NEEDED] = {
        [HM_SHADOW_STACK] = stack_addr,
        [HM_SHADOW_BELOW] = stack_addr - STACK_BYTES,
        [HM_SHADOW_ABOVE] = stack_addr + STACK_BYTES,
        [HM_SHADOW_THREAD] = hm_thread_id(),
    };
    bool has_copies = guard.ops->has_pool();
    bool has_streams = has_copies && hm_is_threaded() && streams_take != NULL;
    struct thread_state old = { .has_mask = false };

    if (has_copies) {
        hold_signals(&old);
        leave_stack(&old);
    }
    if (has_streams)
        streams_take();
    take_locks();
    guard.old = old;
    guard.has_streams = has_streams;
    guard.was_threaded = hm_is_threaded();
    if (has_copies && cast_all(needed))
        set_guard();
}

/* What `guard` holds of the forking thread, taken out before another may fork. */
static struct thread_state
take_old(void)
{
    struct thread_state old = guard.old;

    guard.old.has_mask = false;
    guard.old.has_stack = false;
    return old;
}

static HM_LATER void
in_parent(void)
{
    struct hm_fork_heap at = { .heap = NULL };
    struct thread_state old = take_old();
    bool has_streams = guard.has_streams;

    lift_guard();
    while (guard.ops->next(&at)) {
        if (!at.is_left_out)
            hm_shadow_drop(at.heap);
        if (guard.ops->exit != NULL)
            guard.ops->exit(&at);
        hm_lock_give_after_fork(&at.heap->lock);
    }
    guard.ops->release(false, false);
    if (has_streams)
        streams_give();
    restore(&old);
}

/* What a handler interrupted goes on here, and finds all as it left it. Returns whether it is
 * so. */
static bool
settle(const struct hm_fork_heap *at)
{
    struct hm_heap *heap = at->heap;
    bool is_interrupted = heap->lock.is_interrupted;

    if (!is_interrupted)
        hm_shadow_settle(heap);
    if (guard.was_threaded && !is_interrupted)
        guard.ops->settle(at);
    hm_shadow_forget(heap);
    if (guard.ops->exit != NULL)
        guard.ops->exit(at);
    hm_lock_reset(&heap->lock);
    return is_interrupted;
}

static HM_LATER void
in_child(void)
{
    struct hm_fork_heap at = { .heap = NULL };
    struct thread_state old = take_old();
    bool is_interrupted = false;

    swap_all();
    lift_guard();
    while (next_shared(&at))
        is_interrupted |= settle(&at);
    if (guard.has_streams)
        streams_reset();
    guard.ops->release(true, is_interrupted);
    restore(&old);
}

void
hm_fork_watch(const struct hm_fork_ops *ops)
{
    guard.ops = ops;
    (void)pthread_atfork(prepare, in_parent, in_child);
}
