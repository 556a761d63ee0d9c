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
 * A function that fails returns NULL, -1, or false, sets errno, and leaves a sentence for people:
 * huma_last_error(). What no program should do (freeing a block twice, or into another arena, or
 * using an arena that was destroyed) ends the process with one line on stderr. */
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
#define HUMA_MALLOC __attribute__((malloc, warn_unused_result))
#define HUMA_KEEP __attribute__((warn_unused_result))
#define HUMA_SIZED(idx) __attribute__((alloc_size(idx)))
#define HUMA_SIZED2(idx1, idx2) __attribute__((alloc_size(idx1, idx2)))
#else
#define HUMA_MALLOC
#define HUMA_KEEP
#define HUMA_SIZED(idx)
#define HUMA_SIZED2(idx1, idx2)
#endif

typedef struct huma_arena huma_arena;

/* --- create and destroy ----------------------------------------------------------------------- */

/* Bits of huma_arena_options.flags: at most one thread uses the arena at a time, which is faster;
 * huge pages from the first byte, else from 16 MiB on (HUMA_HUGE_START); a child of fork() does not
 * have the arena, where it counts as destroyed; memory that was touched stays in memory; the kernel
 * is called no more once the arena is made. */
#define HUMA_ARENA_SINGLE_THREADED ((uint64_t)1)
#define HUMA_ARENA_HUGE_FIRST ((uint64_t)2)
#define HUMA_ARENA_NO_FORK ((uint64_t)4)
#define HUMA_ARENA_LOCKED ((uint64_t)8)
#define HUMA_ARENA_FIXED ((uint64_t)16)

/* Values of huma_arena_options.cutoff_bytes. */
#define HUMA_CUTOFF_DYNAMIC ((size_t)0) /* moves as glibc's mmap threshold does, from 128 KiB on */
#define HUMA_CUTOFF_NEVER SIZE_MAX      /* no block is treated as one that glibc would map */

/* What an arena shall be like. Every field may be 0 or NULL but struct_size, and means a sensible
 * default then; later versions add fields at the end. Begin with HUMA_ARENA_OPTIONS_INIT. */
struct huma_arena_options {
    size_t struct_size;   /* sizeof(struct huma_arena_options) */
    const char *name;     /* shown in /proc/PID/maps and reports: at most 63 printable ASCII
                                characters, none of \ ` $ [ ]; default: "arena" */
    const char *backing;  /* where memory comes from, as HUMA_BACKING (huma(7)) has it; default:
                                "hugetlb,thp,4k" */
    size_t initial_bytes; /* of memory obtained and touched at creation, which stays until
                                huma_arena_trim; for HUMA_ARENA_FIXED all there will be */
    unsigned prefault_threads; /* how many touch it at a time; 0: this one alone */
    unsigned reserved;         /* 0 */
    size_t limit_bytes;  /* of pages in blocks: an allocation that needs more fails with ENOMEM;
                                0: no limit */
    size_t cutoff_bytes; /* from this size on blocks are those that glibc would map; or
                                HUMA_CUTOFF_DYNAMIC, HUMA_CUTOFF_NEVER */
    uint64_t flags;      /* HUMA_ARENA_* */
};

#define HUMA_ARENA_OPTIONS_INIT                                                                    \
    {                                                                                              \
        sizeof(struct huma_arena_options), NULL, NULL, 0, 0, 0, 0, 0, 0                            \
    }

/* Create an arena. It has no memory for blocks yet.
 *   options  NULL: all defaults. Nothing of it is needed any more afterwards
 * Returns NULL and errno: EINVAL (an option is wrong), E2BIG (an option is set that this version
 * does not know), ENOMEM. */
huma_arena *huma_arena_create(const struct huma_arena_options *options);

/* Free all blocks, give all memory back, and forget the arena. No thread uses it any more. NULL is
 * no error. Whoever uses the arena or frees a block of it afterwards is told so. */
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
 * as it was. */
