/* SPDX-License-Identifier: MIT */
/* direct.c - blocks too large to share regions with others.
 *
 * Problem     A block of hundreds of megabytes should go back whole when it is freed, and grow
 *             without its bytes being copied.
 * Idea        One aligned mapping each, advised as a whole: the kernel uses huge pages where they
 *             fit, and base pages for the tail. mremap moves page tables; the target is an aligned
 *             reservation of our own, because the kernel keeps huge pages only if both ends are
 *             aligned alike. One advice for all of it keeps it one VMA, which is all that mremap
 *             moves. What the extents hold and do not use makes room where the kernel has none.
 * Locking     heap->lock is held by the caller.
 */
#include "heap/direct.h"

#include <errno.h>

#include "heap/extent.h"
#include "heap/mapped.h"
#include "heap/nodes.h"
#include "heap/rejoin.h"

/* The share of a mapping that may be unused behind its block. */
#define TAIL_SHARE 32

/* ... and of one whose block shrinks: to cut it splits a huge page. */
#define SHRUNK_TAIL_SHARE 8

size_t
hm_direct_fit_bytes(const struct hm_heap *heap, size_t len_bytes, size_t step_bytes)
{
    size_t whole_bytes = hm_align_up(len_bytes, hm_region_bytes(&heap->geom));
    size_t spare_bytes = len_bytes / TAIL_SHARE;

    if (hm_heap_is_limited(heap))
        return len_bytes;
    if (spare_bytes < step_bytes)
        spare_bytes = step_bytes;
    return whole_bytes - len_bytes <= spare_bytes ? whole_bytes : len_bytes;
}

size_t
hm_direct_refit_bytes(const struct hm_heap *heap, size_t len_bytes, size_t old_bytes,
                      size_t new_bytes)
{
    size_t whole_bytes = hm_align_up(new_bytes, hm_region_bytes(&heap->geom));

    if (new_bytes > len_bytes)
        return hm_direct_fit_bytes(heap, new_bytes, new_bytes - old_bytes);
    if (new_bytes >= old_bytes)
        return len_bytes;
    if (whole_bytes - new_bytes > new_bytes / SHRUNK_TAIL_SHARE)
        return new_bytes;
    return whole_bytes < len_bytes ? whole_bytes : len_bytes;
}

/* Returns 0 or a negative errno. */
static int
map_once(struct hm_heap *heap, size_t len_bytes, size_t align_bytes, struct hm_mapping *out_map)
{
    struct hm_mapping map = { .len_bytes = len_bytes };
    struct hm_range range;
    int rc = hm_heap_reserve(heap, len_bytes, align_bytes, &map.addr);

    if (rc != 0)
        return rc;
    hm_nodes_place(heap, map.addr, len_bytes, hm_nodes_here(heap));
    range = (struct hm_range){ .addr = map.addr,
                               .len_bytes = len_bytes,
                               .advised = HM_BACKING_KINDS };
    if (hm_pagemap_prepare(heap->pagemap, map.addr, 1) != 0
        || hm_backing_obtain(&heap->backing, &range, hm_heap_bytes(heap) + len_bytes, &map.kind)
               != 0) {
        (void)hm_heap_unreserve(heap, map.addr, len_bytes);
        return -ENOMEM;
    }
    *out_map = map;
    return 0;
}

static void
enter(struct hm_heap *heap, struct hm_mapping *map)
{
    heap->direct_bytes += map->len_bytes;
    heap->direct_kind_bytes[map->kind] += map->len_bytes;
    heap->direct_count++;
    if (map->kind == HM_BACKING_THP)
        map->note = hm_mapped_add(heap, map->addr, map->len_bytes);
}

int
hm_direct_carry(struct hm_heap *heap, uintptr_t addr, size_t len_bytes, enum hm_backing_kind kind,
                struct hm_mapping *out_map)
{
    const struct hm_os *os = heap->os;
    size_t map_bytes = hm_align_up(len_bytes, hm_region_bytes(&heap->geom));
    struct hm_mapping map = { .len_bytes = map_bytes, .kind = kind };
    int rc;

    if (map_bytes - len_bytes > hm_heap_left_bytes(heap))
        return -ENOMEM;
    /* The kernel moves no part of these, and no range of several mappings (mthp.c). */
    if (kind == HM_BACKING_HUGETLB || hm_heap_guard_bytes(heap) != 0
        || (kind == HM_BACKING_MTHP && heap->geom.hpage_shift > heap->geom.region_shift))
        return -EINVAL;
    rc = os->carry(os->ctx, addr, map_bytes, hm_region_bytes(&heap->geom), &map.addr);
    if (rc != 0)
        return rc;
    enter(heap, &map);
    /* What a fork split of the regions is split still. */
    if (map.note != NULL && heap->heal.has_suspects)
        hm_rejoin_promoted(heap, map.note);
    *out_map = map;
    return 0;
}

int
hm_direct_map(struct hm_heap *heap, size_t len_bytes, size_t align_bytes,
              struct hm_mapping *out_map)
{
    struct hm_mapping map;
    int rc;

    if (len_bytes > hm_heap_left_bytes(heap))
        return -ENOMEM;
    if (align_bytes < hm_region_bytes(&heap->geom))
        align_bytes = hm_region_bytes(&heap->geom);
    rc = map_once(heap, len_bytes, align_bytes, &map);
    if (rc != 0 && hm_extent_make_room(heap, rc))
        rc = map_once(heap, len_bytes, align_bytes, &map);
    if (rc != 0)
        return -ENOMEM;
    heap->os->name(heap->os->ctx, map.addr, len_bytes, heap->backing.conf->name);
    enter(heap, &map);
    if (map.kind == HM_BACKING_THP)
        hm_heal_mapped(heap, len_bytes);
    *out_map = map;
    return 0;
}

