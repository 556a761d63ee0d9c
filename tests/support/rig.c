/* SPDX-License-Identifier: MIT */
/* rig.c - a whole heap on the fake kernel (see rig.h). */
#include "support/rig.h"

#include <stdio.h>
#include <stdlib.h>

static const char *chain_text;

static const char *
getenv_chain(const char *name)
{
    return name[5] == 'B' ? chain_text : NULL; /* HUMA_BACKING */
}

void
rig_chain(struct rig *rig, const char *backing)
{
    chain_text = backing;
    if (hm_conf_read(&rig->conf, getenv_chain, 2) != 0)
        fake_space_misuse("test: no such chain of backings", 0, 0);
}

void
rig_thp_mode(struct rig *rig, enum hm_thp_mode mode)
{
    rig->fake.thp_mode = mode;
    rig->fake.space.is_pmd_off = mode != HM_THP_ALWAYS && mode != HM_THP_MADVISE;
    rig->heap.backing.thp_mode = mode;
}

void
rig_init_on(struct rig *rig, size_t page_bytes, size_t hpage_bytes)
{
    fake_os_init(&rig->fake, page_bytes, hpage_bytes);
    hm_conf_defaults(&rig->conf);
    rig->pagemap = (struct hm_pagemap){ 0 };
    if (hm_heap_init(&rig->heap, &rig->pagemap, &rig->fake.os, &rig->conf, &rig->fake.space.geom)
        != 0)
        fake_space_misuse("test: no heap", 0, 0);
    hm_pool_init(&rig->pool, &rig->heap);
}

void
rig_init(struct rig *rig)
{
    rig_init_on(rig, 4 * HM_KIB, 2 * HM_MIB);
}

void
rig_fini(struct rig *rig)
{
    fake_os_fini(&rig->fake);
}

/* What is said to be zero must be so. */
uintptr_t
rig_alloc_large(struct rig *rig, size_t size_bytes, size_t align_bytes, bool *out_is_zero)
{
    struct hm_stale stale = { 0, size_bytes };
    uintptr_t addr = 0;
    size_t room_bytes;

    if (align_bytes <= 16)
        addr = (uintptr_t)hm_large_alloc_again(&rig->heap, size_bytes);
    if (addr == 0)
        addr = (uintptr_t)hm_large_alloc(&rig->heap, size_bytes, align_bytes, &stale);
    room_bytes = rig_usable(rig, addr);
    if (out_is_zero != NULL)
        *out_is_zero = stale.from_off == stale.to_off && size_bytes > 0;
    if (addr == 0 || size_bytes == 0)
        return addr;
    if (stale.from_off > 0 && !fake_space_is_zero(&rig->fake.space, addr, stale.from_off))
        fake_space_misuse("stale bytes before those that are called so", addr, stale.from_off);
    if (stale.from_off > stale.to_off || stale.to_off > size_bytes)
        fake_space_misuse("stale bytes behind the block", addr, stale.to_off);
    stale.to_off = hm_align_up(stale.to_off, hm_page_bytes(&rig->heap.geom));
    if (stale.to_off < room_bytes
        && !fake_space_is_zero(&rig->fake.space, addr + stale.to_off, room_bytes - stale.to_off))
        fake_space_misuse("stale bytes behind those that are called so", addr, stale.to_off);
    return addr;
}

uintptr_t
rig_alloc(struct rig *rig, struct hm_tcache *cache, size_t size_bytes, size_t align_bytes,
          bool *out_is_zero)
{
    unsigned class_idx = HM_CLASS_COUNT;

    if (out_is_zero != NULL)
        *out_is_zero = false;
    if (size_bytes <= HM_SMALL_MAX_BYTES && align_bytes <= hm_page_bytes(&rig->heap.geom))
        class_idx = hm_class_of_aligned(size_bytes, align_bytes);
    if (class_idx < HM_CLASS_COUNT)
        return cache != NULL ? (uintptr_t)hm_tcache_alloc(cache, class_idx) : 0;
    return rig_alloc_large(rig, size_bytes, align_bytes, out_is_zero);
}

void
rig_free(struct rig *rig, struct hm_tcache *cache, uintptr_t addr)
{
    struct hm_span *span = hm_pagemap_get(rig->heap.pagemap, addr);

    if (span == NULL)
        fake_space_misuse("test: free of no block", addr, 0);
    if (cache != NULL && hm_load(&span->owner) == cache->id && hm_tcache_free(span, addr))
        return;
    if (cache == NULL)
        cache = (struct hm_tcache *)(uintptr_t)&hm_tcache_empty;
    if (span->kind == HM_SPAN_SLOTS)
        hm_tcache_free_slow(&rig->pool, cache, span, addr);
    else if (span->kind == HM_SPAN_MIXED)
        hm_mixing_free(&rig->pool, span, addr);
    else
        hm_large_free(&rig->heap, span, addr);
}

