/* SPDX-License-Identifier: MIT */
/* hugetlb.h - pages of the reserved pool, as far as there are any.
 *
 * Locking     The heap's lock.
 */
#ifndef HM_BACKING_HUGETLB_H
#define HM_BACKING_HUGETLB_H

#include "backing/backing.h"

/* Serve the first regions of a range from the pools that the chain names before `next`, the backing
 * that serves otherwise.
 *   heap_bytes  size of the heap with the request in it
 *
 * Returns 0 with len_bytes at what was served, or -ENOMEM, the reasons
 * counted. Next on the allocation walk: os->pool_map (os/os_pool.c). */
int hm_hugetlb_obtain(struct hm_backing *backing, struct hm_range *inout_range, size_t heap_bytes,
                      enum hm_backing_kind next);

/* Give regions back to the pool: reserved address space again. Returns 0 or a negative errno and
 * nothing changed. */
int hm_hugetlb_release(struct hm_backing *backing, uintptr_t addr, size_t len_bytes);

#endif
