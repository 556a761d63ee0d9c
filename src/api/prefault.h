/* SPDX-License-Identifier: MIT */
/* prefault.h - has the kernel fill memory ahead of its use, by several threads.
 *
 * Problem     The first touch of a page costs as much as filling it with zeros, and that dominates
 *             the start of programs with large heaps. Pages of a pool are filled by a single call
 *             before anybody can touch them.
 * Idea        Threads fill a share each. For a pool, a table of the kernel's services in which the
 *             filling is done so: to be used while memory is opened ahead.
 */
#ifndef HM_API_PREFAULT_H
#define HM_API_PREFAULT_H

#include "os/os.h"

/* Touch every page of memory that nobody uses yet.
 *   thread_count  at most; fewer if the machine gives no more */
void hm_prefault(uintptr_t addr, size_t len_bytes, size_t page_bytes, unsigned thread_count);

struct hm_prefault_os {
    struct hm_os os;
    unsigned thread_count;
};

/* Fill in the table: the real one's services, but for pages of a pool. */
void hm_prefault_os_init(struct hm_prefault_os *out_os, unsigned thread_count);

#endif