uintptr_t
rig_resize_large(struct rig *rig, struct hm_span *span, uintptr_t addr, size_t size_bytes)
{
    struct hm_rest rest;
    uintptr_t moved = (uintptr_t)hm_large_resize(&rig->heap, span, addr, size_bytes, &rest);

    if (rest.len_bytes > 0) {
        fake_space_touch(&rig->fake.space, rest.from_addr, rest.len_bytes);
        fake_space_touch(&rig->fake.space, rest.to_addr, rest.len_bytes);
        hm_large_give_rest(&rig->heap, &rest);
    }
    return moved;
}

uintptr_t
rig_realloc(struct rig *rig, struct hm_tcache *cache, uintptr_t addr, size_t size_bytes)
{
    struct hm_span *span = hm_pagemap_get(rig->heap.pagemap, addr);
    uintptr_t moved;

    if (span == NULL)
        fake_space_misuse("test: realloc of no block", addr, size_bytes);
    if (!hm_span_is_large(span)) {
        size_t room_bytes = hm_span_room(span, addr);

        if (size_bytes <= room_bytes && size_bytes >= room_bytes / 2)
            return addr;
    } else {
        moved = rig_resize_large(rig, span, addr, size_bytes);
        if (moved != 0)
            return moved;
        if (hm_large_must_stay(&rig->heap, span, size_bytes)) {
            moved = (uintptr_t)hm_large_obtain(
                &rig->heap, size_bytes,
                size_bytes > span->slot_bytes ? size_bytes - span->slot_bytes : 0);
            if (moved == 0)
                return size_bytes <= span->slot_bytes ? addr : 0;
            hm_large_replace(&rig->heap, span, addr, moved, size_bytes);
            return moved;
        }
    }
    if (hm_span_is_large(span) && size_bytes > span->slot_bytes)
        moved = (uintptr_t)hm_large_alloc_grown(&rig->heap, size_bytes,
                                                size_bytes - span->slot_bytes);
    else
        moved = rig_alloc(rig, cache, size_bytes, 16, NULL);
    if (moved != 0)
        rig_free(rig, cache, addr);
    return moved;
}

size_t
rig_usable(const struct rig *rig, uintptr_t addr)
{
    const struct hm_span *span = hm_pagemap_get(rig->heap.pagemap, addr);

    return span != NULL ? hm_span_room(span, addr) : 0;
}

static bool
is_full(const struct hm_heap *heap, const struct hm_region *region)
{
    return !region->is_refused && region->used_pages >= heap->region_pages - heap->region_pages / 8;
}

/* What purge and healing go by. */
static const char *
check_sums(const struct hm_heap *heap)
{
    struct hm_region *region = NULL;
    size_t dirty_free_pages = 0;
    size_t base_count = 0;
    size_t kind_bytes = 0;

    while ((region = hm_pheap_next_region(heap, region)) != NULL) {
        if (region->state != HM_REGION_OPEN || !hm_backing_is_base(region->backing))
            continue;
        if (is_full(heap, region) == hm_list_is_empty(&region->heal_link))
            return "regions on base pages that are nearly full are candidates for a collapse";
        base_count++;
        dirty_free_pages += region->dirty_pages - region->used_pages;
    }
    for (unsigned kind = 0; kind < HM_BACKING_KINDS; kind++)
        kind_bytes += heap->direct_kind_bytes[kind];
    if (base_count != heap->base_regions)
        return "base_regions is the number of open regions on base pages";
    if (dirty_free_pages != heap->dirty_free_pages)
        return "dirty_free_pages is the number of free dirty pages on base pages";
    if (kind_bytes != heap->direct_bytes)
        return "direct bytes are counted by kind";
    return NULL;
}

const char *
rig_check_pages(const struct rig *rig)
{
    const char *broken = hm_pheap_check(&rig->heap);

    return broken != NULL ? broken : check_sums(&rig->heap);
}

const char *
rig_check(const struct rig *rig)
{
    const char *broken = rig_check_pages(rig);
    uintptr_t addr;

    if (broken == NULL)
        broken = hm_pool_check(&rig->pool, &addr);
    return broken;
}
