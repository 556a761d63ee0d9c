/* SPDX-License-Identifier: MIT */
/* pagemap.c - the writing half of pagemap.h.
 *
 * Problem     A table for 2 GiB of addresses takes 4 MiB of them. That is much where RLIMIT_AS is
 *             small.
 * Idea        Under such a limit the near table covers a few times the limit, and no more: what the
 *             process can map lies about there. Tables are made before the first entry is written,
 *             so that a failure leaves nothing half done.
 */
#include "heap/pagemap.h"

#include <errno.h>

/* Room of the near table: as a leaf of the tree, but no more than so many times the limit. */
#define NEAR_SHARE 4

#define NEAR_MIN_COUNT (HM_LEAF_COUNT / 64)

/* The kernel maps downwards, or into holes above: the first address is so far from the end. */
#define ABOVE_SHARE 8

/* So that the entries of a region share a page where base pages have 4 KiB. */
#define NEAR_ALIGN_BYTES (2 * HM_MIB)

int
hm_pagemap_init(struct hm_pagemap *map, struct hm_meta *meta, size_t limit_bytes)
{
    size_t room_count = limit_bytes / ((size_t)1 << HM_GRAIN_SHIFT);

    room_count = room_count < HM_LEAF_COUNT / NEAR_SHARE ? room_count * NEAR_SHARE : HM_LEAF_COUNT;
    if (room_count < NEAR_MIN_COUNT)
        room_count = NEAR_MIN_COUNT;
    *map = (struct hm_pagemap){ .near_room_count = room_count };
    map->near = hm_meta_alloc(meta, room_count * sizeof(map->near[0]), HM_CACHE_LINE_BYTES);
    if (map->near == NULL)
        return -ENOMEM;
    map->meta = meta;
    return 0;
}

/* Put the near table where the first address is. */
static void
place_near(struct hm_pagemap *map, uintptr_t addr)
{
    size_t room_bytes = map->near_room_count << HM_GRAIN_SHIFT;
    uintptr_t end = hm_align_down(addr, (uintptr_t)1 << HM_GRAIN_SHIFT) + room_bytes / ABOVE_SHARE;

    map->near_addr = end > room_bytes ? hm_align_down(end - room_bytes, NEAR_ALIGN_BYTES) : 0;
    /* release: pairs with the loads in hm_pagemap_get_near, which goes by what the program got
     * after the first block */
    __atomic_store_n(&map->near_count, map->near_room_count, __ATOMIC_RELEASE);
}

static bool
is_near(const struct hm_pagemap *map, uintptr_t addr)
{
    return (addr - map->near_addr) >> HM_GRAIN_SHIFT < map->near_count;
}

static size_t
root_idx(uintptr_t addr)
{
    return addr >> (HM_GRAIN_SHIFT + HM_LEAF_SHIFT) & (HM_ROOT_COUNT - 1);
}

static int
make_leaf(struct hm_pagemap *map, size_t idx)
{
    struct hm_span **leaf;

    if (map->root == NULL) {
        struct hm_span ***root
            = hm_meta_alloc(map->meta, HM_ROOT_COUNT * sizeof(root[0]), HM_CACHE_LINE_BYTES);

        if (root == NULL)
            return -ENOMEM;
        /* release: pairs with the address dependency in hm_pagemap_get_far */
        __atomic_store_n(&map->root, root, __ATOMIC_RELEASE);
    }
    if (map->root[idx] != NULL)
        return 0;
    leaf = hm_meta_alloc(map->meta, HM_LEAF_COUNT * sizeof(leaf[0]), HM_CACHE_LINE_BYTES);
    if (leaf == NULL)
        return -ENOMEM;
    /* release: as above */
    __atomic_store_n(&map->root[idx], leaf, __ATOMIC_RELEASE);
    return 0;
}

/* From one border to the next: of the near table, or of a leaf. */
static int
make_leaves(struct hm_pagemap *map, uintptr_t addr, uintptr_t last)
{
    const uintptr_t leaf_bytes = (uintptr_t)1 << (HM_GRAIN_SHIFT + HM_LEAF_SHIFT);

    while (addr <= last) {
        if (is_near(map, addr)) {
            addr = map->near_addr + (map->near_count << HM_GRAIN_SHIFT);
        } else {
            if (make_leaf(map, root_idx(addr)) != 0)
                return -ENOMEM;
            addr = hm_align_down(addr, leaf_bytes) + leaf_bytes;
        }
    }
    return 0;
}

int
hm_pagemap_prepare(struct hm_pagemap *map, uintptr_t addr, size_t len_bytes)
{
    int rc;

    hm_lock_take(&map->lock);
    if (map->near_count == 0)
        place_near(map, addr);
    rc = make_leaves(map, addr, addr + len_bytes - 1);
    hm_lock_give(&map->lock);
    return rc;
}

void
hm_pagemap_enter(struct hm_pagemap *map, uintptr_t addr, size_t len_bytes, struct hm_span *span)
{
    uintptr_t last = addr + len_bytes - 1;

    for (uintptr_t grain = addr >> HM_GRAIN_SHIFT; grain <= last >> HM_GRAIN_SHIFT; grain++) {
        uintptr_t grain_addr = grain << HM_GRAIN_SHIFT;
        struct hm_span **table = map->near;
        size_t idx = (grain_addr - map->near_addr) >> HM_GRAIN_SHIFT;

        if (HM_UNLIKELY(idx >= map->near_count)) {
            table = map->root[root_idx(grain_addr)];
            idx = grain & (HM_LEAF_COUNT - 1);
        }
        hm_store(&table[idx], span);
    }
}

int
hm_pagemap_set(struct hm_pagemap *map, uintptr_t addr, size_t len_bytes, struct hm_span *span)
{
    if (span != NULL && hm_pagemap_prepare(map, addr, len_bytes) != 0)
        return -ENOMEM;
    hm_pagemap_enter(map, addr, len_bytes, span);
    return 0;
}
