/* SPDX-License-Identifier: MIT */
/* huma.h - heaps of your own on huge pages.
 *
 *     #include <huma.h>
 *
 *     struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
 *     options.name = "index";
 *     options.limit_bytes = (size_t)4 << 30;
 *     huma_arena *arena = huma_arena_create(&options);
 *     char *line = huma_arena_alloc(arena, 100);
 *     huma_arena_free(arena, line);
 *     huma_arena_destroy(arena);
 *
 * An arena is a heap apart from malloc's: with memory of the kind that it asks for, with a limit if
 * it shall have one, and with an end at which all its blocks are gone at once. A process may have
 * any number; any number of threads may use one, unless it was made for one.
 *
 * A function that fails returns NULL, -1, or false (huma_arena_trim: 0), sets errno, and leaves a
 * sentence for people: huma_last_error(). What no program should do (freeing a block twice, or into
 * another arena, or using an arena that was destroyed) ends the process with one line on stderr. */
#ifndef HUMA_H
#define HUMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HUMA_VERSION_MAJOR 0
#define HUMA_VERSION_MINOR 1
#define HUMA_VERSION_PATCH 0

#if defined(__GNUC__)
#define HUMA_MALLOC __attribute__((__malloc__, __warn_unused_result__))
#define HUMA_KEEP __attribute__((__warn_unused_result__))
#define HUMA_SIZED(idx) __attribute__((__alloc_size__(idx)))
#define HUMA_SIZED2(idx1, idx2) __attribute__((__alloc_size__(idx1, idx2)))
#else
#define HUMA_MALLOC
#define HUMA_KEEP
#define HUMA_SIZED(idx)
#define HUMA_SIZED2(idx1, idx2)
#endif

typedef struct huma_arena huma_arena;

/* --- create and destroy ----------------------------------------------------------------------- */

/* Bits of huma_arena_options.flags. */

/* At most one thread uses the arena at a time, which is faster. */
#define HUMA_ARENA_SINGLE_THREADED ((uint64_t)1)
/* Transparent huge pages from the first byte; else from 16 MiB on (HUMA_HUGE_START). Pages of a
 * pool that `backing` begins with, as by default, are taken from the first byte in any case. */
#define HUMA_ARENA_HUGE_FIRST ((uint64_t)2)
/* A child of fork() does not have the arena, which counts as destroyed there. */
#define HUMA_ARENA_NO_FORK ((uint64_t)4)
/* Memory for blocks that was touched stays in memory, also when they are freed, until
 * huma_arena_trim (before Linux 5.18: until huma_arena_destroy). mlock2, with MLOCK_ONFAULT. */
#define HUMA_ARENA_LOCKED ((uint64_t)8)
/* Blocks are allocated and freed without the kernel, in what was there at creation. Each thread
 * calls it once, at its first block. */
#define HUMA_ARENA_FIXED ((uint64_t)16)
/* What lies before and behind the arena's memory cannot be accessed: a pointer that runs out of it
 * ends there. */
#define HUMA_ARENA_GUARDED ((uint64_t)32)

/* Values of huma_arena_options.cutoff_bytes. */
#define HUMA_CUTOFF_DYNAMIC ((size_t)0) /* moves as glibc's mmap threshold does, from 128 KiB on */
#define HUMA_CUTOFF_NEVER SIZE_MAX      /* no block is treated as one that glibc would map */

/* What an arena shall be like. Every field may be 0 or NULL but struct_size, and means a sensible
 * default then; later versions add fields at the end. Begin with HUMA_ARENA_OPTIONS_INIT. */
