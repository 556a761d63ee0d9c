/* SPDX-License-Identifier: MIT */
/* cancel.h - keeps a thread from being cancelled in the middle of malloc.
 *
 * Problem     open, read, write and close are cancellation points. A thread that is cancelled there
 *             would unwind out of malloc and leave a lock held; malloc is no cancellation point.
 * Idea        Around every such call: disable, call, restore.
 */
#ifndef HM_BASE_CANCEL_H
#define HM_BASE_CANCEL_H

#include <pthread.h>

#include "base/compiler.h"

/* Returns the state to restore. */
HM_INLINE int
hm_cancel_disable(void)
{
    int state = PTHREAD_CANCEL_ENABLE;

    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    return state;
}

HM_INLINE void
hm_cancel_restore(int state)
{
    (void)pthread_setcancelstate(state, NULL);
}

#endif
