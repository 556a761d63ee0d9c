/* SPDX-License-Identifier: MIT */
/* malloc.c - malloc, free and their family, as programs call them.
 *
 * Problem     These functions replace libc's for a program that knows nothing of us: their contract
 *             is what glibc keeps, and most calls must end within a few dozen instructions.
 * Idea        The fast paths are in this file and in inline functions of span.h, tcache.h and
 *             pagemap.h; whatever they cannot do goes to one cold function each.
 * Sources     malloc(3), posix_memalign(3); ISO C23 7.24.3; glibc 2.36 for what the standards leave
 *             open.
 */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "api/names.h"
#include "api/process.h"
#include "api/sized.h"
#include "cache/mixing.h"
#include "span/realloc.h"

#define ALIGN_MIN_BYTES ((size_t)16)

/* --- malloc ----------------------------------------------------------------------------------- */

static void *
no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

/* A block over the size classes. errno is as before unless there is no memory. */
static void *
alloc_large(size_t size_bytes, size_t align_bytes, struct hm_stale *out_stale)
{
    int saved_errno = errno;
    void *mem = NULL;

    if (hm_process_attach() != NULL || hm_process_start())
        mem = hm_large_alloc(&hm_process.heap, size_bytes, align_bytes, out_stale);
    if (mem == NULL)
        return no_memory();
    errno = saved_errno;
    return mem;
}

/* A slot, also for threads that have no cache yet, or no more. */
static HM_COLD void *
alloc_small(size_t size_bytes)
{
    int saved_errno = errno;
    unsigned class_idx = hm_class_of(size_bytes);
    struct hm_tcache *cache = hm_process_attach();
    void *mem
        = cache != NULL ? hm_tcache_alloc(cache, class_idx) : hm_process_alloc_late(class_idx);

    if (mem == NULL)
        return no_memory();
    errno = saved_errno;
    return mem;
}

/* What mallopt(M_PERTURB) asks for. Blocks of such a process come and go the slow ways. */
static void *
fill_new(void *mem, size_t size_bytes)
{
    unsigned char perturb = hm_load(&hm_process.perturb);

    if (HM_UNLIKELY(perturb != 0) && mem != NULL)
        memset(mem, perturb ^ 0xff, size_bytes);
    return mem;
}

static void
fill_freed(struct hm_span *span, uintptr_t addr)
{
    unsigned char perturb = hm_load(&hm_process.perturb);

    if (HM_UNLIKELY(perturb != 0) && span->kind != HM_SPAN_MAPPED && hm_span_has_block(span, addr))
        memset((void *)addr, perturb, hm_span_room(span, addr));
}

/* A block over the size classes, as malloc wants it. Next on the allocation walk:
 * hm_large_alloc_again, else hm_large_alloc (span/large.c). */
static HM_NOINLINE void *
malloc_large(size_t size_bytes)
{
    void *mem = hm_large_alloc_again(&hm_process.heap, size_bytes);

    if (HM_UNLIKELY(mem == NULL))
        mem = alloc_large(size_bytes, ALIGN_MIN_BYTES, NULL);
    return fill_new(mem, size_bytes);
}

/* What shall not come from the thread's cache by itself. */
static HM_NOINLINE void *
alloc_over(size_t size_bytes)
{
    if (hm_cutoff_is_direct(&hm_process.heap.cutoff, size_bytes, ALIGN_MIN_BYTES))
        return malloc_large(size_bytes);
    return fill_new(alloc_small(size_bytes), size_bytes);
}

/* No span of the thread stands ready for the size: it has no cache yet, or none of the class. */
static HM_NOINLINE void *
alloc_unready(size_t size_bytes)
{
    struct hm_tcache *cache = hm_thread_cache;

    if (size_bytes >= hm_load(&hm_process.cached_end_bytes))
        return alloc_over(size_bytes);
    if (HM_UNLIKELY(cache == &hm_tcache_empty))
        return alloc_small(size_bytes);
    return hm_tcache_alloc_slow(cache, hm_class_of(size_bytes));
}

/* Everything that the fast path leaves: `span` has no slot ready, or is none. Next on the
 * allocation walk: hm_tcache_alloc_slow (cache/tcache.c). */
