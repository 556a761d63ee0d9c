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

#ifdef HM_DEBUG
void
hm_lock_check_order(const struct hm_lock *lock)
{
    if (hm_load(&lock->fork_holder) == hm_thread_id())
        return; /* it passes through, and holds them all */
    hm_assert(!hm_lock_is_mine(lock));
    for (int i = 0; i < 2; i++)
        hm_assert(lock->later[i] == NULL || !hm_lock_is_mine(lock->later[i]));
}
#endif

void
hm_lock_wait(struct hm_lock *lock)
{
    int saved_errno = errno;

    if (hm_load(&lock->fork_holder) == hm_thread_id()) {
        lock->depth++;
        return;
    }
    for (unsigned round = 0;; round++) {
        uint32_t word = hm_load(&lock->word);

        if (word == 0) {
            /* Others may sleep still: who woke from that must see to it that they are woken. */
            if (__atomic_compare_exchange_n(&lock->word, &word,
                                            hm_lock_tag() | (round > SPIN_ROUNDS), false,
                                            __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
                break;
        } else if (round < SPIN_ROUNDS) {
            pause_briefly();
        } else if ((word & HM_LOCK_WAITED) != 0
                   || __atomic_compare_exchange_n(&lock->word, &word, word | HM_LOCK_WAITED, false,
                                                  __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
            (void)syscall(SYS_futex, &lock->word, FUTEX_WAIT_PRIVATE, word | HM_LOCK_WAITED, NULL,
                          NULL, 0);
        }
    }
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
    if (hm_lock_is_mine(lock)) {
        lock->is_interrupted = true;
        return;
    }
    hm_lock_take(lock);
    hm_store(&lock->fork_holder, hm_thread_id());
}

void
hm_lock_give_after_fork(struct hm_lock *lock)
{
    if (lock->is_interrupted) {
        lock->is_interrupted = false;
        return;
    }
    hm_store(&lock->fork_holder, 0);
    hm_lock_give(lock);
}

void
hm_lock_reset(struct hm_lock *lock)
{
    if (lock->is_interrupted) {
        lock->is_interrupted = false;
        return;
    }
    lock->depth = 0;
    hm_store(&lock->fork_holder, 0);
    hm_store(&lock->holder, 0);
    hm_store(&lock->word, 0);
}
