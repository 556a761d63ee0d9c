/* SPDX-License-Identifier: MIT */
/* arena.c - what is done with the blocks of a private arena (see arena.h). */
#include "arena/arena.h"

#include <errno.h>
#include <string.h>

#include "heap/purge.h"
#include "heap/supply.h"

#define MALLOC_ALIGN_BYTES ((size_t)16)

/* --- allocation ------------------------------------------------------------------------------- */

/* A slot; for a thread that has no cache, with one for just this call. */
static void *
alloc_slot(struct hm_arena *arena, struct hm_tcache *cache, unsigned class_idx)
{
    void *mem;

    if (HM_LIKELY(cache != NULL))
        return hm_tcache_alloc(cache, class_idx);
    cache = hm_tcache_acquire(&arena->pool, 0);
    if (cache == NULL)
        return NULL;
    mem = hm_tcache_alloc(cache, class_idx);
    hm_tcache_retire(cache);
    return mem;
}

static void *
alloc_large(struct hm_arena *arena, size_t size_bytes, size_t align_bytes,
            struct hm_stale *out_stale)
{
    struct hm_heap *heap = &arena->heap;
    void *mem = NULL;

    *out_stale = (struct hm_stale){ 0, size_bytes };
    if (align_bytes <= MALLOC_ALIGN_BYTES)
        mem = hm_large_alloc_again(heap, size_bytes);
    if (mem == NULL) {
        hm_pool_make_way(&arena->pool, hm_bytes_to_pages_up(&heap->geom, size_bytes));
        mem = hm_large_alloc(heap, size_bytes, align_bytes, out_stale);
    }
    return mem;
}

static void *
alloc_once(struct hm_arena *arena, struct hm_tcache *cache, size_t size_bytes, size_t align_bytes,
           struct hm_stale *out_stale)
{
    const struct hm_heap *heap = &arena->heap;
    unsigned class_idx = HM_CLASS_COUNT;

    if (size_bytes <= HM_SMALL_MAX_BYTES && align_bytes <= hm_page_bytes(&heap->geom)
        && !hm_cutoff_is_direct(&heap->cutoff, size_bytes, align_bytes))
        class_idx = hm_class_of_aligned(size_bytes, align_bytes);
    if (class_idx == HM_CLASS_COUNT)
        return alloc_large(arena, size_bytes, align_bytes, out_stale);
    *out_stale = (struct hm_stale){ 0, size_bytes };
    return alloc_slot(arena, cache, class_idx);
}

/* What the caller's own cache holds in reserve, and what a reset left, may be what is lacking. */
static HM_COLD void
squeeze(struct hm_arena *arena, struct hm_tcache *cache)
{
    if (cache != NULL)
        hm_tcache_trim(cache);
    hm_pool_make_way(&arena->pool, SIZE_MAX);
    hm_lock_take(&arena->heap.lock);
    hm_pool_reclaim(&arena->pool);
    hm_lock_give(&arena->heap.lock);
}

static void *
alloc(struct hm_arena *arena, struct hm_tcache *cache, size_t size_bytes, size_t align_bytes,
      struct hm_stale *out_stale)
{
    int saved_errno = errno;
    void *mem = alloc_once(arena, cache, size_bytes, align_bytes, out_stale);

    if (HM_UNLIKELY(mem == NULL) && size_bytes <= PTRDIFF_MAX) {
        squeeze(arena, cache);
        mem = alloc_once(arena, cache, size_bytes, align_bytes, out_stale);
        /* A page may be left where there is no room for a span. */
        if (mem == NULL && size_bytes <= HM_SMALL_MAX_BYTES)
            mem = alloc_large(arena, size_bytes, align_bytes, out_stale);
    }
    errno = saved_errno;
    return mem;
}

void *
hm_arena_alloc(struct hm_arena *arena, struct hm_tcache *cache, size_t size_bytes,
               size_t align_bytes)
{
    struct hm_stale stale;

    return alloc(arena, cache, size_bytes, align_bytes, &stale);
}

void *
hm_arena_calloc(struct hm_arena *arena, struct hm_tcache *cache, size_t size_bytes)
{
    struct hm_stale stale;
    char *mem = alloc(arena, cache, size_bytes, MALLOC_ALIGN_BYTES, &stale);

    if (mem != NULL)
        memset(mem + stale.from_off, 0, stale.to_off - stale.from_off);
    return mem;
}

/* --- free and realloc ------------------------------------------------------------------------- */

void
hm_arena_free(struct hm_arena *arena, struct hm_tcache *cache, struct hm_span *span, uintptr_t addr)
{
    int saved_errno = errno;

    if (cache == NULL)
        cache = (struct hm_tcache *)(uintptr_t)&hm_tcache_empty;
    if (span->kind == HM_SPAN_SLOTS)
        hm_tcache_free_slow(&arena->pool, cache, span, addr);
    else
        hm_large_free(&arena->heap, span, addr);
    errno = saved_errno;
}

