/* SPDX-License-Identifier: MIT */
/* huma.c - the blocks of arenas, as programs ask for them.
 *
 * Problem     An arena shall cost no more than malloc, although its handle has to be checked and
 *             led to a cache first.
 * Idea        As in malloc.c: the fast paths are here and in inline functions, and whatever they
 *             cannot do goes to one slow function each. The arena that a thread used last is found
 *             in its thread-local block; another for one thread by its handle, whose lowest bit
 *             tells it apart. Any other handle is met with an empty cache, so that what is wrong is
 *             found out by the slow functions.
 */
#include <errno.h>
#include <string.h>

#define HUMA_NO_INLINE
#include "api/arenas.h"
#include "api/said.h"
#include "base/fmt.h"
#include "span/mixed.h"

#define ALIGN_MIN_BYTES ((size_t)16)

/* --- alloc ------------------------------------------------------------------------------------ */

/* Whether the thread used it last. Another thread may erase that, of a third arena: a load that gcc
 * makes part of the comparison, as it does of no atomic one, is enough. */
HM_INLINE bool
is_last(const huma_arena *handle)
{
#ifdef HM_SANITIZE
    return hm_load(&hm_arena_tls.handle) == handle;
#else
    return hm_arena_tls.handle == handle;
#endif
}

/* The calling thread's cache as far as that is seen at once; else the empty one. */
HM_INLINE struct hm_tcache *
cache_of(huma_arena *handle)
{
    if (HM_LIKELY(is_last(handle)))
        return hm_arena_tls.cache;
    if (HM_LIKELY(((uintptr_t)handle & HM_HANDLE_SINGLE) != 0))
        return (struct hm_tcache *)((uintptr_t)handle - HM_HANDLE_SINGLE);
    return (struct hm_tcache *)(uintptr_t)&hm_tcache_empty;
}

static HM_NOINLINE void *
alloc_any(huma_arena *handle, size_t size_bytes, size_t align_bytes, const char *call)
{
    struct huma_arena *arena = hm_arenas_find(handle, call);
    void *mem = NULL;

    if (arena != NULL)
        mem = hm_arena_alloc(&arena->core, hm_arenas_cache(arena), size_bytes, align_bytes);
    return mem != NULL ? mem : hm_said_no_memory(arena, call, size_bytes, align_bytes);
}

/* `span` has no slot ready, or is none. */
static HM_NOINLINE void *
alloc_slow(huma_arena *handle, size_t size_bytes, const struct hm_span *span, const char *call)
{
    if (HM_LIKELY(span != &hm_span_none)) {
        void *mem = hm_tcache_alloc_slow(hm_load(&span->home), span->class_idx);

        if (HM_LIKELY(mem != NULL))
            return mem;
    }
    return alloc_any(handle, size_bytes, ALIGN_MIN_BYTES, call);
}

/* `call` is the function that the program called. */
HM_INLINE void *
alloc(huma_arena *handle, size_t size_bytes, const char *call)
{
    struct hm_tcache *cache = cache_of(handle);
    struct hm_span *span;
    void *mem;

    if (HM_LIKELY(size_bytes <= HM_BY_SIZE_MAX_BYTES))
        span = cache->by_size[(size_bytes + 15) >> 4];
    else if (HM_LIKELY(size_bytes <= HM_SMALL_MAX_BYTES))
        span = cache->by_class[hm_class_of(size_bytes)];
    else
        return alloc_any(handle, size_bytes, ALIGN_MIN_BYTES, call);
    mem = hm_span_pop(span);
    return HM_LIKELY(mem != NULL) ? mem : alloc_slow(handle, size_bytes, span, call);
}

/* The way of most allocations: the current span of the size's class has a ready slot. Next on the
 * allocation walk: hm_tcache_alloc_slow (cache/tcache.c). */
HM_EXPORT void *
huma_arena_alloc(huma_arena *arena, size_t size)
{
    return alloc(arena, size, "huma_arena_alloc()");
}

/* The same for a size that the compiler knows. */
HM_EXPORT void *
huma_arena_alloc_units(huma_arena *arena, size_t unit_count)
{
    struct hm_span *span = cache_of(arena)->by_size[unit_count];
    void *mem = hm_span_pop(span);

    return HM_LIKELY(mem != NULL) ? mem
                                  : alloc_slow(arena, unit_count * 16, span, "huma_arena_alloc()");
}