struct huma_arena_options {
    /* sizeof(struct huma_arena_options) */
    size_t struct_size;
    /* Shown in /proc/PID/maps and reports: at most 63 printable ASCII characters, none of
     * \ ` $ [ ]. Default: "arena". */
    const char *name;
    /* Where memory comes from: a list as HUMA_BACKING (huma(7)) has it, which itself does not act
     * on arenas. Default: "hugetlb,thp,4k". */
    const char *backing;
    /* Wish for pages of this size, before all that `backing` names, and from the first byte: those
     * of a hugetlb pool, or base pages. Default: none. */
    size_t page_bytes;
    /* NUMA nodes that memory shall come from: "0", "0-1,3", "all" (from no others: where these are
     * full, the kernel ends processes), "preferred=1", "interleave=0-1", "interleave=all", "local"
     * (of the thread that allocates). Default: as the variable HUMA_NUMA (huma(7)) says. */
    const char *nodes;
    /* Memory obtained and touched at creation, which stays until huma_arena_trim; for
     * HUMA_ARENA_FIXED, in whole regions (2 MiB on most machines), all there will be. */
    size_t initial_bytes;
    /* Of pages that hold blocks: an allocation that needs more fails with ENOMEM. 0: no limit. */
    size_t limit_bytes;
    /* From this size on blocks are those that glibc would map, each on pages of its own; or
     * HUMA_CUTOFF_DYNAMIC, HUMA_CUTOFF_NEVER. */
    size_t cutoff_bytes;
    /* The caller's, in whose whole pages all blocks shall lie. It must outlive the arena, which
     * overwrites it and does not unmap it, and be no other arena's. Not with backing, page_bytes,
     * nodes, HUMA_ARENA_HUGE_FIRST, HUMA_ARENA_LOCKED or HUMA_ARENA_GUARDED. Default: none. */
    void *memory;
    /* ... and its length. */
    size_t memory_bytes;
    /* How many threads touch initial_bytes at a time; 0: this one alone. */
    unsigned prefault_threads;
    /* 0 */
    unsigned reserved;
    /* HUMA_ARENA_* */
    uint64_t flags;
};

#define HUMA_ARENA_OPTIONS_INIT                                                                    \
    {                                                                                              \
        sizeof(struct huma_arena_options), NULL, NULL, 0, NULL, 0, 0, 0, NULL, 0, 0, 0, 0          \
    }

/* Create an arena. It has no memory for blocks yet, but for initial_bytes and `memory`.
 *   options  NULL: all defaults. Nothing of it is needed any more afterwards
 * Returns NULL and errno: EINVAL (an option is wrong), E2BIG (a field is set that this version
 * does not know), ENOMEM, ENOSYS (`nodes`, and the kernel cannot be asked for them). */
huma_arena *huma_arena_create(const struct huma_arena_options *options);

/* Free all blocks, give all memory back, and forget the arena. No thread uses it any more. NULL is
 * no error. Whoever uses the arena or frees a block of it afterwards ends the process, until a new
 * arena gets the same handle, which takes as long as it can: then the use acts on that one. */
void huma_arena_destroy(huma_arena *arena);

/* --- blocks ----------------------------------------------------------------------------------- */

/* Allocate `size` bytes, 0 as well, aligned to 16. Returns NULL and errno: ENOMEM (no memory, or
 * the limit is met), EINVAL (arena is NULL). */
void *huma_arena_alloc(huma_arena *arena, size_t size) HUMA_MALLOC HUMA_SIZED(2);

/* The same for nmemb * size bytes, all of them zero. ENOMEM also if the product is too large. */
void *huma_arena_calloc(huma_arena *arena, size_t nmemb, size_t size) HUMA_MALLOC HUMA_SIZED2(2, 3);

/* The same at a multiple of `alignment`, a power of two. EINVAL also if it is none. */
void *huma_arena_aligned_alloc(huma_arena *arena, size_t alignment, size_t size) HUMA_MALLOC
    HUMA_SIZED(3);

/* Resize a block of the arena: where it is if it can be, else it moves, large ones without being
 * copied where the kernel can move their pages. NULL as `ptr` allocates. A size of 0 is a block of
 * no bytes, to be freed as any other. Returns NULL and errno as huma_arena_alloc; then the block is
 * as it was. To make a block of the arena smaller never fails. */
void *huma_arena_realloc(huma_arena *arena, void *ptr, size_t size) HUMA_KEEP HUMA_SIZED(3);

/* Free a block of the arena; NULL is no error. Any thread may free it. errno is preserved. */
void huma_arena_free(huma_arena *arena, void *ptr);

/* The same for a block that was asked for with this size; one that the block has no room for ends
 * the process. */
void huma_arena_free_sized(huma_arena *arena, void *ptr, size_t size);

/* Whether a live block of the arena starts at `ptr`. False, and EINVAL, if the arena is NULL. */
bool huma_arena_owns(huma_arena *arena, const void *ptr);

/* Bytes that may be used of a block of any arena: no less than were asked for. 0 for NULL; any
 * other pointer ends the process. */