static HM_NOINLINE void *
malloc_slow(size_t size_bytes, const struct hm_span *span)
{
    if (HM_UNLIKELY(span == &hm_span_none))
        return alloc_unready(size_bytes);
    return hm_tcache_alloc_slow(hm_load(&span->home), span->class_idx);
}

/* The way of most allocations: the current span of the size's class has a ready slot. Next on the
 * allocation walk: malloc_slow or malloc_large, above. */
HM_EXPORT void *
malloc(size_t size)
{
    struct hm_tcache *cache = hm_thread_cache;
    struct hm_span *span;
    void *mem;

    if (HM_LIKELY(size <= HM_BY_SIZE_MAX_BYTES))
        span = cache->by_size[(size + 15) >> 4];
    else if (HM_LIKELY(size <= HM_SMALL_MAX_BYTES))
        span = cache->by_class[hm_class_of(size)];
    else
        return malloc_large(size);
    mem = hm_span_pop(span);
    return HM_LIKELY(mem != NULL) ? mem : malloc_slow(size, span);
}

/* --- free ------------------------------------------------------------------------------------- */

/* A block of glibc's malloc (api/foreign.h). Aborts if `addr`, in no span of ours, is none. */
static HM_COLD struct hm_foreign_block
foreign_block(uintptr_t addr, const char *call)
{
    struct hm_foreign_block block;

    if (!hm_process_start()
        || !hm_foreign_find(&hm_process.foreign, &hm_process.heap, addr, &block))
        hm_process_not_ours(addr, call);
    return block;
}

static HM_COLD void
free_foreign(uintptr_t addr)
{
    struct hm_foreign_block block = foreign_block(addr, "free()");

    (void)__atomic_fetch_add(&hm_process.foreign.free_count, 1, __ATOMIC_RELAXED);
    hm_foreign_release(&hm_process.foreign, &block);
}

/* NULL, foreign blocks, blocks of other threads, blocks of full spans, large blocks, and misuse.
 * Next on the free walk: hm_tcache_free_slow (cache/tcache.c) or hm_large_free (span/large.c). */
static HM_NOINLINE void
free_slow(uintptr_t addr, struct hm_span *span)
{
    int saved_errno = errno;

    if (addr == 0)
        return;
    if (span != NULL)
        fill_freed(span, addr);
    if (span == NULL)
        free_foreign(addr);
    else if (span->kind == HM_SPAN_SLOTS)
        hm_tcache_free_slow(&hm_process.pool, hm_thread_cache, span, addr);
    else if (span->kind == HM_SPAN_MIXED)
        hm_mixing_free(&hm_process.pool, span, addr);
    else
        hm_large_free(&hm_process.heap, span, addr);
    errno = saved_errno;
}

/* Everything beyond the pagemap's near table. */
static HM_NOINLINE void
free_far(uintptr_t addr)
{
    struct hm_span *span = hm_pagemap_get_far(&hm_process.pagemap, addr);

    if (HM_UNLIKELY(span == NULL) || HM_UNLIKELY(hm_load(&span->owner) != hm_thread_id())
        || HM_UNLIKELY(!hm_tcache_free(span, addr)))
        free_slow(addr, span);
}

/* `span` is what the near table has for the address. Next on the free walk: hm_tcache_free
 * (cache/tcache.h). */
HM_INLINE void
free_near(uintptr_t addr, struct hm_span *span)
{
    if (HM_UNLIKELY(span == NULL))
        free_far(addr);
    else if (HM_UNLIKELY(hm_load(&span->owner) != hm_thread_id())
             || HM_UNLIKELY(!hm_tcache_free(span, addr)))
        free_slow(addr, span);
}

/* The way of most frees: the block lies in a span of this thread. Next on the free walk:
 * free_near, above. */
HM_EXPORT void
free(void *ptr)
{
    uintptr_t addr = (uintptr_t)ptr;

    free_near(addr, hm_pagemap_get_near(&hm_process.pagemap, addr));
}