static void *
aligned_alloc_in(huma_arena *handle, size_t align_bytes, size_t size_bytes, const char *call)
{
    if (!hm_is_pow2(align_bytes)) {
        hm_said(EINVAL, call, "the alignment is no power of two; pass 1, 2, 4, 8, and so on");
        return NULL;
    }
    return alloc_any(handle, size_bytes,
                     align_bytes > ALIGN_MIN_BYTES ? align_bytes : ALIGN_MIN_BYTES, call);
}

HM_EXPORT void *
huma_arena_aligned_alloc(huma_arena *arena, size_t alignment, size_t size)
{
    return aligned_alloc_in(arena, alignment, size, "huma_arena_aligned_alloc()");
}

/* Memory that is fresh from the kernel is not touched. */
static HM_NOINLINE void *
calloc_large(huma_arena *handle, size_t size_bytes, const char *call)
{
    struct huma_arena *arena = hm_arenas_find(handle, call);
    void *mem = NULL;

    if (arena != NULL)
        mem = hm_arena_calloc(&arena->core, hm_arenas_cache(arena), size_bytes);
    return mem != NULL ? mem : hm_said_no_memory(arena, call, size_bytes, 1);
}

HM_INLINE void *
calloc_in(huma_arena *handle, size_t count, size_t each_bytes, const char *call)
{
    size_t size_bytes;
    void *mem;

    if (__builtin_mul_overflow(count, each_bytes, &size_bytes))
        size_bytes = SIZE_MAX;
    if (size_bytes > HM_SMALL_MAX_BYTES)
        return calloc_large(handle, size_bytes, call);
    mem = alloc(handle, size_bytes, call);
    if (mem != NULL)
        memset(mem, 0, size_bytes);
    return mem;
}

HM_EXPORT void *
huma_arena_calloc(huma_arena *arena, size_t nmemb, size_t size)
{
    return calloc_in(arena, nmemb, size, "huma_arena_calloc()");
}

/* --- free ------------------------------------------------------------------------------------- */

/* The span of what a call was handed as a block. Ends the process if it is none of any arena. */
static struct hm_span *
span_of(uintptr_t addr, const char *call)
{
    struct hm_span *span = hm_pagemap_get(&hm_arenas.pagemap, addr);
    char what[80];
    struct hm_fmt out = hm_fmt_init(what, sizeof(what), -1);

    if (span != NULL && hm_span_has_block(span, addr))
        return span;
    if (span != NULL)
        hm_span_misuse(span, addr, call);
    hm_fmt_str(&out, call);
    hm_fmt_str(&out, ": invalid pointer");
    hm_fail(what, addr, "no live block of any arena starts there; pass what an arena returned");
}

/* Ends the process if the block is one of another arena. */
static void
check_arena(const struct huma_arena *arena, const struct hm_span *span, uintptr_t addr,
            const char *call)
{
    const struct huma_arena *other = hm_arenas_of(span);
    char what[80];
    char why[240];
    struct hm_fmt out = hm_fmt_init(what, sizeof(what), -1);

    if (HM_LIKELY(arena == other))
        return;
    hm_fmt_str(&out, call);
    hm_fmt_str(&out, ": wrong arena for");
    out = hm_fmt_init(why, sizeof(why), -1);
    hm_fmt_str(&out, "the block is one of arena \"");
    hm_fmt_str(&out, hm_arenas_name(other));
    hm_fmt_str(&out, "\", and the arena is \"");
    hm_fmt_str(&out, hm_arenas_name(arena));
    hm_fmt_str(&out, "\"; pass the arena that it came from, or use huma_free");
    hm_fail(what, addr, why);
}

/* Free a block of the arena; `span` is its span. */
static void
free_in(struct huma_arena *arena, struct hm_span *span, uintptr_t addr)
{
    int saved_errno = errno;

    hm_arena_free(&arena->core, hm_arenas_cache(arena), span, addr);
    errno = saved_errno;
}

