/* SPDX-License-Identifier: MIT */
/* shareds.h - shared arenas as programs hold them.
 *
 * Problem     A process has an arena mapped, knows where it is, and is one of those that use it; a
 *             forked child has the mapping, but is another process.
 * Idea        A struct per arena that this process has attached, which is never unmapped, so that a
 *             handle that is no more is known. In a forked child the parent's lock is closed, and
 *             the first call takes a seat of its own.
 * Locking     hm_arenas.lock for the lists; the view has its own.
 */
#ifndef HM_API_SHAREDS_H
#define HM_API_SHAREDS_H

#include "api/arenas.h"
#include "shared/shared.h"

struct huma_shared {
    struct hm_shared view;
    int fd;      /* the arena's file */
    int lock_fd; /* the same, opened by this process for its lock; -1: not yet */
    bool is_open;
    bool is_thp; /* chunks are to be transparent huge pages */
    void *base;
    uint32_t *ring_next;
    struct hm_list link; /* in hm_shareds.live */
    struct huma_shared *idle_next;
};

struct hm_shareds {
    struct hm_list live;
    bool is_started;
    struct huma_shared *idle;
};

extern struct hm_shareds hm_shareds HM_HIDDEN;

/* The struct of a handle; NULL if that is NULL. Ends the process if the arena was detached.
 *   call  the function that was handed it, e.g. "huma_shared_alloc()" */
struct huma_shared *hm_shareds_find(const huma_shared *handle, const char *call);

/* Take a seat, which a forked child does not have. Returns 0 or a negative errno. */
int hm_shareds_sit(struct huma_shared *shared);

/* In a forked child: no arena has a seat yet. hm_arenas.lock is held. */
void hm_shareds_after_fork(void);

#endif
