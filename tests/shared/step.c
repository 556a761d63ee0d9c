/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/step.h"

enum { NOT_ALLOWED = 77 };

enum phase { BEFORE_WORK, AT_WORK, AFTER_WORK };

static int *phase; /* of the child; shared with it */

static void
skip(const char *reason)
{
    printf("%s\n", reason);
    exit(77);
}

static pid_t
begin(void (*work)(void))
{
    pid_t child;

    if (phase == NULL)
        phase
            = mmap(NULL, sizeof(*phase), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (phase == MAP_FAILED) {
        perror("mmap");
        exit(99);
    }
    *phase = BEFORE_WORK;
    (void)fflush(stdout);
    child = fork();
    if (child < 0) {
        perror("fork");
        exit(99);
    }
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(NOT_ALLOWED);
        (void)raise(SIGSTOP);
        __atomic_store_n(phase, AT_WORK, __ATOMIC_SEQ_CST);
        work();
        __atomic_store_n(phase, AFTER_WORK, __ATOMIC_SEQ_CST);
        _exit(0);
    }
    return child;
}

/* The child has ended. */
static void
judge(int status)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_ALLOWED)
        skip("ptrace is not allowed here");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return;
    printf("the child that was stepped through ended with status %#x\n", (unsigned)status);
    exit(1);
}

/* A signal that the child shall get goes on to it. */
static int
signal_of(int status)
{
    int number = WSTOPSIG(status);

    return number == SIGTRAP || number == SIGSTOP ? 0 : number;
}

static void
give_up(pid_t child, const char *reason)
{
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
    skip(reason);
}

/* One instruction, or all that are left. */
static void
go_on(pid_t child, int status, bool is_step)
{
    if (ptrace(is_step ? PTRACE_SINGLESTEP : PTRACE_CONT, child, NULL,
               (void *)(intptr_t)signal_of(status))
        != 0)
        give_up(child, "this machine has no single steps");
}

static bool
is_in(enum phase wanted)
{
    return __atomic_load_n(phase, __ATOMIC_SEQ_CST) == (int)wanted;
}

long
step_through(void (*work)(void), void (*look)(void))
{
    pid_t child = begin(work);
    long count = 0;
    int status;

    while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
        if (is_in(AT_WORK)) {
            look();
            count++;
        }
        go_on(child, status, !is_in(AFTER_WORK));
        if (count == STEP_MAX)
            give_up(child, "single steps get nowhere: atomic changes are pairs of instructions");
    }
    judge(status);
    look();
    return count;
}

bool
step_apart(void (*work)(void), long step_count, void (*meanwhile)(void))
{
    pid_t child = begin(work);
    bool is_apart = false;
    int status;

    while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
        if (is_in(AT_WORK) && !is_apart && step_count-- == 0) {
            is_apart = true;
            meanwhile();
        }
        go_on(child, status, !is_in(AFTER_WORK) && !is_apart);
    }
    judge(status);
    if (!is_apart)
        meanwhile();
    return is_apart;
}