/* Most of these are of a class with wide steps. */
static HM_LATER HM_NOINLINE void
free_checked(uintptr_t addr, struct hm_span *span, size_t size_bytes)
{
    if (size_bytes > HM_SMALL_MAX_BYTES
        || hm_class_bytes(hm_class_of(size_bytes)) != hm_span_room(span, addr))
        hm_sized_check(span, addr, size_bytes, ALIGN_MIN_BYTES, false);
    free_near(addr, span);
}

static HM_NOINLINE void
free_checked_far(void *ptr, size_t size_bytes)
{
    hm_sized_look(ptr, size_bytes, ALIGN_MIN_BYTES, false);
    free_far((uintptr_t)ptr);
}

/* Room and size of a block that fits differ by less than the distance of two classes, which is 16
 * at least: that much is seen at once. */
void
hm_free_sized(void *ptr, size_t size_bytes)
{
    uintptr_t addr = (uintptr_t)ptr;
    struct hm_span *span = hm_pagemap_get_near(&hm_process.pagemap, addr);

    if (HM_UNLIKELY(span == NULL))
        free_checked_far(ptr, size_bytes);
    else if (HM_UNLIKELY(span->slot_bytes - size_bytes >= ALIGN_MIN_BYTES))
        free_checked(addr, span, size_bytes);
    else
        free_near(addr, span);
}

/* --- calloc ----------------------------------------------------------------------------------- */

/* Memory that is fresh from the kernel is not touched. */
static HM_NOINLINE void *
calloc_large(size_t size_bytes)
{
    struct hm_stale stale = { 0, size_bytes };
    char *mem = hm_large_alloc_again(&hm_process.heap, size_bytes);

    if (mem == NULL)
        mem = alloc_large(size_bytes, ALIGN_MIN_BYTES, &stale);
    if (mem != NULL)
        memset(mem + stale.from_off, 0, stale.to_off - stale.from_off);
    return mem;
}

HM_EXPORT void *
calloc(size_t nmemb, size_t size)
{
    size_t size_bytes;
    void *mem;

    if (__builtin_mul_overflow(nmemb, size, &size_bytes))
        return no_memory();
    if (size_bytes > HM_SMALL_MAX_BYTES)
        return calloc_large(size_bytes);
    mem = malloc(size_bytes);
    if (mem != NULL)
        memset(mem, 0, size_bytes);
    return mem;
}

/* --- realloc ---------------------------------------------------------------------------------- */

/* The span of a live block; NULL if none is there. Aborts if `addr` is in one and no block. */
static struct hm_span *
span_of(uintptr_t addr, const char *call)
{
    struct hm_span *span = hm_pagemap_get(&hm_process.pagemap, addr);

    if (span != NULL && !hm_span_has_block(span, addr))
        hm_span_misuse(span, addr, call);
    return span;
}

/* A large block that outgrew its pages may go on growing. One that is to shrink stays as it is when
 * there is no memory for a smaller one. */
static void *
move_block(const struct hm_span *span, void *ptr, size_t old_bytes, size_t new_bytes)
{
    int saved_errno = errno;
    bool has_grown = hm_span_is_large(span) && new_bytes > old_bytes;
    void *mem
        = has_grown ? fill_new(
              hm_large_alloc_grown(&hm_process.heap, new_bytes, new_bytes - old_bytes), new_bytes)
                    : malloc(new_bytes);

    if (mem == NULL && new_bytes > old_bytes)
        return no_memory();
    errno = saved_errno;
    if (mem == NULL)
        return ptr;
    memcpy(mem, ptr, old_bytes < new_bytes ? old_bytes : new_bytes);
    free(ptr);
    return mem;
}

/* The block moves to our heap, where the next call finds it at once; in glibc's it would stay
 * foreign. One that is to shrink stays if there is no memory. */
static HM_COLD void *
realloc_foreign(uintptr_t addr, size_t size)
{
    int saved_errno = errno;
    struct hm_foreign_block block = foreign_block(addr, "realloc()");
    void *mem = malloc(size);

    if (mem == NULL && size > block.room_bytes)
        return NULL;
    if (mem != NULL) {
        memcpy(mem, (void *)addr, size < block.room_bytes ? size : block.room_bytes);
        (void)__atomic_fetch_add(&hm_process.foreign.realloc_count, 1, __ATOMIC_RELAXED);
        hm_foreign_release(&hm_process.foreign, &block);
    }
    errno = saved_errno;
    return mem != NULL ? mem : (void *)addr;
}

