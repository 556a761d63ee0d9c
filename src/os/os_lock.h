/* SPDX-License-Identifier: MIT */
/* os_lock.h - a lock of one word that sleeps in the kernel when it has to wait.
 *
 * Problem     pthread mutexes may allocate, are not usable before libc is up, and cannot simply be
 *             made new in a forked child.
 * Idea        0 is free. The holder's word is a tag of its thread, and the lowest bit is set if
 *             somebody may be asleep. Uncontended, one compare-and-swap takes it and one exchange
 *             gives it back. While a lock is held over fork(), its holder passes through: fork
 *             handlers of other libraries, which allocate, may run in between. And a signal handler
 *             may call fork() while the thread that it interrupted holds the lock, at any
 *             instruction: who holds it is to be seen from the word alone. Debug builds abort where
 *             a lock is taken out of order, though no other thread happens to be in the way.
 * Sources     Ulrich Drepper, "Futexes Are Tricky" (2011), section 6, mutex 3.
 */
#ifndef HM_OS_OS_LOCK_H
#define HM_OS_OS_LOCK_H

#include "base/compiler.h"

#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h> /* glibc from 2.32 on */
#endif

struct hm_lock {
    uint32_t word;         /* 0: free; else tag of the holder + HM_LOCK_WAITED; atomic */
    uint32_t depth;        /* times that the holder passed through; the holder */
    uintptr_t fork_holder; /* the thread that holds it over fork(), 0 if none does; atomic */
    uintptr_t holder;      /* the same whenever it is held, but a moment late; atomic */
    bool is_interrupted;   /* fork() was called by a handler in the middle of it; the holder */
#ifdef HM_DEBUG
    const struct hm_lock *later[2]; /* locks that a thread must not hold when it takes this one */
#endif
};

#define HM_LOCK_WAITED 1u

/* Never 0, and even. Thread pointers are aligned, and threads whose tags are alike lie 64 GiB
 * apart. */
HM_INLINE uint32_t
hm_lock_tag(void)
{
    return (uint32_t)(hm_thread_id() >> 6) << 1 | 1u << 31;
}

#ifdef HM_DEBUG
void hm_lock_check_order(const struct hm_lock *lock);
#else
#define hm_lock_check_order(lock) ((void)0)
#endif

/* Whether the calling thread holds the lock, as it may in a signal handler. */
HM_INLINE bool
hm_lock_is_mine(const struct hm_lock *lock)
{
    uintptr_t holder = hm_load(&lock->holder);

    return (hm_load(&lock->word) & ~HM_LOCK_WAITED) == hm_lock_tag()
           && (holder == 0 || holder == hm_thread_id());
}

void hm_lock_wait(struct hm_lock *lock);
void hm_lock_wake(struct hm_lock *lock);

HM_INLINE void
hm_lock_take(struct hm_lock *lock)
{
    uint32_t free_word = 0;

    hm_lock_check_order(lock);
    /* acquire: pairs with the release in hm_lock_give */
    if (!__atomic_compare_exchange_n(&lock->word, &free_word, hm_lock_tag(), false,
                                     __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        hm_lock_wait(lock);
    hm_store(&lock->holder, hm_thread_id());
}

HM_INLINE void
hm_lock_give(struct hm_lock *lock)
{
    if (HM_UNLIKELY(lock->depth > 0)) {
        lock->depth--;
        return;
    }
    hm_store(&lock->holder, 0);
    if ((__atomic_exchange_n(&lock->word, 0, __ATOMIC_RELEASE) & HM_LOCK_WAITED) != 0)
        hm_lock_wake(lock);
}

/* Whether there may be other threads. Where there are none, none can come before this one makes
 * them. */
HM_INLINE bool
hm_is_threaded(void)
{
#if __has_include(<sys/single_threaded.h>)
    return !__libc_single_threaded;
#else
    return true;
#endif
}

/* Take the lock before fork(); give it back after it, in the parent; or make it new, in the child,
 * where threads that waited do not exist any more. A lock that was held already when a signal
 * handler called fork() stays held in both: whom it interrupted will give it back. */
void hm_lock_take_for_fork(struct hm_lock *lock);
void hm_lock_give_after_fork(struct hm_lock *lock);
void hm_lock_reset(struct hm_lock *lock);

#endif
