/* SPDX-License-Identifier: MIT */
/* large.c - one span per large block (see large.h).
 *
 * Invariants  The pagemap knows a large block by its first grain only: any other address in it is
 *             no block.
 */
#include "span/large.h"

#include "heap/direct.h"

/* The alignment of malloc, as far as the cutoff goes. */
#define MALLOC_ALIGN_BYTES ((size_t)16)

static bool
is_direct(const struct hm_span *span)
{
    return span->charge.mapped_bytes != 0;
}

static void
enter(struct hm_heap *heap, struct hm_span *span, uintptr_t addr, size_t len_pages)
{
    hm_store(&span->owner, 0);
    hm_store(&span->home, NULL);
    span->base = addr;
    span->end_addr = addr + hm_pages_to_bytes(&heap->geom, len_pages);
    span->len_pages = len_pages;
    span->slot_bytes = hm_pages_to_bytes(&heap->geom, len_pages);
    span->charge = (struct hm_charge){ 0 };
    hm_list_add_last(&heap->spans, &span->all_link);
    heap->span_count++;
}

static int
take_pages(struct hm_heap *heap, struct hm_span *span, size_t len_pages, size_t align_bytes,
           bool *out_is_zero)
{
    size_t align_pages = hm_bytes_to_pages_up(&heap->geom, align_bytes);
    struct hm_mapping map;
    struct hm_run run;

    if (hm_pages_to_bytes(&heap->geom, len_pages) >= HM_DIRECT_MIN_BYTES
        || align_bytes > hm_region_bytes(&heap->geom)) {
        if (hm_direct_map(heap, hm_pages_to_bytes(&heap->geom, len_pages), align_bytes, &map)
            == 0) {
            span->kind = HM_SPAN_MAPPED;
            span->region = NULL;
            span->backing = (uint8_t)map.kind;
            *out_is_zero = true;
            enter(heap, span, map.addr, len_pages);
            return 0;
        }
        /* Where the kernel gives no mapping any more, the heap may still hold address space. */
        if (align_bytes > hm_region_bytes(&heap->geom))
            return -1;
    }
    if (hm_pheap_take(heap, len_pages, align_pages, &run) != 0)
        return -1;
    span->kind = HM_SPAN_RUN;
    span->region = run.region;
    *out_is_zero = run.is_zero;
    enter(heap, span, run.addr, len_pages);
    return 0;
}

static void
give_pages(struct hm_heap *heap, struct hm_span *span)
{
    struct hm_mapping map = { .addr = span->base,
                              .len_bytes = hm_pages_to_bytes(&heap->geom, span->len_pages),
                              .kind = (enum hm_backing_kind)span->backing };

    hm_list_del(&span->all_link);
    heap->span_count--;
    if (span->kind == HM_SPAN_MAPPED)
        hm_direct_unmap(heap, &map);
    else
        hm_pheap_give(heap, span->region, span->base, span->len_pages);
    hm_span_recycle(heap, span);
}

/* A block has a page at least, so that its address is its own. */
static size_t
pages_for(const struct hm_heap *heap, size_t size_bytes)
{
    return hm_bytes_to_pages_up(&heap->geom, size_bytes != 0 ? size_bytes : 1);
}

static struct hm_span *
alloc_locked(struct hm_heap *heap, size_t size_bytes, size_t align_bytes, bool *out_is_zero)
{
    size_t len_pages = pages_for(heap, size_bytes);
    struct hm_span *span = hm_span_obtain(heap, 0);

    if (span == NULL)
        return NULL;
    if (take_pages(heap, span, len_pages, align_bytes, out_is_zero) != 0) {
        hm_span_recycle(heap, span);
        return NULL;
    }
    if (hm_pagemap_set(&heap->pagemap, &heap->meta, span->base, 1, span) != 0) {
        give_pages(heap, span);
        return NULL;
    }
    return span;
}

/* More than half the address space is out of the question; no later sum can overflow. */
static bool
is_absurd(size_t bytes)
{
    return bytes > PTRDIFF_MAX / 2;
}

static void *
alloc(struct hm_heap *heap, size_t size_bytes, size_t align_bytes, bool *out_is_zero,
      bool may_be_direct)
{
    struct hm_span *span;
    void *mem = NULL;
    bool is_zero = false;

    if (is_absurd(size_bytes) || is_absurd(align_bytes))
        return NULL;
    hm_lock_take(&heap->lock);
    span = alloc_locked(heap, size_bytes, align_bytes, &is_zero);
    if (span != NULL) {
        mem = (void *)span->base;
        if (may_be_direct && hm_cutoff_is_direct(&heap->cutoff, size_bytes, align_bytes))
            span->charge
                = hm_cutoff_add(&heap->cutoff, size_bytes, align_bytes, hm_page_bytes(&heap->geom));
    }
    hm_lock_give(&heap->lock);
    if (mem != NULL && out_is_zero != NULL)
        *out_is_zero = is_zero;
    return mem;
}

void *
hm_large_alloc(struct hm_heap *heap, size_t size_bytes, size_t align_bytes, bool *out_is_zero)
{
    return alloc(heap, size_bytes, align_bytes, out_is_zero, true);
}