void *huma_arena_realloc(huma_arena *arena, void *ptr, size_t size) HUMA_KEEP HUMA_SIZED(3);

/* Free a block of the arena; NULL is no error. Any thread may free it. errno is preserved. */
void huma_arena_free(huma_arena *arena, void *ptr);

/* The same for a block that was asked for with this size; another size ends the process. */
void huma_arena_free_sized(huma_arena *arena, void *ptr, size_t size);

/* Whether a live block of the arena starts at `ptr`. */
bool huma_arena_owns(huma_arena *arena, const void *ptr);

/* Bytes that may be used of a block of any arena: no less than were asked for. 0 for NULL. */
size_t huma_usable_size(const void *ptr);

/* --- all blocks ------------------------------------------------------------------------------- */

/* Free all blocks. The memory stays with the arena, for blocks to come, until huma_arena_trim. No
 * other thread uses the arena meanwhile. Returns 0, or -1 and EINVAL (arena is NULL). */
int huma_arena_reset(huma_arena *arena);

/* Give back to the system what holds no block. Returns its length in bytes. */
size_t huma_arena_trim(huma_arena *arena);

/* --- the current arena ------------------------------------------------------------------------ */

/* Make an arena this thread's current one, which the functions below allocate from; NULL: the
 * arena that every process has for this, of default options. Returns the one before, to be set again
 * when this is done. */
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

/* Begin with HUMA_ARENA_INFO_INIT; later versions add fields at the end. All sizes are in bytes. */
struct huma_arena_info {
    size_t struct_size;      /* sizeof(struct huma_arena_info) */
    uint64_t live_bytes;     /* in live blocks, as huma_usable_size has them */
    uint64_t heap_bytes;     /* of the pages that hold them: what limit_bytes limits */
    uint64_t limit_bytes;    /* 0: none */
    uint64_t reserved_bytes; /* address space */
    uint64_t resident_bytes; /* of it in memory, as the kernel says; all three 0 if it cannot be
                                asked */
    uint64_t hugetlb_bytes;  /* of these: on pages of a hugetlb pool */
    uint64_t thp_bytes;      /* ... and on transparent huge pages */
    uint64_t meta_bytes;     /* huma's own for the arena, in memory, or mapped if the kernel cannot
                               be asked */
    uint64_t fallback_count; /* regions (of 2 MiB on most machines) that did not get the first
                                backing of the arena's list */
    const char *fallback_code; /* why the latest did not: huma(7) explains each; "none" */
};

#define HUMA_ARENA_INFO_INIT                                                                       \
    {                                                                                              \
        sizeof(struct huma_arena_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL                            \
    }

/* Tell what an arena holds. It is counted now, in time that grows with the number of spans and of
 * pages. Blocks that other threads take or free meanwhile may or may not be in it. Returns 0, or -1
 * and EINVAL. */
int huma_arena_info(huma_arena *arena, struct huma_arena_info *info);

/* Call `visit` for each live block of an arena, in no order, until it returns false. It must not
 * allocate or free in the arena, and no other thread may.
 *   size  as huma_usable_size has it
 * Returns 0, 1 if it was ended, or -1 and EINVAL. */
int huma_arena_walk(huma_arena *arena, bool (*visit)(void *arg, void *block, size_t size),
                    void *arg);

/* Follow every list and count everything anew. No other thread uses the arena meanwhile. Returns 0
 * if all is well; -1 and EUCLEAN if something is damaged, as by a write beyond the end of a block:
 * huma_last_error() says what and where; -1 and EINVAL. */
int huma_arena_check(huma_arena *arena);

/* Values of `format`. */
#define HUMA_DUMP_TEXT 0u
#define HUMA_DUMP_JSON 1u

/* Write all that is known of an arena to a descriptor, in the form of HUMA_STATS (huma(7)). Returns
 * 0, or -1 and EINVAL, or EIO if it cannot be written. */
int huma_arena_dump(huma_arena *arena, int fd, unsigned format);

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

extern __inline __attribute__((gnu_inline, always_inline)) void *
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
