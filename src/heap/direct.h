/* SPDX-License-Identifier: MIT */
/* direct.h - mappings of their own for the largest blocks.
 *
 * Locking     All functions: heap->lock is held by the caller.
 */
#ifndef HM_HEAP_DIRECT_H
#define HM_HEAP_DIRECT_H

#include "heap/heap.h"

/* Blocks from this size on get a mapping of their own, a little above a round 256 MiB. Below, runs
 * of the page heap serve them from regions that were kept. */
#define HM_DIRECT_MIN_BYTES (272 * HM_MIB)

/* The same for blocks that realloc has moved already, because they grow: a mapping can be made
 * longer, and its pages moved, without a byte being copied. */
#define HM_GROWN_MIN_BYTES (4 * HM_MIB)

struct hm_mapping {
    uintptr_t addr;
    size_t len_bytes;
    enum hm_backing_kind kind; /* asked for; a tail below a huge page is on base pages */
};

/* Map `len_bytes` (a multiple of the base page), aligned to `align_bytes` and at least to a huge
 * page. Returns 0 or -ENOMEM. Next on the allocation walk: os->reserve (os/os_map.c),
 * hm_backing_obtain (backing/backing.c). */
int hm_direct_map(struct hm_heap *heap, size_t len_bytes, size_t align_bytes,
                  struct hm_mapping *out_map);

/* Next on the free walk: os->unmap (os/os_map.c). */
void hm_direct_unmap(struct hm_heap *heap, const struct hm_mapping *map);

/* Resize, in place or by moving pages, and prepare the pagemap for the new address. Returns 0, or
 * -ENOMEM and nothing changed.
 *   more_bytes  if it has to be moved: so much longer than new_bytes it may become, so that it need
 *               not be moved again soon */
int hm_direct_resize(struct hm_heap *heap, struct hm_mapping *inout_map, size_t new_bytes,
                     size_t more_bytes);

#endif
