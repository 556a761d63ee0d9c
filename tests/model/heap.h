/* SPDX-License-Identifier: MIT */
/* heap.h - one round of operations on a heap over the fake kernel, checked against a model. */
#ifndef HM_TESTS_MODEL_HEAP_H
#define HM_TESTS_MODEL_HEAP_H

#include "support/choice.h"

/* The most that was alive at a time, so far. */
struct model_peak {
    size_t block_count;
    size_t live_bytes;
};

/* A machine, settings and a heap that `choice` picks; up to step_count operations, fewer if the
 * choice is over; then everything is freed. What is wrong is told on stderr in one line, and then
 * abort(). */
struct model_peak model_run(struct choice *choice, unsigned step_count);

#endif
