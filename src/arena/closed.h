/* SPDX-License-Identifier: MIT */
/* closed.h - a kernel that is not there: for arenas that call it no more after they were made.
 *
 * Problem     In a real-time thread no call may enter the kernel. What is needed is there from the
 *             beginning, and what is not must be refused.
 * Idea        The table of the kernel's services with functions that refuse, or do nothing, without
 *             a system call.
 */
#ifndef HM_ARENA_CLOSED_H
#define HM_ARENA_CLOSED_H

#include "os/os.h"

/* Fill in the table. What reports and forks ask for is still `real`. */
void hm_closed_init(struct hm_os *out_os, const struct hm_os *real);

#endif
