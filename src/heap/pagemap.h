/* SPDX-License-Identifier: MIT */
/* pagemap.h - from any address to the span it lies in, without a lock.
 *
 * Problem     free() gets a bare pointer. Metadata lies elsewhere, so the way there must be short,
 *             must cover every user address, and must survive any garbage it is asked about. A
 *             process with ten blocks should hardly notice it.
 * Idea        A table of grains of 4 KiB around the first address that is entered, the near one:
 *             most heaps lie in it whole. For all else a radix tree of two levels, made when first
 *             needed: 2^17 leaves of 2^19 entries cover 48 bits. One load in the near table, two
 *             dependent ones in the tree. Only touched parts are resident.
 * Locking     Heaps may share one. Tables are made under its own lock (rank 3). Entries of a heap's
 *             address space are cleared under the heap's lock; those of a span of slots are made
 *             by its owner, without the lock: no two spans share a grain. Read by anyone:
 *             whoever frees a block got its address from the thread that allocated it, and with it
 *             everything that thread wrote before.
 * Invariants  An entry is NULL or a span whose run covers the grain; of a large block only the
 *             first grain is entered, of a span of slots those where slots were handed out. A grain
 *             of the near table is not entered in the tree.
 *             An address over 48 bits is in no span, also if its lower bits are a block's.
 */
#ifndef HM_HEAP_PAGEMAP_H
#define HM_HEAP_PAGEMAP_H

#include "heap/meta.h"
#include "os/os_lock.h"

#define HM_GRAIN_SHIFT 12
#define HM_LEAF_SHIFT 19
#define HM_ROOT_SHIFT 17
#define HM_MAP_SHIFT (HM_GRAIN_SHIFT + HM_LEAF_SHIFT + HM_ROOT_SHIFT) /* bits that it covers */
#define HM_LEAF_COUNT ((size_t)1 << HM_LEAF_SHIFT)
#define HM_ROOT_COUNT ((size_t)1 << HM_ROOT_SHIFT)

struct hm_span;

struct hm_pagemap {
    uintptr_t near_addr;    /* the lowest address of the near table; const once near_count is set */
    size_t near_count;      /* its entries; 0 before the first address is known; atomic */
    struct hm_span **near;  /* NULL where nothing was entered; const */
    struct hm_span ***root; /* HM_ROOT_COUNT leaves or NULLs; NULL before the first; atomic */
    size_t near_room_count; /* entries that `near` has room for; const */
    struct hm_lock lock;    /* rank 3 */
    struct hm_meta *meta;   /* what tables are made of; only under `lock`, or that of its heap */
};

/* Where the process may have `limit_bytes` of address space, the near table takes a small share of
 * it.
 *   meta  outlives the map; if it is a heap's, no other heap uses the map
 * Returns 0 or -ENOMEM. */
int hm_pagemap_init(struct hm_pagemap *map, struct hm_meta *meta, size_t limit_bytes);

/* Make sure that hm_pagemap_set will not fail in the range. Returns 0 or -ENOMEM. */
int hm_pagemap_prepare(struct hm_pagemap *map, uintptr_t addr, size_t len_bytes);

/* Enter `span` (NULL to clear) for all grains of the range. Returns 0, or -ENOMEM with nothing
 * entered. Clearing never fails. */
int hm_pagemap_set(struct hm_pagemap *map, uintptr_t addr, size_t len_bytes, struct hm_span *span);

/* Enter `span` for the grains of a range that hm_pagemap_prepare has seen. Needs no lock if no
 * other thread can enter or clear grains of the range. */
void hm_pagemap_enter(struct hm_pagemap *map, uintptr_t addr, size_t len_bytes,
                      struct hm_span *span);

/* The span in the near table; NULL for all other addresses. */
HM_INLINE struct hm_span *
hm_pagemap_get_near(const struct hm_pagemap *map, uintptr_t addr)
{
    uintptr_t grain = (addr - map->near_addr) >> HM_GRAIN_SHIFT;

    __asm__("" : "+r"(grain)); /* or gcc compares before it shifts, at the price of a register */
    if (HM_UNLIKELY(grain >= map->near_count))
        return NULL;
    return hm_load(&map->near[grain]);
}

/* The span in the tree; NULL for addresses of the near table. */
HM_INLINE struct hm_span *
hm_pagemap_get_far(const struct hm_pagemap *map, uintptr_t addr)
{
    struct hm_span ***root = hm_load(&map->root);
    struct hm_span **leaf;

    if (HM_UNLIKELY(root == NULL) || HM_UNLIKELY(addr >> HM_MAP_SHIFT != 0))
        return NULL;
    leaf = hm_load(&root[addr >> (HM_GRAIN_SHIFT + HM_LEAF_SHIFT)]);
    if (HM_UNLIKELY(leaf == NULL))
        return NULL;
    return hm_load(&leaf[addr >> HM_GRAIN_SHIFT & (HM_LEAF_COUNT - 1)]);
}

/* The span entered for the grain of `addr`, or NULL. */
HM_INLINE struct hm_span *
hm_pagemap_get(const struct hm_pagemap *map, uintptr_t addr)
{
    struct hm_span *span = hm_pagemap_get_near(map, addr);

    return span != NULL ? span : hm_pagemap_get_far(map, addr);
}

/* Enter `span` for one grain, as hm_pagemap_enter. */
HM_INLINE void
hm_pagemap_enter_grain(struct hm_pagemap *map, uintptr_t addr, struct hm_span *span)
{
    size_t idx = (addr - map->near_addr) >> HM_GRAIN_SHIFT;

    if (HM_LIKELY(idx < map->near_count))
        hm_store(&map->near[idx], span);
    else
        hm_pagemap_enter(map, addr, 1, span);
}

/* Clear the entry of one grain if it is `span`. Returns whether it was. */
HM_INLINE bool
hm_pagemap_clear_grain(struct hm_pagemap *map, uintptr_t addr, const struct hm_span *span)
{
    size_t idx = (addr - map->near_addr) >> HM_GRAIN_SHIFT;

    if (HM_UNLIKELY(idx >= map->near_count)) {
        if (hm_pagemap_get_far(map, addr) != span)
            return false;
        hm_pagemap_enter(map, addr, 1, NULL);
        return true;
    }
    if (HM_UNLIKELY(hm_load(&map->near[idx]) != span))
        return false;
    hm_store(&map->near[idx], NULL);
    return true;
}

#endif