void
hm_direct_unmap(struct hm_heap *heap, const struct hm_mapping *map)
{
    /* munmap can fail when it would split a mapping and vm.max_map_count is used up: then the
     * memory goes back, and the address space serves smaller blocks. */
    if (hm_heap_unreserve(heap, map->addr, map->len_bytes) != 0
        && heap->os->advise(heap->os->ctx, map->addr, map->len_bytes, HM_ADVICE_DISCARD) == 0)
        (void)hm_extent_adopt(heap, map->addr, map->len_bytes);
    heap->direct_bytes -= map->len_bytes;
    heap->direct_kind_bytes[map->kind] -= map->len_bytes;
    heap->direct_count--;
    if (map->note != NULL)
        hm_mapped_remove(heap, map->note);
    heap->discarded_bytes += map->len_bytes;
    heap->discard_calls++;
}

/* Move the pages to a range of the new length, which is longer. Returns 0 or a negative errno.
 *
 * Most kernels unmap the target before they look whether the mapping may grow: if it may not, there
 * is a hole then, and another thread's next mapping may be in it. So the target is asked first
 * whether as much more may be written to; and after a failure nobody touches it again, though a
 * kernel that is short of mappings leaves it, inaccessible. */
static int
move(struct hm_heap *heap, const struct hm_mapping *map, size_t new_bytes, uintptr_t *out_addr)
{
    const struct hm_os *os = heap->os;
    size_t more_bytes = hm_align_up(new_bytes - map->len_bytes, hm_region_bytes(&heap->geom));
    uintptr_t to_addr = 0;
    int rc = os->reserve(os->ctx, new_bytes, hm_region_bytes(&heap->geom), &to_addr);

    if (rc != 0)
        return rc;
    if (hm_pagemap_prepare(heap->pagemap, to_addr, 1) != 0
        || os->commit(os->ctx, to_addr, more_bytes < new_bytes ? more_bytes : new_bytes) != 0) {
        (void)os->unmap(os->ctx, to_addr, new_bytes);
        return -ENOMEM;
    }
    if (os->remap(os->ctx, map->addr, map->len_bytes, to_addr, new_bytes) != 0)
        return -ENOMEM;
    *out_addr = to_addr;
    return 0;
}

/* In place if that can be. It is moved only to grow, and for want of room: whatever else the kernel
 * objects to, it would object to again. */
static int
resize_once(struct hm_heap *heap, struct hm_mapping *inout_map, size_t new_bytes, size_t more_bytes)
{
    const struct hm_os *os = heap->os;
    size_t got_bytes = new_bytes;
    uintptr_t addr = inout_map->addr;
    int rc = os->remap(os->ctx, addr, inout_map->len_bytes, 0, new_bytes);

    if (new_bytes > inout_map->len_bytes) {
        if (rc == -ENOMEM && more_bytes > 0) {
            rc = move(heap, inout_map, new_bytes + more_bytes, &addr);
            got_bytes = rc == 0 ? new_bytes + more_bytes : new_bytes;
        }
        if (rc == -ENOMEM)
            rc = move(heap, inout_map, new_bytes, &addr);
    }
    if (rc != 0)
        return rc;
    heap->direct_bytes += got_bytes - inout_map->len_bytes;
    heap->direct_kind_bytes[inout_map->kind] += got_bytes - inout_map->len_bytes;
    inout_map->addr = addr;
    inout_map->len_bytes = got_bytes;
    return 0;
}

/* A mapping that began below the start of huge pages gets them once it has grown beyond. In one
 * piece, so that it stays one VMA; the pages that it has are joined one by one. */
static void
promote(struct hm_heap *heap, struct hm_mapping *inout_map)
{
    struct hm_range range = { .addr = inout_map->addr,
                              .len_bytes = inout_map->len_bytes,
                              .advised = inout_map->kind };

    if (!hm_backing_is_base(inout_map->kind)
        || !hm_backing_wants_huge(&heap->backing, hm_heap_bytes(heap))
        || hm_backing_advise(&heap->backing, &range, HM_BACKING_THP) != 0)
        return;
    heap->direct_kind_bytes[inout_map->kind] -= inout_map->len_bytes;
    heap->direct_kind_bytes[HM_BACKING_THP] += inout_map->len_bytes;
    inout_map->kind = HM_BACKING_THP;
    inout_map->note = hm_mapped_add(heap, inout_map->addr, inout_map->len_bytes);
    if (inout_map->note != NULL)
        hm_rejoin_promoted(heap, inout_map->note);
}

int
hm_direct_resize(struct hm_heap *heap, struct hm_mapping *inout_map, size_t new_bytes,
                 size_t more_bytes)
{
    size_t before_bytes = inout_map->len_bytes;
    int rc;

    if (hm_heap_guard_bytes(heap) != 0
        || (new_bytes > before_bytes && new_bytes - before_bytes > hm_heap_left_bytes(heap)))
        return -ENOMEM;
    rc = resize_once(heap, inout_map, new_bytes, hm_heap_is_limited(heap) ? 0 : more_bytes);
    if (rc != 0 && hm_extent_make_room(heap, rc))
        rc = resize_once(heap, inout_map, new_bytes, 0);
    if (rc != 0)
        return -ENOMEM;
    if (inout_map->note != NULL) {
        inout_map->note->addr = inout_map->addr;
        inout_map->note->len_bytes = inout_map->len_bytes;
    }
    promote(heap, inout_map);
    if (inout_map->kind == HM_BACKING_THP && inout_map->len_bytes > before_bytes)
        hm_heal_mapped(heap, inout_map->len_bytes - before_bytes);
    return 0;
}