/* NULL, blocks of other threads, blocks of full spans, large blocks, and misuse. */
static HM_NOINLINE void
free_slow(huma_arena *handle, uintptr_t addr)
{
    static const char call[] = "huma_arena_free()";
    struct huma_arena *arena = hm_arenas_find(handle, call);
    struct hm_span *span;

    if (addr == 0)
        return;
    span = span_of(addr, call);
    if (arena == NULL)
        hm_fail("huma_arena_free(): no arena for", addr,
                "the arena is NULL; pass the one that the block came from, or use huma_free");
    check_arena(arena, span, addr, call);
    free_in(arena, span, addr);
}

/* Whether the calling thread may free into the span without further ado. */
HM_INLINE bool
is_mine(huma_arena *handle, const struct hm_span *span)
{
    uintptr_t owner = hm_load(&span->owner);

    if (HM_LIKELY(owner == (uintptr_t)handle))
        return true;
    return HM_LIKELY(is_last(handle)) && HM_LIKELY(owner == hm_arena_tls.id);
}

static HM_NOINLINE void
free_far(huma_arena *handle, uintptr_t addr)
{
    struct hm_span *span = hm_pagemap_get_far(&hm_arenas.pagemap, addr);

    if (HM_UNLIKELY(span == NULL) || HM_UNLIKELY(!is_mine(handle, span))
        || HM_UNLIKELY(!hm_tcache_free(span, addr)))
        free_slow(handle, addr);
}

/* The way of most frees: the block lies in a span of this thread. Next on the free walk:
 * hm_tcache_free (cache/tcache.h). */
HM_EXPORT void
huma_arena_free(huma_arena *arena, void *ptr)
{
    uintptr_t addr = (uintptr_t)ptr;
    struct hm_span *span = hm_pagemap_get_near(&hm_arenas.pagemap, addr);

    if (HM_UNLIKELY(span == NULL))
        free_far(arena, addr);
    else if (HM_UNLIKELY(!is_mine(arena, span)) || HM_UNLIKELY(!hm_tcache_free(span, addr)))
        free_slow(arena, addr);
}

static HM_NOINLINE void
free_sized_slow(huma_arena *handle, uintptr_t addr, size_t size_bytes)
{
    static const char call[] = "huma_arena_free_sized()";

    if (addr == 0)
        return;
    if (size_bytes > hm_span_room(span_of(addr, call), addr))
        hm_fail("huma_arena_free_sized(): wrong size for", addr,
                "the block is smaller; pass the size that it was asked for with");
    free_slow(handle, addr);
}

/* No mixed spans here: what a span has for a size, all of its blocks have. */
HM_EXPORT void
huma_arena_free_sized(huma_arena *arena, void *ptr, size_t size)
{
    uintptr_t addr = (uintptr_t)ptr;
    struct hm_span *span = hm_pagemap_get_near(&hm_arenas.pagemap, addr);

    if (HM_UNLIKELY(span == NULL) || HM_UNLIKELY(size > span->slot_bytes)
        || HM_UNLIKELY(!is_mine(arena, span)) || HM_UNLIKELY(!hm_tcache_free(span, addr)))
        free_sized_slow(arena, addr, size);
}

/* --- realloc ---------------------------------------------------------------------------------- */

/* `span` is the block's. */
static void *
realloc_in(struct huma_arena *arena, struct hm_span *span, void *ptr, size_t size_bytes,
           const char *call)
{
    int saved_errno = errno;
    void *mem = hm_arena_realloc(&arena->core, hm_arenas_cache(arena), span, ptr, size_bytes);

    if (mem == NULL)
        return hm_said_no_memory(arena, call, size_bytes, 1);
    errno = saved_errno;
    return mem;
}

HM_EXPORT void *
huma_arena_realloc(huma_arena *arena, void *ptr, size_t size)
{
    static const char call[] = "huma_arena_realloc()";
    struct huma_arena *found;
    struct hm_span *span;

    if (ptr == NULL)
        return alloc(arena, size, call);
    found = hm_arenas_find(arena, call);
    if (found == NULL)
        return hm_said_no_memory(NULL, call, size, 1);
    span = span_of((uintptr_t)ptr, call);
    check_arena(found, span, (uintptr_t)ptr, call);
    return realloc_in(found, span, ptr, size, call);
}