void *
hm_large_obtain(struct hm_heap *heap, size_t size_bytes)
{
    return alloc(heap, size_bytes, MALLOC_ALIGN_BYTES, NULL, false);
}

/* Take heap->lock, and abort if `addr` is no live block: `span` may have been freed since it was
 * looked up. The lock is given back first, since a handler of SIGABRT may allocate. */
static void
lock_live(struct hm_heap *heap, struct hm_span *span, uintptr_t addr, const char *call)
{
    hm_lock_take(&heap->lock);
    if (addr == span->base && hm_pagemap_get(&heap->pagemap, addr) == span)
        return;
    hm_lock_give(&heap->lock);
    hm_span_misuse(span, addr, call);
}

void
hm_large_free(struct hm_heap *heap, struct hm_span *span, uintptr_t addr)
{
    lock_live(heap, span, addr, "free()");
    if (is_direct(span))
        hm_cutoff_remove(&heap->cutoff, &span->charge);
    (void)hm_pagemap_set(&heap->pagemap, &heap->meta, addr, 1, NULL);
    give_pages(heap, span);
    hm_lock_give(&heap->lock);
}

static bool
resize_mapping(struct hm_heap *heap, struct hm_span *span, size_t len_pages)
{
    struct hm_mapping map = { .addr = span->base,
                              .len_bytes = hm_pages_to_bytes(&heap->geom, span->len_pages),
                              .kind = (enum hm_backing_kind)span->backing };
    size_t new_bytes = hm_pages_to_bytes(&heap->geom, len_pages);

    if (new_bytes < HM_DIRECT_MIN_BYTES || hm_direct_resize(heap, &map, new_bytes) != 0)
        return false;
    (void)hm_pagemap_set(&heap->pagemap, &heap->meta, span->base, 1, NULL);
    span->base = map.addr;
    (void)hm_pagemap_set(&heap->pagemap, &heap->meta, span->base, 1, span);
    return true;
}

static bool
resize_run(struct hm_heap *heap, struct hm_span *span, size_t len_pages)
{
    uintptr_t end_addr = span->base + hm_pages_to_bytes(&heap->geom, span->len_pages);
    uintptr_t new_end_addr = span->base + hm_pages_to_bytes(&heap->geom, len_pages);

    if (len_pages > span->len_pages)
        return hm_pheap_extend(heap, span->region, end_addr, len_pages - span->len_pages);
    if (len_pages < span->len_pages)
        hm_pheap_give(heap, span->region, new_end_addr, span->len_pages - len_pages);
    return true;
}

static bool
resize_pages(struct hm_heap *heap, struct hm_span *span, size_t len_pages)
{
    if (span->kind == HM_SPAN_MAPPED)
        return resize_mapping(heap, span, len_pages);
    return hm_pages_to_bytes(&heap->geom, len_pages) < HM_DIRECT_MIN_BYTES
           && resize_run(heap, span, len_pages);
}

void *
hm_large_resize(struct hm_heap *heap, struct hm_span *span, uintptr_t addr, size_t size_bytes)
{
    size_t page_bytes = hm_page_bytes(&heap->geom);
    void *mem = NULL;
    size_t len_pages;

    if (is_absurd(size_bytes))
        return NULL;
    len_pages = pages_for(heap, size_bytes);
    lock_live(heap, span, addr, "realloc()");
    if ((size_bytes > HM_SMALL_MAX_BYTES || hm_large_must_stay(heap, span, size_bytes))
        && resize_pages(heap, span, len_pages)) {
        if (is_direct(span))
            hm_cutoff_resize(&heap->cutoff, &span->charge, size_bytes, page_bytes);
        else if (len_pages > span->len_pages
                 && hm_cutoff_is_direct(&heap->cutoff, size_bytes, MALLOC_ALIGN_BYTES))
            span->charge = hm_cutoff_add(&heap->cutoff, size_bytes, MALLOC_ALIGN_BYTES, page_bytes);
        span->len_pages = len_pages;
        span->slot_bytes = hm_pages_to_bytes(&heap->geom, len_pages);
        span->end_addr = span->base + span->slot_bytes;
        mem = (void *)span->base;
    }
    hm_lock_give(&heap->lock);
    return mem;
}

bool
hm_large_must_stay(const struct hm_heap *heap, const struct hm_span *span, size_t size_bytes)
{
    if (is_absurd(size_bytes))
        return false;
    return is_direct(span)
           || (size_bytes <= span->slot_bytes
               && hm_cutoff_is_direct(&heap->cutoff, size_bytes, MALLOC_ALIGN_BYTES));
}

void
hm_large_replace(struct hm_heap *heap, struct hm_span *span, uintptr_t addr, uintptr_t new_addr,
                 size_t size_bytes)
{
    struct hm_span *new_span = hm_pagemap_get(&heap->pagemap, new_addr);

    lock_live(heap, span, addr, "realloc()");
    if (is_direct(span)) {
        new_span->charge = span->charge;
        hm_cutoff_resize(&heap->cutoff, &new_span->charge, size_bytes, hm_page_bytes(&heap->geom));
    }
    (void)hm_pagemap_set(&heap->pagemap, &heap->meta, addr, 1, NULL);
    give_pages(heap, span);
    hm_lock_give(&heap->lock);
}
