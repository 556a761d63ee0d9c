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

/* munmap can fail when it would split a mapping and vm.max_map_count is used up: then the memory
 * goes back, and the address space is lost. */
void
hm_heap_unmap(const struct hm_heap *heap, uintptr_t addr, size_t len_bytes)
{
    const struct hm_os *os = heap->os;

    if (os->unmap(os->ctx, addr, len_bytes) != 0)
        (void)os->advise(os->ctx, addr, len_bytes, HM_ADVICE_DISCARD);
}

void
hm_heap_fini(struct hm_heap *heap, bool has_memory)
{
    struct hm_region *region = NULL;
    const struct hm_extent *extent = heap->extents;

    while ((region = hm_pheap_next_region(heap, region)) != NULL)
        if (region->state == HM_REGION_OPEN)
            hm_pagemap_enter(heap->pagemap, region->addr, hm_region_bytes(&heap->geom), NULL);
    for (; has_memory && extent != NULL; extent = extent->next)
        hm_heap_unmap(heap, extent->addr, extent->end_addr - extent->addr);
    hm_meta_fini(&heap->meta);
}
