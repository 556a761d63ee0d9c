/* SPDX-License-Identifier: MIT */
/* prefault.h - has the kernel fill memory ahead of its use.
 *
 * Problem     The first touch of a page costs as much as filling it with zeros, and that dominates
 *             the start of programs with large heaps.
 * Idea        Threads touch a share each.
 */
#ifndef HM_API_PREFAULT_H
#define HM_API_PREFAULT_H

#include "base/units.h"

/* Touch every page of memory that nobody uses yet.
 *   thread_count  at most; fewer if the machine gives no more */
void hm_prefault(uintptr_t addr, size_t len_bytes, size_t page_bytes, unsigned thread_count);

#endif
