/* SPDX-License-Identifier: MIT */
/* shared_names.c - where arenas are that processes find by a name or a path (see shareds.h).
 *
 * Problem     A name shall stand for one arena at most, on whatever pages; pages of a pool are only
 *             to be had in a hugetlbfs, which may be mounted anywhere, or nowhere.
 * Idea        A file huma.NAME in a hugetlbfs, or in /dev/shm. Files are made without a name and
 *             get it when the arena is complete. Two that get the same name in different places at
 *             the same moment see each other, and both give way.
 * Sources     open(2), O_TMPFILE; shm_overview(7); hugetlbfs in the kernel's
 *             Documentation/admin-guide/mm/hugetlbpage.rst.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "api/shareds.h"
#include "base/fmt.h"

#define SHM_FOLDER "/dev/shm"
#define PREFIX "/" HM_SHARED_FILE_PREFIX

/* Longer ones find no room behind a folder's. */
#define NAME_MAX_BYTES 200

bool
hm_shareds_is_name(const char *path)
{
    return strchr(path, '/') == NULL;
}

const char *
hm_shareds_path_fault(const char *path)
{
    size_t len_bytes = strlen(path);

    if (len_bytes == 0)
        return "the path is empty; pass a name, or a path with '/'";
    if (hm_shareds_is_name(path) && len_bytes > NAME_MAX_BYTES)
        return "the name is longer than 200 bytes; pass a shorter one";
    if (len_bytes >= HM_SHARED_PATH_BYTES)
        return "the path is longer than 511 bytes; pass one from a nearer folder";
    if (path[len_bytes - 1] == '/')
        return "the path is a folder's; add a file name";
    return NULL;
}

/* --- folders ---------------------------------------------------------------------------------- */

/* What is done with each folder that named arenas may be in, until it is done. */
struct search {
    const char *name;
    char *place; /* [HM_SHARED_PATH_BYTES] */
    unsigned page_shift;
    unsigned mode;
    int rc;
};

struct walk {
    bool (*visit)(void *arg, const char *folder);
    void *arg;
    bool is_done;
};

/* FOLDER/huma.NAME. Returns false if it is too long. */
static bool
join(char *place, const char *folder, const char *name)
{
    struct hm_fmt out = hm_fmt_init(place, HM_SHARED_PATH_BYTES, -1);

    if (strlen(folder) + sizeof(PREFIX) + strlen(name) > HM_SHARED_PATH_BYTES)
        return false;
    hm_fmt_str(&out, folder);
    hm_fmt_str(&out, PREFIX);
    hm_fmt_str(&out, name);
    return true;
}

/* The kernel writes \ooo for what would end a field. */
static void
unescape(char *text)
{
    char *to = text;

    for (; *text != '\0'; text++) {
        if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] != '\0'
            && text[3] != '\0') {
            *to++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
            text += 3;
        } else {
            *to++ = *text;
        }
    }
    *to = '\0';
}

/* A line of /proc/self/mounts: SOURCE FOLDER TYPE OPTIONS ... */
static void
visit_mount(void *arg, const char *line)
{
    struct walk *walk = arg;
    const char *begin = strchr(line, ' ');
    const char *end = begin != NULL ? strchr(begin + 1, ' ') : NULL;
    char folder[256];
    size_t len_bytes;

    if (walk->is_done || end == NULL || strncmp(end, " hugetlbfs ", 11) != 0)
        return;
    len_bytes = (size_t)(end - begin) - 1;
    if (len_bytes >= sizeof(folder))
        return;
    memcpy(folder, begin + 1, len_bytes);
    folder[len_bytes] = '\0';
    unescape(folder);
    walk->is_done = walk->visit(walk->arg, folder);
}

void
hm_shareds_visit_folders(unsigned kinds, bool (*visit)(void *arg, const char *folder), void *arg)
{
    struct walk walk = { .visit = visit, .arg = arg };

    if ((kinds & HM_FOLDERS_HUGETLBFS) != 0)
        (void)hm_os_read_lines("/proc/self/mounts", visit_mount, &walk);
    if ((kinds & HM_FOLDERS_SHM) != 0 && !walk.is_done)
        (void)visit(arg, SHM_FOLDER);
}

/* --- locate ----------------------------------------------------------------------------------- */

static bool
is_there(void *arg, const char *folder)
{
    struct search *search = arg;

    if (!join(search->place, folder, search->name) || !hm_os_shared_exists(search->place))
        return false;
    search->rc = 0;
    return true;
}

int
hm_shareds_locate(const char *path, char out_place[HM_SHARED_PATH_BYTES])
{
    struct search search = { .name = path, .place = out_place, .rc = -ENOENT };

    if (!hm_shareds_is_name(path)) {
        struct hm_fmt out = hm_fmt_init(out_place, HM_SHARED_PATH_BYTES, -1);

        hm_fmt_str(&out, path);
        return 0;
    }
    hm_shareds_visit_folders(HM_FOLDERS_ALL, is_there, &search);
    return search.rc;
}

/* --- make and publish ------------------------------------------------------------------------- */

/* Returns true if one was made, with the descriptor in rc. */
static bool
make_in(void *arg, const char *folder)
{
    struct search *search = arg;
    struct hm_os_shared_file file;
    int fd;

    if (!join(search->place, folder, search->name))
        return false;
    fd = hm_os_shared_create_in(folder, search->mode);
    if (fd < 0) {
        search->rc = fd;
        return false;
    }
    if (search->page_shift == 0
        || (hm_os_shared_stat(fd, &file) == 0
            && file.page_bytes == (uint64_t)1 << search->page_shift)) {
        search->rc = fd;
        return true;
    }
    hm_os_close(fd);
    return false;
}

/* In the folder of a path. */
static int
make_at(const char *path, unsigned mode, char *out_place)
{
    struct hm_fmt out = hm_fmt_init(out_place, HM_SHARED_PATH_BYTES, -1);
    char *slash;
    int fd;

    hm_fmt_str(&out, path);
    slash = strrchr(out_place, '/');
    *slash = '\0';
    fd = hm_os_shared_create_in(slash == out_place ? "/" : out_place, mode);
    *slash = '/';
    return fd;
}

int
hm_shareds_make_file(const char *path, unsigned page_shift, unsigned mode, char *out_place)
{
    struct search search = {
        .name = path, .place = out_place, .page_shift = page_shift, .mode = mode, .rc = -ENOENT
    };

    if (!hm_shareds_is_name(path))
        return make_at(path, mode, out_place);
    hm_shareds_visit_folders(page_shift != 0 ? HM_FOLDERS_HUGETLBFS : HM_FOLDERS_SHM, make_in,
                             &search);
    return search.rc;
}

/* Whether it is there in another place than search->place. */
static bool
is_elsewhere(void *arg, const char *folder)
{
    struct search *search = arg;
    char other[HM_SHARED_PATH_BYTES];

    if (!join(other, folder, search->name) || strcmp(other, search->place) == 0
        || !hm_os_shared_exists(other))
        return false;
    search->rc = -EEXIST;
    return true;
}

int
hm_shareds_publish(int fd, const char *path, const char *place)
{
    struct search search = { .name = path, .place = (char *)(uintptr_t)place };
    int rc = hm_os_shared_link(fd, place);

    if (rc != 0 || !hm_shareds_is_name(path))
        return rc;
    hm_shareds_visit_folders(HM_FOLDERS_ALL, is_elsewhere, &search);
    if (search.rc != 0)
        (void)unlink(place);
    return search.rc;
}
