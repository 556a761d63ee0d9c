/* SPDX-License-Identifier: MIT */
/* pagemap.c - the writing half of pagemap.h.
 *
 * Problem     A leaf covers 2 GiB of address space and takes 4 MiB of it; most are never needed.
 * Idea        Make leaves before the first entry is written, so that a failure leaves nothing half
 *             done.
 */
#include "heap/pagemap.h"

#include <errno.h>

int
hm_pagemap_init(struct hm_pagemap *map, struct hm_meta *meta, struct hm_span ***root)
{
    if (root == NULL)
        root = hm_meta_alloc(meta, HM_ROOT_COUNT * sizeof(root[0]), HM_CACHE_LINE_BYTES);
    map->root = root;
    map->near = NULL;
    map->near_addr = HM_NEAR_NONE;
    return map->root != NULL ? 0 : -ENOMEM;
}

static size_t
root_idx(uintptr_t addr)
{
    return addr >> (HM_GRAIN_SHIFT + HM_LEAF_SHIFT) & (HM_ROOT_COUNT - 1);
}

static int
make_leaves(struct hm_pagemap *map, struct hm_meta *meta, uintptr_t addr, uintptr_t last)
{
    for (size_t idx = root_idx(addr); idx <= root_idx(last); idx++) {
        struct hm_span **leaf;

        if (map->root[idx] != NULL)
            continue;
        leaf = hm_meta_alloc(meta, HM_LEAF_COUNT * sizeof(leaf[0]), HM_CACHE_LINE_BYTES);
        if (leaf == NULL)
            return -ENOMEM;
        /* release: pairs with the address dependency in hm_pagemap_get */
        __atomic_store_n(&map->root[idx], leaf, __ATOMIC_RELEASE);
        if (map->near == NULL) {
            map->near = leaf;
            /* release: pairs with the loads in hm_pagemap_get_near, of which the second goes by
             * what the program got after the first block */
            __atomic_store_n(&map->near_addr, (uintptr_t)idx << (HM_GRAIN_SHIFT + HM_LEAF_SHIFT),
                             __ATOMIC_RELEASE);
        }
    }
    return 0;
}

int
hm_pagemap_prepare(struct hm_pagemap *map, struct hm_meta *meta, uintptr_t addr, size_t len_bytes)
{
    return make_leaves(map, meta, addr, addr + len_bytes - 1);
}

void
hm_pagemap_enter(struct hm_pagemap *map, uintptr_t addr, size_t len_bytes, struct hm_span *span)
{
    uintptr_t last = addr + len_bytes - 1;

    for (uintptr_t grain = addr >> HM_GRAIN_SHIFT; grain <= last >> HM_GRAIN_SHIFT; grain++) {
        struct hm_span **leaf = map->root[root_idx(grain << HM_GRAIN_SHIFT)];

        hm_store(&leaf[grain & (HM_LEAF_COUNT - 1)], span);
    }
}

int
hm_pagemap_set(struct hm_pagemap *map, struct hm_meta *meta, uintptr_t addr, size_t len_bytes,
               struct hm_span *span)
{
    if (span != NULL && hm_pagemap_prepare(map, meta, addr, len_bytes) != 0)
        return -ENOMEM;
    hm_pagemap_enter(map, addr, len_bytes, span);
    return 0;
}
