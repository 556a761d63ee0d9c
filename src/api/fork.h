/* SPDX-License-Identifier: MIT */
/* fork.h - what happens to the heaps of this library when the process forks. */
#ifndef HM_API_FORK_H
#define HM_API_FORK_H

#include "cache/thread.h"

/* One of them. */
struct hm_fork_heap {
    struct hm_heap *heap; /* NULL: before the first */
    const void *owner;    /* who has it; for the functions below */
    bool is_left_out;     /* children have nothing of it */
};

/* What differs between the libraries. */
struct hm_fork_ops {
    /* Whether any heap may have hugetlb pages. */
    bool (*has_pool)(void);

    /* Let the list of heaps be as it is until `release`: before a fork. */
    void (*hold)(void);

    /* The next heap in *inout. Returns false if there is none. Also called by a signal handler. */
    bool (*next)(struct hm_fork_heap *inout);

    /* Before a fork, and after it in the parent and, of what is not left out, in the child. NULL
     * where there is nothing to do. heap->lock is held. */
    void (*enter)(const struct hm_fork_heap *heap);
    void (*exit)(const struct hm_fork_heap *heap);

    /* In the child: settle what belongs to threads that it does not have. heap->lock is held. */
    void (*settle)(const struct hm_fork_heap *heap);

    /* After it, also of what is left out, when no lock of a heap is held any more.
     *   is_child         or it is the parent
     *   is_interrupted   a signal handler forked in the middle of a function of a heap */
    void (*release)(bool is_child, bool is_interrupted);
};

/* Set the handlers. May allocate. */
void hm_fork_watch(const struct hm_fork_ops *ops);

#endif
