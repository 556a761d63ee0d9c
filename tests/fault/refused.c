/* SPDX-License-Identifier: MIT */
/* refused.c - the real kernel refuses: a seccomp filter makes memory calls of a program fail.
 *
 * Problem     fault.c fails calls of a fake kernel; what a program sees is the whole library, with
 *             a sandbox, a cgroup or an exhausted address space below it. Such a refusal begins in
 *             the middle of a run, and often for one thread only.
 * Idea        For each call, each errno and several sizes of the heap, in a child: the main thread
 *             fills a heap, then a new thread puts itself under a filter and goes on with random
 *             calls, and creates threads, which are under it as well. Each call must succeed or
 *             give NULL and ENOMEM, with all contents intact. When the thread has ended, main,
 *             which the filter does not touch, takes its blocks over and must get everything it
 *             asks for. A signal or a hang is a failure.
 *
 * Usage       refused [SEED [SCENARIO]]   one scenario by its number, as a failure names it
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/oracle.h"

enum {
    STEPS = 600,
    LIMIT_S = 60,
    THREADS = 4,
    STACK_BYTES = 256 << 10,
    MIB = 1 << 20,
    SKIP = 77,
};

/* What fails, and how: errnos of the manual pages, those of a sandbox, and what a kernel without
 * the call gives. */
static const struct refusal {
    const char *call;
    int numbers[5]; /* 0 behind the last */
    int errors[7];
} refusals[] = {
    { "mmap", { __NR_mmap }, { ENOMEM, EAGAIN, EPERM, EACCES, EINVAL } },
    { "mprotect", { __NR_mprotect }, { ENOMEM, EACCES, EPERM, EINVAL, EINTR } },
    { "madvise", { __NR_madvise }, { ENOMEM, EAGAIN, EPERM, EINVAL, EINTR, ENOSYS } },
    { "mremap", { __NR_mremap }, { ENOMEM, EAGAIN, EPERM, EINVAL, EFAULT, EINTR, ENOSYS } },
    { "munmap", { __NR_munmap }, { ENOMEM, EPERM, EINVAL, EINTR } },
    { "mmap and mprotect", { __NR_mmap, __NR_mprotect }, { ENOMEM, EPERM } },
    { "every call",
      { __NR_mmap, __NR_mprotect, __NR_madvise, __NR_mremap, __NR_munmap },
      { ENOMEM, EAGAIN, EPERM } },
};

static const size_t fill_mib[] = { 0, 6, 40 };

static struct oracle table;
static struct oracle thread_tables[THREADS];
static char stacks[THREADS][STACK_BYTES] __attribute__((aligned(4096)));
static const struct refusal *refusal;
static int error;
static char name[160];

/* --- the filter ------------------------------------------------------------------------------- */

/* From now on the calls of `refusal` fail in this thread and in those that it creates. */
static bool
install_filter(void)
{
    struct sock_filter code[16];
    struct sock_fprog program = { .filter = code };
    unsigned short count = 0;
    unsigned short number_count = 0;

    while (number_count < 5 && refusal->numbers[number_count] != 0)
        number_count++;
    code[count++]
        = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned short i = 0; i < number_count; i++)
        code[count++] = (struct sock_filter)BPF_JUMP(
            BPF_JMP | BPF_JEQ | BPF_K, (unsigned)refusal->numbers[i], /* to the last but none */
            (unsigned char)(number_count - i), 0);
    code[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[count++]
        = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error);
    program.len = count;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
           && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* Whether the filter bites: else nothing here would be tested. */
static bool
is_refused(void)
{
    void *mem = MAP_FAILED;

    if (refusal->numbers[0] == __NR_mmap) {
        mem = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return mem == MAP_FAILED && errno == error;
    }
    return syscall(refusal->numbers[0], 0, 0, 0, 0, 0) == -1 && errno == error;
}

/* --- one scenario ----------------------------------------------------------------------------- */

static void
run(struct oracle *oracle, unsigned step_count)
{
    for (unsigned i = 0; i < step_count; i++)
        oracle_step(oracle);
}

static void *
run_inner(void *arg)
{
    run(arg, STEPS / THREADS);
    return NULL;
}

