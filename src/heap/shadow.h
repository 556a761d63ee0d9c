/* SPDX-License-Identifier: MIT */
/* shadow.h - copies of regions on hugetlb pages, for the child of a fork.
 *
 * Locking     All functions: heap->lock is held across the fork.
 */
#ifndef HM_HEAP_SHADOW_H
#define HM_HEAP_SHADOW_H

#include "heap/heap.h"

/* Places that are used before any signal can be answered: stack and thread of who forks. */
#define HM_SHADOW_NEEDED 4

/* Before fork(): copy what is on hugetlb pages, but for the regions of these addresses. Other
 * threads may go on writing. Until hm_shadow_swap the child has nothing where it was copied from.
 * Returns whether there is any copy. What could not be copied is counted. */
bool hm_shadow_cast(struct hm_heap *heap, const uintptr_t *addrs);

/* In the child: put the copies in the place of what they were made of. Only system calls, and
 * nothing the second time: a signal handler may call it. */
void hm_shadow_swap(struct hm_heap *heap);

/* In the child, after that: enter it in the books. */
void hm_shadow_settle(struct hm_heap *heap);

/* In the parent: the copies are no longer needed. */
void hm_shadow_drop(struct hm_heap *heap);

#endif