/* --- questions -------------------------------------------------------------------------------- */

HM_EXPORT bool
huma_arena_owns(huma_arena *arena, const void *ptr)
{
    uintptr_t addr = (uintptr_t)ptr;
    const struct huma_arena *found = hm_said_find(arena, "huma_arena_owns()");
    struct hm_span *span = hm_pagemap_get(&hm_arenas.pagemap, addr);

    return found != NULL && span != NULL && hm_arenas_of(span) == found
           && hm_span_has_block(span, addr);
}

HM_EXPORT size_t
huma_usable_size(const void *ptr)
{
    uintptr_t addr = (uintptr_t)ptr;

    return addr == 0 ? 0 : hm_span_room(span_of(addr, "huma_usable_size()"), addr);
}

/* --- all blocks ------------------------------------------------------------------------------- */

HM_EXPORT int
huma_arena_reset(huma_arena *arena)
{
    struct huma_arena *found = hm_said_find(arena, "huma_arena_reset()");

    if (found == NULL)
        return -1;
    hm_arena_reset(&found->core);
    return 0;
}

HM_EXPORT size_t
huma_arena_trim(huma_arena *arena)
{
    struct huma_arena *found = hm_said_find(arena, "huma_arena_trim()");

    return found != NULL ? hm_arena_trim(&found->core, hm_arenas_cache(found)) : 0;
}

/* --- the current arena ------------------------------------------------------------------------ */

HM_EXPORT huma_arena *
huma_arena_set_current(huma_arena *arena)
{
    huma_arena *before = hm_arena_tls.current;

    (void)hm_arenas_find(arena, "huma_arena_set_current()");
    hm_arena_tls.current = arena;
    return before;
}

/* NULL, and everything said, if the common arena cannot be made. */
HM_INLINE huma_arena *
current(void)
{
    huma_arena *handle = hm_arena_tls.current;

    return HM_LIKELY(handle != NULL) ? handle : hm_arenas_common();
}

HM_EXPORT void *
huma_malloc(size_t size)
{
    huma_arena *arena = current();

    return HM_LIKELY(arena != NULL) ? alloc(arena, size, "huma_malloc()") : NULL;
}

HM_EXPORT void *
huma_calloc(size_t nmemb, size_t size)
{
    huma_arena *arena = current();

    return HM_LIKELY(arena != NULL) ? calloc_in(arena, nmemb, size, "huma_calloc()") : NULL;
}

HM_EXPORT void *
huma_aligned_alloc(size_t alignment, size_t size)
{
    huma_arena *arena = current();

    return HM_LIKELY(arena != NULL)
               ? aligned_alloc_in(arena, alignment, size, "huma_aligned_alloc()")
               : NULL;
}

HM_EXPORT void *
huma_realloc(void *ptr, size_t size)
{
    static const char call[] = "huma_realloc()";
    struct hm_span *span;

    if (ptr == NULL) {
        huma_arena *arena = current();

        return arena != NULL ? alloc(arena, size, call) : NULL;
    }
    span = span_of((uintptr_t)ptr, call);
    return realloc_in(hm_arenas_of(span), span, ptr, size, call);
}

static HM_NOINLINE void
free_anywhere(uintptr_t addr)
{
    struct hm_span *span;

    if (addr == 0)
        return;
    span = span_of(addr, "huma_free()");
    free_in(hm_arenas_of(span), span, addr);
}

HM_EXPORT void
huma_free(void *ptr)
{
    uintptr_t addr = (uintptr_t)ptr;
    struct hm_span *span = hm_pagemap_get_near(&hm_arenas.pagemap, addr);
    uintptr_t owner;

    if (HM_UNLIKELY(span == NULL)) {
        free_anywhere(addr);
        return;
    }
    owner = hm_load(&span->owner);
    if (HM_UNLIKELY(owner == HM_NOBODY)
        || HM_UNLIKELY(owner != hm_arena_tls.id && (owner & HM_HANDLE_SINGLE) == 0)
        || HM_UNLIKELY(!hm_tcache_free(span, addr)))
        free_anywhere(addr);
}
