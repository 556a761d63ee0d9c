/* SPDX-License-Identifier: MIT */
/* spaces.c - processes that share an arena, and none of which knows the other's number.
 *
 * Problem     In two containers both processes have the number 1. Whoever tells the living from the
 *             dead by numbers takes one for the other: the living lose what they have, or locks.
 * Idea        Two children, each the first process of a PID namespace of its own, hold blocks and a
 *             lock. Neither finds the other dead while it lives, and both find out when it is
 *             killed; who is left has all it had.
 *
 * Ends        with 77 where such namespaces may not be made.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "huma.h"

enum { BLOCKS = 50, SIZE = 700, NOT_ALLOWED = 77, HUNG_S = 60 };

/* A process of its own namespace, and what its parent hears of it. */
struct resident {
    uint64_t blocks[BLOCKS];
    uint64_t lock; /* a word in the arena, which it holds */
    pid_t pid;     /* as the parent's namespace has it */
    pid_t own_pid; /* as its own has it */
    int answer;
};

static huma_shared *shared;
static struct resident *residents; /* two, in memory that all share */
static int orders[2][2];           /* pipes to them, and back */
static int answers[2][2];

#define NEED(condition) ((condition) ? (void)0 : fail(__LINE__, #condition))

static void __attribute__((noreturn)) fail(int line, const char *condition)
{
    (void)fprintf(stderr, "spaces.c:%d: %s; errno %d; %s\n", line, condition, errno,
                  huma_last_error());
    _exit(1);
}

/* --- residents -------------------------------------------------------------------------------- */

static void
check_blocks(const struct resident *resident, unsigned char mark)
{
    for (unsigned i = 0; i < BLOCKS; i++) {
        const unsigned char *start = huma_shared_at(shared, resident->blocks[i]);

        NEED(huma_shared_usable_size(shared, resident->blocks[i]) >= SIZE);
        for (unsigned at = 0; at < SIZE; at++)
            NEED(start[at] == mark);
    }
}

static void
settle(struct resident *resident, unsigned char mark)
{
    resident->own_pid = getpid();
    for (unsigned i = 0; i < BLOCKS; i++) {
        resident->blocks[i] = huma_shared_alloc(shared, SIZE);
        NEED(resident->blocks[i] != 0);
        memset(huma_shared_at(shared, resident->blocks[i]), mark, SIZE);
    }
    resident->lock = huma_shared_calloc(shared, 1, 8);
    NEED(huma_shared_lock(shared, resident->lock, 0) == 0);
}

/* What it is told to, one letter at a time. */
static int
obey(char order, unsigned idx)
{
    const struct resident *other = &residents[1 - idx];

    switch (order) {
    case 'r':
        return huma_shared_recover(shared);
    case 'l': /* longer than it takes to look for the dead */
        return huma_shared_lock(shared, other->lock, 350) == 0 ? 0 : errno;
    case 'c':
        check_blocks(&residents[idx], (unsigned char)(idx + 1));
        NEED(huma_shared_unlock(shared, residents[idx].lock) == 0);
        return huma_shared_lock(shared, residents[idx].lock, 0);
    default:
        for (unsigned i = 0; i < BLOCKS; i++)
            NEED(huma_shared_free(shared, residents[idx].blocks[i]) == 0);
        NEED(huma_shared_free(shared, residents[idx].lock) == 0);
        huma_shared_detach(shared);
        return 0;
    }
}

static void __attribute__((noreturn)) reside(unsigned idx)
{
    char order;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)alarm(HUNG_S);
    while (__atomic_load_n(&residents[idx].pid, __ATOMIC_ACQUIRE) == 0)
        (void)sched_yield();
    settle(&residents[idx], (unsigned char)(idx + 1));
    NEED(write(answers[idx][1], "x", 1) == 1);
    while (read(orders[idx][0], &order, 1) == 1) {
        residents[idx].answer = obey(order, idx);
        NEED(write(answers[idx][1], "x", 1) == 1);
        if (order == 'e')
            break;
    }
    _exit(0);
}

