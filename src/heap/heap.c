/* SPDX-License-Identifier: MIT */
/* heap.c - makes an empty heap (see heap.h). */
#include "heap/heap.h"

#include <errno.h>

#include "heap/heal.h"

int
hm_heap_init(struct hm_heap *heap, const struct hm_os *os, const struct hm_conf *conf,
             const struct hm_geom *geom)
{
    size_t list_count = ((size_t)1 << (geom->region_shift - geom->page_shift)) + 1;
    size_t seam_count = 2 * list_count;

    *heap = (struct hm_heap){ .os = os, .geom = *geom, .region_pages = hm_region_pages(geom) };
    hm_meta_init(&heap->meta, os);
    hm_backing_init(&heap->backing, os, conf, geom);
    hm_list_init(&heap->spans);
    hm_cutoff_init(&heap->cutoff);
    /* First of all metadata, so that its table shares a mapping with the rest. */
    if (hm_pagemap_init(&heap->pagemap, &heap->meta, os->address_limit(os->ctx)) != 0)
        return -ENOMEM;
    heap->fits
        = hm_meta_alloc(&heap->meta, list_count * sizeof(struct hm_region *), sizeof(void *));
    heap->fits_map = hm_meta_alloc(&heap->meta, HM_BITMAP_WORDS(list_count) * sizeof(uint64_t),
                                   sizeof(uint64_t));
    heap->seams
        = hm_meta_alloc(&heap->meta, seam_count * sizeof(struct hm_region *), sizeof(void *));
    heap->seams_map = hm_meta_alloc(&heap->meta, HM_BITMAP_WORDS(seam_count) * sizeof(uint64_t),
                                    sizeof(uint64_t));
    if (heap->fits == NULL || heap->fits_map == NULL || heap->seams == NULL
        || heap->seams_map == NULL)
        return -ENOMEM;
    hm_heal_init(heap);
    heap->demand.epoch_ns = os->now_ns(os->ctx);
    return 0;
}
