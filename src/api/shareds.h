/* SPDX-License-Identifier: MIT */
/* shareds.h - shared arenas as programs hold them.
 *
 * Problem     A process has an arena mapped, knows where it is, and is one of those that use it; a
 *             forked child has the mapping, but is another process.
 * Idea        A struct per arena that this process has attached, which is never unmapped, so that a
 *             handle that is no more is known, until the struct is used again. In a forked child
 *             the parent's lock is closed, and
 *             the first call takes a seat of its own. A child that came without fork handlers
 *             (clone) is known by a word that the kernel sets to 0 for it.
 * Locking     hm_arenas.lock for the lists; the view has its own.
 */
#ifndef HM_API_SHAREDS_H
#define HM_API_SHAREDS_H

#include "api/arenas.h"
#include "os/os_shared.h"
#include "shared/shared.h"

/* For paths that are put together here. */
#define HM_SHARED_PATH_BYTES 512

struct huma_shared {
    struct hm_shared view;
    int fd;        /* the arena's file; in the caller's memory: that of the locks, or -1 */
    int lock_fd;   /* the same, opened by this process for its lock; -1: not yet */
    unsigned kind; /* HUMA_SHARED_MEMFD, ... */
    bool is_open;
    bool is_thp; /* chunks are to be transparent huge pages */
    bool is_read_only;
    void *base;
    uint32_t *ring_next;
    struct hm_list link; /* in hm_shareds.live, also while it is not open yet */
    struct huma_shared *idle_next;
};

struct hm_shareds {
    struct hm_list live;
    bool is_started;
    unsigned *mark;           /* 0 in a child that has no seats yet; const but for that */
    enum hm_filters filters;  /* of system calls, at the start */
    struct huma_shared *idle; /* structs of no arena, the one that waited longest first */
    struct huma_shared *idle_last;
};

extern struct hm_shareds hm_shareds HM_HIDDEN;

/* NULL, and everything said, for a handle that is NULL; else the end: the arena was detached. */
HM_COLD struct huma_shared *hm_shareds_not_open(const huma_shared *handle, const char *call);

/* Take the seat that a process lacks. NULL, and everything said, if there is none to be had. */
HM_COLD struct huma_shared *hm_shareds_enter_slow(struct huma_shared *shared, const char *call);

/* The struct of a handle; NULL if that is NULL. Ends the process if the arena was detached.
 *   call  the function that was handed it, e.g. "huma_shared_alloc()" */
HM_INLINE struct huma_shared *
hm_shareds_find(const huma_shared *handle, const char *call)
{
    struct huma_shared *shared = (struct huma_shared *)(uintptr_t)handle;

    if (HM_LIKELY(shared != NULL) && HM_LIKELY(hm_load(&shared->is_open)))
        return shared;
    return hm_shareds_not_open(handle, call);
}

/* Whether the kernel has made this process from the one that had the arenas. */
HM_INLINE bool
hm_shareds_is_child(void)
{
    return hm_load(hm_shareds.mark) == 0;
}

/* The same for what needs a seat. NULL, and everything said, if there is none to be had. */
HM_INLINE struct huma_shared *
hm_shareds_enter(const huma_shared *handle, const char *call)
{
    struct huma_shared *shared = hm_shareds_find(handle, call);

    if (HM_LIKELY(shared != NULL)
        && (HM_UNLIKELY(shared->view.seat == 0) || HM_UNLIKELY(hm_shareds_is_child())))
        return hm_shareds_enter_slow(shared, call);
    return shared;
}

/* Allocate and publish as huma_shared_aligned_alloc and huma_shared_publish do; `call` says why if
 * that fails. */
uint64_t hm_shareds_alloc(huma_shared *handle, size_t align_bytes, size_t size, const char *call);
int hm_shareds_publish_block(huma_shared *shared, uint64_t cell, uint64_t block, const char *call);

/* A struct for an arena that is about to be attached; NULL, and everything said, if there is no
 * memory. It is ended by finish or by abandon. */
struct huma_shared *hm_shareds_begin(const char *call);
huma_shared *hm_shareds_finish(struct huma_shared *shared);
void hm_shareds_abandon(struct huma_shared *shared);

/* Close and unmap what was opened and mapped for it. */
void hm_shareds_drop(struct huma_shared *shared);

/* Begin with an arena at shared->base. Returns 0 or a negative errno. */
int hm_shareds_set_up(struct huma_shared *shared, const struct hm_shared_geom *geom);

/* Map shared->fd, at `address` if it is not 0, and set the arena up. */
int hm_shareds_map(struct huma_shared *shared, const struct hm_shared_geom *geom,
                   uintptr_t address);

/* Have memory allocated in a range of an arena that is mapped. Returns 0 or a negative errno. */
int hm_shareds_fill(const struct huma_shared *shared, uint64_t off, uint64_t len_bytes);

/* Open the file anew for this process's lock, if it is not. Returns 0 or a negative errno. */
int hm_shareds_open_lock(struct huma_shared *shared);

/* Take a seat, which a forked child does not have. Returns 0 or a negative errno. */
int hm_shareds_sit(struct huma_shared *shared);

/* In a forked child: no arena has a seat yet. hm_arenas.lock is held. */
void hm_shareds_after_fork(void);

/* --- names (shared_names.c) ------------------------------------------------------------------- */

/* What files of named arenas begin with. */
#define HM_SHARED_FILE_PREFIX "huma."

/* Call `visit` for each folder that named arenas may be in, until it returns true. */
#define HM_FOLDERS_HUGETLBFS 1u
#define HM_FOLDERS_SHM 2u
#define HM_FOLDERS_ALL 3u
void hm_shareds_visit_folders(unsigned kinds, bool (*visit)(void *arg, const char *folder),
                              void *arg);

/* Whether a path is a name, which is looked for where named arenas are. */
bool hm_shareds_is_name(const char *path);

/* Why none can have this name or path; NULL: it can. */
const char *hm_shareds_path_fault(const char *path);

/* Make a file for an arena, not yet to be found. A name's is in a hugetlbfs that is mounted, with
 * pages of that size, or in /dev/shm; a path's is where it is, and page_shift is not looked at.
 *   page_shift  0: no hugetlb pages
 *   out_place   [HM_SHARED_PATH_BYTES] the path that it shall have, for hm_shareds_publish
 * Returns a descriptor, whose length is 0, or a negative errno. */
int hm_shareds_make_file(const char *path, unsigned page_shift, unsigned mode, char *out_place);

/* Let it be found. -EEXIST: another was first. */
int hm_shareds_publish(int fd, const char *path, const char *place);

/* Where the file of a name or path is. Returns 0 or a negative errno. */
int hm_shareds_locate(const char *path, char out_place[HM_SHARED_PATH_BYTES]);

#endif
