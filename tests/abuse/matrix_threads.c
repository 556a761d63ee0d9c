/* SPDX-License-Identifier: MIT */
/* matrix_threads.c - blocks freed twice where threads take part.
 *
 * Problem     A block that another thread freed may wait for its owner in some list, and the owner
 *             may free it once more meanwhile.
 * Idea        Most scenarios let one thread after another act, so that they are the same each time.
 *             Where the library may notice later, settle() goes on until it must have noticed.
 */
#include "abuse/matrix.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

/* --- acting in another thread ----------------------------------------------------------------- */

/* A thread that waits for something to do. To start one between two frees would be wrong: libc
 * allocates for it, and might be given the very block. */
struct worker {
    pthread_t thread;
    void (*run)(void *ptr);
    void *ptr;
    unsigned is_given; /* atomic: run and ptr are there, and not yet done with */
};

static struct worker workers[3];

static void
run_nothing(void *unused)
{
    (void)unused;
}

static void *
run_worker(void *arg)
{
    struct worker *worker = arg;

    release(block(24)); /* so that the thread has its cache */
    for (;;) {
        while (__atomic_load_n(&worker->is_given, __ATOMIC_ACQUIRE) == 0)
            (void)sched_yield();
        worker->run(worker->ptr);
        __atomic_store_n(&worker->is_given, 0, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void
give(unsigned idx, void (*run)(void *ptr), void *ptr)
{
    workers[idx].run = run;
    workers[idx].ptr = ptr;
    __atomic_store_n(&workers[idx].is_given, 1, __ATOMIC_RELEASE);
}

static void
await(unsigned idx)
{
    while (__atomic_load_n(&workers[idx].is_given, __ATOMIC_ACQUIRE) != 0)
        (void)sched_yield();
}

static void
in_worker(unsigned idx, void (*run)(void *ptr), void *ptr)
{
    give(idx, run, ptr);
    await(idx);
}

static void
start_workers(void)
{
    for (unsigned i = 0; i < 3; i++) {
        if (pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]) != 0)
            _exit(BROKEN);
        in_worker(i, run_nothing, NULL);
    }
}

/* The thread that does it has ended on return. */
static void
in_passing_thread(void *(*run)(void *unused))
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, run, NULL) != 0)
        _exit(BROKEN);
    (void)pthread_join(thread, NULL);
}

/* --- what is done there ----------------------------------------------------------------------- */

static size_t given_size;
static size_t named_size;
static void *taken[12];

static void *
take_some(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < 12; i++)
        taken[i] = block(given_size);
    named_size = given_size <= 32768 ? room_of(taken[0]) : 0;
    return NULL;
}

static void *
take_and_free_one(void *unused)
{
    (void)take_some(unused);
    release(taken[5]);
    return NULL;
}

/* What every scenario begins with: threads, and blocks of this one or of one that has ended. */
static void
set_up(size_t size, void *(*by_ended)(void *unused))
{
    given_size = size;
    start_workers();
    if (by_ended != NULL)
        in_passing_thread(by_ended);
    else
        (void)take_some(NULL);
}

static void
misuse_it(void *ptr)
{
    misuse(ptr, EITHER, named_size);
}

static void
free_twice(void *ptr)
{
    release(ptr);
    misuse_it(ptr);
}

static void
settle_here(void *unused)
{
    (void)unused;
    settle(given_size);
}

/* --- scenarios -------------------------------------------------------------------------------- */

void
second_by_other(size_t size, unsigned step)
{
    (void)step;
    set_up(size, NULL);
    release(taken[5]);
    in_worker(0, misuse_it, taken[5]);
}

/* Not what was handed out, but beside it. */
void
wrong_by_other(size_t size, unsigned step)
{
    char *mem;
    size_t room;

    set_up(size, step >= 4 ? take_some : NULL);
    mem = taken[11];
    room = room_of(mem);
    mem += (const size_t[]){ room, 1, 8, room - 16 }[step % 4];
    if (mem == taken[11] || (step % 4 == 0 && size > 32768))
        not_here();
    in_worker(0, misuse_it, mem);
}

/* The owner may not have heard of the first free yet: caught later is good enough, if it is before
 * the block is handed out twice. */
void
first_by_other(size_t size, unsigned step)
{
    set_up(size, NULL);
    in_worker(0, release, taken[5]);
    if (step == 1)
        release(taken[2]);
    misuse_once(taken[5], EITHER, named_size);
    settle(given_size);
    not_caught();
}

