/* SPDX-License-Identifier: MIT */
/* large.c - one span per large block (see large.h).
 *
 * Invariants  The pagemap knows a large block by its first grain only: any other address in it is
 *             no block.
 */
#include "span/large.h"

#include "heap/heal.h"
#include "heap/nodes.h"
#include "heap/stash.h"

/* The alignment of malloc, as far as the cutoff goes. */
#define MALLOC_ALIGN_BYTES ((size_t)16)

/* Runs from this length on start where a region does: then their pages can be moved by regions.
 * What that leaves unused before them, half a region in the mean, is little beside them. */
#define EVEN_MIN_BYTES (32 * HM_MIB)

/* A mapping that had to be moved to grow gets this share of its length on top, to grow again. */
#define MOVED_SPARE_SHARE 2

static bool
is_direct(const struct hm_span *span)
{
    return span->charge.mapped_bytes != 0;
}

/* The program may use what it has asked for, in whole pages: what a mapping has beyond that is for
 * growing. */
static void
set_asked(const struct hm_heap *heap, struct hm_span *span, size_t asked_pages)
{
    span->asked_pages = asked_pages;
    span->slot_bytes = hm_pages_to_bytes(&heap->geom, asked_pages);
    span->end_addr = span->base + span->slot_bytes;
}

/* Structs without words for remote frees are all large blocks': nobody announces these, so that
 * their lives need not be told apart. */
HM_INLINE struct hm_span *
obtain_struct(struct hm_heap *heap)
{
    struct hm_span *span = heap->idle_spans[0];

    if (HM_UNLIKELY(span == NULL))
        return hm_span_obtain(heap, 0);
    heap->idle_spans[0] = span->pending_next;
    return span;
}

HM_INLINE void
recycle_struct(struct hm_heap *heap, struct hm_span *span)
{
    span->kind = HM_SPAN_IDLE;
    span->pending_next = heap->idle_spans[0];
    heap->idle_spans[0] = span;
}

HM_INLINE void
enter(struct hm_heap *heap, struct hm_span *span, uintptr_t addr, size_t len_pages,
      size_t asked_pages)
{
    hm_store(&span->owner, HM_NOBODY);
    hm_store(&span->home, NULL);
    span->base = addr;
    span->len_pages = len_pages;
    set_asked(heap, span, asked_pages);
    span->charge = (struct hm_charge){ 0 };
    hm_list_add_first(&heap->spans, &span->all_link);
    heap->span_count++;
}

/* What a block is allocated for. */
struct wish {
    size_t size_bytes;
    size_t align_bytes;
    bool may_be_direct;
    size_t step_bytes; /* a block that realloc moves because it grows: by so much; else 0 */
};

static bool
wants_mapping(const struct hm_heap *heap, const struct wish *wish, size_t len_bytes)
{
    return hm_direct_is_wanted(heap, len_bytes, wish->step_bytes != 0)
           || wish->align_bytes > hm_region_bytes(&heap->geom);
}

static struct hm_mapping
mapping_of(const struct hm_heap *heap, const struct hm_span *span)
{
    return (struct hm_mapping){ .addr = span->base,
                                .len_bytes = hm_pages_to_bytes(&heap->geom, span->len_pages),
                                .kind = (enum hm_backing_kind)span->backing,
                                .note = span->note };
}

static int
take_mapping(struct hm_heap *heap, struct hm_span *span, const struct wish *wish, size_t len_bytes)
{
    size_t map_bytes = len_bytes;
    struct hm_mapping map;

    if (len_bytes >= HM_GROWN_MIN_BYTES)
        map_bytes = hm_direct_fit_bytes(heap, len_bytes, wish->step_bytes);
    if (hm_direct_map(heap, map_bytes, wish->align_bytes, &map) != 0)
        return -1;
    span->kind = HM_SPAN_MAPPED;
    span->note = map.note;
    span->backing = (uint8_t)map.kind;
    enter(heap, span, map.addr, hm_bytes_to_pages_up(&heap->geom, map_bytes),
          hm_bytes_to_pages_up(&heap->geom, len_bytes));
    return 0;
}

