/* SPDX-License-Identifier: MIT */
/* heap.c - makes an empty heap, and takes one apart (see heap.h). */
#include "heap/heap.h"

#include <errno.h>

#include "heap/fit.h"
#include "heap/heal.h"
#include "heap/pheap.h"

int
hm_heap_init(struct hm_heap *heap, struct hm_pagemap *pagemap, const struct hm_os *os,
             const struct hm_conf *conf, const struct hm_geom *geom)
{
    *heap = (struct hm_heap){
        .os = os, .pagemap = pagemap, .geom = *geom, .region_pages = hm_region_pages(geom)
    };
#ifdef HM_DEBUG
    heap->lock.later[0] = &pagemap->lock;
#endif
    hm_meta_init(&heap->meta, os);
    hm_backing_init(&heap->backing, os, conf, geom);
    hm_list_init(&heap->spans);
    hm_cutoff_init(&heap->cutoff);
    /* First of all metadata, so that its table shares a mapping with the rest. */
    if (pagemap->meta == NULL
        && hm_pagemap_init(pagemap, &heap->meta, os->address_limit(os->ctx)) != 0)
        return -ENOMEM;
    heap->fits = hm_meta_alloc(&heap->meta, sizeof(heap->fits[0]), sizeof(void *));
    if (heap->fits == NULL || hm_fit_init(heap, &heap->fits[0]) != 0)
        return -ENOMEM;
    hm_heal_init(heap);
    heap->demand.epoch_ns = os->now_ns(os->ctx);
    return 0;
}

/* With guards more is reserved, and given back but for one region at each end. */
int
hm_heap_reserve(const struct hm_heap *heap, size_t len_bytes, size_t align_bytes,
                uintptr_t *out_addr)
{
    const struct hm_os *os = heap->os;
    size_t guard_bytes = hm_heap_guard_bytes(heap);
    uintptr_t addr = 0;
    int rc;

    if (guard_bytes == 0)
        return os->reserve(os->ctx, len_bytes, align_bytes, out_addr);
    rc = os->reserve(os->ctx, align_bytes + len_bytes + guard_bytes, align_bytes, &addr);
    if (rc != 0)
        return rc;
    *out_addr = addr + align_bytes;
    if (align_bytes > guard_bytes)
        (void)os->unmap(os->ctx, addr, align_bytes - guard_bytes);
    return 0;
}

int
hm_heap_unreserve(const struct hm_heap *heap, uintptr_t addr, size_t len_bytes)
{
    size_t guard_bytes = hm_heap_guard_bytes(heap);

    return heap->os->unmap(heap->os->ctx, addr - guard_bytes, len_bytes + 2 * guard_bytes);
}

/* munmap can fail when it would split a mapping and vm.max_map_count is used up: then the memory
 * goes back, and the address space is lost. */
void
hm_heap_unmap(const struct hm_heap *heap, uintptr_t addr, size_t len_bytes)
{
    const struct hm_os *os = heap->os;

    if (hm_heap_unreserve(heap, addr, len_bytes) != 0)
        (void)os->advise(os->ctx, addr, len_bytes, HM_ADVICE_DISCARD);
}

/* The memory of a region goes; that of a page of the pool with the first of its regions. */
static void
empty(const struct hm_heap *heap, const struct hm_region *region)
{
    const struct hm_os *os = heap->os;
    size_t len_bytes = hm_region_bytes(&heap->geom);

    if (region->state == HM_REGION_CLOSED)
        return;
    if (region->giant_shift != 0)
        len_bytes = (size_t)1 << region->giant_shift;
    if (region->backing != HM_BACKING_HUGETLB)
        (void)os->advise(os->ctx, region->addr, len_bytes, HM_ADVICE_DISCARD);
    else if (region->addr % len_bytes == 0)
        (void)os->pool_unmap(os->ctx, region->addr, len_bytes);
}

/* As hm_heap_unmap; but hugetlb pages are not discarded, and go to others only when unmapped. */
static void
unmap_extent(struct hm_heap *heap, struct hm_extent *extent)
{
    if (hm_heap_unreserve(heap, extent->addr, extent->end_addr - extent->addr) == 0)
        return;
    for (size_t i = 0; i < extent->region_count; i++)
        empty(heap, hm_pheap_region_at(heap, extent, i));
}

/* Beside memory of the program's there may be that of another heap. */
static void
forget(struct hm_heap *heap)
{
    struct hm_region *region = NULL;

    if (heap->supply_bytes != 0) {
        hm_pagemap_enter(heap->pagemap, heap->supply_addr, heap->supply_bytes, NULL);
        return;
    }
    while ((region = hm_pheap_next_region(heap, region)) != NULL)
        if (region->state == HM_REGION_OPEN)
            hm_pagemap_enter(heap->pagemap, region->addr, hm_region_bytes(&heap->geom), NULL);
}

void
hm_heap_fini(struct hm_heap *heap, bool has_memory)
{
    struct hm_extent *extent = heap->extents;

    forget(heap);
    for (; has_memory && extent != NULL; extent = extent->next)
        unmap_extent(heap, extent);
    hm_meta_fini(&heap->meta);
}