void
both_by_others(size_t size, unsigned step)
{
    set_up(size, NULL);
    in_worker(0, release, taken[5]);
    if (step == 1)
        in_worker(1, release, taken[6]);
    in_worker(1, misuse_it, taken[5]);
}

static void
free_some_twice(void *unused)
{
    (void)unused;
    release(taken[4]);
    release(taken[5]);
    release(taken[6]);
    misuse_it(taken[5]);
}

void
twice_by_other(size_t size, unsigned step)
{
    set_up(size, NULL);
    in_worker(0, step == 0 ? free_twice : free_some_twice, taken[5]);
}

void
owner_ended(size_t size, unsigned step)
{
    set_up(size, take_some);
    if (step == 0)
        free_twice(taken[5]);
    if (step == 1)
        in_worker(0, free_twice, taken[5]);
    in_worker(0, release, taken[5]);
    misuse_it(taken[5]);
}

void
owner_freed_and_ended(size_t size, unsigned step)
{
    (void)step;
    set_up(size, take_and_free_one);
    misuse_it(taken[5]);
}

/* Takes blocks until one of two freed ones is handed out again; the other is still free. */
static void *
take_until_reissued(void *first, void *second)
{
    for (unsigned i = 0; i < 100000; i++) {
        void *mem = hidden(malloc(given_size));

        if (mem == NULL)
            not_here();
        if (mem == first)
            return second;
        if (mem == second)
            return first;
    }
    not_here();
}

/* Another thread frees two blocks; the owner takes one of them back. */
void
merged(size_t size, unsigned step)
{
    void *mem;

    set_up(size, NULL);
    in_worker(0, release, taken[5]);
    in_worker(0, release, taken[6]);
    mem = take_until_reissued(taken[5], taken[6]);
    if (step == 0)
        misuse_it(mem);
    if (step == 1)
        in_worker(0, misuse_it, mem);
    in_worker(0, release, taken[7]);
    in_worker(1, misuse_it, mem);
}

/* A thread ends, and this one takes its span over. */
void
adopted(size_t size, unsigned step)
{
    void *mem;

    set_up(size, take_some);
    release(taken[5]);
    release(taken[6]);
    mem = take_until_reissued(taken[5], taken[6]);
    if (step == 0)
        misuse_it(mem);
    if (step == 1)
        in_worker(0, misuse_it, mem);
    in_worker(0, free_twice, taken[7]);
}

static void
free_all(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < 12; i++)
        release(taken[i]);
}

static void
free_all_and_one_again(void *ptr)
{
    free_all(NULL);
    misuse_it(ptr);
}

/* One thread takes, another frees; the second free comes from the consumer, from a third thread,
 * from the producer. */
void
consumer_twice(size_t size, unsigned step)
{
    set_up(size, NULL);
    if (step == 0)
        in_worker(0, free_all_and_one_again, taken[3]);
    in_worker(0, free_all, NULL);
    if (step == 1)
        in_worker(1, misuse_it, taken[3]);
    misuse_once(taken[3], EITHER, named_size);
    settle(given_size);
    not_caught();
}

/* --- at the same time ------------------------------------------------------------------------- */

static unsigned at_start; /* atomic: threads that are about to free */

static void
meet_and_free(void *ptr)
{
    (void)__atomic_fetch_add(&at_start, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&at_start, __ATOMIC_SEQ_CST) < 2)
        ;
    misuse_once(ptr, EITHER | DAMAGED, named_size);
}

/* Whose block it is: this thread's, which frees too; this thread's, and two others free; an ended
 * thread's. Of three sizes each. The threads may not really meet: then it is an ordinary double
 * free. If it is not caught at once, it must be when the block is to be handed out again. */
void
concurrent(size_t size, unsigned step)
{
    static const size_t sizes[] = { 16, 100, 32768, 200000 };

    (void)size;
    set_up(sizes[step / 3 % 4], step % 3 == 2 ? take_some : NULL);
    give(0, meet_and_free, taken[5]);
    if (step % 3 == 0) {
        meet_and_free(taken[5]);
    } else {
        give(1, meet_and_free, taken[5]);
        await(1);
    }
    await(0);
    settle(given_size);
    in_worker(2, settle_here, NULL);
    settle(given_size);
    not_caught();
}
