/* SPDX-License-Identifier: MIT */
/* arenas_peers.c - heaps of mimalloc and pools of APR as contenders, if their libraries are there.
 *
 * Idea    They are loaded when the program runs, each for itself: nothing of them is needed to
 *         build this, and mimalloc's malloc takes no one's place. A call through a pointer costs no
 *         more than one through the linker's table, which is how the program calls huma.
 *         A pool has an allocator of its own, without a lock, that keeps all memory it was ever
 *         given, as arenas do when they are reset. It gets it from malloc, which has huge pages if
 *         GLIBC_TUNABLES says so.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "arenas.h"

struct symbol {
    const char *name;
    void *out_fn; /* address of a function pointer */
};

/* Returns false if there is no such library, or it lacks something. */
static bool
load_library(const char *const *sonames, const struct symbol *symbols, size_t count)
{
    void *library = NULL;

    for (; library == NULL && *sonames != NULL; sonames++)
        library = dlopen(*sonames, RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; library != NULL && i < count; i++) {
        void *addr = dlsym(library, symbols[i].name);

        if (addr == NULL)
            return false;
        memcpy(symbols[i].out_fn, &addr, sizeof(addr));
    }
    return library != NULL;
}

/* --- mimalloc --------------------------------------------------------------------------------- */

static void *(*mi_heap_new)(void);
static void *(*mi_heap_malloc)(void *, size_t);
static void (*mi_heap_destroy)(void *);
static void (*mi_free)(void *);
static void *heaps[BENCH_LOADS];
static void **heap; /* of the load that is run */

BENCH_INLINE void *
heap_alloc(size_t size_bytes)
{
    return mi_heap_malloc(*heap, size_bytes);
}

BENCH_INLINE void
heap_free(void *block)
{
    mi_free(block);
}

BENCH_INLINE void
heap_renew(void)
{
    mi_heap_destroy(*heap);
    *heap = mi_heap_new();
}

static void
heap_singly(const struct bench_load *load)
{
    bench_free_singly(load, heap_alloc, heap_free);
}

static void
heap_at_once(const struct bench_load *load)
{
    bench_free_at_once(load, heap_alloc, heap_renew);
}

static void
heap_turn(unsigned load_idx)
{
    heap = &heaps[load_idx];
}

unsigned
bench_arenas_mimalloc(struct bench_contender *contenders, bool is_huge)
{
    static const char *const sonames[] = { "libmimalloc.so.2.0", "libmimalloc.so.2", NULL };
    static const struct symbol symbols[] = {
        { "mi_heap_new", &mi_heap_new },
        { "mi_heap_malloc", &mi_heap_malloc },
        { "mi_heap_destroy", &mi_heap_destroy },
        { "mi_free", &mi_free },
    };
    struct bench_contender found = { .name = "mimalloc heap",
                                     .turn_to = heap_turn,
                                     .free_singly = heap_singly,
                                     .free_at_once = heap_at_once };

    /* Read when the library is loaded. */
    if (is_huge)
        (void)setenv("MIMALLOC_LARGE_OS_PAGES", "1", 0);
    found.is_there = load_library(sonames, symbols, sizeof(symbols) / sizeof(symbols[0]));
    for (unsigned i = 0; found.is_there && i < BENCH_LOADS; i++)
        heaps[i] = mi_heap_new();
    contenders[0] = found;
    return 1;
}

/* --- APR -------------------------------------------------------------------------------------- */

static int (*apr_initialize)(void);
static int (*apr_allocator_create)(void **);
static void (*apr_allocator_max_free_set)(void *, size_t);
static int (*apr_pool_create_ex)(void **, void *, void *, void *);
static void *(*apr_palloc)(void *, size_t);
static void (*apr_pool_clear)(void *);
static void *pools[BENCH_LOADS];
static void *pool; /* of the load that is run */

BENCH_INLINE void *
pool_alloc(size_t size_bytes)
{
    return apr_palloc(pool, size_bytes);
}

BENCH_INLINE void
pool_clear(void)
{
    apr_pool_clear(pool);
}

static void
pool_at_once(const struct bench_load *load)
{
    bench_free_at_once(load, pool_alloc, pool_clear);
}

static void
pool_turn(unsigned load_idx)
{
    pool = pools[load_idx];
}

static bool
make_pool(void **out_pool)
{
    void *allocator;

    if (apr_allocator_create(&allocator) != 0)
        return false;
    apr_allocator_max_free_set(allocator, 0); /* no end to it */
    return apr_pool_create_ex(out_pool, NULL, NULL, allocator) == 0;
}

unsigned
bench_arenas_apr(struct bench_contender *contenders)
{
    static const char *const sonames[] = { "libapr-1.so.0", NULL };
    static const struct symbol symbols[] = {
        { "apr_initialize", &apr_initialize },
        { "apr_allocator_create", &apr_allocator_create },
        { "apr_allocator_max_free_set", &apr_allocator_max_free_set },
        { "apr_pool_create_ex", &apr_pool_create_ex },
        { "apr_palloc", &apr_palloc },
        { "apr_pool_clear", &apr_pool_clear },
    };
    struct bench_contender found
        = { .name = "APR pool", .turn_to = pool_turn, .free_at_once = pool_at_once };

    found.is_there = load_library(sonames, symbols, sizeof(symbols) / sizeof(symbols[0]))
                     && apr_initialize() == 0;
    for (unsigned i = 0; found.is_there && i < BENCH_LOADS; i++)
        found.is_there = make_pool(&pools[i]);
    contenders[0] = found;
    return 1;
}
