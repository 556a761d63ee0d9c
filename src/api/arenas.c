/* SPDX-License-Identifier: MIT */
/* arenas.c - handles, and the threads that use them (see arenas.h). */
#include "api/arenas.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/fmt.h"

struct hm_arenas hm_arenas;

#define NO_TLS                                                                                     \
    {                                                                                              \
        .handle = HM_HANDLE_NONE, .cache = (struct hm_tcache *)(uintptr_t)&hm_tcache_empty         \
    }

__thread struct hm_arena_tls hm_arena_tls = NO_TLS;

/* --- start ------------------------------------------------------------------------------------ */

static void thread_exit(void *arg);

static const char *
read_env(const char *name)
{
    return secure_getenv(name);
}

static bool
start_locked(void)
{
    struct hm_machine machine;
    pthread_key_t key;

    hm_os_probe(&machine);
    hm_arenas.geom = machine.geom;
    hm_conf_defaults(&hm_arenas.conf);
    (void)hm_conf_read(&hm_arenas.conf, read_env, 2);
    hm_meta_init(&hm_arenas.meta, &hm_os_real);
    hm_meta_init(&hm_arenas.map_meta, &hm_os_real);
    if (hm_arenas.pagemap.meta == NULL
        && hm_pagemap_init(&hm_arenas.pagemap, &hm_arenas.map_meta, hm_os_real.address_limit(NULL))
               != 0)
        return false;
    hm_list_init(&hm_arenas.live);
    hm_list_init(&hm_arenas.threads);
    if (pthread_key_create(&key, thread_exit) == 0) {
        hm_arenas.exit_key = key;
        hm_arenas.has_key = true;
    }
    /* release: pairs with the acquire in hm_arenas_start */
    __atomic_store_n(&hm_arenas.is_started, true, __ATOMIC_RELEASE);
    return true;
}

bool
hm_arenas_start(void)
{
    bool is_started = __atomic_load_n(&hm_arenas.is_started, __ATOMIC_ACQUIRE);
    bool is_first;

    if (is_started)
        return true;
    hm_lock_take(&hm_arenas.lock);
    is_first = !hm_arenas.is_started;
    is_started = !is_first || start_locked();
    is_first &= is_started;
    hm_lock_give(&hm_arenas.lock);
    if (is_first)
        hm_fork_watch(&hm_arenas_fork_ops);
    return is_started;
}

/* --- handles ---------------------------------------------------------------------------------- */

struct huma_arena *
hm_arenas_obtain(void)
{
    struct huma_arena *arena;

    hm_lock_take(&hm_arenas.lock);
    arena = hm_arenas.idle;
    if (arena != NULL) {
        hm_arenas.idle = arena->idle_next;
    } else {
        arena = hm_meta_alloc(&hm_arenas.meta, sizeof(*arena), HM_CACHE_LINE_BYTES);
    }
    hm_lock_give(&hm_arenas.lock);
    return arena;
}

void
hm_arenas_release(struct huma_arena *arena)
{
    hm_lock_take(&hm_arenas.lock);
    arena->idle_next = NULL;
    if (hm_arenas.idle == NULL)
        hm_arenas.idle = arena;
    else
        hm_arenas.idle_last->idle_next = arena;
    hm_arenas.idle_last = arena;
    hm_lock_give(&hm_arenas.lock);
}

void
hm_arenas_enter(struct huma_arena *arena)
{
    hm_lock_take(&hm_arenas.lock);
    hm_list_add_last(&hm_arenas.live, &arena->link);
    hm_store(&arena->serial, ++hm_arenas.serial);
    if (hm_backing_has_pool(&arena->core.heap.backing))
        hm_store(&hm_arenas.pool_count, hm_arenas.pool_count + 1);
    hm_lock_give(&hm_arenas.lock);
}

bool
hm_arenas_have(uintptr_t addr, size_t len_bytes)
{
    bool is_found = false;

    hm_lock_take(&hm_arenas.lock);
    for (struct hm_list *link = hm_arenas.live.next; link != &hm_arenas.live; link = link->next) {
        const struct huma_arena *arena = hm_container_of(link, struct huma_arena, link);
        const struct hm_heap *heap = &arena->core.heap;

        is_found |= addr < heap->supply_addr + heap->supply_bytes
                    && heap->supply_addr < addr + len_bytes;
    }
    hm_lock_give(&hm_arenas.lock);
    return is_found;
}