void *
hm_arena_realloc(struct hm_arena *arena, struct hm_tcache *cache, struct hm_span *span, void *ptr,
                 size_t size_bytes)
{
    struct hm_heap *heap = &arena->heap;
    size_t old_bytes = hm_span_room(span, (uintptr_t)ptr);
    void *mem = NULL;

    if (!hm_span_is_large(span)) {
        if (hm_realloc_fits_slot(heap, old_bytes, size_bytes))
            return ptr;
    } else {
        if (hm_realloc_large(heap, span, ptr, size_bytes, &mem))
            return mem;
        /* A large block that outgrew its pages may go on growing. */
        if (size_bytes > old_bytes)
            mem = hm_large_alloc_grown(heap, size_bytes, size_bytes - old_bytes);
    }
    if (mem == NULL)
        mem = hm_arena_alloc(arena, cache, size_bytes, MALLOC_ALIGN_BYTES);
    if (mem == NULL)
        return size_bytes <= old_bytes ? ptr : NULL;
    memcpy(mem, ptr, old_bytes < size_bytes ? old_bytes : size_bytes);
    hm_arena_free(arena, cache, span, (uintptr_t)ptr);
    return mem;
}

/* --- everything at once ----------------------------------------------------------------------- */

/* Free memory that stays, but for resets. What is locked is there to stay. */
static size_t
keep_bytes(const struct hm_arena *arena)
{
    return arena->conf.is_locked ? SIZE_MAX : arena->ahead_bytes;
}

/* Large blocks are few: they go one by one. */
static void
free_large(struct hm_heap *heap)
{
    struct hm_list *link = heap->spans.next;

    while (link != &heap->spans) {
        struct hm_span *span = hm_container_of(link, struct hm_span, all_link);

        link = link->next;
        if (hm_pool_is_at_rest(span))
            break;
        if (hm_span_is_large(span))
            hm_large_free(heap, span, span->base);
    }
}

void
hm_arena_reset(struct hm_arena *arena)
{
    struct hm_heap *heap = &arena->heap;
    int saved_errno = errno;
    size_t heap_bytes = hm_heap_bytes(heap);

    if (arena->reset_peak_bytes < heap_bytes)
        arena->reset_peak_bytes = heap_bytes;
    hm_store(&heap->cutoff.keep_bytes, SIZE_MAX);
    free_large(heap);
    hm_lock_take(&heap->lock);
    hm_pool_reset(&arena->pool);
    heap->cutoff.keep_bytes = keep_bytes(arena);
    if (heap->cutoff.keep_bytes < arena->reset_peak_bytes)
        heap->cutoff.keep_bytes = arena->reset_peak_bytes;
    hm_lock_give(&heap->lock);
    errno = saved_errno;
}

size_t
hm_arena_trim(struct hm_arena *arena, struct hm_tcache *cache)
{
    int saved_errno = errno;
    size_t given_bytes;

    squeeze(arena, cache);
    hm_lock_take(&arena->heap.lock);
    arena->reset_peak_bytes = 0;
    arena->heap.cutoff.keep_bytes = keep_bytes(arena);
    given_bytes = hm_purge_all(&arena->heap);
    hm_lock_give(&arena->heap.lock);
    errno = saved_errno;
    return given_bytes;
}

/* --- ahead of use ----------------------------------------------------------------------------- */

/* Metadata for blocks of a page each. */
#define META_SHARE 16

static void
set_os(struct hm_arena *arena, const struct hm_os *os)
{
    arena->heap.os = os;
    arena->heap.backing.os = os;
    arena->heap.meta.os = os;
}

int
hm_arena_open(struct hm_arena *arena, const struct hm_os *os, size_t len_bytes,
              struct hm_run *out_run)
{
    struct hm_heap *heap = &arena->heap;
    int saved_errno = errno;
    int rc;

    hm_lock_take(&heap->lock);
    set_os(arena, os);
    rc = hm_pheap_take(heap, hm_bytes_to_pages_up(&heap->geom, len_bytes), 1, out_run);
    set_os(arena, arena->real);
    hm_lock_give(&heap->lock);
    errno = saved_errno;
    return rc;
}

void
hm_arena_settle(struct hm_arena *arena, const struct hm_run *run)
{
    struct hm_heap *heap = &arena->heap;
    size_t len_bytes = hm_pages_to_bytes(&heap->geom, run->len_pages);
    int saved_errno = errno;

    if (!arena->is_supplied)
        arena->ahead_bytes = hm_align_up(len_bytes, hm_region_bytes(&heap->geom));
    hm_lock_take(&heap->lock);
    heap->cutoff.keep_bytes = SIZE_MAX;
    hm_pheap_give(heap, run->region, run->addr, run->len_pages);
    heap->cutoff.keep_bytes = keep_bytes(arena);
    hm_lock_give(&heap->lock);
    errno = saved_errno;
}

void
hm_arena_close(struct hm_arena *arena)
{
    hm_closed_init(&arena->closed, arena->real);
    set_os(arena, &arena->closed);
}

void
hm_arena_reopen(struct hm_arena *arena)
{
    if (!arena->is_supplied)
        set_os(arena, arena->real);
}

