/* SPDX-License-Identifier: MIT */
/* dlopen_late.c - a running program on libc's malloc loads the library as a plugin.
 *
 * Problem     Loaded late, the library finds threads that it did not see start, and its
 *             thread-local storage must come out of the little room that the loader keeps for such
 *             cases. Two heaps then live side by side, and every call inside the library must stay
 *             in its own.
 * Idea        Threads that exist before dlopen(), and new ones, allocate, swap blocks and free;
 *             blocks are checked; after dlclose() the functions still work, since a malloc must not
 *             be unloaded.
 */
#include "expect.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { THREAD_COUNT = 8, BLOCK_COUNT = 3000, SWAP_COUNT = 64 };

static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void (*free)(void *);
    size_t (*usable_size)(void *);
    void *(*op_new)(size_t);
    void (*op_delete)(void *);
} late;

static pthread_barrier_t loaded;
static _Atomic(uint64_t *) swaps[SWAP_COUNT];

static void *
look_up(void *library, const char *name)
{
    void *function = dlsym(library, name);
    expect(function != NULL, "%s", dlerror());
    expect(function != dlsym(RTLD_DEFAULT, name), "%s is libc's", name);
    return function;
}

static void
load(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    expect(library != NULL, "%s", dlerror());
    *(void **)&late.malloc = look_up(library, "malloc");
    *(void **)&late.calloc = look_up(library, "calloc");
    *(void **)&late.realloc = look_up(library, "realloc");
    *(void **)&late.free = look_up(library, "free");
    *(void **)&late.usable_size = look_up(library, "malloc_usable_size");
    *(void **)&late.op_new = look_up(library, "_Znwm");
    *(void **)&late.op_delete = look_up(library, "_ZdlPv");
    expect(dlclose(library) == 0, "%s", dlerror());
}

/* A block says its own size in its first word; the rest is pattern. */
static void
release(uint64_t *block)
{
    if (block == NULL)
        return;
    size_t rest = block[0] - sizeof(block[0]);
    expect(pattern_holds(block + 1, rest, block[0]), "block of %zu bytes", (size_t)block[0]);
    if (block[0] % 2)
        late.free(block);
    else
        late.op_delete(block);
}

static uint64_t *
obtain(size_t size)
{
    uint64_t *block = size % 3 == 0   ? late.calloc(1, size)
                      : size % 3 == 1 ? late.malloc(size)
                                      : late.op_new(size);
    expect(block != NULL, "%zu bytes", size);
    if (size % 5 == 0)
        block = late.realloc(block, size += size / 2);
    expect(late.usable_size(block) >= size, "usable size of %zu bytes", size);
    block[0] = size;
    pattern_fill(block + 1, size - sizeof(block[0]), size);
    return block;
}

static void *
work(void *arg)
{
    uint64_t random = (uint64_t)(uintptr_t)arg + 1;
    (void)pthread_barrier_wait(&loaded);
    for (int i = 0; i < BLOCK_COUNT; i++) {
        uint64_t bits = draw(&random);
        size_t limit = (size_t)16 << (bits % 15);
        uint64_t *block = obtain(16 + draw(&random) % limit);
        void *foreign = malloc(100);
        release(atomic_exchange(&swaps[(bits >> 32) % SWAP_COUNT], block));
        free(foreign);
    }
    return NULL;
}

int
main(int argc, char **argv)
{
    pthread_t threads[THREAD_COUNT];
    expect(argc == 2, "usage: dlopen_late LIBRARY");
    (void)pthread_barrier_init(&loaded, NULL, THREAD_COUNT + 1);
    for (uintptr_t i = 0; i < THREAD_COUNT; i++)
        expect(pthread_create(&threads[i], NULL, work, (void *)i) == 0, "thread %zu", (size_t)i);
    load(argv[1]);
    (void)pthread_barrier_wait(&loaded);
    for (int i = 0; i < THREAD_COUNT; i++)
        (void)pthread_join(threads[i], NULL);

    (void)pthread_barrier_destroy(&loaded);
    (void)pthread_barrier_init(&loaded, NULL, THREAD_COUNT);
    for (uintptr_t i = 0; i < THREAD_COUNT; i++)
        expect(pthread_create(&threads[i], NULL, work, (void *)(i + 100)) == 0, "thread %zu",
               (size_t)i);
    for (int i = 0; i < THREAD_COUNT; i++)
        (void)pthread_join(threads[i], NULL);
    for (int i = 0; i < SWAP_COUNT; i++)
        release(atomic_load(&swaps[i]));
    (void)printf("two heaps side by side\n");
    return 0;
}
