/* SPDX-License-Identifier: MIT */
/* fork_storm.c - hundreds of forks while eight threads allocate, resize and free without pause.
 *
 * Problem     The child starts with a copy of a heap that other threads were in the middle of
 *             changing, and with one thread. It must be able to allocate at once, find every block
 *             of the parent as it was, whoever made it, free it, fork again and start programs.
 * Idea        The threads put finished blocks on shelves and take them off again; a block on a
 *             shelf is nobody's, so the child knows what it inherits. It checks the shelves,
 *             frees what the parent's threads made, allocates all sizes, and by its number also has
 *             threads, children of its own, spawned, vforked and replaced programs. A child that
 *             hangs is ended by its own alarm, which fails the test.
 *
 * Usage       fork_storm [FORKS]
 */
#include "preload/expect.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { THREADS = 8, SHELVES = 300, RAWS = 120, HELD = 600, CHILD_LIMIT_S = 60 };

extern char **environ;

struct block {
    size_t size;
    uint64_t seed;
    unsigned char bytes[];
};

static _Atomic(struct block *) shelves[SHELVES];
static _Atomic(void *) raws[RAWS]; /* blocks that nobody has written to yet */
static atomic_bool is_over;
static atomic_bool is_calm; /* the parent's threads leave the processors to the child */
static char again_word[] = "again";
static char *again_argv[] = { again_word, again_word, NULL };

static struct block *
make(uint64_t *random)
{
    uint64_t bits = draw(random);
    size_t size = bits % 400 == 0 ? (bits >> 20) % (3 << 20) : (bits >> 20) % (8u << bits % 11);
    struct block *block = malloc(sizeof(*block) + size);
    expect(block != NULL, "malloc(%zu)", size);
    block->size = size;
    block->seed = bits;
    pattern_fill(block->bytes, size, bits);
    return block;
}

static void
check(const struct block *block)
{
    expect(malloc_usable_size((void *)(uintptr_t)block) >= sizeof(*block) + block->size,
           "usable size");
    expect(pattern_holds(block->bytes, block->size, block->seed), "%zu bytes changed", block->size);
}

static void
drop(struct block *block)
{
    if (block == NULL)
        return;
    check(block);
    free(block);
}

static struct block *
resized(struct block *block, uint64_t *random)
{
    size_t kept = block->size <= DENSE_BYTES ? block->size : 64;
    size_t size = kept + draw(random) % 5000;
    uint64_t seed = block->seed;
    block = realloc(block, sizeof(*block) + size);
    expect(block != NULL, "realloc to %zu", size);
    for (size_t i = 0; i < kept && i < size; i++)
        expect(block->bytes[i] == pattern_byte(i, seed), "realloc lost byte %zu", i);
    block->size = size;
    pattern_fill(block->bytes, size, seed);
    return block;
}

static size_t
raw_size(size_t idx)
{
    return 1 + idx * idx * 7 % 3000;
}

/* What every thread of the parent does all the time, and those of children for a while. */
static void
storm(uint64_t seed, long rounds)
{
    uint64_t random = seed * 2654435761u + 1;
    struct block *own[32] = { NULL };
    while (rounds != 0 && !is_over) {
        uint64_t bits = draw(&random);
        struct block *block = own[bits % 32];
        rounds--;
        while (is_calm)
            (void)usleep(300);
        if (bits >> 56 < 64) {
            size_t idx = (bits >> 32) % RAWS;
            free(atomic_exchange(&raws[idx], malloc(raw_size(idx))));
        }
        if (block == NULL)
            own[bits % 32] = make(&random);
        else if (bits >> 60 < 4)
            own[bits % 32] = resized(block, &random);
        else
            own[bits % 32] = atomic_exchange(&shelves[(bits >> 8) % SHELVES], block);
        if (bits >> 58 == 63) {
            drop(own[bits % 32]);
            own[bits % 32] = NULL;
        }
    }
    for (int i = 0; i < 32; i++)
        drop(own[i]);
}

static void *
run_storm(void *arg)
{
    storm((uintptr_t)arg, -1);
    return NULL;
}

static void *
run_short_storm(void *arg)
{
    storm((uintptr_t)arg, 300);
    return NULL;
}

