/* SPDX-License-Identifier: MIT */
/* arena.h - shared arenas as an administrator finds them.
 *
 * Problem     Files that bear an arena's name may be anything, of anybody.
 * Idea        A file is opened for reading, and only if it is one; its header is read and checked
 *             before anything is mapped; all else is told from words that are read with bounds. Who
 *             is alive is told by the kernel's locks, which are looked at and not taken.
 */
#ifndef HUMA_TOOL_ARENA_H
#define HUMA_TOOL_ARENA_H

#include <stdbool.h>

#include "shared/shared.h"

#define ARENA_NAME_BYTES 256
#define ARENA_PATH_BYTES 600
#define ARENA_PIDS_MAX 8

struct arena {
    char name[ARENA_NAME_BYTES];
    char where[ARENA_PATH_BYTES]; /* a path that leads to it */
    bool is_memfd;
    bool is_hugetlb;
    uint64_t device;
    uint64_t inode;
    unsigned owner;
    uint64_t page_bytes;
    uint64_t limit_bytes;
    uint64_t has_bytes;  /* of memory, as the file has it */
    uint64_t used_bytes; /* in blocks */
    unsigned alive_count;
    unsigned dead_count;
    bool has_readers;
    unsigned pids[ARENA_PIDS_MAX]; /* of those that are alive, in their own namespaces */
    unsigned pid_count;
    const char *fault; /* why nothing else is known of it; NULL: all is */
};

/* Look at the file at `where`. Returns NULL and fills in *out_arena, or says why it is none. */
const char *arena_look(const char *where, struct arena *out_arena);

/* Look at all of its words. Returns NULL, or what is wrong. A file may be cut short meanwhile: that
 * ends the process. */
const char *arena_verify(const char *where);

/* Call `visit` for each arena that has a name, and each that processes have open without one.
 * Returns how many processes could not be looked into. */
unsigned arena_find(void (*visit)(void *arg, const struct arena *arena), void *arg);

/* Find one by its name, or by a path, which has '/'. Returns NULL and the path, or why not. */
const char *arena_locate(const char *name, char out_where[ARENA_PATH_BYTES]);

#endif