int
hm_arena_supply(struct hm_arena *arena, void *mem, size_t len_bytes)
{
    struct hm_heap *heap = &arena->heap;
    int rc;

    arena->is_supplied = true;
    hm_closed_init(&arena->closed, arena->real);
    arena->closed.map_meta = arena->real->map_meta;
    set_os(arena, &arena->closed);
    hm_lock_take(&heap->lock);
    rc = hm_supply_enter(heap, (uintptr_t)mem, len_bytes);
    arena->ahead_bytes = heap->extent_regions << heap->geom.region_shift;
    heap->cutoff.keep_bytes = keep_bytes(arena);
    hm_lock_give(&heap->lock);
    return rc;
}

/* What is not there yet must be before the kernel is out of reach. */
void
hm_arena_equip(struct hm_arena *arena)
{
    struct hm_heap *heap = &arena->heap;

    hm_lock_take(&heap->lock);
    hm_meta_prepare(&heap->meta, arena->ahead_bytes / META_SHARE);
    hm_meta_touch(&heap->meta);
    if (heap->supply_bytes != 0)
        hm_pagemap_enter(heap->pagemap, heap->supply_addr, heap->supply_bytes, NULL);
    else
        for (const struct hm_extent *extent = heap->extents; extent != NULL; extent = extent->next)
            hm_pagemap_enter(heap->pagemap, extent->addr, extent->end_addr - extent->addr, NULL);
    hm_lock_give(&heap->lock);
}

/* --- fork ------------------------------------------------------------------------------------- */

HM_LATER void
hm_arena_advise_fork(struct hm_arena *arena, enum hm_advice advice)
{
    const struct hm_heap *heap = &arena->heap;
    const struct hm_os *os = heap->os;

    for (const struct hm_extent *extent = heap->extents; extent != NULL; extent = extent->next)
        (void)os->advise(os->ctx, extent->addr, extent->end_addr - extent->addr, advice);
    for (struct hm_list *link = heap->spans.next; link != &heap->spans; link = link->next) {
        const struct hm_span *span = hm_container_of(link, struct hm_span, all_link);

        if (span->kind == HM_SPAN_MAPPED)
            (void)os->advise(os->ctx, span->base, hm_pages_to_bytes(&heap->geom, span->len_pages),
                             advice);
    }
}

HM_LATER void
hm_arena_after_fork(struct hm_arena *arena, struct hm_tcache *self)
{
    hm_pool_after_fork(&arena->pool, self);
    if (arena->own.pool != NULL)
        hm_tcache_revive(&arena->own);
}

/* --- the beginning and the end ---------------------------------------------------------------- */

static void
set_cutoff(struct hm_arena *arena, size_t cutoff_bytes)
{
    struct hm_cutoff *cutoff = &arena->heap.cutoff;
    uint32_t open_count = 0;

    if (cutoff_bytes == HM_CUTOFF_MOVES)
        return;
    if (cutoff_bytes == SIZE_MAX)
        hm_cutoff_set_mmap_max(cutoff, 0);
    else
        hm_cutoff_set_mmap_threshold(cutoff, cutoff_bytes);
    /* Slots that may hold a direct block are not for the fast path. */
    while (open_count < HM_CLASS_COUNT
           && !hm_cutoff_is_direct(cutoff, hm_class_bytes(open_count), MALLOC_ALIGN_BYTES))
        open_count++;
    arena->pool.open_count = open_count;
}

int
hm_arena_init(struct hm_arena *arena, const struct hm_arena_site *site, const struct hm_conf *conf,
              size_t cutoff_bytes, uintptr_t own_id)
{
    arena->conf = *conf;
    arena->real = site->os;
    arena->is_supplied = false;
    arena->ahead_bytes = 0;
    arena->reset_peak_bytes = 0;
    if (hm_heap_init(&arena->heap, site->pagemap, site->os, &arena->conf, site->geom) != 0) {
        hm_meta_fini(&arena->heap.meta);
        return -ENOMEM;
    }
    arena->heap.cutoff.keep_bytes = keep_bytes(arena);
    hm_pool_init(&arena->pool, &arena->heap);
    set_cutoff(arena, cutoff_bytes);
    hm_tcache_clear(&arena->own);
    arena->own.pool = NULL;
    if (own_id != 0)
        hm_tcache_enter(&arena->pool, &arena->own, own_id);
    return 0;
}

void
hm_arena_fini(struct hm_arena *arena, bool has_memory)
{
    struct hm_heap *heap = &arena->heap;
    int saved_errno = errno;

    hm_arena_reopen(arena);
    for (struct hm_list *link = heap->spans.next; link != &heap->spans; link = link->next) {
        struct hm_span *span = hm_container_of(link, struct hm_span, all_link);

        if (span->kind != HM_SPAN_MAPPED)
            continue;
        hm_pagemap_enter_grain(heap->pagemap, span->base, NULL);
        if (has_memory)
            hm_heap_unmap(heap, span->base, hm_pages_to_bytes(&heap->geom, span->len_pages));
    }
    hm_heap_fini(heap, has_memory);
    hm_tcache_clear(&arena->own);
    errno = saved_errno;
}
