/* SPDX-License-Identifier: MIT */
/* foreign.c - blocks of glibc's malloc are handed to the functions that replaced it.
 *
 * Problem     A plugin loaded with RTLD_DEEPBIND calls libc's malloc, not the preloaded one; one
 *             loaded by dlmopen has a libc of its own. What they allocate, the program frees.
 * Idea        One scenario a run, named by the first argument. Blocks of all kinds that glibc knows
 *             (brk heap, arenas of threads, mappings; aligned or not) are measured, resized and
 *             freed, and their bytes checked. The last line printed is how many went which way;
 *             foreign.sh compares it with what the library counted.
 */
#include "foreign.h"
#include "expect.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum {
    HANDOVER_COUNT = 256,
    MAKER_COUNT = 4,
    ROUND_COUNT = 20000,
    SPREAD_COUNT = 1500,
    ALL_WAYS = 6,
};

/* The functions that replaced glibc's; NULL where glibc's are in force and it has none. */
static struct {
    void *(*realloc)(void *, size_t);
    void *(*reallocarray)(void *, size_t, size_t);
    void (*free)(void *);
    void (*free_sized)(void *, size_t);
    void (*free_aligned_sized)(void *, size_t, size_t);
    size_t (*usable_size)(void *);
} under_test;

static void
look_up(void *library)
{
    *(void **)&under_test.realloc = dlsym(library, "realloc");
    *(void **)&under_test.reallocarray = dlsym(library, "reallocarray");
    *(void **)&under_test.free = dlsym(library, "free");
    *(void **)&under_test.free_sized = dlsym(library, "free_sized");
    *(void **)&under_test.free_aligned_sized = dlsym(library, "free_aligned_sized");
    *(void **)&under_test.usable_size = dlsym(library, "malloc_usable_size");
}

static const struct plugin *plugin;
static unsigned long freed, moved, leaked;

/* What is made for each way of disposing of a block: the largest get mappings of their own. */
static const struct {
    size_t align;
    size_t size;
} kinds[] = {
    { 16, 1 },      { 16, 24 },       { 16, 100 },      { 16, 1000 },
    { 16, 5000 },   { 16, 60000 },    { 64, 100 },      { 4096, 50 },
    { 4096, 5000 }, { 16, 40000000 }, { 64, 40000000 }, { 65536, 40000000 },
};

enum { KIND_COUNT = sizeof(kinds) / sizeof(kinds[0]) };

/* Resize in a way that must keep the bytes that fit. */
static void
move(unsigned char *block, size_t size, size_t new_size)
{
    size_t kept = size < new_size ? size : new_size;

    errno = 4711;
    block = new_size % 2 != 0 ? under_test.realloc(block, new_size)
                              : under_test.reallocarray(block, new_size / 2, 2);
    expect(block != NULL, "realloc from %zu to %zu bytes", size, new_size);
    expect(errno == 4711, "realloc sets errno to %d", errno);
    for (size_t i = 0; i < kept; i += pattern_step(i, size))
        expect(block[i] == pattern_byte(i, size), "byte %zu of %zu", i, size);
    block[new_size - 1] = 1;
    under_test.free(block);
    moved++;
}

static void
free_by_size(void *block, size_t size)
{
    if (under_test.free_sized == NULL)
        under_test.free(block);
    else if (size % 2 != 0)
        under_test.free_sized(block, size);
    else
        under_test.free_aligned_sized(block, 16, size);
}

/* One block, by one of the ways that exist. `is_leaked`: nobody can free it. */
static void
dispose(unsigned char *block, size_t size, unsigned way, bool is_leaked)
{
    size_t usable = under_test.usable_size(block);

    expect(usable >= size, "usable size %zu of %zu bytes", usable, size);
    expect(usable <= 2 * size + 70000, "usable size %zu of %zu bytes", usable, size);
    block[usable - 1] = 1;
    pattern_fill(block, size, size);
    leaked += is_leaked;
    errno = 4711;
    switch (way) {
    case 0:
        move(block, size, size * 2 + 100);
        return;
    case 1:
        move(block, size, size / 2 + 1);
        return;
    case 2:
        move(block, size, usable);
        return;
    case 3:
        expect(under_test.realloc(block, 0) == NULL, "realloc to 0");
        break;
    case 4:
        free_by_size(block, size);
        break;
    default:
        under_test.free(block);
    }
    expect(errno == 4711, "free sets errno to %d", errno);
    freed++;
}

