/* SPDX-License-Identifier: MIT */
/* hugetlb.h - pages of the reserved pool, as far as there are any.
 *
 * Locking     The heap's lock.
 */
#ifndef HM_BACKING_HUGETLB_H
#define HM_BACKING_HUGETLB_H

#include "backing/backing.h"

/* Places of the chain, [first, end). */
struct hm_places {
    unsigned first;
    unsigned end;
};

/* Serve the first regions of a range from the pools at these places of the chain; what stands at
 * the end, if that is not the end of the chain, serves otherwise.
 *   heap_bytes  size of the heap with the request in it
 *
 * Returns 0 with len_bytes at what was served, or -ENOMEM, the reasons
 * counted. Next on the allocation walk: os->pool_map (os/os_pool.c). */
int hm_hugetlb_obtain(struct hm_backing *backing, struct hm_range *inout_range, size_t heap_bytes,
                      struct hm_places places);

/* How many places of the chain come before any that is no pool. */
unsigned hm_hugetlb_places(const struct hm_backing *backing);

/* log2 of the pages of such a place if they hold several regions each and a heap of that size is to
 * have them: once it is as large as one, or from the first byte where nothing else is allowed or it
 * begins with huge pages; else 0. */
unsigned hm_hugetlb_giant_shift(const struct hm_backing *backing, unsigned place,
                                size_t heap_bytes);

/* Whether the chain has nothing but such pages. */
bool hm_hugetlb_needs_giants(const struct hm_backing *backing);

/* Put one such page in the place of the range, which is as long and wholly closed. Returns 0 or
 * -ENOMEM; then the next request for a region has the reason counted. */
int hm_hugetlb_obtain_page(struct hm_backing *backing, struct hm_range *range, size_t heap_bytes,
                           unsigned place);

/* Give regions back to the pool: reserved address space again. Returns 0 or a negative errno and
 * nothing changed. */
int hm_hugetlb_release(struct hm_backing *backing, uintptr_t addr, size_t len_bytes);

#endif
