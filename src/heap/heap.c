/* SPDX-License-Identifier: MIT */
/* heap.c - makes an empty heap (see heap.h). */
#include "heap/heap.h"

#include <errno.h>

#include "heap/fit.h"
#include "heap/heal.h"

int
hm_heap_init(struct hm_heap *heap, const struct hm_os *os, const struct hm_conf *conf,
             const struct hm_geom *geom)
{
    *heap = (struct hm_heap){ .os = os, .geom = *geom, .region_pages = hm_region_pages(geom) };
    hm_meta_init(&heap->meta, os);
    hm_backing_init(&heap->backing, os, conf, geom);
    hm_list_init(&heap->spans);
    hm_cutoff_init(&heap->cutoff);
    /* First of all metadata, so that its table shares a mapping with the rest. */
    if (hm_pagemap_init(&heap->pagemap, &heap->meta, os->address_limit(os->ctx)) != 0)
        return -ENOMEM;
    heap->fits = hm_meta_alloc(&heap->meta, sizeof(heap->fits[0]), sizeof(void *));
    if (heap->fits == NULL || hm_fit_init(heap, &heap->fits[0]) != 0)
        return -ENOMEM;
    hm_heal_init(heap);
    heap->demand.epoch_ns = os->now_ns(os->ctx);
    return 0;
}
