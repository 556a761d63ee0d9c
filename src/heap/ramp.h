/* SPDX-License-Identifier: MIT */
/* ramp.h - what the start on base pages left behind is turned into huge pages later. */
#ifndef HM_HEAP_RAMP_H
#define HM_HEAP_RAMP_H

#include "heap/heap.h"

/* Collapse one open region on base pages, if the heap is past the ramp, a region is full enough,
 * and the latency budget allows. heap->lock is held by the caller. */
void hm_ramp_collapse_one(struct hm_heap *heap);

#endif
