/* SPDX-License-Identifier: MIT */
/* test_os_lock.c - the lock of one word. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "os/os_lock.h"

#define THREADS 4
#define ROUNDS 100000

static struct hm_lock lock;
static unsigned long counter;
static bool is_inside;

static void *
run_counter(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        hm_lock_take(&lock);
        if (is_inside)
            return (void *)1;
        is_inside = true;
        counter++;
        is_inside = false;
        hm_lock_give(&lock);
    }
    return NULL;
}

Test(os_lock, is_free_at_first_and_held_after_taking)
{
    cr_assert_eq(lock.word, 0);
    hm_lock_take(&lock);
    cr_assert(hm_lock_is_mine(&lock));
    hm_lock_give(&lock);
    cr_assert_eq(lock.word, 0);
    hm_lock_take(&lock);
    hm_lock_reset(&lock);
    cr_assert_eq(lock.word, 0, "as in a forked child");
}

#ifdef HM_DEBUG
static struct hm_lock later;

Test(os_lock, a_lock_taken_out_of_order_aborts, .signal = SIGABRT)
{
    lock.later[1] = &later;
    hm_lock_take(&lock);
    hm_lock_take(&later);
    hm_lock_give(&lock);
    hm_lock_take(&lock);
}

Test(os_lock, a_lock_taken_twice_aborts, .signal = SIGABRT)
{
    hm_lock_take(&lock);
    hm_lock_take(&lock);
}

Test(os_lock, who_forks_passes_in_any_order)
{
    lock.later[0] = &later;
    hm_lock_take_for_fork(&lock);
    hm_lock_take_for_fork(&later);
    hm_lock_take(&lock);
    hm_lock_give(&lock);
    hm_lock_give_after_fork(&later);
    hm_lock_give_after_fork(&lock);
    hm_lock_take(&lock);
    hm_lock_give(&lock);
}
#endif

/* A signal handler calls fork() while the thread holds the lock: it stays held in both. */
Test(os_lock, fork_in_the_middle_of_it)
{
    for (int i = 0; i < 2; i++) {
        hm_lock_take(&lock);
        if (i == 1)
            lock.holder = 0; /* the moment before that is noted */
        hm_lock_take_for_fork(&lock);
        cr_assert(lock.is_interrupted);
        hm_lock_reset(&lock);
        cr_assert(hm_lock_is_mine(&lock), "in the child");
        hm_lock_take_for_fork(&lock);
        hm_lock_give_after_fork(&lock);
        cr_assert(hm_lock_is_mine(&lock), "in the parent");
        hm_lock_give(&lock);
        cr_assert(!hm_lock_is_mine(&lock));
        cr_assert_eq(lock.word, 0);
    }
}

Test(os_lock, lets_one_in_at_a_time)
{
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, run_counter, NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        void *broken = NULL;

        pthread_join(threads[i], &broken);
        cr_assert_null(broken, "two threads were inside");
    }
    cr_assert_eq(counter, THREADS * ROUNDS);
    cr_assert_eq(lock.word, 0);
}

static void *
run_sleeper(void *arg)
{
    errno = 77;
    hm_lock_take(&lock);
    *(int *)arg = errno;
    hm_lock_give(&lock);
    return NULL;
}

/* Longer than any spinning: the waiter sleeps in the kernel, and its errno survives that. */
Test(os_lock, a_sleeper_is_woken)
{
    pthread_t threads[2];
    int errnos[2] = { 0, 0 };

    hm_lock_take(&lock);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, run_sleeper, &errnos[i]), 0);
    usleep(50000);
    cr_assert_neq(__atomic_load_n(&lock.word, __ATOMIC_RELAXED) & HM_LOCK_WAITED, 0);
    hm_lock_give(&lock);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        cr_assert_eq(errnos[i], 77);
    }
}

static void *
run_flag(void *arg)
{
    hm_lock_take(&lock);
    __atomic_store_n((bool *)arg, true, __ATOMIC_RELEASE);
    hm_lock_give(&lock);
    return NULL;
}

/* Over fork() the holder passes through its own lock; everybody else waits. */
Test(os_lock, held_over_fork)
{
    bool has_passed = false;
    pthread_t thread;

    hm_lock_take_for_fork(&lock);
    for (int i = 0; i < 3; i++) {
        hm_lock_take(&lock);
        hm_lock_take(&lock);
        hm_lock_give(&lock);
        hm_lock_give(&lock);
    }
    cr_assert_neq(lock.word, 0, "still held");
    cr_assert_eq(pthread_create(&thread, NULL, run_flag, &has_passed), 0);
    usleep(20000);
    cr_assert(!__atomic_load_n(&has_passed, __ATOMIC_ACQUIRE));
    hm_lock_give_after_fork(&lock);
    pthread_join(thread, NULL);
    cr_assert(has_passed);
    cr_assert_eq(lock.word, 0);
}

Test(os_lock, is_free_in_the_child_after_a_reset)
{
    hm_lock_take_for_fork(&lock);
    hm_lock_take(&lock);
    hm_lock_reset(&lock);
    hm_lock_take(&lock);
    hm_lock_give(&lock);
    cr_assert_eq(lock.word, 0);
    cr_assert_eq(lock.depth, 0);
}
