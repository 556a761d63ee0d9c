/* SPDX-License-Identifier: MIT */
#include "arena.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "os/os_shared.h"

/* Open a file and read its header. Returns a descriptor, or -1 and why. */
static int
open_arena(const char *where, struct hm_shared_geom *out_geom, struct stat *out_stat,
           const char **out_why)
{
    struct hm_shared_header header;
    int fd = hm_os_shared_open(where, true, true);

    if (fd < 0) {
        *out_why = strerror(-fd);
        return -1;
    }
    *out_why = NULL;
    if (fstat(fd, out_stat) != 0 || !S_ISREG(out_stat->st_mode))
        *out_why = "it is no file";
    else if (hm_os_shared_read(fd, &header, sizeof(header)) != 0)
        *out_why = "it is shorter than any arena";
    else
        *out_why = hm_shared_header_fault(&header);
    if (*out_why == NULL) {
        (void)hm_shared_geom_init(out_geom, &header);
        if ((uint64_t)out_stat->st_size < out_geom->end_off)
            *out_why = "it was cut short";
    }
    if (*out_why == NULL)
        return fd;
    (void)close(fd);
    return -1;
}

/* Read a part of the file into memory of our own: a mapping could lose its pages. Hugetlb files can
 * be read, too. */
static bool
read_at(int fd, void *buf, size_t len_bytes, uint64_t off)
{
    return pread(fd, buf, len_bytes, (off_t)off) == (ssize_t)len_bytes;
}

static void
count_processes(int fd, const struct hm_shared_geom *geom, struct arena *arena)
{
    arena->has_readers = hm_os_shared_is_held(fd, 0);
    for (unsigned seat = 1; seat <= geom->seat_count; seat++) {
        struct hm_shared_seat found;

        if (!read_at(fd, &found, sizeof(found), geom->seats_off + seat * sizeof(found))
            || (found.state & HM_SEAT_TAKEN) == 0)
            continue;
        if (!hm_os_shared_is_held(fd, seat)) {
            arena->dead_count++;
            continue;
        }
        arena->alive_count++;
        if (arena->pid_count < ARENA_PIDS_MAX)
            arena->pids[arena->pid_count++] = found.pid;
    }
}

/* Of one span. The words may be of different moments. */
static uint64_t
count_used(int fd, const struct hm_shared_geom *geom, uint32_t span, struct hm_shspan was)
{
    static uint32_t words[HM_SHARED_SPAN_UNITS];
    uint64_t off = geom->blocks_off + (uint64_t)span * sizeof(words);
    uint32_t block_count = 1;
    uint64_t size_bytes = (uint64_t)was.count << HM_SHARED_SPAN_SHIFT;
    uint64_t used_count = 0;

    if (was.state == HM_SHSPAN_OWNED || was.state == HM_SHSPAN_ORPHAN) {
        if (was.class_idx >= HM_SHARED_CLASS_COUNT)
            return 0;
        block_count = hm_shared_class_blocks(was.class_idx);
        size_bytes = hm_shared_class_bytes(was.class_idx);
    } else if (was.state != HM_SHSPAN_LARGE) {
        return 0;
    }
    if (!read_at(fd, words, block_count * sizeof(words[0]), off))
        return 0;
    for (uint32_t i = 0; i < block_count; i++)
        used_count += hm_block_state(words[i]) != HM_BLOCK_FREE;
    return used_count * size_bytes;
}

static uint64_t
sum_used(int fd, const struct hm_shared_geom *geom)
{
    uint64_t sum_bytes = 0;

    for (uint32_t first = 0; first < geom->span_count; first += HM_SHARED_CHUNK_SPANS) {
        uint64_t words[HM_SHARED_CHUNK_SPANS];

        if (!read_at(fd, words, sizeof(words), geom->spans_off + first * sizeof(words[0])))
            break;
        for (uint32_t i = 0; i < HM_SHARED_CHUNK_SPANS; i++)
            sum_bytes += count_used(fd, geom, first + i, hm_shspan_unpack(words[i]));
    }
    return sum_bytes;
}

const char *
arena_look(const char *where, struct arena *out_arena)
{
    struct hm_shared_geom geom;
    struct statfs fs;
    struct stat stat;
    const char *why;
    int fd = open_arena(where, &geom, &stat, &why);

    if (fd < 0)
        return why;
    *out_arena = (struct arena){ .device = stat.st_dev,
                                 .inode = stat.st_ino,
                                 .owner = stat.st_uid,
                                 .page_bytes = (uint64_t)1 << geom.page_shift,
                                 .limit_bytes = (uint64_t)geom.span_count << HM_SHARED_SPAN_SHIFT,
                                 .has_bytes = (uint64_t)stat.st_blocks * 512 };
    out_arena->is_hugetlb = fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC;
    (void)snprintf(out_arena->where, sizeof(out_arena->where), "%s", where);
    count_processes(fd, &geom, out_arena);
    out_arena->used_bytes = sum_used(fd, &geom);
    (void)close(fd);
    return NULL;
}

const char *
arena_verify(const char *where)
{
    static struct hm_shared view;
    struct hm_shared_env env = { NULL, NULL, NULL, NULL, NULL };
    struct hm_shared_sums sums;
    struct hm_shared_geom geom;
    struct stat stat;
    const char *why;
    int fd = open_arena(where, &geom, &stat, &why);
    void *mem;

    if (fd < 0)
        return why;
    mem = mmap(NULL, geom.end_off, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
    (void)close(fd);
    if (mem == MAP_FAILED)
        return strerror(errno);
    hm_shared_init(&view, mem, &geom, &env, NULL);
    return hm_shared_verify(&view, &sums);
}
