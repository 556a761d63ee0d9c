/* SPDX-License-Identifier: MIT */
/* os_cgroup.c - how much memory the control groups of this process have left.
 *
 * Problem     A huge page is charged whole for its first byte. Near the limit of a memory cgroup
 *             that gets a process killed which would have lived on base pages. There is no system
 *             call that tells how near the limit is, and files must not be opened once the process
 *             is in a sandbox: a filter may end it for that.
 * Idea        Read limit and usage in every group from the process's own up to the root, of version
 *             1 or 2; the one with the least left counts. Half of its page cache counts as free, as
 *             in the kernel's MemAvailable. Nothing is kept open. Whether filters were added since
 *             an earlier call is told by two prctl calls: without any filter there is nothing to
 *             fear, and a process that may still gain privileges cannot have added one.
 * Sources     Linux Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst; seccomp(2); the
 *             estimate of MemAvailable: si_mem_available() in mm/show_mem.c.
 */
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/fmt.h"
#include "os/os.h"

#define GROUP_PATH_MAX 384

/* What one version of control groups calls its files. */
struct group_files {
    const char *mount;
    const char *limits[2]; /* the lower one counts */
    const char *usage;
    const char *file_pages[2]; /* rows of memory.stat, descendants included */
};

static const struct group_files files_v1 = {
    .mount = "/sys/fs/cgroup/memory",
    .limits = { "/memory.limit_in_bytes", NULL },
    .usage = "/memory.usage_in_bytes",
    .file_pages = { "total_inactive_file ", "total_active_file " },
};

static const struct group_files files_v2 = {
    .mount = "/sys/fs/cgroup",
    .limits = { "/memory.max", "/memory.high" },
    .usage = "/memory.current",
    .file_pages = { "inactive_file ", "active_file " },
};

/* The group that is looked at. */
struct group {
    const struct group_files *files; /* NULL: the process is in none that we know */
    const char *root;
    char path[GROUP_PATH_MAX];      /* as in /proc/self/cgroup, without a slash at the end */
    char file[GROUP_PATH_MAX + 96]; /* the one to be read */
    uint64_t file_bytes;            /* page cache */
};

/* No limit is written as "max", or in version 1 as a number of this size. */
#define NO_LIMIT_BYTES ((uint64_t)1 << 62)