static void
load(const char *path, bool has_own_libc)
{
    void *library = has_own_libc ? dlmopen(LM_ID_NEWLM, path, RTLD_NOW)
                                 : dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);

    expect(library != NULL, "%s", dlerror());
    plugin = dlsym(library, "plugin");
    expect(plugin != NULL, "%s", dlerror());
}

/* --- all kinds -------------------------------------------------------------------------------- */

/* A main arena that is not on the brk heap, and the arenas of a libc that is not the program's own,
 * nobody can be asked to free blocks of. Which it is stands before the block: a thread may be given
 * what it freed for another. */
static bool
is_lost(const void *block, bool is_main_lost, bool is_arena_lost)
{
    size_t head = ((const size_t *)block)[-1];

    return (head & 2) == 0 && ((head & 4) == 0 ? is_main_lost : is_arena_lost);
}

static void
all_kinds(bool is_main_lost, bool is_arena_lost)
{
    for (unsigned way = 0; way < ALL_WAYS; way++)
        for (unsigned i = 0; i < KIND_COUNT; i++) {
            void *block = plugin->make(kinds[i].align, kinds[i].size);

            dispose(block, kinds[i].size, way, is_lost(block, is_main_lost, is_arena_lost));
            plugin->make_in_thread(kinds[i].align, kinds[i].size, 1, &block);
            dispose(block, kinds[i].size, way, is_lost(block, is_main_lost, is_arena_lost));
        }
}

/* What libc's functions allocate is the program's own malloc's, deep binding or not. */
static void
all_texts(bool has_own_libc)
{
    char *texts[TEXT_COUNT_MAX];
    size_t count = plugin->make_by_libc(texts);

    for (size_t i = 0; i < count; i++) {
        expect(texts[i] != NULL && texts[i][0] != '\0', "text %zu", i);
        if (has_own_libc)
            dispose((unsigned char *)texts[i], strlen(texts[i]) + 1, ALL_WAYS, true);
        else
            under_test.free(texts[i]);
    }
}

/* More than fits one heap of an arena: later ones point back to the first. */
static void
many_heaps(void)
{
    static void *blocks[SPREAD_COUNT];

    plugin->make_in_thread(16, 100000, SPREAD_COUNT, blocks);
    for (unsigned i = 0; i < SPREAD_COUNT; i++)
        under_test.free(blocks[i * 7 % SPREAD_COUNT]);
    freed += SPREAD_COUNT;
}

/* --- threads ---------------------------------------------------------------------------------- */

/* Blocks go from threads that make them to threads that free them, while their neighbours in the
 * arenas are made, split and merged. */
static _Atomic(uint64_t *) handover[HANDOVER_COUNT];
static atomic_ulong threads_freed;

static void *
hand_over(void *arg)
{
    uint64_t random = (uint64_t)(uintptr_t)arg + 1;

    for (int i = 0; i < ROUND_COUNT; i++) {
        uint64_t bits = draw(&random);
        size_t size = 16 + draw(&random) % ((size_t)16 << (bits % 12));
        uint64_t *block = plugin->make(16, size);

        expect(block != NULL, "%zu bytes", size);
        block[0] = size;
        pattern_fill(block + 1, size - sizeof(block[0]), size);
        block = atomic_exchange(&handover[(bits >> 32) % HANDOVER_COUNT], block);
        if (block == NULL)
            continue;
        expect(pattern_holds(block + 1, block[0] - sizeof(block[0]), block[0]), "%zu bytes",
               (size_t)block[0]);
        if (bits >> 63 != 0) {
            plugin->free(block);
            continue;
        }
        under_test.free(block);
        (void)atomic_fetch_add(&threads_freed, 1);
    }
    return NULL;
}

static void
many_threads(void)
{
    pthread_t threads[MAKER_COUNT];

    for (uintptr_t i = 0; i < MAKER_COUNT; i++)
        expect(pthread_create(&threads[i], NULL, hand_over, (void *)i) == 0, "thread %zu",
               (size_t)i);
    for (unsigned i = 0; i < MAKER_COUNT; i++)
        (void)pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < HANDOVER_COUNT; i++) {
        void *block = atomic_load(&handover[i]);

        if (block == NULL)
            continue;
        under_test.free(block);
        freed++;
    }
    freed += atomic_load(&threads_freed);
}

