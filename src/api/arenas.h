/* SPDX-License-Identifier: MIT */
/* arenas.h - the private arenas of the process, and what each thread has of them.
 *
 * Problem     A handle must lead to the calling thread's cache in a few instructions, whatever the
 *             number of arenas and threads; and one that was destroyed must be known for it.
 * Idea        A handle is the address of a struct that is never unmapped, only used again, the one
 *             that waited longest first; plus 1 for an arena for one thread, whose cache lies at
 *             the address. In its thread-local block a thread has the handle that it used last, and
 *             its cache there. What else it has in arenas for many threads is in a table of its
 *             own, by serial number. No such number is used twice, and the struct has none while
 *             there is no arena in it: so what tables remember of an arena that is gone is never
 *             taken for true. Only from the thread-local blocks the handle is erased, in those of
 *             all threads, when its arena is destroyed.
 * State       hm_arenas, hm_arena_tls: with what fork.c has, the only mutable globals of libhuma.
 * Locking     hm_arenas.lock (rank 1) protects who lives: the lists, and a cache against being
 *             retired while its arena is destroyed. A thread-local block is its thread's, but for
 *             `handle`, which others may erase.
 */
#ifndef HM_API_ARENAS_H
#define HM_API_ARENAS_H

#include "api/fork.h"
#include "arena/arena.h"
#include "huma.h"

/* The serial number of no arena. */
#define HM_SERIAL_NONE ((uint64_t)0)

#define HM_ARENA_NAME_BYTES 64
#define HM_SAID_BYTES 512

/* Of handles of arenas for one thread. */
#define HM_HANDLE_SINGLE ((uintptr_t)1)

/* What a thread has used that has used none. NULL is what programs pass for one. */
#define HM_HANDLE_NONE ((huma_arena *)2)

struct huma_arena {
    struct hm_arena core; /* first, for the cache in it */
    uint64_t serial;      /* atomic */
    bool is_single;
    bool is_left_out;                   /* of children of a fork */
    bool is_fixed;                      /* it was closed (arena/closed.h) */
    char name[HM_ARENA_NAME_BYTES + 8]; /* "huma NAME" */
    struct hm_list link;                /* in hm_arenas.live */
    struct huma_arena *idle_next;
};

/* What a thread has of an arena for many threads. */
struct hm_binding {
    uint64_t serial; /* 0: nothing is here */
    struct huma_arena *arena;
    struct hm_tcache *cache;
};

/* What a thread has beyond its thread-local block; used again by other threads. */
struct hm_thread {
    struct hm_binding *bindings; /* a hash table by serial number; linear probing */
    unsigned room_shift;         /* log2 of its length */
    unsigned used_count;         /* places of it that are not empty */
    struct hm_arena_tls *tls;    /* its block */
    struct hm_list link;         /* in hm_arenas.threads */
    struct hm_thread *idle_next;
    char said[HM_SAID_BYTES]; /* huma_last_error() */
};

struct hm_arena_tls {
    huma_arena *handle;       /* used last; atomic */
    struct hm_tcache *cache;  /* there */
    uintptr_t id;             /* what its spans have as owner: even, and never the same twice */
    struct hm_thread *thread; /* NULL: none yet, and `handle` is HM_HANDLE_NONE */
    huma_arena *current;      /* NULL: the one of the process */
    bool is_ending;           /* its caches were retired: it gets no other */
};

#define HM_TABLE_SHIFT_MIN 3
#define HM_TABLE_SHIFTS 32

struct hm_arenas {
    struct hm_pagemap pagemap; /* of all arenas; first, for the shortest way from free */
    struct hm_meta map_meta;   /* its tables; its lock */
    struct hm_lock lock;
    struct hm_meta meta; /* what is never given back: structs, threads, tables */
    struct hm_geom geom; /* const once is_started */
    struct hm_conf conf; /* what arenas have in common; const once is_started */
    struct hm_list live;
    struct huma_arena *idle; /* structs without an arena, the one that waited longest first */
    struct huma_arena *idle_last;
    struct hm_list threads; /* those with a record */
    struct hm_thread *idle_threads;
    struct hm_binding *idle_tables[HM_TABLE_SHIFTS]; /* linked through `arena` of the first */
    uint64_t serial;                                 /* the latest */
    uintptr_t id;                                    /* of the latest cache; atomic */
    huma_arena *common; /* of threads without a current one; NULL: not made yet; atomic */
    size_t pool_count;  /* arenas that may have hugetlb pages; atomic */
    bool is_started;    /* atomic */
    bool has_key;
    unsigned exit_key; /* pthread key whose destructor retires a thread's caches */
};

extern struct hm_arenas hm_arenas HM_HIDDEN;

extern __thread struct hm_arena_tls hm_arena_tls
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* Make sure that arenas can be made. Returns false if there is no memory. */
bool hm_arenas_start(void);

/* A struct for a new arena, entered nowhere, and back; NULL: no memory. */
struct huma_arena *hm_arenas_obtain(void);
void hm_arenas_release(struct huma_arena *arena);

/* The arena of threads without a current one; NULL: no memory. */
huma_arena *hm_arenas_common(void);

/* From now on the arena is one; or no more: false if it was none. */
void hm_arenas_enter(struct huma_arena *arena);
bool hm_arenas_leave(struct huma_arena *arena);

/* Whether a live arena has some of that memory from the program. */
bool hm_arenas_have(uintptr_t addr, size_t len_bytes);

/* What the calling thread allocates from in an arena, or NULL if it has nothing there and can have
 * nothing; the first call for an arena for many threads makes it. */
struct hm_tcache *hm_arenas_cache(struct huma_arena *arena);

/* The same as far as it is there. */
struct hm_tcache *hm_arenas_own_cache(const struct huma_arena *arena);

/* In a forked child: forget all other threads. hm_arenas.lock is held. */
void hm_arenas_forget_threads(void);

/* As hm_arenas_leave, for who holds hm_arenas.lock. */
void hm_arenas_leave_locked(struct huma_arena *arena);

/* What fork() does to arenas (arenas_fork.c). */
extern const struct hm_fork_ops hm_arenas_fork_ops HM_HIDDEN;

/* This thread's record; NULL: no memory, or the thread is ending. */
struct hm_thread *hm_arenas_thread(void);

/* The arena that a handle stands for; NULL if the handle is NULL. Ends the process if the arena was
 * destroyed.
 *   call  for the message, e.g. "huma_arena_alloc()" */
struct huma_arena *hm_arenas_find(const huma_arena *handle, const char *call);

/* Whose heap a span is part of. */
HM_INLINE struct huma_arena *
hm_arenas_of(const struct hm_span *span)
{
    struct hm_arena *core = hm_container_of(span->heap, struct hm_arena, heap);

    return hm_container_of(core, struct huma_arena, core);
}

/* As the program named it. */
HM_INLINE const char *
hm_arenas_name(const struct huma_arena *arena)
{
    return arena->name + sizeof("huma ") - 1;
}

/* The handle of an arena. */
HM_INLINE huma_arena *
hm_arenas_handle(struct huma_arena *arena)
{
    return (huma_arena *)((uintptr_t)arena + (arena->is_single ? HM_HANDLE_SINGLE : 0));
}

#endif
