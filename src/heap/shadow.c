/* SPDX-License-Identifier: MIT */
/* shadow.c - copies of regions on hugetlb pages, for the child of a fork (see shadow.h).
 *
 * Problem     After fork() parent and child share private hugetlb pages. Whoever writes first needs
 *             another one; if the pool has none, the child is killed when it uses the page.
 *             The parent's pages must stay where they are, for its other threads write on.
 * Idea        Before the fork, copy them to pages of another backing, next to each other as they
 *             are, and keep them out of the child. It moves the copies, by then its own, to where
 *             the hugetlb pages were; the parent unmaps them. A region has the address of its copy,
 *             so that no list of them needs memory, and the child finds neighbours that move
 *             together.
 *             The child sees each word as it was at some moment during fork(). The state of its
 *             spans the kernel copies, later: hm_pool_after_fork() reconciles them.
 * State       heap->has_shadows; shadow_addr of regions: 0 outside of a fork; is_shared: only
 *             while the copies are made.
 * Locking     heap->lock is held across the fork.
 * Sources     Linux mm/hugetlb.c (hugetlb_wp: the first mapper is served from its child's pages).
 */
#include "heap/shadow.h"

#include <errno.h>

#include "base/check.h"
#include "heap/giant.h"
#include "heap/heal.h"
#include "heap/pheap.h"
#include "heap/purge.h"

/* mmap, munmap and mremap may each need a few for a moment. */
#define MAPPINGS_LEFT 9

/* Regions that lie side by side, and so do their copies. */
struct row {
    struct hm_region *first;
    size_t count;
};

static bool
is_on_pool(const struct hm_region *region)
{
    return region->state != HM_REGION_CLOSED && region->backing == HM_BACKING_HUGETLB
           && !region->is_shared;
}

/* The next row from `region` on (NULL: from the beginning): of regions on the pool that have a
 * copy, or have none. Returns false if there is none. */
static bool
next_row(const struct hm_heap *heap, struct hm_region *region, bool has_copy, struct row *out_row)
{
    size_t region_bytes = hm_region_bytes(&heap->geom);
    struct hm_region *last;

    do {
        region = hm_pheap_next_region(heap, region);
        if (region == NULL)
            return false;
    } while (!is_on_pool(region) || (region->shadow_addr != 0) != has_copy);
    *out_row = (struct row){ region, 1 };
    last = region;
    for (;;) {
        struct hm_region *next = hm_pheap_next_region(heap, last);

        if (next == NULL || next->extent != last->extent || next->addr != last->addr + region_bytes
            || !is_on_pool(next)
            || next->shadow_addr != (has_copy ? last->shadow_addr + region_bytes : 0))
            return true;
        last = next;
        out_row->count++;
    }
}

static struct hm_region *
last_of(const struct hm_heap *heap, const struct row *row)
{
    struct hm_region *last = row->first;

    for (size_t i = 1; i < row->count; i++)
        last = hm_pheap_next_region(heap, last);
    return last;
}

/* --- before the fork -------------------------------------------------------------------------- */

static bool
is_in(const struct hm_heap *heap, const struct hm_region *region, uintptr_t addr)
{
    return addr - region->addr < hm_region_bytes(&heap->geom);
}

/* What the child must have before anybody can act on its behalf is shared after all. A stack that
 * is no block of malloc may lie right beside the heap: what is next to it is none of its. */
static void
share(struct hm_heap *heap, const uintptr_t *addrs)
{
    struct hm_region *region = NULL;
    bool is_stack_ours = false;

    while ((region = hm_pheap_next_region(heap, region)) != NULL)
        is_stack_ours |= is_in(heap, region, addrs[HM_SHADOW_STACK]);
    while ((region = hm_pheap_next_region(heap, region)) != NULL)
        region->is_shared = is_in(heap, region, addrs[HM_SHADOW_THREAD])
                            || (is_stack_ours
                                && (is_in(heap, region, addrs[HM_SHADOW_STACK])
                                    || is_in(heap, region, addrs[HM_SHADOW_BELOW])
                                    || is_in(heap, region, addrs[HM_SHADOW_ABOVE])));
    hm_giant_share(heap);
}

/* Returns -EAGAIN where a region turns out to be one that the program took the right to read from:
 * from then on it is shared, and the row is another. */
static int
copy_row(const struct hm_heap *heap, const struct row *row, uintptr_t to_addr)
{
    const struct hm_os *os = heap->os;
    size_t region_bytes = hm_region_bytes(&heap->geom);
    struct hm_region *region = row->first;

    for (size_t i = 0; i < row->count; i++) {
        if (region->state == HM_REGION_OPEN
            && os->copy(os->ctx, to_addr + i * region_bytes, region->addr, region_bytes) != 0) {
            region->is_shared = true;
            return -EAGAIN;
        }
        region = hm_pheap_next_region(heap, region);
    }
    return 0;
}

static void
enter(const struct hm_heap *heap, const struct row *row, uintptr_t to_addr)
{
    struct hm_region *region = row->first;

    for (size_t i = 0; i < row->count; i++) {
        region->shadow_addr = to_addr + (i << heap->geom.region_shift);
        region = hm_pheap_next_region(heap, region);
    }
}