/* --- without descriptors, mappings cannot be looked up ---------------------------------------- */

static void
no_descriptors(void)
{
    unsigned char *on_brk = plugin->make(16, 1000);
    unsigned char *mapped = plugin->make(16, 40000000);
    void *in_arena = NULL;
    struct rlimit before;
    struct rlimit none;

    plugin->make_in_thread(16, 1000, 1, &in_arena);
    expect(getrlimit(RLIMIT_NOFILE, &before) == 0, "%s", strerror(errno));
    none = (struct rlimit){ .rlim_cur = 0, .rlim_max = before.rlim_max };
    expect(setrlimit(RLIMIT_NOFILE, &none) == 0, "%s", strerror(errno));
    dispose(on_brk, 1000, ALL_WAYS, false);
    dispose(in_arena, 1000, 0, false);
    dispose(mapped, 40000000, ALL_WAYS, true);
    expect(setrlimit(RLIMIT_NOFILE, &before) == 0, "%s", strerror(errno));
    mapped[40000000 - 1] = 1; /* is still there */
}

/* --- the library loaded late ------------------------------------------------------------------ */

/* The brk heap is older than the library then; and what it meets is all foreign. In a namespace of
 * its own, it has another libc than the program. */
static void
load_late(const char *path, bool is_apart)
{
    void *older = malloc(1000);
    void *library
        = is_apart ? dlmopen(LM_ID_NEWLM, path, RTLD_NOW) : dlopen(path, RTLD_NOW | RTLD_LOCAL);

    expect(library != NULL, "%s", dlerror());
    look_up(library);
    dispose(older, 1000, ALL_WAYS, is_apart);
}

/* --- freed twice, and by the wrong one -------------------------------------------------------- */

static void
free_twice(void)
{
    void *block = plugin->make(16, 100);

    under_test.free(block);
    under_test.free(block);
}

/* A block of ours behind another whose last words are zero: no size for glibc. */
static void
free_by_plugin(void)
{
    enum { COUNT = 64, SIZE = 112 };
    char *blocks[COUNT];

    for (unsigned i = 0; i < COUNT; i++) {
        blocks[i] = malloc(SIZE);
        memset(blocks[i], 0, SIZE);
    }
    for (unsigned i = 0; i < COUNT; i++)
        for (unsigned k = 0; k < COUNT; k++)
            if (blocks[k] == blocks[i] + SIZE)
                plugin->free(blocks[k]);
    expect(false, "no two blocks are neighbours, or glibc took one");
}

static bool
run(const char *name, const char *path)
{
    bool has_own_libc = strcmp(name, "own-libc") == 0;
    bool is_apart = strcmp(name, "late-apart") == 0;
    bool is_late = is_apart || strcmp(name, "late") == 0;

    if (is_late)
        load_late(getenv("LATE_LIBRARY"), is_apart);
    load(path, has_own_libc);
    if (has_own_libc || is_late || strcmp(name, "deep") == 0) {
        all_kinds(has_own_libc || is_apart, has_own_libc || is_apart);
        if (!is_late)
            all_texts(has_own_libc);
        if (!has_own_libc && !is_apart)
            many_heaps();
    } else if (strcmp(name, "no-brk") == 0) {
        all_kinds(true, false);
        many_heaps();
    } else if (strcmp(name, "threads") == 0) {
        many_threads();
    } else if (strcmp(name, "no-descriptors") == 0) {
        no_descriptors();
    } else if (strcmp(name, "twice") == 0) {
        free_twice();
    } else if (strcmp(name, "by-plugin") == 0) {
        free_by_plugin();
    } else {
        return false;
    }
    return true;
}

int
main(int argc, char **argv)
{
    look_up(RTLD_DEFAULT);
    expect(argc == 3, "usage: foreign SCENARIO PLUGIN");
    expect(run(argv[1], argv[2]), "no such scenario: %s", argv[1]);
    (void)printf("%lu %lu %lu\n", freed, moved, leaked);
    return 0;
}