HM_INLINE void
enter_run(struct hm_heap *heap, struct hm_span *span, struct hm_region *region, uintptr_t addr,
          size_t len_pages)
{
    span->kind = HM_SPAN_RUN;
    span->region = region;
    enter(heap, span, addr, len_pages, len_pages);
}

static int
take_pages(struct hm_heap *heap, struct hm_span *span, const struct wish *wish, size_t len_pages,
           struct hm_stale *out_stale)
{
    size_t len_bytes = hm_pages_to_bytes(&heap->geom, len_pages);
    size_t align_pages = hm_bytes_to_pages_up(&heap->geom, wish->align_bytes);
    struct hm_run run;

    if (wants_mapping(heap, wish, len_bytes)) {
        if (take_mapping(heap, span, wish, len_bytes) == 0)
            return 0;
        /* Where the kernel gives no mapping any more, the heap may still hold address space. */
    }
    if (len_bytes >= EVEN_MIN_BYTES && align_pages < heap->region_pages)
        align_pages = heap->region_pages;
    if (hm_pheap_take(heap, len_pages, align_pages, &run) != 0)
        return -1;
    if (!run.is_zero) {
        out_stale->from_off = run.stale_addr - run.addr;
        out_stale->to_off = run.stale_end_addr - run.addr;
        if (out_stale->to_off > wish->size_bytes)
            out_stale->to_off = wish->size_bytes;
    }
    enter_run(heap, span, run.region, run.addr, len_pages);
    return 0;
}

/* Where the stash is not known to have room. */
static HM_NOINLINE void
give_pages_slow(struct hm_heap *heap, struct hm_span *span, struct hm_stashed *stashed)
{
    if (span->kind == HM_SPAN_MAPPED) {
        struct hm_mapping map = mapping_of(heap, span);

        hm_direct_unmap(heap, &map);
    } else if (hm_stash_may_give(heap, stashed, span->len_pages)) {
        hm_stash_give(heap, stashed, span->region, span->base);
    } else {
        hm_pheap_give(heap, span->region, span->base, span->len_pages);
    }
}

HM_INLINE void
give_pages(struct hm_heap *heap, struct hm_span *span)
{
    struct hm_stashed *stashed = hm_stash_find(heap, span->len_pages, false);

    hm_list_unlink(&span->all_link);
    heap->span_count--;
    if (HM_LIKELY(stashed != NULL) && HM_LIKELY(hm_stash_has_room(heap, span->len_pages))
        && HM_LIKELY(span->kind == HM_SPAN_RUN))
        hm_stash_give(heap, stashed, span->region, span->base);
    else
        give_pages_slow(heap, span, stashed);
    recycle_struct(heap, span);
}

/* A block has a page at least, so that its address is its own. */
static size_t
pages_for(const struct hm_heap *heap, size_t size_bytes)
{
    return hm_bytes_to_pages_up(&heap->geom, size_bytes != 0 ? size_bytes : 1);
}

static struct hm_span *
alloc_locked(struct hm_heap *heap, const struct wish *wish, struct hm_stale *out_stale)
{
    size_t len_pages = pages_for(heap, wish->size_bytes);
    struct hm_span *span = obtain_struct(heap);

    if (span == NULL)
        return NULL;
    if (take_pages(heap, span, wish, len_pages, out_stale) != 0) {
        recycle_struct(heap, span);
        return NULL;
    }
    /* Extents and mappings have the leaves for it. */
    hm_pagemap_enter_grain(heap->pagemap, span->base, span);
    return span;
}

/* More than half the address space is out of the question; no later sum can overflow. */
static bool
is_absurd(size_t bytes)
{
    return bytes > PTRDIFF_MAX / 2;
}

static void
charge(struct hm_heap *heap, struct hm_span *span, size_t size_bytes, size_t align_bytes)
{
    if (hm_cutoff_is_direct(&heap->cutoff, size_bytes, align_bytes))
        span->charge
            = hm_cutoff_add(&heap->cutoff, size_bytes, align_bytes, hm_page_bytes(&heap->geom));
}