static void
wait_for(pid_t child, const char *who)
{
    int status = -1;
    expect(child > 0, "%s: errno %d", who, errno);
    while (waitpid(child, &status, 0) < 0)
        expect(errno == EINTR, "waitpid for %s: errno %d", who, errno);
    expect(status == 0, "%s ended with wait status %#x (0xe: hung)", who, (unsigned)status);
}

static void
start_threads(void)
{
    pthread_t threads[3];
    for (uintptr_t i = 0; i < 3; i++)
        expect(pthread_create(&threads[i], NULL, run_short_storm, (void *)(100 + i)) == 0,
               "a thread of a child");
    for (int i = 0; i < 3; i++)
        (void)pthread_join(threads[i], NULL);
}

static void
start_programs(int number)
{
    pid_t child = -1;
    if (number % 3 == 0) {
        expect(posix_spawn(&child, "/proc/self/exe", NULL, NULL, again_argv, environ) == 0,
               "posix_spawn");
        wait_for(child, "a spawned program");
    }
    if (number % 3 == 1) {
        child = vfork();
        if (child == 0) {
            (void)execve("/proc/self/exe", again_argv, environ);
            _exit(3);
        }
        wait_for(child, "a vforked program");
    }
    if (number % 3 == 2) {
        (void)execve("/proc/self/exe", again_argv, environ);
        _exit(3);
    }
}

/* A block that was never written to is the program's all the same: others of its size do not lie
 * over it. */
static void
try_raws(void)
{
    void *held[HELD];
    for (size_t i = 0; i < RAWS; i++) {
        if (raws[i] != NULL)
            pattern_fill(raws[i], raw_size(i), i);
    }
    for (size_t i = 0; i < HELD; i++) {
        held[i] = malloc(raw_size(i % RAWS));
        expect(held[i] != NULL, "malloc in a child");
        memset(held[i], 0x5a, raw_size(i % RAWS));
    }
    for (size_t i = 0; i < RAWS; i++)
        expect(raws[i] == NULL || pattern_holds(raws[i], raw_size(i), i),
               "an inherited block of %zu bytes was handed out again", raw_size(i));
    for (size_t i = 0; i < HELD; i++)
        free(held[i]);
    for (size_t i = 0; i < RAWS; i++)
        free(atomic_exchange(&raws[i], NULL));
}

static void __attribute__((noreturn)) live_as_child(int number)
{
    (void)alarm(CHILD_LIMIT_S);
    /* At once, whatever the parent's threads were doing: each kind of size. */
    char *blocks[]
        = { malloc(100), malloc(20000), malloc(300000), malloc(40u << 20), calloc(1, 0) };
    for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
        expect(blocks[i] != NULL, "malloc in a child");
        memset(blocks[i], 1, i < 3 ? malloc_usable_size(blocks[i]) : 0);
        free(blocks[i]);
    }
    for (int i = 0; i < SHELVES; i++) {
        if (i % 3 != number % 3)
            drop(atomic_exchange(&shelves[i], NULL));
        else if (shelves[i] != NULL)
            check(shelves[i]);
    }
    if (number % 2 == 0)
        try_raws();
    storm((uint64_t)number, 300);
    if (number % 4 == 0)
        start_threads();
    if (number % 4 != 1) {
        pid_t grandchild = fork();
        if (grandchild == 0) {
            (void)alarm(CHILD_LIMIT_S);
            try_raws();
            storm((uint64_t)number + 1000, 300);
            for (int i = 0; i < SHELVES; i++)
                drop(atomic_exchange(&shelves[i], NULL));
            _exit(0);
        }
        wait_for(grandchild, "a grandchild");
    }
    if (number % 10 == 0)
        start_programs(number / 10);
    _exit(0);
}

int
main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "again") == 0) {
        storm(1, 500);
        return 0;
    }
    int fork_count = argc > 1 ? atoi(argv[1]) : 300;
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        expect(pthread_create(&threads[i], NULL, run_storm, (void *)i) == 0, "thread %zu",
               (size_t)i);
    for (int i = 0; i < fork_count; i++) {
        is_calm = false;
        storm((uint64_t)i + 7, 300);
        pid_t child = fork();
        is_calm = child != 0;
        if (child == 0)
            live_as_child(i);
        wait_for(child, "a child");
    }
    is_calm = false;
    is_over = true;
    for (int i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    for (int i = 0; i < SHELVES; i++)
        drop(atomic_exchange(&shelves[i], NULL));
    (void)dprintf(STDOUT_FILENO, "%d children\n", fork_count);
    return 0;
}
