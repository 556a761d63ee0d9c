/* SPDX-License-Identifier: MIT */
/* arena_malloc.c - malloc on an arena with default options, to hold arenas to what programs of
 * malloc's tests compare.
 *
 * Problem     The rules on the cutoff are programs that call malloc, and an arena has the same
 *             rules.
 * Idea        A library for LD_PRELOAD with the family of malloc, over one arena; what libc and
 *             huma allocate while it is made comes from a static buffer. What an arena does not
 *             have, mallopt, ends the program with status 77.
 */
#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <unistd.h>

#define HUMA_NO_INLINE
#include "api/arenas.h"

#define EXPORT __attribute__((visibility("default")))

static huma_arena *arena;
static bool is_starting;
static _Alignas(16) char early[1 << 16];
static size_t early_bytes;

/* The program has one thread when it allocates first. */
static bool
start(void)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;

    if (arena != NULL || is_starting)
        return arena != NULL;
    is_starting = true;
    options.backing = "thp,4k";
    arena = huma_arena_create(&options);
    is_starting = false;
    if (arena == NULL)
        _exit(99);
    return true;
}

static bool
is_early(const void *ptr)
{
    return (const char *)ptr >= early && (const char *)ptr < early + sizeof(early);
}

static void *
take_early(size_t size)
{
    char *mem = early + early_bytes;

    early_bytes += hm_align_up(size + 1, 16);
    if (early_bytes > sizeof(early))
        _exit(99);
    return mem;
}

EXPORT void *
malloc(size_t size)
{
    return start() ? huma_arena_alloc(arena, size) : take_early(size);
}

EXPORT void *
calloc(size_t nmemb, size_t size)
{
    return start() ? huma_arena_calloc(arena, nmemb, size) : take_early(nmemb * size);
}

EXPORT void *
realloc(void *ptr, size_t size)
{
    void *mem;

    if (!is_early(ptr) && (ptr == NULL || size != 0))
        return start() ? huma_arena_realloc(arena, ptr, size) : take_early(size);
    mem = size != 0 ? malloc(size) : NULL;
    if (mem != NULL)
        memcpy(mem, ptr, size);
    free(ptr);
    return mem;
}

EXPORT void
free(void *ptr)
{
    if (!is_early(ptr))
        huma_arena_free(arena, ptr);
}

/* Of an alignment that is none the next power of two, as glibc has it. */
EXPORT void *
memalign(size_t alignment, size_t size)
{
    while (!hm_is_pow2(alignment))
        alignment += alignment & -alignment;
    return start() ? huma_arena_aligned_alloc(arena, alignment, size) : NULL;
}

EXPORT void *
aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

EXPORT int
posix_memalign(void **out_mem, size_t alignment, size_t size)
{
    *out_mem = memalign(alignment, size);
    return *out_mem != NULL ? 0 : errno;
}

EXPORT void *
valloc(size_t size)
{
    return memalign((size_t)sysconf(_SC_PAGESIZE), size);
}

EXPORT void *
pvalloc(size_t size)
{
    return valloc(hm_align_up(size, (size_t)sysconf(_SC_PAGESIZE)));
}

EXPORT size_t
malloc_usable_size(void *ptr)
{
    return is_early(ptr) ? 0 : huma_usable_size(ptr);
}

EXPORT int
malloc_trim(size_t pad)
{
    (void)pad;
    return start() && huma_arena_trim(arena) > 0;
}

EXPORT int
mallopt(int param, int value)
{
    (void)param;
    (void)value;
    _exit(77);
}

EXPORT struct mallinfo2
mallinfo2(void)
{
    struct huma_info info = HUMA_INFO_INIT;
    struct mallinfo2 result = { .hblks = 0 };

    if (!start() || huma_arena_info(arena, &info) != 0)
        return result;
    result.hblks = hm_arenas_find(arena, "mallinfo2()")->core.heap.cutoff.live_count;
    result.hblkhd = hm_arenas_find(arena, "mallinfo2()")->core.heap.cutoff.live_bytes;
    result.uordblks = info.live_bytes > result.hblkhd ? info.live_bytes - result.hblkhd : 0;
    return result;
}

EXPORT struct mallinfo
mallinfo(void)
{
    struct mallinfo2 info = mallinfo2();

    return (struct mallinfo){ .hblks = (int)info.hblks,
                              .hblkhd = (int)info.hblkhd,
                              .uordblks = (int)info.uordblks };
}