size_t huma_usable_size(const void *ptr);

/* --- all blocks ------------------------------------------------------------------------------- */

/* Free all blocks. The memory stays with the arena, for blocks to come, until huma_arena_trim, but
 * for mappings that large blocks had to themselves. No other thread uses the arena meanwhile.
 * Returns 0, or -1 and EINVAL (arena is NULL). */
int huma_arena_reset(huma_arena *arena);

/* Give back to the system what holds no block. Returns its length in bytes; 0 and EINVAL if the
 * arena is NULL. */
size_t huma_arena_trim(huma_arena *arena);

/* --- scopes ----------------------------------------------------------------------------------- */

/* Blocks of a phase of the program, freed together when it ends. They lie end to end in chunks that
 * are blocks of the arena, so that one costs little more than an addition, and are freed from the
 * latest on, down to a mark; not one by one. At most one thread at a time uses a scope; any number
 * of scopes may be open in an arena. The fields are not for programs. */
struct huma_scope {
    huma_arena *arena;
    char *next; /* free from here */
    char *end;  /* ... to here, in the latest chunk */
    void *chunk;
    void *spare;
    size_t wish_bytes;
};

typedef struct {
    void *chunk;
    char *next;
} huma_mark;

/* Open a scope in an arena. It has no memory yet. Returns 0, or -1 and EINVAL. */
int huma_scope_begin(struct huma_scope *scope, huma_arena *arena);

/* Allocate `size` bytes at a multiple of `alignment`, a power of two. Returns NULL and errno as
 * huma_arena_aligned_alloc. */
void *huma_scope_aligned_alloc(struct huma_scope *scope, size_t alignment, size_t size) HUMA_MALLOC
    HUMA_SIZED(3);

/* What the scope holds now, to be returned to. */
huma_mark huma_scope_mark(const struct huma_scope *scope);

/* Free all blocks that were allocated since the mark. Marks that were set later are gone with them;
 * to return to one of these is an error, which ends the process where it is noticed. */
void huma_scope_release(struct huma_scope *scope, huma_mark mark);

/* Free all blocks and close the scope. huma_arena_reset and huma_arena_destroy free the blocks of
 * all scopes of the arena: such a scope must not be used any more, not even ended, before
 * huma_scope_begin opens it anew. */
void huma_scope_end(struct huma_scope *scope);

/* For huma_scope_alloc. Not for programs. */
void *huma_scope_alloc_slow(struct huma_scope *scope, size_t size) HUMA_MALLOC HUMA_SIZED(2);

/* Allocate `size` bytes, 0 as well, aligned to 16. Returns NULL and errno: ENOMEM, EINVAL (the
 * scope is not open). */
static inline void *
huma_scope_alloc(struct huma_scope *scope, size_t size)
{
    char *mem = scope->next;

    /* Also for size 0: the difference is no larger than SIZE_MAX - 1. */
    if (size - 1 >= (size_t)(scope->end - mem))
        return huma_scope_alloc_slow(scope, size);
    scope->next = mem + ((size + 15) & ~(size_t)15);
    return mem;
}

/* --- the current arena ------------------------------------------------------------------------ */

/* Make an arena this thread's current one, which the functions below allocate from; NULL: the
 * arena that every process has for this, of default options. It must not be destroyed meanwhile.
 * Returns the one before, to be set again when this is done. */
huma_arena *huma_arena_set_current(huma_arena *arena);

/* As huma_arena_alloc, huma_arena_calloc and huma_arena_aligned_alloc, in the current arena. */
void *huma_malloc(size_t size) HUMA_MALLOC HUMA_SIZED(1);
void *huma_calloc(size_t nmemb, size_t size) HUMA_MALLOC HUMA_SIZED2(1, 2);
void *huma_aligned_alloc(size_t alignment, size_t size) HUMA_MALLOC HUMA_SIZED(2);

/* As huma_arena_realloc: the block stays in the arena that it is in; NULL allocates in the current
 * one. */
void *huma_realloc(void *ptr, size_t size) HUMA_KEEP HUMA_SIZED(2);

/* Free a block of whichever arena it is in. */
void huma_free(void *ptr);

/* --- what an arena holds ---------------------------------------------------------------------- */