/* Stays in place while the new size needs at least half of the room that the block has, or nothing
 * smaller is to be had. */
HM_EXPORT void *
realloc(void *ptr, size_t size)
{
    uintptr_t addr = (uintptr_t)ptr;
    struct hm_span *span;
    size_t room_bytes;
    void *mem;

    if (ptr == NULL)
        return malloc(size);
    if (size == 0) {
        free(ptr);
        return NULL;
    }
    span = span_of(addr, "realloc()");
    if (HM_UNLIKELY(span == NULL))
        return realloc_foreign(addr, size);
    room_bytes = hm_span_room(span, addr);
    if (!hm_span_is_large(span)) {
        if (hm_realloc_fits_slot(&hm_process.heap, room_bytes, size))
            return ptr;
    } else if (hm_realloc_large(&hm_process.heap, span, ptr, size, &mem)) {
        return mem != NULL ? mem : no_memory();
    }
    return move_block(span, ptr, room_bytes, size);
}

HM_EXPORT void *
reallocarray(void *ptr, size_t nmemb, size_t size)
{
    size_t size_bytes;

    if (__builtin_mul_overflow(nmemb, size, &size_bytes))
        return no_memory();
    return realloc(ptr, size_bytes);
}

/* --- aligned blocks --------------------------------------------------------------------------- */

/* `align_bytes` is a power of two. */
static void *
alloc_aligned(size_t align_bytes, size_t size_bytes)
{
    unsigned class_idx = HM_CLASS_COUNT;
    void *mem;

    if (align_bytes <= ALIGN_MIN_BYTES)
        return malloc(size_bytes);
    if (!hm_process_start())
        return no_memory();
    if (align_bytes <= hm_page_bytes(&hm_process.heap.geom)
        && !hm_cutoff_is_direct(&hm_process.heap.cutoff, size_bytes, align_bytes))
        class_idx = hm_class_of_aligned(size_bytes, align_bytes);
    if (class_idx == HM_CLASS_COUNT)
        mem = alloc_large(size_bytes, align_bytes, NULL);
    else if (hm_class_bytes(class_idx) < hm_load(&hm_process.small_end_bytes))
        return malloc(hm_class_bytes(class_idx));
    else /* the slot is over the cutoff, the request is not */
        mem = alloc_small(hm_class_bytes(class_idx));
    return fill_new(mem, size_bytes);
}

/* An alignment that is no power of two is rounded up to one, as glibc does. */
HM_EXPORT void *
memalign(size_t alignment, size_t size)
{
    size_t align_bytes = ALIGN_MIN_BYTES;

    if (alignment > SIZE_MAX / 2 + 1) {
        errno = EINVAL;
        return NULL;
    }
    while (align_bytes < alignment)
        align_bytes *= 2;
    return alloc_aligned(align_bytes, size);
}

HM_EXPORT void *
aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

HM_EXPORT int
posix_memalign(void **memptr, size_t alignment, size_t size)
{
    int saved_errno = errno;
    void *mem;

    if (!hm_is_pow2(alignment) || alignment % sizeof(void *) != 0)
        return EINVAL;
    mem = alloc_aligned(alignment, size);
    errno = saved_errno;
    if (mem == NULL)
        return ENOMEM;
    *memptr = mem;
    return 0;
}

HM_EXPORT size_t
malloc_usable_size(void *ptr)
{
    int saved_errno = errno;
    struct hm_span *span;
    size_t room_bytes;

    if (ptr == NULL)
        return 0;
    span = span_of((uintptr_t)ptr, "malloc_usable_size()");
    if (HM_LIKELY(span != NULL))
        return hm_span_room(span, (uintptr_t)ptr);
    room_bytes = foreign_block((uintptr_t)ptr, "malloc_usable_size()").room_bytes;
    errno = saved_errno;
    return room_bytes;
}
