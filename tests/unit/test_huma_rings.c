/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "huma.h"

#define MIB ((size_t)1 << 20)
#define NEED(condition) ((condition) ? (void)0 : need_failed(__LINE__))

static void __attribute__((noreturn)) need_failed(int line)
{
    (void)fprintf(stderr, "line %d: not so in the child: %s\n", line, huma_last_error());
    _exit(99);
}

static huma_shared *
must_create(void)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    huma_shared *shared;

    options.backing = "4k";
    options.limit_bytes = 32 * MIB;
    shared = huma_shared_create(&options);
    cr_assert_not_null(shared, "%s", huma_last_error());
    return shared;
}

static uint64_t
numbered(huma_shared *shared, uint64_t number)
{
    uint64_t block = huma_shared_alloc(shared, sizeof(number));

    if (block != 0)
        memcpy(huma_shared_at(shared, block), &number, sizeof(number));
    return block;
}

static uint64_t
number_of(huma_shared *shared, uint64_t block)
{
    uint64_t number;

    memcpy(&number, huma_shared_at(shared, block), sizeof(number));
    return number;
}

static int
wait_for(pid_t pid)
{
    int status;

    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return status;
}

/* First in, first out; full at what was asked for; over many rounds. */
Test(huma_rings, order)
{
    huma_shared *shared = must_create();
    uint64_t ring = huma_shared_ring_create(shared, 5);
    uint64_t put = 0;
    uint64_t got = 0;
    uint64_t block;

    cr_assert_neq(ring, 0);
    for (unsigned round = 0; round < 1000; round++) {
        while (huma_shared_ring_put(shared, ring, block = numbered(shared, put), 0) == 0)
            put++;
        cr_assert_eq(errno, EAGAIN);
        cr_assert_eq(put - got, 8);
        cr_assert_eq(huma_shared_free(shared, block), 0);
        for (unsigned i = 0; i < 1 + round % 8; i++) {
            block = huma_shared_ring_get(shared, ring, 0);
            cr_assert_eq(number_of(shared, block), got++);
            cr_assert_eq(huma_shared_free(shared, block), 0);
        }
    }
    cr_assert_eq(huma_shared_ring_put(shared, ring, block = numbered(shared, put), 0), 0);
    cr_assert_eq(huma_shared_ring_destroy(shared, ring), 0);
    cr_assert_eq(huma_shared_ring_destroy(shared, ring), -1);
    cr_assert_eq(huma_shared_verify(shared), 0);
    huma_shared_detach(shared);
}

Test(huma_rings, waiting)
{
    huma_shared *shared = must_create();
    uint64_t ring = huma_shared_ring_create(shared, 1);

    cr_assert_eq(huma_shared_ring_get(shared, ring, 0), 0);
    cr_assert_eq(errno, EAGAIN);
    cr_assert_eq(huma_shared_ring_get(shared, ring, 5), 0);
    cr_assert_eq(errno, ETIMEDOUT);
    cr_assert_eq(huma_shared_ring_put(shared, ring, numbered(shared, 1), 5), 0);
    cr_assert_eq(huma_shared_ring_put(shared, ring, numbered(shared, 2), 5), -1);
    cr_assert_eq(errno, ETIMEDOUT);
    huma_shared_detach(shared);
}

Test(huma_rings, what_is_no_ring)
{
    huma_shared *shared = must_create();
    uint64_t ring = huma_shared_ring_create(shared, 4);
    uint64_t block = numbered(shared, 1);

    cr_assert_eq(huma_shared_ring_create(shared, 0), 0);
    cr_assert_eq(errno, EINVAL);
    cr_assert_eq(huma_shared_ring_create(shared, ((size_t)1 << 20) + 1), 0);
    cr_assert_eq(errno, EINVAL);
    cr_assert_eq(huma_shared_ring_put(shared, block, ring, 0), -1);
    cr_assert_eq(errno, EINVAL);
    cr_assert_eq(huma_shared_ring_put(shared, ring, ring, 0), -1);
    cr_assert_eq(huma_shared_ring_put(shared, ring, 0, 0), -1);
    cr_assert_eq(huma_shared_ring_put(shared, ring, block + 8, 0), -1);
    cr_assert_eq(huma_shared_ring_get(shared, 12345, 0), 0);
    cr_assert_eq(errno, EINVAL);
    /* A ring that somebody has overwritten. */
    memset(huma_shared_at(shared, ring), 0xa5, huma_shared_usable_size(shared, ring));
    cr_assert_eq(huma_shared_ring_put(shared, ring, block, 0), -1);
    memset(huma_shared_at(shared, ring), 0, 4);
    cr_assert_eq(huma_shared_ring_put(shared, ring, block, 0), -1);
    cr_assert_eq(huma_shared_ring_get(shared, ring, 0), 0);
    cr_assert_eq(huma_shared_free(shared, block), 0);
    huma_shared_detach(shared);
}

enum { PRODUCERS = 3, CONSUMERS = 3, EACH = 20000 };

