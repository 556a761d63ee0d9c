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

/* Whether a block of this length gets one. With hugetlb in the chain none does, but for alignment:
 * the kernel does not resize such a mapping, and parts of a block may be on another backing. Nor
 * does one where huge pages are larger than regions, if smaller ones may serve (mthp.c), or with
 * guards, which would have to be moved. */
HM_INLINE bool
hm_direct_is_wanted(const struct hm_heap *heap, size_t len_bytes, bool is_growing)
{
    return (len_bytes >= HM_DIRECT_MIN_BYTES || (is_growing && len_bytes >= HM_GROWN_MIN_BYTES))
           && !hm_backing_is_mixed(&heap->backing) && hm_heap_guard_bytes(heap) == 0;
}

struct hm_mapping {
    uintptr_t addr;
    size_t len_bytes;
    enum hm_backing_kind kind; /* asked for; a tail below a huge page is on base pages */
    struct hm_mapped *note;    /* of a mapping on huge pages; NULL: it has none */
};

/* How long a mapping is to be for a block of `len_bytes` that grew by `step_bytes`, or is new (0).
 * A tail that no huge page fits would lie on base pages, so it has whole regions, if what is unused
 * of the last one is little, or another step of growth will use it. */
size_t hm_direct_fit_bytes(const struct hm_heap *heap, size_t len_bytes, size_t step_bytes);

/* The same for one of `len_bytes` whose block is resized. */
size_t hm_direct_refit_bytes(const struct hm_heap *heap, size_t len_bytes, size_t old_bytes,
                             size_t new_bytes);

/* Map `len_bytes` (a multiple of the base page), aligned to `align_bytes` and at least to a huge
 * page. Returns 0 or -ENOMEM. Next on the allocation walk: os->reserve (os/os_map.c),
 * hm_backing_obtain (backing/backing.c). */
int hm_direct_map(struct hm_heap *heap, size_t len_bytes, size_t align_bytes,
                  struct hm_mapping *out_map);

/* Move the pages of whole regions of the page heap, all of `kind`, into a mapping of their own.
 *   len_bytes  of a run that begins with the first of them and ends in the last; what the mapping
 *              has more, a limit must leave room for
 * Returns 0 or a negative errno; the regions are without memory then, and still in use. */
int hm_direct_carry(struct hm_heap *heap, uintptr_t addr, size_t len_bytes,
                    enum hm_backing_kind kind, struct hm_mapping *out_map);

/* Next on the free walk: os->unmap (os/os_map.c). */
void hm_direct_unmap(struct hm_heap *heap, const struct hm_mapping *map);

/* Resize, in place or by moving pages, and prepare the pagemap for the new address. Returns 0, or
 * -ENOMEM and nothing changed.
 *   more_bytes  if it has to be moved: so much longer than new_bytes it may become, so that it need
 *               not be moved again soon */
int hm_direct_resize(struct hm_heap *heap, struct hm_mapping *inout_map, size_t new_bytes,
                     size_t more_bytes);

#endif