/* Begin with HUMA_INFO_INIT; later versions add fields at the end. All sizes are in bytes. */
struct huma_info {
    size_t struct_size;      /* sizeof(struct huma_info) */
    uint64_t live_bytes;     /* in live blocks, as huma_usable_size has them */
    uint64_t heap_bytes;     /* of the pages that hold them: what limit_bytes limits */
    uint64_t limit_bytes;    /* 0: none */
    uint64_t reserved_bytes; /* address space */
    uint64_t resident_bytes; /* of it in memory, as the kernel says; this and the next two are 0 if
                                it cannot be asked */
    uint64_t hugetlb_bytes;  /* of resident_bytes: on pages of a hugetlb pool */
    uint64_t thp_bytes;      /* of resident_bytes: on transparent huge pages */
    uint64_t meta_bytes;     /* huma's own for the arena, in memory, or mapped if the kernel cannot
                               be asked */
    uint64_t fallback_count; /* how often a region (of 2 MiB on most machines) did not get a backing
                                of the arena's list, and the next was tried */
    const char *fallback_code; /* why the latest did not: huma(7) explains each; "none" */
};

#define HUMA_INFO_INIT                                                                             \
    {                                                                                              \
        sizeof(struct huma_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL                                  \
    }

/* Tell what an arena holds. It is counted now, in time that grows with the number of spans and of
 * pages. Blocks that other threads take or free meanwhile may or may not be in it. Returns 0, or -1
 * and EINVAL. */
int huma_arena_info(huma_arena *arena, struct huma_info *info);

/* Tell how many bytes of an arena are in memory on each NUMA node. It takes time that grows with
 * the number of pages.
 *   bytes  bytes[n] is set for each node n below `count`
 * Returns how many nodes there are (the highest number and 1), or -1 and EINVAL, or ENOSYS if the
 * kernel cannot be asked. */
int huma_arena_node_bytes(huma_arena *arena, uint64_t *bytes, unsigned count);

/* Call `visit` for each live block of an arena, in no order, until it returns false. It must not
 * allocate or free in the arena, and no other thread may.
 *   size  as huma_usable_size has it
 * Returns 0, 1 if it was ended, or -1 and EINVAL. */
int huma_arena_walk(huma_arena *arena, bool (*visit)(void *arg, void *block, size_t size),
                    void *arg);

/* Follow every list and count everything anew. No other thread uses the arena meanwhile. Returns 0
 * if all is well; -1 and EUCLEAN if something is damaged, as by a write to the first 16 bytes of a
 * free block: huma_last_error() says what and where; -1 and EINVAL. */
int huma_arena_check(huma_arena *arena);

/* Values of `format`. */
#define HUMA_DUMP_TEXT 0u
#define HUMA_DUMP_JSON 1u

/* Write all that is known of an arena to a descriptor, in the form of HUMA_STATS (huma(7)). Returns
 * 0, or -1 and EINVAL, or EIO if it cannot be written. */
int huma_arena_dump(huma_arena *arena, int fd, unsigned format);

/* --- shared arenas: in a file of their own, which belongs to this one ------------------------- */

#include "huma_shared.h"

/* --- errors ----------------------------------------------------------------------------------- */

/* Why the last function that failed in this thread did so, in one line: what was wrong, and what
 * helps. "" if none has. Good until another one fails in this thread. */
const char *huma_last_error(void);

/* --- for the compiler ------------------------------------------------------------------------- */

/* unit_count * 16 bytes, for unit_count up to 64: what huma_arena_alloc becomes where the compiler
 * knows the size. Not for programs. */
void *huma_arena_alloc_units(huma_arena *arena, size_t unit_count) HUMA_MALLOC;

#if defined(__OPTIMIZE__) && defined(__GNUC__) && !defined(HUMA_NO_INLINE)
extern void *huma_arena_alloc_any(huma_arena *arena,
                                  size_t size) __asm__("huma_arena_alloc") HUMA_MALLOC
    HUMA_SIZED(2);

extern __inline __attribute__((__gnu_inline__, __always_inline__)) void *
huma_arena_alloc(huma_arena *arena, size_t size)
{
    return __builtin_constant_p(size) && size <= 1024
               ? huma_arena_alloc_units(arena, (size + 15) / 16)
               : huma_arena_alloc_any(arena, size);
}
#endif

#ifdef __cplusplus
}
#endif

#endif
