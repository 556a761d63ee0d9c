/* SPDX-License-Identifier: MIT */
/* purge.h - which free memory goes back to the kernel, and when.
 *
 * Locking     All functions: heap->lock is held by the caller.
 */
#ifndef HM_HEAP_PURGE_H
#define HM_HEAP_PURGE_H

#include "heap/heap.h"

/* Put a region without pages in use among the kept ones; its state is HM_REGION_KEPT. */
void hm_purge_keep(struct hm_heap *heap, struct hm_region *region);

/* So many fewer pages are free in open regions on huge pages. */
HM_INLINE void
hm_purge_lower(struct hm_heap *heap, size_t len_pages)
{
    heap->huge_free_pages -= len_pages;
    if (heap->huge_free_pages < heap->huge_idle_pages)
        heap->huge_idle_pages = heap->huge_free_pages;
}

/* The `count` regions that became empty last are without memory. */
void hm_purge_vacated(struct hm_heap *heap, size_t count);

/* After pages were given back: return what exceeds the reserves. `emptied_count` regions became
 * empty. Next on the free walk: os->advise (os/os_advise.c). */
void hm_purge_emptied(struct hm_heap *heap, size_t emptied_count);

/* After a thread gave back what another one had, which may sleep, and pins huge pages by what it
 * allocates from: if more is free in huge pages partly in use than is in use in all, besides the
 * reserve, split a few. */
void hm_purge_abandoned(struct hm_heap *heap);

/* A call came by: return what was kept for longer than it was wanted, if there is such. Returns
 * whether calls are to come by as long as this is so. */
bool hm_purge_visit(struct hm_heap *heap);

/* How much more may be kept than there is in empty regions. */
size_t hm_purge_spare_pages(const struct hm_heap *heap);

/* The same, asked for by the clock alone. Returns whether there is more to return at once. */
bool hm_purge_tick(struct hm_heap *heap);

/* Return all memory that can be returned, but for huge pages of which less than an eighth is free
 * in one run; and under RLIMIT_AS the address space of what is empty. Returns the length of the
 * memory in bytes. */
size_t hm_purge_all(struct hm_heap *heap);

#endif