static uint64_t
number_of(const char *text)
{
    uint64_t value = 0;

    for (; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (uint64_t)(*text - '0');
    return value;
}

/* --- the process's group ---------------------------------------------------------------------- */

/* Whether "memory" is among the names of a list such as "cpu,memory". */
static bool
has_memory(const char *list, size_t len_bytes)
{
    const char *end = list + len_bytes;

    while (list < end) {
        size_t name_bytes = strcspn(list, ",:");

        if (name_bytes == 6 && strncmp(list, "memory", 6) == 0)
            return true;
        list += name_bytes + 1;
    }
    return false;
}

/* A line such as "4:memory:/a/b" or "0::/a/b". Where both versions are mounted, memory belongs to
 * version 1 if it is named there. */
static HM_LATER void
membership_line(void *arg, const char *line)
{
    struct group *group = arg;
    const char *list = strchr(line, ':');
    const char *path = list != NULL ? strchr(list + 1, ':') : NULL;
    const struct group_files *files = NULL;
    size_t len_bytes;

    if (path == NULL)
        return;
    list++;
    path++;
    if (has_memory(list, (size_t)(path - 1 - list)))
        files = &files_v1;
    else if (strncmp(line, "0::", 3) == 0 && group->files == NULL)
        files = &files_v2;
    len_bytes = strlen(path);
    if (files == NULL || len_bytes >= sizeof(group->path))
        return;
    group->files = files;
    memcpy(group->path, path, len_bytes + 1);
    if (len_bytes > 0 && path[len_bytes - 1] == '/')
        group->path[len_bytes - 1] = '\0';
}

/* --- one group -------------------------------------------------------------------------------- */

static void
name_file(struct group *group, const char *name)
{
    struct hm_fmt out = hm_fmt_init(group->file, sizeof(group->file), -1);

    hm_fmt_str(&out, group->root);
    hm_fmt_str(&out, group->files->mount);
    hm_fmt_str(&out, group->path);
    hm_fmt_str(&out, name);
}

/* A file with one number; NO_LIMIT_BYTES if it has none or cannot be read. */
static uint64_t
read_value(struct group *group, const char *name)
{
    char text[32];
    uint64_t value;

    if (name == NULL)
        return NO_LIMIT_BYTES;
    name_file(group, name);
    if (hm_os_read_file(group->file, text, sizeof(text)) <= 0 || text[0] < '0' || text[0] > '9')
        return NO_LIMIT_BYTES;
    value = number_of(text);
    return value < NO_LIMIT_BYTES ? value : NO_LIMIT_BYTES;
}

static HM_LATER void
stat_line(void *arg, const char *line)
{
    struct group *group = arg;

    for (int i = 0; i < 2; i++) {
        size_t len_bytes = strlen(group->files->file_pages[i]);

        if (strncmp(line, group->files->file_pages[i], len_bytes) == 0)
            group->file_bytes += number_of(line + len_bytes);
    }
}

/* Page cache is usage, too, and fills every limit in time. To read memory.stat costs the kernel
 * some work, so it is left alone while there is plenty. */
static void
add_page_cache(struct group *group, struct hm_room *inout_room)
{
    if (inout_room->left_bytes >= inout_room->limit_bytes / 4)
        return;
    group->file_bytes = 0;
    name_file(group, "/memory.stat");
    if (hm_os_read_lines(group->file, stat_line, group) == 0)
        inout_room->left_bytes += group->file_bytes / 2;
}

/* Look at one group, and keep it in *inout_room if it has less left. */
static void
look_at(struct group *group, struct hm_room *inout_room)
{
    uint64_t high_bytes = read_value(group, group->files->limits[1]);
    struct hm_room room = { .limit_bytes = read_value(group, group->files->limits[0]) };
    uint64_t used_bytes;

    if (high_bytes < room.limit_bytes)
        room.limit_bytes = high_bytes;
    if (room.limit_bytes == NO_LIMIT_BYTES)
        return;
    used_bytes = read_value(group, group->files->usage);
    if (used_bytes == NO_LIMIT_BYTES)
        return;
    room.left_bytes = room.limit_bytes > used_bytes ? room.limit_bytes - used_bytes : 0;
    add_page_cache(group, &room);
    if (inout_room->limit_bytes == 0 || room.left_bytes < inout_room->left_bytes)
        *inout_room = room;
}

/* --- for the table ---------------------------------------------------------------------------- */

HM_LATER int
hm_os_room_under(const char *root, struct hm_room *out_room)
{
    struct group group = { .files = NULL, .root = root };
    struct hm_fmt out = hm_fmt_init(group.file, sizeof(group.file), -1);
    struct hm_room room = { .limit_bytes = 0 };
    char *slash = group.path;
    int rc;

    hm_fmt_str(&out, root);
    hm_fmt_str(&out, "/proc/self/cgroup");
    rc = hm_os_read_lines(group.file, membership_line, &group);
    if (rc != 0)
        return rc;
    /* A group that is not there is no end: in a container without a namespace of its own the path
     * is the host's, and only the last step, the mounted root, exists. */
    while (group.files != NULL && slash != NULL) {
        look_at(&group, &room);
        slash = strrchr(group.path, '/');
        if (slash != NULL)
            *slash = '\0';
    }
    *out_room = room;
    return 0;
}

int
hm_os_room(void *ctx, struct hm_room *out_room)
{
    (void)ctx;
    return hm_os_room_under("", out_room);
}

enum hm_filters
hm_os_filters(void *ctx)
{
    int mode = prctl(PR_GET_SECCOMP, 0, 0, 0, 0);

    (void)ctx;
    if (mode == 0 || (mode < 0 && errno == EINVAL))
        return HM_FILTERS_NONE;
    if (mode > 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0)
        return HM_FILTERS_FIXED;
    return HM_FILTERS_OPEN;
}
