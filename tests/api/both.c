/* SPDX-License-Identifier: MIT */
/* both.c - arenas beside malloc, which may be huma's too: then there are two copies in the process.
 *
 * Idea        Threads take and free blocks of both at the same time, hand them to each other, and
 *             fork in the middle; the child goes on with both. Blocks carry their address. Some
 *             arenas and blocks are left when the process ends.
 *
 * Usage       both [arena-to-malloc | malloc-to-arena]
 *             One copy is handed a block of the other one's, which ends the process.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "huma.h"

enum { THREADS = 4, BLOCKS = 512, STEPS = 60000 };

struct block {
    uintptr_t *mem;
    bool is_malloc;
};

static huma_arena *arena;
static struct block shelf[BLOCKS]; /* shelf_lock */
static pthread_mutex_t shelf_lock = PTHREAD_MUTEX_INITIALIZER;

static void __attribute__((noreturn)) fail(const char *what)
{
    (void)fprintf(stderr, "both: %s; %s\n", what, huma_last_error());
    _exit(1);
}

static struct block
take(size_t size, bool is_malloc)
{
    struct block block = { is_malloc ? malloc(size) : huma_arena_alloc(arena, size), is_malloc };

    if (block.mem == NULL)
        fail("no memory");
    block.mem[0] = (uintptr_t)block.mem;
    block.mem[size / sizeof(uintptr_t) - 1] = (uintptr_t)block.mem;
    return block;
}

static void
give(struct block block)
{
    if (block.mem == NULL)
        return;
    if (block.mem[0] != (uintptr_t)block.mem)
        fail("a block was written to");
    if (huma_arena_owns(arena, block.mem) == block.is_malloc)
        fail("huma_arena_owns is wrong");
    if (block.is_malloc)
        free(block.mem);
    else
        huma_arena_free(arena, block.mem);
}

static void *
work(void *arg)
{
    uint64_t state = (uintptr_t)arg * 2654435761u + 1;

    for (int i = 0; i < STEPS; i++) {
        struct block fresh;
        struct block old;

        state = state * 6364136223846793005u + 1442695040888963407u;
        fresh = take(16 + (state >> 33) % (i % 50 == 0 ? 300000 : 2000), (state >> 20 & 1) != 0);
        (void)pthread_mutex_lock(&shelf_lock);
        old = shelf[(state >> 40) % BLOCKS];
        shelf[(state >> 40) % BLOCKS] = fresh;
        (void)pthread_mutex_unlock(&shelf_lock);
        give(old);
    }
    return NULL;
}

/* The child has the lock: the forking thread holds it. */
static void
fork_now(void)
{
    int status = 0;
    pid_t pid;

    (void)pthread_mutex_lock(&shelf_lock);
    pid = fork();
    if (pid == 0) {
        for (int i = 0; i < BLOCKS; i++)
            give(shelf[i]);
        memset(shelf, 0, sizeof(shelf));
        (void)pthread_mutex_unlock(&shelf_lock);
        (void)work((void *)7);
        _exit(huma_arena_check(arena) == 0 ? 0 : 1);
    }
    (void)pthread_mutex_unlock(&shelf_lock);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        fail("the child");
}

static void
run(void)
{
    pthread_t threads[THREADS];

    arena = huma_arena_create(NULL);
    if (arena == NULL)
        fail("create");
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)(i + 1)) != 0)
            fail("pthread_create");
    for (int i = 0; i < 5; i++)
        fork_now();
    for (int i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    if (huma_arena_check(arena) != 0)
        fail("check");
    puts("both: ok");
}

int
main(int argc, char **argv)
{
    if (argc == 1) {
        run();
    } else {
        volatile bool is_ours = strcmp(argv[1], "arena-to-malloc") == 0;
        void *volatile block;

        arena = huma_arena_create(NULL);
        block = is_ours ? huma_arena_alloc(arena, 100) : malloc(100);
        if (is_ours)
            free(block);
        else
            huma_free(block);
    }
    return 0;
}
