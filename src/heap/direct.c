/* SPDX-License-Identifier: MIT */
/* direct.c - blocks too large to share regions with others.
 *
 * Problem     A block of hundreds of megabytes should go back whole when it is freed, and grow
 *             without its bytes being copied.
 * Idea        One aligned mapping each, advised as a whole: the kernel uses huge pages where they
 *             fit, and base pages for the tail. mremap moves page tables; the target is an aligned
 *             reservation of our own, because the kernel keeps huge pages only if both ends are
 *             aligned alike. One advice for all of it keeps it one VMA, which is all that mremap
 *             moves.
 * Locking     heap->lock is held by the caller.
 */
#include "heap/direct.h"

#include <errno.h>

#include "heap/extent.h"

int
hm_direct_map(struct hm_heap *heap, size_t len_bytes, size_t align_bytes,
              struct hm_mapping *out_map)
{
    const struct hm_os *os = heap->os;
    struct hm_mapping map = { .len_bytes = len_bytes };
    struct hm_range range;

    if (align_bytes < hm_region_bytes(&heap->geom))
        align_bytes = hm_region_bytes(&heap->geom);
    if (os->reserve(os->ctx, len_bytes, align_bytes, &map.addr) != 0)
        return -ENOMEM;
    range = (struct hm_range){ .addr = map.addr,
                               .len_bytes = len_bytes,
                               .advised = HM_BACKING_KINDS };
    if (hm_backing_obtain(&heap->backing, &range, hm_heap_bytes(heap) + len_bytes, &map.kind)
        != 0) {
        (void)os->unmap(os->ctx, map.addr, len_bytes);
        return -ENOMEM;
    }
    os->name(os->ctx, map.addr, len_bytes, "huma heap");
    heap->direct_bytes += len_bytes;
    heap->direct_kind_bytes[map.kind] += len_bytes;
    heap->direct_count++;
    *out_map = map;
    return 0;
}

void
hm_direct_unmap(struct hm_heap *heap, const struct hm_mapping *map)
{
    /* munmap can fail when it would split a mapping and vm.max_map_count is used up: then the
     * memory goes back, and the address space serves smaller blocks. */
    if (heap->os->unmap(heap->os->ctx, map->addr, map->len_bytes) != 0
        && heap->os->advise(heap->os->ctx, map->addr, map->len_bytes, HM_ADVICE_DISCARD) == 0)
        (void)hm_extent_adopt(heap, map->addr, map->len_bytes);
    heap->direct_bytes -= map->len_bytes;
    heap->direct_kind_bytes[map->kind] -= map->len_bytes;
    heap->direct_count--;
    heap->discarded_bytes += map->len_bytes;
    heap->discard_calls++;
}

int
hm_direct_resize(struct hm_heap *heap, struct hm_mapping *inout_map, size_t new_bytes)
{
    const struct hm_os *os = heap->os;
    uintptr_t addr = inout_map->addr;
    size_t old_bytes = inout_map->len_bytes;
    uintptr_t to_addr = addr;
    int rc = os->remap(os->ctx, addr, old_bytes, 0, new_bytes);

    /* Only for want of room: whatever else the kernel objects to, it would object to again, and
     * some kernels only after they have unmapped the target. */
    if (rc != 0 && rc != -ENOMEM)
        return -ENOMEM;
    if (rc != 0) {
        if (os->reserve(os->ctx, new_bytes, hm_region_bytes(&heap->geom), &to_addr) != 0)
            return -ENOMEM;
        if (hm_pagemap_prepare(&heap->pagemap, &heap->meta, to_addr, 1) != 0
            || os->remap(os->ctx, addr, old_bytes, to_addr, new_bytes) != 0) {
            (void)os->unmap(os->ctx, to_addr, new_bytes);
            return -ENOMEM;
        }
    }
    heap->direct_bytes += new_bytes - old_bytes;
    heap->direct_kind_bytes[inout_map->kind] += new_bytes - old_bytes;
    inout_map->addr = to_addr;
    inout_map->len_bytes = new_bytes;
    return 0;
}
