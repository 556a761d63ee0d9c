/* SPDX-License-Identifier: MIT */
/* os_lock.c - the waiting half of os_lock.h.
 *
 * Problem     A thread that finds the lock held should not burn the processor that the holder
 *             needs.
 * Idea        Spin for about the length of a short critical section, then sleep on the word.
 */
#include "os/os_lock.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/check.h"

#define SPIN_ROUNDS 40

static void
pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    __asm__ volatile("" ::: "memory");
#endif
}

/* Never 0, and the same in a forked child. */
static uintptr_t
this_thread(void)
{
    return (uintptr_t)pthread_self();
}

#ifdef HM_DEBUG
void
hm_lock_check_order(const struct hm_lock *lock)
{
    if (hm_load(&lock->fork_holder) == this_thread())
        return; /* it passes through, and holds them all */
    hm_assert(hm_load(&lock->holder) != this_thread());
    for (int i = 0; i < 2; i++)
        hm_assert(lock->later[i] == NULL || hm_load(&lock->later[i]->holder) != this_thread());
}

void
hm_lock_note_holder(struct hm_lock *lock, bool is_held)
{
    hm_store(&lock->holder, is_held ? this_thread() : 0);
}
#endif

void
hm_lock_wait(struct hm_lock *lock)
{
    int saved_errno = errno;

    if (hm_load(&lock->fork_holder) == this_thread()) {
        lock->depth++;
        return;
    }
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        uint32_t free_word = 0;

        if (hm_load(&lock->word) == 0
            && __atomic_compare_exchange_n(&lock->word, &free_word, 1, false, __ATOMIC_ACQUIRE,
                                           __ATOMIC_RELAXED))
            return;
        pause_briefly();
    }
    while (__atomic_exchange_n(&lock->word, 2, __ATOMIC_ACQUIRE) != 0)
        (void)syscall(SYS_futex, &lock->word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
    errno = saved_errno;
}

void
hm_lock_wake(struct hm_lock *lock)
{
    int saved_errno = errno;

    (void)syscall(SYS_futex, &lock->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    errno = saved_errno;
}

void
hm_lock_take_for_fork(struct hm_lock *lock)
{
    hm_lock_take(lock);
    hm_store(&lock->fork_holder, this_thread());
}

void
hm_lock_give_after_fork(struct hm_lock *lock)
{
    hm_store(&lock->fork_holder, 0);
    hm_lock_give(lock);
}
