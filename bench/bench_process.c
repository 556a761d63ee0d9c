/* SPDX-License-Identifier: MIT */
/* bench_process.c - processes: forks of a large one, starts of small ones.
 *
 * fork      blocks of 64 bytes to 16 KiB, 2 GiB of them; 100 times a child is forked, and the
 *           parent writes to 2000 random blocks while it lives; the child replaces 100 blocks and
 *           ends
 * startup   500 times /bin/true
 */
#include "support.h"

#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCK_LEAST = 64, BLOCK_RANGE = 16321, PARENT_WRITES = 2000, CHILD_BLOCKS = 100 };

struct heap {
    unsigned char **blocks;
    size_t block_count;
    uint64_t seed;
};

/* The child of one fork: waits until the parent has written. */
static void
live_as_child(struct heap *heap, const int ends[2])
{
    char byte;

    (void)close(ends[1]); /* or it would wait for ever for a parent that was killed */
    if (read(ends[0], &byte, 1) != 1)
        _exit(1);
    for (int i = 0; i < CHILD_BLOCKS; i++) {
        size_t at = bench_below(&heap->seed, heap->block_count);

        free(heap->blocks[at]);
        heap->blocks[at] = bench_alloc(BLOCK_LEAST + bench_below(&heap->seed, BLOCK_RANGE));
    }
    _exit(0);
}

/* Returns how long fork() itself took. */
static int64_t
fork_once(struct heap *heap)
{
    int ends[2];
    int status = 0;

    if (pipe(ends) != 0)
        bench_stop(1, "no pipe");
    int64_t begin_ns = bench_now_ns(CLOCK_MONOTONIC);
    pid_t child = fork();
    int64_t took_ns = bench_now_ns(CLOCK_MONOTONIC) - begin_ns;

    if (child < 0)
        bench_stop(1, "fork failed");
    if (child == 0)
        live_as_child(heap, ends);
    for (int i = 0; i < PARENT_WRITES; i++)
        heap->blocks[bench_below(&heap->seed, heap->block_count)][0]++;
    if (write(ends[1], "", 1) != 1 || waitpid(child, &status, 0) != child || status != 0)
        bench_stop(1, "a forked child ended with wait status %d", status);
    (void)close(ends[0]);
    (void)close(ends[1]);
    return took_ns;
}

static void
run_fork(const struct bench_task *task)
{
    size_t goal_bytes = bench_scaled(task, 2147483648.0, 1048576);
    size_t fork_count = bench_scaled(task, 100, 3);
    struct heap heap = { .block_count = goal_bytes / (BLOCK_LEAST + BLOCK_RANGE / 2) };
    struct bench_phase phase;
    int64_t fork_ns = 0;
    char extra[64];

    heap.seed = 88172645463325252u;
    bench_phase_begin(&phase);
    heap.blocks = calloc(heap.block_count, sizeof(heap.blocks[0]));
    if (heap.blocks == NULL)
        bench_stop(1, "no memory for the table");
    for (size_t i = 0; i < heap.block_count; i++)
        heap.blocks[i] = bench_alloc(BLOCK_LEAST + bench_below(&heap.seed, BLOCK_RANGE));
    bench_phase_end(&phase, "build", NULL);

    bench_phase_begin(&phase);
    for (size_t i = 0; i < fork_count; i++)
        fork_ns += fork_once(&heap);
    (void)snprintf(extra, sizeof(extra), "fork_us=%.1f",
                   (double)fork_ns / 1e3 / (double)fork_count);
    bench_phase_end(&phase, "forks", extra);

    bench_phase_begin(&phase);
    for (size_t i = 0; i < heap.block_count; i++)
        free(heap.blocks[i]);
    free(heap.blocks);
    bench_phase_end(&phase, "free-all", NULL);
    bench_final();
}

static void
run_startup(const struct bench_task *task)
{
    size_t start_count = bench_scaled(task, 500, 5);
    char name[] = "/bin/true";
    char *words[] = { name, NULL };
    struct rusage usage;

    for (size_t i = 0; i < start_count; i++) {
        pid_t child;
        int status = 0;

        if (posix_spawn(&child, name, NULL, NULL, words, environ) != 0)
            bench_stop(1, "cannot start %s", name);
        if (waitpid(child, &status, 0) != child || status != 0)
            bench_stop(1, "%s ended with wait status %d", name, status);
    }
    (void)getrusage(RUSAGE_CHILDREN, &usage);
    bench_say("final\trss_kib=%ld", usage.ru_maxrss);
}

int
main(int argc, char **argv)
{
    struct bench_task task = bench_task(argc, argv, "fork startup");

    if (strcmp(task.name, "fork") == 0)
        run_fork(&task);
    else
        run_startup(&task);
    return 0;
}
