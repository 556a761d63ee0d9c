/* SPDX-License-Identifier: MIT */
/* purger.h - the optional thread that gives memory back while the program calls nothing.
 *
 * Problem     Memory that is kept for a swing goes back in a later call. A program that goes idle
 *             makes none.
 * Idea        With HUMA_PURGE_THREAD=on, and never else, a thread looks at the clock for it. It has
 *             all signals blocked, allocates nothing, and holds heap->lock for a short time only. A
 *             forked child starts its own.
 */
#ifndef HM_API_PURGER_H
#define HM_API_PURGER_H

/* Start the thread if HUMA_PURGE_THREAD asks for it. */
void hm_purger_start(void);

#endif
