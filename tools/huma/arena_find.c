/* SPDX-License-Identifier: MIT */
#include "arena.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/shareds.h"

#define PREFIX HM_SHARED_FILE_PREFIX
#define MEMFD_PREFIX "/memfd:" HM_SHARED_MEMFD_PREFIX

/* One that was visited: many processes have the same. */
struct seen {
    uint64_t device;
    uint64_t inode;
};

struct finder {
    void (*visit)(void *arg, const struct arena *arena);
    void *arg;
    struct seen *seen;
    size_t seen_count;
    size_t seen_room;
};

/* --- what was seen ---------------------------------------------------------------------------- */

static bool
is_new(struct finder *finder, uint64_t device, uint64_t inode)
{
    for (size_t i = 0; i < finder->seen_count; i++)
        if (finder->seen[i].device == device && finder->seen[i].inode == inode)
            return false;
    if (finder->seen_count == finder->seen_room) {
        size_t room = finder->seen_room * 2 + 64;
        struct seen *more = realloc(finder->seen, room * sizeof(*more));

        if (more == NULL)
            return true; /* told twice rather than not at all */
        finder->seen = more;
        finder->seen_room = room;
    }
    finder->seen[finder->seen_count++] = (struct seen){ device, inode };
    return true;
}

static void
visit(struct finder *finder, const char *where, const char *name, bool is_memfd)
{
    const char *fault;
    struct arena arena;
    struct stat found;

    if (stat(where, &found) != 0 || !S_ISREG(found.st_mode)
        || !is_new(finder, found.st_dev, found.st_ino))
        return;
    fault = arena_look(where, &arena);
    if (fault != NULL) {
        arena = (struct arena){ .owner = found.st_uid,
                                .has_bytes = (uint64_t)found.st_blocks * 512,
                                .fault = fault };
        (void)snprintf(arena.where, sizeof(arena.where), "%s", where);
    }
    arena.is_memfd = is_memfd;
    (void)snprintf(arena.name, sizeof(arena.name), "%s", name);
    finder->visit(finder->arg, &arena);
}

/* --- with a name ------------------------------------------------------------------------------ */

static bool
visit_folder(void *arg, const char *folder)
{
    struct finder *finder = arg;
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    char where[ARENA_PATH_BYTES];

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0 || entry->d_type != DT_REG)
            continue;
        (void)snprintf(where, sizeof(where), "%.300s/%.255s", folder, entry->d_name);
        visit(finder, where, entry->d_name + strlen(PREFIX), false);
    }
    if (dir != NULL)
        (void)closedir(dir);
    return false;
}

/* --- without one ------------------------------------------------------------------------------ */

static void
visit_link(struct finder *finder, const char *pid, const char *fd)
{
    char where[80];
    char target[ARENA_NAME_BYTES];
    ssize_t len_bytes;
    char *end;

    (void)snprintf(where, sizeof(where), "/proc/%.20s/fd/%.20s", pid, fd);
    len_bytes = readlink(where, target, sizeof(target) - 1);
    if (len_bytes < 0)
        return;
    target[len_bytes] = '\0';
    if (strncmp(target, MEMFD_PREFIX, strlen(MEMFD_PREFIX)) != 0)
        return;
    end = strstr(target, " (deleted)");
    if (end != NULL)
        *end = '\0';
    visit(finder, where, target + strlen(MEMFD_PREFIX), true);
}

/* Returns whether the process could be looked into. */
static bool
visit_process(struct finder *finder, const char *pid)
{
    char path[64];
    const struct dirent *entry;
    DIR *dir;

    (void)snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
    dir = opendir(path);
    if (dir == NULL)
        return errno == ENOENT; /* it has ended */
    while ((entry = readdir(dir)) != NULL)
        if (isdigit((unsigned char)entry->d_name[0]))
            visit_link(finder, pid, entry->d_name);
    (void)closedir(dir);
    return true;
}

unsigned
arena_find(void (*visit_arena)(void *arg, const struct arena *arena), void *arg)
{
    struct finder finder = { .visit = visit_arena, .arg = arg };
    DIR *dir = opendir("/proc");
    const struct dirent *entry;
    unsigned hidden_count = 0;

    hm_shareds_visit_folders(HM_FOLDERS_ALL, visit_folder, &finder);
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (isdigit((unsigned char)entry->d_name[0]) && !visit_process(&finder, entry->d_name))
            hidden_count++;
    if (dir != NULL)
        (void)closedir(dir);
    free(finder.seen);
    return hidden_count;
}

const char *
arena_locate(const char *name, char out_where[ARENA_PATH_BYTES])
{
    char place[HM_SHARED_PATH_BYTES];
    const char *fault = hm_shareds_path_fault(name);

    if (fault != NULL)
        return fault;
    if (hm_shareds_locate(name, place) != 0 || access(place, F_OK) != 0)
        return "there is none of this name or path; \"huma arenas\" lists them";
    (void)snprintf(out_where, ARENA_PATH_BYTES, "%s", place);
    return NULL;
}