static void *
alloc(struct hm_heap *heap, const struct wish *wish, struct hm_stale *out_stale)
{
    struct hm_stale stale = { 0, 0 };
    struct hm_span *span;
    void *mem = NULL;

    if (is_absurd(wish->size_bytes) || is_absurd(wish->align_bytes))
        return NULL;
    hm_lock_take(&heap->lock);
    span = alloc_locked(heap, wish, &stale);
    if (span != NULL) {
        mem = (void *)span->base;
        if (wish->may_be_direct)
            charge(heap, span, wish->size_bytes, wish->align_bytes);
    }
    hm_lock_give(&heap->lock);
    if (out_stale != NULL)
        *out_stale = stale;
    return mem;
}

void *
hm_large_alloc_again(struct hm_heap *heap, size_t size_bytes)
{
    size_t len_pages = pages_for(heap, size_bytes);
    struct hm_span *span = NULL;
    void *mem = NULL;
    struct hm_stashed *stashed;

    if (is_absurd(size_bytes) || hm_stash_find(heap, len_pages, true) == NULL)
        return NULL;
    hm_lock_take(&heap->lock);
    stashed = hm_stash_find(heap, len_pages, true);
    if (HM_LIKELY(stashed != NULL) && HM_LIKELY(hm_nodes_is_near(heap, stashed->region)))
        span = obtain_struct(heap);
    if (HM_LIKELY(span != NULL)) {
        mem = (void *)hm_stash_take(heap, stashed);
        enter_run(heap, span, stashed->region, (uintptr_t)mem, len_pages);
        hm_pagemap_enter_grain(heap->pagemap, (uintptr_t)mem, span);
        charge(heap, span, size_bytes, MALLOC_ALIGN_BYTES);
    }
    hm_lock_give(&heap->lock);
    return mem;
}

void *
hm_large_alloc(struct hm_heap *heap, size_t size_bytes, size_t align_bytes,
               struct hm_stale *out_stale)
{
    struct wish wish = { size_bytes, align_bytes, true, 0 };

    return alloc(heap, &wish, out_stale);
}

void *
hm_large_alloc_grown(struct hm_heap *heap, size_t size_bytes, size_t step_bytes)
{
    struct wish wish = { size_bytes, MALLOC_ALIGN_BYTES, true, step_bytes };

    return alloc(heap, &wish, NULL);
}

void *
hm_large_obtain(struct hm_heap *heap, size_t size_bytes, size_t step_bytes)
{
    struct wish wish = { size_bytes, MALLOC_ALIGN_BYTES, false, step_bytes };

    return alloc(heap, &wish, NULL);
}

/* The lock is given back first, since a handler of SIGABRT may allocate. */
HM_NORETURN static HM_COLD void
not_live(struct hm_heap *heap, struct hm_span *span, uintptr_t addr, const char *call)
{
    hm_lock_give(&heap->lock);
    hm_span_misuse(span, addr, call);
}

/* Take heap->lock, and abort if `addr` is no live block: `span` may have been freed since it was
 * looked up. */
static void
lock_live(struct hm_heap *heap, struct hm_span *span, uintptr_t addr, const char *call)
{
    hm_lock_take(&heap->lock);
    if (addr != span->base || hm_pagemap_get(heap->pagemap, addr) != span)
        not_live(heap, span, addr, call);
}

void
hm_large_free(struct hm_heap *heap, struct hm_span *span, uintptr_t addr)
{
    hm_lock_take(&heap->lock);
    if (HM_UNLIKELY(addr != span->base)
        || HM_UNLIKELY(!hm_pagemap_clear_grain(heap->pagemap, addr, span)))
        not_live(heap, span, addr, "free()");
    if (is_direct(span))
        hm_cutoff_remove(&heap->cutoff, &span->charge);
    give_pages(heap, span);
    hm_lock_give(&heap->lock);
}

