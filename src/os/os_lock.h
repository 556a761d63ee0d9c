/* SPDX-License-Identifier: MIT */
/* os_lock.h - a lock of one word that sleeps in the kernel when it has to wait.
 *
 * Problem     pthread mutexes may allocate, are not usable before libc is up, and cannot simply be
 *             made new in a forked child.
 * Idea        0 free, 1 held, 2 held and somebody may be asleep: uncontended, one compare-and-swap
 *             to take it and one exchange to give it back. While a lock is held over fork(), its
 *             holder passes through: fork handlers of other libraries, which allocate, may run in
 *             between. Debug builds know who holds a lock, and abort where one is taken out of
 *             order, though no other thread happens to be in the way.
 * Sources     Ulrich Drepper, "Futexes Are Tricky" (2011), section 6, mutex 3.
 */
#ifndef HM_OS_OS_LOCK_H
#define HM_OS_OS_LOCK_H

#include "base/compiler.h"

struct hm_lock {
    uint32_t word;         /* atomic: 0, 1 or 2; all zero is an unlocked lock */
    uint32_t depth;        /* times that the holder passed through; the holder */
    uintptr_t fork_holder; /* the thread that holds it over fork(), 0 if none does; atomic */
#ifdef HM_DEBUG
    uintptr_t holder;               /* the thread that holds it, 0 if none does; atomic */
    const struct hm_lock *later[2]; /* locks that a thread must not hold when it takes this one */
#endif
};

#ifdef HM_DEBUG
void hm_lock_check_order(const struct hm_lock *lock);
void hm_lock_note_holder(struct hm_lock *lock, bool is_held);
#else
#define hm_lock_check_order(lock) ((void)0)
#define hm_lock_note_holder(lock, is_held) ((void)0)
#endif

void hm_lock_wait(struct hm_lock *lock);
void hm_lock_wake(struct hm_lock *lock);

HM_INLINE void
hm_lock_take(struct hm_lock *lock)
{
    uint32_t free_word = 0;

    hm_lock_check_order(lock);
    /* acquire: pairs with the release in hm_lock_give */
    if (!__atomic_compare_exchange_n(&lock->word, &free_word, 1, false, __ATOMIC_ACQUIRE,
                                     __ATOMIC_RELAXED))
        hm_lock_wait(lock);
    hm_lock_note_holder(lock, true);
}

HM_INLINE void
hm_lock_give(struct hm_lock *lock)
{
    if (HM_UNLIKELY(lock->depth > 0)) {
        lock->depth--;
        return;
    }
    hm_lock_note_holder(lock, false);
    if (__atomic_exchange_n(&lock->word, 0, __ATOMIC_RELEASE) == 2)
        hm_lock_wake(lock);
}

/* Take the lock before fork(); give it back after it, in the parent. */
void hm_lock_take_for_fork(struct hm_lock *lock);
void hm_lock_give_after_fork(struct hm_lock *lock);

/* After fork(), in the child: threads that waited do not exist any more. */
HM_INLINE void
hm_lock_reset(struct hm_lock *lock)
{
    lock->depth = 0;
    hm_store(&lock->fork_holder, 0);
    hm_lock_note_holder(lock, false);
    hm_store(&lock->word, 0);
}

#endif