/* All that producers put is got once, and in the order of each producer by each consumer. */
Test(huma_rings, many_processes)
{
    huma_shared *shared = must_create();
    uint64_t ring = huma_shared_ring_create(shared, 16);
    unsigned char *seen
        = mmap(NULL, PRODUCERS * EACH, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[PRODUCERS + CONSUMERS];

    for (unsigned i = 0; i < PRODUCERS + CONSUMERS; i++) {
        pids[i] = fork();
        if (pids[i] != 0)
            continue;
        if (i < PRODUCERS) {
            for (uint64_t n = 0; n < EACH; n++)
                NEED(huma_shared_ring_put(shared, ring, numbered(shared, i * EACH + n), -1) == 0);
            _exit(0);
        }
        for (uint64_t last[PRODUCERS] = { 0 };;) {
            uint64_t block = huma_shared_ring_get(shared, ring, -1);
            uint64_t number = block != 0 ? number_of(shared, block) : 0;

            NEED(block != 0 && huma_shared_free(shared, block) == 0);
            if (number == UINT64_MAX)
                _exit(0);
            NEED(number + 1 > last[number / EACH]);
            last[number / EACH] = number + 1;
            (void)__atomic_add_fetch(&seen[number], 1, __ATOMIC_RELAXED);
        }
    }
    for (unsigned i = 0; i < PRODUCERS; i++)
        cr_assert_eq(wait_for(pids[i]), 0);
    for (unsigned i = 0; i < CONSUMERS; i++)
        cr_assert_eq(huma_shared_ring_put(shared, ring, numbered(shared, UINT64_MAX), -1), 0);
    for (unsigned i = 0; i < CONSUMERS; i++)
        cr_assert_eq(wait_for(pids[PRODUCERS + i]), 0);
    for (unsigned i = 0; i < PRODUCERS * EACH; i++)
        cr_assert_eq(seen[i], 1);
    cr_assert_eq(huma_shared_verify(shared), 0);
    huma_shared_detach(shared);
}

/* --- locks ------------------------------------------------------------------------------------ */

Test(huma_rings, locks)
{
    huma_shared *shared = must_create();
    uint64_t lock = huma_shared_calloc(shared, 1, 8);

    cr_assert_eq(huma_shared_lock(shared, lock, 0), 0);
    cr_assert_eq(huma_shared_lock(shared, lock, 0), -1);
    cr_assert_eq(errno, EAGAIN);
    cr_assert_eq(huma_shared_lock(shared, lock, 5), -1);
    cr_assert_eq(errno, ETIMEDOUT);
    cr_assert_eq(huma_shared_unlock(shared, lock), 0);
    cr_assert_eq(huma_shared_unlock(shared, lock), -1);
    cr_assert_eq(errno, EPERM);
    cr_assert_eq(huma_shared_lock(shared, lock + 4, 0), -1);
    cr_assert_eq(errno, EINVAL);
    cr_assert_eq(huma_shared_lock(shared, 0, 0), -1);
    cr_assert_eq(huma_shared_lock(shared, huma_shared_root(shared, "x"), 0), -1);
    cr_assert_eq(huma_shared_unlock(shared, 3), -1);
    cr_assert_eq(errno, EINVAL);
    huma_shared_detach(shared);
}

/* Whoever dies with it, the next one is told; also if the next one's seat is the dead one's. */
Test(huma_rings, a_holder_dies)
{
    huma_shared *shared = must_create();
    uint64_t lock = huma_shared_calloc(shared, 1, 8);

    for (int how = 0; how < 3; how++) {
        pid_t pid = fork();

        if (pid == 0) {
            NEED(huma_shared_lock(shared, lock, -1) == (how > 0 ? 1 : 0));
            (void)raise(SIGKILL);
        }
        cr_assert(WIFSIGNALED(wait_for(pid)));
    }
    cr_assert_eq(huma_shared_lock(shared, lock, 0), 1);
    cr_assert_eq(huma_shared_unlock(shared, lock), 0);
    cr_assert_eq(huma_shared_lock(shared, lock, 0), 0);
    huma_shared_detach(shared);
}

/* A child does not hold what its parent holds. */
Test(huma_rings, a_holder_forks)
{
    huma_shared *shared = must_create();
    uint64_t lock = huma_shared_calloc(shared, 1, 8);
    pid_t pid;

    cr_assert_eq(huma_shared_lock(shared, lock, 0), 0);
    pid = fork();
    if (pid == 0) {
        NEED(huma_shared_unlock(shared, lock) == -1 && errno == EPERM);
        NEED(huma_shared_lock(shared, lock, 0) == -1 && errno == EAGAIN);
        _exit(0);
    }
    cr_assert_eq(wait_for(pid), 0);
    cr_assert_eq(huma_shared_unlock(shared, lock), 0);
    huma_shared_detach(shared);
}

enum { ROUNDS = 20000, PROCESSES = 4 };

Test(huma_rings, one_at_a_time)
{
    huma_shared *shared = must_create();
    uint64_t lock = huma_shared_calloc(shared, 1, 8);
    uint64_t count_off = huma_shared_calloc(shared, 1, 8);
    volatile uint64_t *count = huma_shared_at(shared, count_off);
    pid_t pids[PROCESSES];

    for (unsigned i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        if (pids[i] != 0)
            continue;
        for (unsigned n = 0; n < ROUNDS; n++) {
            NEED(huma_shared_lock(shared, lock, -1) == 0);
            ++*count;
            NEED(huma_shared_unlock(shared, lock) == 0);
        }
        _exit(0);
    }
    for (unsigned i = 0; i < PROCESSES; i++)
        cr_assert_eq(wait_for(pids[i]), 0);
    cr_assert_eq(*count, PROCESSES * ROUNDS);
    huma_shared_detach(shared);
}
