/* SPDX-License-Identifier: MIT */
/* meetings.h - what one process does, and another meanwhile (apart.c). */
#ifndef HM_TESTS_SHARED_MEETINGS_H
#define HM_TESTS_SHARED_MEETINGS_H

#include "shared/shared.h"

/* Work is one call, by the child. */
struct meeting {
    const char *name;
    void (*prepare)(void);
    void (*work)(void);
    void (*meanwhile)(void);
};

extern const struct meeting meetings[];
extern const size_t meeting_count;

extern struct hm_shared child; /* its view, which it inherits */
extern struct hm_shared other; /* the parent's */
extern struct hm_shared dead;  /* of a process that is dead */
extern uint64_t roots[3];      /* cells */
extern uint64_t *child_block;  /* what the child believes to have; shared */
extern uint64_t other_block;   /* what the parent does */

#endif
