/* SPDX-License-Identifier: MIT */
/* shadow.h - copies of regions on hugetlb pages, for the child of a fork.
 *
 * Locking     All functions: heap->lock is held across the fork.
 */
#ifndef HM_HEAP_SHADOW_H
#define HM_HEAP_SHADOW_H

#include "heap/heap.h"

/* Places that are used before any signal can be answered: where the stack of who forks is, so far
 * below and above it as may be used, and its thread. */
enum { HM_SHADOW_STACK, HM_SHADOW_BELOW, HM_SHADOW_ABOVE, HM_SHADOW_THREAD, HM_SHADOW_NEEDED };

/* Before fork(): copy what is on hugetlb pages, but for the regions of these addresses. Other
 * threads may go on writing; no signal handler of this thread may run until the fork is over. Until
 * hm_shadow_swap the child has nothing where it was copied from.
 * Returns whether there is any copy. What could not be copied is counted. */
bool hm_shadow_cast(struct hm_heap *heap, const uintptr_t *addrs);

/* Whether the child lacks what is at `addr`, until hm_shadow_swap. */
bool hm_shadow_covers(const struct hm_heap *heap, uintptr_t addr);

/* In the child: put the copies in the place of what they were made of. Only system calls, and
 * nothing the second time: a signal handler may call it. */
void hm_shadow_swap(struct hm_heap *heap);

/* In the child, after that: enter in the books on what its memory is. Regions that are copies have
 * a shadow_addr until hm_shadow_forget. */
void hm_shadow_settle(struct hm_heap *heap);
void hm_shadow_forget(struct hm_heap *heap);

/* In the parent: the copies are no longer needed. */
void hm_shadow_drop(struct hm_heap *heap);

#endif