/* No thread uses the arena any more, but one may just be about to use another. */
static void
erase_handle(huma_arena *handle)
{
    for (struct hm_list *link = hm_arenas.threads.next; link != &hm_arenas.threads;
         link = link->next) {
        struct hm_thread *thread = hm_container_of(link, struct hm_thread, link);
        huma_arena *expected = handle;

        (void)__atomic_compare_exchange_n(&thread->tls->handle, &expected, HM_HANDLE_NONE, false,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }
}

void
hm_arenas_leave_locked(struct huma_arena *arena)
{
    hm_store(&arena->serial, HM_SERIAL_NONE);
    hm_list_del(&arena->link);
    erase_handle(hm_arenas_handle(arena));
    if (hm_backing_has_pool(&arena->core.heap.backing))
        hm_store(&hm_arenas.pool_count, hm_arenas.pool_count - 1);
}

bool
hm_arenas_leave(struct huma_arena *arena)
{
    bool is_one;

    hm_lock_take(&hm_arenas.lock);
    is_one = arena->serial != HM_SERIAL_NONE;
    if (is_one)
        hm_arenas_leave_locked(arena);
    hm_lock_give(&hm_arenas.lock);
    return is_one;
}

struct huma_arena *
hm_arenas_find(const huma_arena *handle, const char *call)
{
    bool is_single = ((uintptr_t)handle & HM_HANDLE_SINGLE) != 0;
    struct huma_arena *arena = (struct huma_arena *)((uintptr_t)handle & ~HM_HANDLE_SINGLE);

    if (arena == NULL)
        return NULL;
    if (hm_load(&arena->serial) == HM_SERIAL_NONE || arena->is_single != is_single) {
        char what[80];
        struct hm_fmt out = hm_fmt_init(what, sizeof(what), -1);

        hm_fmt_str(&out, call);
        hm_fmt_str(&out, ": not an arena:");
        hm_fail(what, (uintptr_t)handle,
                "it was destroyed; pass what huma_arena_create returned, and destroy it last");
    }
    return arena;
}

/* --- threads ---------------------------------------------------------------------------------- */

static struct hm_binding *
take_table(unsigned room_shift)
{
    struct hm_binding *table = hm_arenas.idle_tables[room_shift];

    if (table == NULL)
        return hm_meta_alloc(&hm_arenas.meta, sizeof(*table) << room_shift, sizeof(void *));
    hm_arenas.idle_tables[room_shift] = (struct hm_binding *)(void *)table->arena;
    for (size_t i = 0; i < (size_t)1 << room_shift; i++)
        table[i] = (struct hm_binding){ .serial = 0 };
    return table;
}

static void
give_table(struct hm_binding *table, unsigned room_shift)
{
    table->arena = (struct huma_arena *)(void *)hm_arenas.idle_tables[room_shift];
    hm_arenas.idle_tables[room_shift] = table;
}

/* Of a thread that is no more. */
static void
give_thread(struct hm_thread *thread)
{
    hm_list_del(&thread->link);
    give_table(thread->bindings, thread->room_shift);
    thread->idle_next = hm_arenas.idle_threads;
    hm_arenas.idle_threads = thread;
}

void
hm_arenas_forget_threads(void)
{
    struct hm_list *link = hm_arenas.threads.next;

    while (link != &hm_arenas.threads) {
        struct hm_thread *thread = hm_container_of(link, struct hm_thread, link);

        link = link->next;
        if (thread != hm_arena_tls.thread)
            give_thread(thread);
    }
}

/* Retire what the thread has in arenas that still are; destroying one waits for the lock. */
static void
thread_exit(void *arg)
{
    struct hm_thread *thread = arg;

    hm_lock_take(&hm_arenas.lock);
    hm_arena_tls = (struct hm_arena_tls)NO_TLS;
    hm_arena_tls.is_ending = true;
    for (size_t i = 0; i < (size_t)1 << thread->room_shift; i++) {
        const struct hm_binding *binding = &thread->bindings[i];

        if (binding->serial != 0 && hm_load(&binding->arena->serial) == binding->serial)
            hm_tcache_retire(binding->cache);
    }
    give_thread(thread);
    hm_lock_give(&hm_arenas.lock);
}

static struct hm_thread *
obtain_thread(void)
{
    struct hm_thread *thread;
    struct hm_binding *table;

    hm_lock_take(&hm_arenas.lock);
    table = take_table(HM_TABLE_SHIFT_MIN);
    thread = hm_arenas.idle_threads;
    if (table == NULL)
        thread = NULL;
    else if (thread != NULL)
        hm_arenas.idle_threads = thread->idle_next;
    else
        thread = hm_meta_alloc(&hm_arenas.meta, sizeof(*thread), HM_CACHE_LINE_BYTES);
    if (thread != NULL) {
        thread->bindings = table;
        thread->room_shift = HM_TABLE_SHIFT_MIN;
        thread->used_count = 0;
        thread->tls = &hm_arena_tls;
        thread->said[0] = '\0';
        hm_list_add_last(&hm_arenas.threads, &thread->link);
    } else if (table != NULL) {
        give_table(table, HM_TABLE_SHIFT_MIN);
    }
    hm_lock_give(&hm_arenas.lock);
    return thread;
}

struct hm_thread *
hm_arenas_thread(void)
{
    struct hm_arena_tls *tls = &hm_arena_tls;
    int saved_errno = errno;

    if (tls->thread == NULL && !tls->is_ending && hm_arenas_start()) {
        tls->thread = obtain_thread();
        /* May call a malloc that comes here again. */
        if (tls->thread != NULL && hm_arenas.has_key)
            (void)pthread_setspecific(hm_arenas.exit_key, tls->thread);
    }
    errno = saved_errno;
    return tls->thread;
}

/* --- the caches of a thread ------------------------------------------------------------------- */

/* Where the serial number is in the table, or would be. */
static struct hm_binding *
place_of(const struct hm_thread *thread, uint64_t serial)
{
    size_t mask = ((size_t)1 << thread->room_shift) - 1;
    size_t i = (size_t)serial & mask;

    while (thread->bindings[i].serial != 0 && thread->bindings[i].serial != serial)
        i = (i + 1) & mask;
    return &thread->bindings[i];
}

static bool
is_alive(const struct hm_binding *binding)
{
    return binding->serial != 0 && hm_load(&binding->arena->serial) == binding->serial;
}

/* A table for twice as many as live; what belongs to arenas that are gone is left out. */
static bool
renew_table(struct hm_thread *thread)
{
    struct hm_thread old = { .bindings = thread->bindings, .room_shift = thread->room_shift };
    unsigned room_shift = HM_TABLE_SHIFT_MIN;
    size_t live_count = 0;
    struct hm_binding *table;

    for (size_t i = 0; i < (size_t)1 << old.room_shift; i++)
        live_count += is_alive(&old.bindings[i]);
    while ((size_t)1 << room_shift < 4 * (live_count + 1))
        room_shift++;
    hm_lock_take(&hm_arenas.lock);
    table = take_table(room_shift);
    hm_lock_give(&hm_arenas.lock);
    if (table == NULL)
        return false;
    thread->bindings = table;
    thread->room_shift = room_shift;
    thread->used_count = 0;
    for (size_t i = 0; i < (size_t)1 << old.room_shift; i++) {
        if (!is_alive(&old.bindings[i]))
            continue;
        *place_of(thread, old.bindings[i].serial) = old.bindings[i];
        thread->used_count++;
    }
    hm_lock_take(&hm_arenas.lock);
    give_table(old.bindings, old.room_shift);
    hm_lock_give(&hm_arenas.lock);
    return true;
}

static struct hm_tcache *
acquire(struct hm_thread *thread, struct huma_arena *arena)
{
    struct hm_binding *binding;
    struct hm_tcache *cache;

    if (2 * (thread->used_count + 1) > 1u << thread->room_shift && !renew_table(thread))
        return NULL;
    cache = hm_tcache_acquire(&arena->core.pool,
                              __atomic_add_fetch(&hm_arenas.id, 2, __ATOMIC_RELAXED));
    if (cache == NULL)
        return NULL;
    binding = place_of(thread, arena->serial);
    *binding = (struct hm_binding){ arena->serial, arena, cache };
    thread->used_count++;
    return cache;
}

/* The arena is the one that the thread uses last from now on. */
static void
prefer(struct huma_arena *arena, struct hm_tcache *cache)
{
    struct hm_arena_tls *tls = &hm_arena_tls;

    tls->cache = cache;
    tls->id = cache->id;
    hm_store(&tls->handle, hm_arenas_handle(arena));
}

struct hm_tcache *
hm_arenas_own_cache(const struct huma_arena *arena)
{
    return hm_arena_tls.thread != NULL ? place_of(hm_arena_tls.thread, arena->serial)->cache : NULL;
}

struct hm_tcache *
hm_arenas_cache(struct huma_arena *arena)
{
    struct hm_thread *thread = hm_arenas_thread();
    struct hm_tcache *cache = NULL;

    if (hm_load(&hm_arena_tls.handle) == hm_arenas_handle(arena))
        return hm_arena_tls.cache;
    if (arena->is_single)
        cache = &arena->core.own;
    else
        cache = hm_arenas_own_cache(arena);
    if (cache == NULL && thread != NULL)
        cache = acquire(thread, arena);
    if (cache != NULL && thread != NULL)
        prefer(arena, cache);
    return cache;
}