static int
cast_row(struct hm_heap *heap, const struct row *row)
{
    const struct hm_os *os = heap->os;
    size_t len_bytes = row->count << heap->geom.region_shift;
    uintptr_t to_addr;
    int rc = hm_backing_obtain_copy(&heap->backing, len_bytes, heap->shadow_kind, &to_addr);

    if (rc != 0)
        return rc;
    rc = copy_row(heap, row, to_addr);
    if (rc == 0 && os->advise(os->ctx, row->first->addr, len_bytes, HM_ADVICE_NO_FORK) != 0)
        rc = -ENOMEM;
    if (rc == 0)
        enter(heap, row, to_addr);
    else
        (void)os->unmap(os->ctx, to_addr, len_bytes);
    return rc;
}

/* Whether the child could still move mappings: the kernel wants some of the number that a process
 * may have to be left. Every other region of address space becomes a mapping of its own. */
static bool
has_mappings_left(const struct hm_heap *heap)
{
    const struct hm_os *os = heap->os;
    size_t region_bytes = hm_region_bytes(&heap->geom);
    size_t len_bytes = MAPPINGS_LEFT * region_bytes;
    uintptr_t addr;
    bool has_left = true;

    if (os->reserve(os->ctx, len_bytes, region_bytes, &addr) != 0)
        return false;
    for (size_t i = 1; has_left && i < MAPPINGS_LEFT; i += 2)
        has_left = os->advise(os->ctx, addr + i * region_bytes, region_bytes, HM_ADVICE_HIDE) == 0;
    (void)os->unmap(os->ctx, addr, len_bytes);
    return has_left;
}

bool
hm_shadow_cast(struct hm_heap *heap, const uintptr_t *addrs)
{
    struct hm_region *region = NULL;
    struct row row;

    heap->shadow_kind = hm_backing_wants_huge(&heap->backing, hm_heap_bytes(heap)) ? HM_BACKING_THP
                                                                                   : HM_BACKING_4K;
    share(heap, addrs);
    while (next_row(heap, region, false, &row)) {
        int rc = cast_row(heap, &row);

        heap->has_shadows |= rc == 0;
        if (rc == -EAGAIN) {
            hm_giant_share(heap);
            continue;
        }
        if (rc != 0)
            hm_backing_count(&heap->backing, HM_REASON_FORK_ROOM,
                             row.count << heap->geom.region_shift, NULL);
        region = last_of(heap, &row);
    }
    if (heap->has_shadows && !has_mappings_left(heap)) {
        hm_backing_count(&heap->backing, HM_REASON_FORK_ROOM, hm_heap_bytes(heap), NULL);
        hm_shadow_drop(heap);
    }
    return heap->has_shadows;
}

/* --- after it --------------------------------------------------------------------------------- */

bool
hm_shadow_covers(const struct hm_heap *heap, uintptr_t addr)
{
    struct hm_region *region = NULL;

    while (heap->has_shadows && (region = hm_pheap_next_region(heap, region)) != NULL)
        if (region->shadow_addr != 0 && addr - region->addr < hm_region_bytes(&heap->geom))
            return true;
    return false;
}

void
hm_shadow_swap(struct hm_heap *heap)
{
    const struct hm_os *os = heap->os;
    struct hm_region *region = NULL;
    struct row row;

    if (!heap->has_shadows)
        return;
    heap->has_shadows = false;
    while (next_row(heap, region, true, &row)) {
        size_t len_bytes = row.count << heap->geom.region_shift;

        region = last_of(heap, &row);
        if (os->remap(os->ctx, row.first->shadow_addr, len_bytes, row.first->addr, len_bytes) != 0)
            hm_fail_plain("fork(): the copy of hugetlb pages cannot be moved to its place");
    }
}

void
hm_shadow_settle(struct hm_heap *heap)
{
    enum hm_backing_kind kind = heap->shadow_kind;
    struct hm_region *region = NULL;

    while ((region = hm_pheap_next_region(heap, region)) != NULL) {
        if (region->shadow_addr == 0)
            continue;
        region->backing = (uint8_t)kind;
        if (region->giant_shift != 0 && region->state == HM_REGION_KEPT) {
            hm_pheap_unkeep(heap, region);
            region->giant_shift = 0;
            hm_purge_keep(heap, region);
        }
        region->giant_shift = 0;
        if (kind == HM_BACKING_THP)
            heap->backing.has_huge = true;
        if (region->state != HM_REGION_OPEN)
            continue;
        if (kind == HM_BACKING_4K) {
            heap->base_regions++;
            heap->dirty_free_pages += region->dirty_pages - region->used_pages;
            hm_heal_note(heap, region);
        } else {
            heap->huge_free_pages += heap->region_pages - region->used_pages;
        }
    }
}

void
hm_shadow_forget(struct hm_heap *heap)
{
    for (struct hm_region *region = hm_pheap_next_region(heap, NULL); region != NULL;
         region = hm_pheap_next_region(heap, region))
        region->shadow_addr = 0;
}

void
hm_shadow_drop(struct hm_heap *heap)
{
    const struct hm_os *os = heap->os;
    struct hm_region *region = NULL;
    struct row row;

    if (!heap->has_shadows)
        return;
    heap->has_shadows = false;
    while (next_row(heap, region, true, &row)) {
        size_t len_bytes = row.count << heap->geom.region_shift;

        region = last_of(heap, &row);
        (void)os->advise(os->ctx, row.first->addr, len_bytes, HM_ADVICE_FORK);
        (void)os->unmap(os->ctx, row.first->shadow_addr, len_bytes);
    }
    hm_shadow_forget(heap);
}
