/* SPDX-License-Identifier: MIT */
/* row09_fork.c - parent and child share memory, and the child may be killed in any instruction.
 *
 * Technique   Anonymous MAP_SHARED memory, made before fork. It is the best for related processes;
 *             but who is killed in the middle of an allocation leaves a torn heap.
 * Shows       The parent reads what the child allocated. Then children are killed while they
 *             allocate, publish, take and free: each time the arena is sound, and not a byte lost.
 * Run         cc -O2 row09_fork.c -o row09_fork $(pkg-config --cflags --libs huma) && ./row09_fork
 */
#include <signal.h>

#include "rows.h"

#define KILLS 200

static huma_shared *shared;

/* Never ends. */
static void
work(uint64_t cell, unsigned seed)
{
    srand(seed);
    for (unsigned i = 0;; i++) {
        uint64_t block = huma_shared_alloc(shared, (size_t)(rand() % 100000 + 1));

        if (i % 3 == 0 && block != 0 && huma_shared_publish(shared, cell, block) == 0)
            block = huma_shared_take(shared, cell);
        /* Some are forgotten: they go with the process. */
        if (block != 0 && i % 64 != 63)
            need(huma_shared_free(shared, block) == 0);
    }
}

static void
kill_children(uint64_t cell)
{
    for (int i = 0; i < KILLS; i++) {
        struct timespec pause = { 0, 100000 + i * 20011L };
        struct huma_shared_state state;
        pid_t child = fork();
        int status = 0;

        if (child == 0)
            work(cell, (unsigned)i);
        (void)nanosleep(&pause, NULL);
        need(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child);
        need(WIFSIGNALED(status));
        need(huma_shared_recover(shared) >= 0 && huma_shared_verify(shared) == 0);
        /* The cell's block is there, or not. */
        need(huma_shared_free(shared, huma_shared_take(shared, cell)) == 0);
        state = state_of(shared);
        need(state.private_bytes == 0 && state.published_bytes == 0 && state.dead_count == 0);
    }
}

int
main(void)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    uint64_t cell;
    uint64_t block;
    pid_t child;

    options.limit_bytes = 64 * MIB;
    shared = huma_shared_create(&options);
    need(shared != NULL);
    cell = huma_shared_root(shared, "answer");
    child = fork();
    if (child == 0) {
        block = huma_shared_alloc_to(shared, cell, 32);
        need(block != 0);
        strcpy(huma_shared_at(shared, block), "the child allocated this");
        _exit(0);
    }
    need(is_well(child));
    block = huma_shared_take(shared, cell);
    need(block != 0 && strcmp(huma_shared_at(shared, block), "the child allocated this") == 0);
    need(huma_shared_free(shared, block) == 0);
    kill_children(cell);
    printf("the parent reads the child's block; %d children killed at work: sound, 0 bytes lost\n",
           KILLS);
    huma_shared_detach(shared);
    return 0;
}
