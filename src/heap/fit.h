/* SPDX-License-Identifier: MIT */
/* fit.h - which free run of the open regions a request fits into.
 *
 * Locking     All functions: heap->lock is held by the caller.
 */
#ifndef HM_HEAP_FIT_H
#define HM_HEAP_FIT_H

#include "heap/heap.h"

/* Make the lists of a node. Returns 0 or -ENOMEM. */
int hm_fit_init(struct hm_heap *heap, struct hm_fits *out_fits);

/* Enter an open region in the list of its longest free run, and settle its seams. */
void hm_fit_link(struct hm_heap *heap, struct hm_region *region);

/* Leave that list, before the pages of the region change. Its seams keep what they were until they
 * are settled. */
void hm_fit_unlink(struct hm_heap *heap, struct hm_region *region);

/* After pages or state of a region changed: note how long the free runs across its two ends are. */
void hm_fit_settle_seams(struct hm_heap *heap, struct hm_region *region);

/* The open region of a node into which an aligned run fits most tightly, and the page of it to
 * start at; NULL if there is none. */
struct hm_region *hm_fit_find(const struct hm_heap *heap, unsigned node, size_t len_pages,
                              size_t align_pages, size_t *out_page_idx);

/* The same for a run that starts in one open region, the one returned, and ends in the next. */
struct hm_region *hm_fit_find_seam(const struct hm_heap *heap, unsigned node, size_t len_pages,
                                   size_t align_pages, size_t *out_page_idx);

#endif
