/* SPDX-License-Identifier: MIT */
/* hide.h - leaves free memory out of core dumps.
 *
 * Problem     A core dump of a process that has freed most of its heap should not hold what is
 *             free, not even as gigabytes of zeros in a pipe. But a mapping has one advice, so that
 *             each stretch that is hidden by itself takes two of vm.max_map_count.
 * Idea        Stretches of 16 regions. One is hidden when memory of it goes back and nothing in it
 *             is in use, and shown as soon as one of its regions is opened. There are at most so
 *             many at a time.
 * Locking     heap->lock is held by the caller.
 */
#ifndef HM_HEAP_HIDE_H
#define HM_HEAP_HIDE_H

#include "heap/heap.h"

/* Memory of `region` went back: hide its stretch if nothing in it is in use. */
void hm_hide_try(struct hm_heap *heap, const struct hm_region *region);

/* `region` is about to be used: show its stretch. */
void hm_hide_undo(struct hm_heap *heap, const struct hm_region *region);

/* The regions of an extent from `from_idx` on lost their address space. */
void hm_hide_forget(struct hm_heap *heap, struct hm_extent *extent, size_t from_idx);

#endif
