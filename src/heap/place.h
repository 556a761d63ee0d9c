/* SPDX-License-Identifier: MIT */
/* place.h - where a run goes that fits into no open region.
 *
 * Locking     heap->lock is held by the caller.
 */
#ifndef HM_HEAP_PLACE_H
#define HM_HEAP_PLACE_H

#include "heap/heap.h"

struct hm_place {
    struct hm_extent *extent;
    size_t page_idx; /* in the extent */
};

/* A place for an aligned run on a node; regions of it may still be without memory, none of its
 * pages is in use. Returns 0, or -ENOMEM if there is no address space. Next on the allocation walk:
 * hm_extent_add (heap/extent.c). */
int hm_place_find(struct hm_heap *heap, unsigned node, size_t len_pages, size_t align_pages,
                  struct hm_place *out_place);

#endif