static size_t
spare_bytes(const struct hm_heap *heap, size_t new_bytes)
{
    return hm_align_down(new_bytes / MOVED_SPARE_SHARE, hm_region_bytes(&heap->geom));
}

/* The block lies in this mapping now. */
static void
settle(struct hm_heap *heap, struct hm_span *span, const struct hm_mapping *map)
{
    if (map->addr != span->base) {
        hm_pagemap_enter_grain(heap->pagemap, span->base, NULL);
        span->base = map->addr;
        hm_pagemap_enter_grain(heap->pagemap, span->base, span);
    }
    span->note = map->note;
    span->backing = (uint8_t)map->kind;
    span->len_pages = hm_bytes_to_pages_up(&heap->geom, map->len_bytes);
}

static bool
resize_mapping(struct hm_heap *heap, struct hm_span *span, size_t len_pages)
{
    struct hm_mapping map = mapping_of(heap, span);
    size_t new_bytes = hm_pages_to_bytes(&heap->geom, len_pages);

    if (new_bytes < HM_GROWN_MIN_BYTES)
        return false;
    new_bytes = hm_direct_refit_bytes(heap, map.len_bytes,
                                      hm_pages_to_bytes(&heap->geom, span->asked_pages), new_bytes);
    /* What cannot be cut off stays, to be used when it grows again. */
    if (new_bytes != map.len_bytes
        && hm_direct_resize(heap, &map, new_bytes, spare_bytes(heap, new_bytes)) != 0
        && new_bytes > map.len_bytes)
        return false;
    settle(heap, span, &map);
    return true;
}

static bool
resize_run(struct hm_heap *heap, struct hm_span *span, size_t len_pages)
{
    uintptr_t end_addr = span->base + hm_pages_to_bytes(&heap->geom, span->len_pages);
    uintptr_t new_end_addr = span->base + hm_pages_to_bytes(&heap->geom, len_pages);

    if (len_pages > span->len_pages
        && !hm_pheap_extend(heap, span->region, end_addr, len_pages - span->len_pages))
        return false;
    if (len_pages < span->len_pages)
        hm_pheap_give(heap, span->region, new_end_addr, span->len_pages - len_pages);
    span->len_pages = len_pages;
    return true;
}

/* Behind the regions that a run has to itself, if it starts with one; else the first. */
static size_t
own_end_idx(const struct hm_heap *heap, const struct hm_span *span, size_t first_idx)
{
    size_t end_idx = first_idx + span->len_pages / heap->region_pages;
    size_t tail_pages = span->len_pages % heap->region_pages;

    if (span->base != span->region->addr)
        return first_idx;
    if (tail_pages > 0 && hm_extent_region(span->region->extent, end_idx)->used_pages == tail_pages)
        end_idx++;
    return end_idx;
}

/* Give a run that cannot grow a mapping: the regions that it has to itself are moved there, the
 * rest has to be copied. If that cannot grow either, all has to be copied back. */
static bool
carry_run(struct hm_heap *heap, struct hm_span *span, size_t new_bytes, struct hm_rest *out_rest)
{
    size_t old_bytes = hm_pages_to_bytes(&heap->geom, span->len_pages);
    size_t first_idx = hm_region_idx(span->region, &heap->geom);
    size_t end_idx = own_end_idx(heap, span, first_idx);
    size_t map_bytes = (end_idx - first_idx) << heap->geom.region_shift;
    size_t moved_bytes = map_bytes < old_bytes ? map_bytes : old_bytes;
    enum hm_backing_kind kind;
    struct hm_mapping map;

    if (new_bytes <= old_bytes || map_bytes < HM_GROWN_MIN_BYTES)
        return false;
    kind = hm_extent_backing(span->region->extent, first_idx, end_idx);
    if (kind == HM_BACKING_KINDS || hm_direct_carry(heap, span->base, moved_bytes, kind, &map) != 0)
        return false;
    *out_rest = (struct hm_rest){ map.addr, span->base, moved_bytes, NULL, map };
    new_bytes = hm_direct_fit_bytes(heap, new_bytes, new_bytes - old_bytes);
    if (hm_pagemap_prepare(heap->pagemap, map.addr, 1) != 0
        || (new_bytes > map_bytes
            && hm_direct_resize(heap, &map, new_bytes, spare_bytes(heap, new_bytes)) != 0))
        return false;
    *out_rest = (struct hm_rest){ span->base + moved_bytes, map.addr + moved_bytes,
                                  old_bytes - moved_bytes, span->region, map };
    hm_pheap_vacate(heap, span->region, span->base, moved_bytes >> heap->geom.page_shift);
    span->kind = HM_SPAN_MAPPED;
    settle(heap, span, &map);
    return true;
}