/* Threads whose stacks take no mmap; without memory for its own books libc may still refuse. */
static void
run_inner_threads(void)
{
    pthread_t threads[THREADS];
    bool has_begun[THREADS] = { false };
    pthread_attr_t attr;

    for (size_t i = 0; i < THREADS; i++) {
        (void)pthread_attr_init(&attr);
        (void)pthread_attr_setstack(&attr, stacks[i], STACK_BYTES);
        has_begun[i] = pthread_create(&threads[i], &attr, run_inner, &thread_tables[i]) == 0;
        (void)pthread_attr_destroy(&attr);
    }
    for (size_t i = 0; i < THREADS; i++)
        if (has_begun[i])
            (void)pthread_join(threads[i], NULL);
}

static void *
run_refused(void *arg)
{
    if (!install_filter() || !is_refused())
        _exit(SKIP);
    table.may_refuse = true;
    run(&table, STEPS);
    run_inner_threads();
    return arg;
}

static void
begin(struct oracle *oracle, uint64_t seed, size_t limit_bytes)
{
    oracle->choice = choice_of_seed(seed);
    oracle->limit_bytes = limit_bytes;
    oracle->name = name;
}

/* Returns how many calls had no memory; told to the parent through a pipe. */
static uint64_t
live_through(uint64_t seed, size_t fill_bytes)
{
    uint64_t refused_count;
    pthread_t thread;

    (void)alarm(LIMIT_S);
    begin(&table, seed, fill_bytes);
    for (size_t i = 0; i < THREADS; i++) {
        begin(&thread_tables[i], seed + 1 + i, (size_t)16 * MIB);
        thread_tables[i].may_refuse = true;
    }
    for (unsigned i = 0; i < STEPS && table.live_bytes < fill_bytes; i++)
        oracle_step(&table);
    table.limit_bytes = (size_t)160 * MIB;
    if (pthread_create(&thread, NULL, run_refused, NULL) != 0)
        _exit(99);
    (void)pthread_join(thread, NULL);
    refused_count = table.refused_count;

    /* The filter is gone with its thread: now there is memory for everything. */
    table.may_refuse = false;
    run(&table, STEPS / 4);
    oracle_end(&table);
    for (size_t i = 0; i < THREADS; i++) {
        refused_count += thread_tables[i].refused_count;
        thread_tables[i].may_refuse = false;
        run(&thread_tables[i], 100);
        oracle_end(&thread_tables[i]);
    }
    return refused_count;
}

/* Returns how many calls had no memory. */
static uint64_t
try_scenario(unsigned number, uint64_t seed, size_t fill_bytes)
{
    uint64_t refused_count = 0;
    int status = -1;
    int ends[2];
    pid_t child;

    (void)snprintf(name, sizeof(name), "refused: scenario %u: %s fails with %s, over %zu MiB",
                   number, refusal->call, strerrorname_np(error), fill_bytes / MIB);
    if (pipe(ends) != 0 || (child = fork()) < 0)
        exit(99);
    if (child == 0) {
        refused_count = live_through(seed, fill_bytes);
        _exit(write(ends[1], &refused_count, sizeof(refused_count)) > 0 ? 0 : 99);
    }
    (void)close(ends[1]);
    if (read(ends[0], &refused_count, sizeof(refused_count)) < 0)
        exit(99);
    (void)close(ends[0]);
    (void)waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIP) {
        (void)printf("seccomp filters cannot be set here\n");
        exit(SKIP);
    }
    if (status != 0) {
        (void)printf("%s: wait status %#x (0xe: hung); seed %llu\n", name, (unsigned)status,
                     (unsigned long long)seed);
        exit(1);
    }
    return refused_count;
}

int
main(int argc, char **argv)
{
    uint64_t seed = argc > 1 && argv[1][0] != '\0' ? strtoull(argv[1], NULL, 0) : 1;
    unsigned only = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    uint64_t refused_count = 0;
    unsigned number = 0;

    (void)setvbuf(stdout, NULL, _IONBF, 0);
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        refusal = &refusals[i];
        for (size_t k = 0; k < 7 && refusal->errors[k] != 0; k++) {
            error = refusal->errors[k];
            for (size_t f = 0; f < sizeof(fill_mib) / sizeof(fill_mib[0]); f++)
                if (++number == only || only == 0)
                    refused_count += try_scenario(number, seed + number, fill_mib[f] * MIB);
        }
    }
    (void)printf("refused: ok, %u failure runs, %llu calls had no memory\n", number,
                 (unsigned long long)refused_count);
    return refused_count > 0 || only != 0 ? 0 : 1;
}
