/* SPDX-License-Identifier: MIT */
/* story.h - the life of a heap or an arena on the fake kernel, while calls of the kernel fail. */
#ifndef HM_TESTS_STORY_H
#define HM_TESTS_STORY_H

#include "support/rig.h"

/* The settings under which it is told. */
struct story {
    const char *chain;
    size_t huge_start_bytes;
    size_t page_bytes;
    size_t hpage_bytes;
    size_t pool_bytes;   /* hugetlb pages that are free at the start */
    unsigned pool_shift; /* log2 of their size; 0: that of huge pages */
    unsigned node_count; /* with memory, 0: one; the second thread runs on one more, without */
    enum hm_numa numa;
    bool is_locked;
    void (*tell)(void);
};

/* What fails, and how; nth == 0: nothing. */
struct trial {
    const struct story *story;
    size_t story_idx;         /* its name */
    enum fake_call_kind kind; /* which calls count */
    uint64_t nth;
    int error;
    bool stays;
};

extern struct trial trial;
extern struct rig rig; /* what it is told of: left as it is at the end, for rig_fini() */

/* Tell it of a heap. Ends the program where something is not as it must be. */
void story_tell(void);

/* Tell it of an arena for one thread, of one for two, of one that is closed. */
void story_arena_tell(void);
void story_arena_shared_tell(void);
void story_arena_fixed_tell(void);

/* The machine and the settings of the trial, with its fault. */
void story_set_up(void);

/* Whether the library may pass a failure of this kind on to the program. */
bool story_may_fail(enum fake_call_kind failed);

/* Whether no backing but the pool will do. */
bool story_is_pool_required(void);

void __attribute__((noreturn)) story_fail(const char *what);

#endif