static bool
resize_pages(struct hm_heap *heap, struct hm_span *span, size_t len_pages, struct hm_rest *out_rest)
{
    size_t new_bytes = hm_pages_to_bytes(&heap->geom, len_pages);

    if (span->kind == HM_SPAN_MAPPED)
        return resize_mapping(heap, span, len_pages);
    return ((new_bytes < HM_DIRECT_MIN_BYTES || hm_backing_is_mixed(&heap->backing))
            && resize_run(heap, span, len_pages))
           || carry_run(heap, span, new_bytes, out_rest);
}

HM_LATER void
hm_large_give_rest(struct hm_heap *heap, const struct hm_rest *rest)
{
    hm_lock_take(&heap->lock);
    if (rest->region == NULL)
        hm_direct_unmap(heap, &rest->map);
    else
        hm_pheap_give(heap, rest->region, rest->from_addr,
                      rest->len_bytes >> heap->geom.page_shift);
    hm_lock_give(&heap->lock);
}

HM_LATER void *
hm_large_resize(struct hm_heap *heap, struct hm_span *span, uintptr_t addr, size_t size_bytes,
                struct hm_rest *out_rest)
{
    size_t page_bytes = hm_page_bytes(&heap->geom);
    void *mem = NULL;
    size_t len_pages;

    out_rest->len_bytes = 0;
    if (is_absurd(size_bytes))
        return NULL;
    len_pages = pages_for(heap, size_bytes);
    lock_live(heap, span, addr, "realloc()");
    if ((size_bytes > HM_SMALL_MAX_BYTES || hm_large_must_stay(heap, span, size_bytes))
        && resize_pages(heap, span, len_pages, out_rest)) {
        if (is_direct(span))
            hm_cutoff_resize(&heap->cutoff, &span->charge, size_bytes, page_bytes);
        else if (len_pages > span->asked_pages
                 && hm_cutoff_is_direct(&heap->cutoff, size_bytes, MALLOC_ALIGN_BYTES))
            span->charge = hm_cutoff_add(&heap->cutoff, size_bytes, MALLOC_ALIGN_BYTES, page_bytes);
        set_asked(heap, span, len_pages);
        mem = (void *)span->base;
    }
    hm_heal_visit(heap);
    hm_lock_give(&heap->lock);
    return mem;
}

bool
hm_large_must_stay(const struct hm_heap *heap, const struct hm_span *span, size_t size_bytes)
{
    return !is_absurd(size_bytes)
           && (is_direct(span)
               || (size_bytes <= span->slot_bytes
                   && hm_cutoff_is_direct(&heap->cutoff, size_bytes, MALLOC_ALIGN_BYTES)));
}

HM_LATER void
hm_large_replace(struct hm_heap *heap, struct hm_span *span, uintptr_t addr, uintptr_t new_addr,
                 size_t size_bytes)
{
    struct hm_span *new_span = hm_pagemap_get(heap->pagemap, new_addr);

    lock_live(heap, span, addr, "realloc()");
    if (is_direct(span)) {
        new_span->charge = span->charge;
        hm_cutoff_resize(&heap->cutoff, &new_span->charge, size_bytes, hm_page_bytes(&heap->geom));
    }
    hm_pagemap_enter_grain(heap->pagemap, addr, NULL);
    give_pages(heap, span);
    hm_lock_give(&heap->lock);
}
