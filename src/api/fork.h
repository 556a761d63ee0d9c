/* SPDX-License-Identifier: MIT */
/* fork.h - what malloc does when the process forks. */
#ifndef HM_API_FORK_H
#define HM_API_FORK_H

/* Set the handlers. May allocate. */
void hm_fork_watch(void);

#endif
