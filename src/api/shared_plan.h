/* SPDX-License-Identifier: MIT */
/* shared_plan.h - what a shared arena shall be like: the program's options, checked, and why it
 * could not be made.
 *
 * Idea    All options are checked before anything is made. What goes wrong then is an errno, and a
 *         sentence where that would not tell it.
 */
#ifndef HM_API_SHARED_PLAN_H
#define HM_API_SHARED_PLAN_H

#include "conf/conf.h"
#include "huma.h"

/* What an arena shall be like, as it is tried with one backing after the other. */
struct hm_plan {
    struct huma_shared_options options; /* with the defaults for 0 */
    struct hm_chain chain;
    struct hm_conf conf; /* of the nodes */
    const char *why;     /* what is wrong, for people, if it is not told by an errno */
    unsigned pool_shift; /* of the last pool that lacked pages; 0: none did */
    uint64_t pool_pages; /* ... and how many were wanted */
};

/* Check the options. Returns 0, or a negative errno and plan->why. */
int hm_plan_make(const struct huma_shared_options *options, struct hm_plan *plan);

/* Set errno and huma_last_error for an arena that could not be made. */
void hm_plan_say(int rc, const struct hm_plan *plan, const char *call);

#endif