/* --- namespaces ------------------------------------------------------------------------------- */

/* The first child of who has left its namespace is the first process of the new one. */
static void __attribute__((noreturn)) keep_house(unsigned idx)
{
    pid_t pid;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (unshare(CLONE_NEWPID) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0)
        _exit(NOT_ALLOWED);
    pid = fork();
    if (pid == 0)
        reside(idx);
    __atomic_store_n(&residents[idx].pid, pid, __ATOMIC_RELEASE);
    (void)waitpid(pid, NULL, 0);
    _exit(pid > 0 ? 0 : NOT_ALLOWED);
}

/* Returns whether there are such namespaces. */
static bool
begin(unsigned idx, pid_t *out_house)
{
    char byte;

    NEED(pipe(orders[idx]) == 0 && pipe(answers[idx]) == 0);
    *out_house = fork();
    NEED(*out_house >= 0);
    if (*out_house == 0) {
        (void)close(answers[idx][0]);
        keep_house(idx);
    }
    (void)close(answers[idx][1]);
    return read(answers[idx][0], &byte, 1) == 1;
}

static int
tell(unsigned idx, char order)
{
    char byte;

    NEED(write(orders[idx][1], &order, 1) == 1);
    NEED(read(answers[idx][0], &byte, 1) == 1);
    return residents[idx].answer;
}

static struct huma_shared_state
state_of(void)
{
    struct huma_shared_state state = HUMA_SHARED_STATE_INIT;

    NEED(huma_shared_verify(shared) == 0 && huma_shared_info(shared, &state) == 0);
    return state;
}

/* --- the test --------------------------------------------------------------------------------- */

static void
both_live(void)
{
    NEED(residents[0].own_pid == 1 && residents[1].own_pid == 1);
    NEED(state_of().process_count == 3);
    for (unsigned i = 0; i < 2; i++) {
        NEED(tell(i, 'r') == 0);
        NEED(tell(i, 'l') == ETIMEDOUT);
    }
    NEED(huma_shared_recover(shared) == 0);
    for (unsigned i = 0; i < 2; i++)
        NEED(tell(i, 'c') == 0);
    NEED(state_of().process_count == 3);
}

/* The other one finds that out by itself. */
static void
one_dies(pid_t house)
{
    NEED(kill(residents[0].pid, SIGKILL) == 0 && waitpid(house, NULL, 0) == house);
    NEED(state_of().process_count == 2 && state_of().dead_count == 1);
    NEED(tell(1, 'r') == 1);
    NEED(huma_shared_recover(shared) == 0);
    for (unsigned i = 0; i < BLOCKS; i++)
        NEED(huma_shared_usable_size(shared, residents[0].blocks[i]) == 0);
    NEED(tell(1, 'c') == 0);
    NEED(state_of().process_count == 2 && state_of().dead_count == 0);
}

int
main(void)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    pid_t houses[2];
    struct huma_shared_state state;

    options.backing = "4k";
    options.limit_bytes = (size_t)8 << 20;
    shared = huma_shared_create(&options);
    residents = mmap(NULL, 2 * sizeof(*residents), PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    NEED(shared != NULL && residents != MAP_FAILED);
    for (unsigned i = 0; i < 2; i++) {
        int status;

        if (begin(i, &houses[i]))
            continue;
        NEED(waitpid(houses[i], &status, 0) == houses[i]);
        NEED(WIFEXITED(status) && WEXITSTATUS(status) == NOT_ALLOWED);
        printf("PID namespaces may not be made here\n");
        return NOT_ALLOWED;
    }
    both_live();
    one_dies(houses[0]);
    NEED(tell(1, 'e') == 0);
    NEED(waitpid(houses[1], NULL, 0) == houses[1]);
    (void)huma_shared_trim(shared);
    state = state_of();
    NEED(state.process_count == 1 && state.private_bytes == 0 && state.heap_bytes == 0);
    huma_shared_detach(shared);
    printf("two PID namespaces: ok\n");
    return 0;
}
