/* SPDX-License-Identifier: MIT */
/* os_shortage.c - why pages of the hugetlb pool cannot be had, and what else is known of them.
 *
 * Problem     The kernel answers ENOMEM or EFAULT, whoever has set the limit.
 * Idea        Hold what was wanted against what is left under each limit: of the control groups of
 *             this process, version 1 or 2, from its own up to the root; then in the pool, with the
 *             surplus pages that may be made. Files are read only after a failure.
 * Sources     Linux Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/hugetlb.rst,
 *             mm/hugetlbpage.rst.
 */
#include <errno.h>
#include <string.h>

#include "base/fmt.h"
#include "os/os.h"

#define NO_LIMIT_BYTES ((uint64_t)1 << 62)

/* What one version of control groups calls its files. */
struct limit_files {
    enum hm_shortage_cause cause;
    const char *limit;
    const char *usage;
};

static const struct limit_files files_v1[] = {
    { HM_SHORTAGE_RSVD, "rsvd.limit_in_bytes", "rsvd.usage_in_bytes" },
    { HM_SHORTAGE_MAX, "limit_in_bytes", "usage_in_bytes" },
};

static const struct limit_files files_v2[] = {
    { HM_SHORTAGE_RSVD, "rsvd.max", "rsvd.current" },
    { HM_SHORTAGE_MAX, "max", "current" },
};

/* Where version 2 is mounted: alone, or beside version 1. */
static const char *const mounts_v2[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };

struct search {
    const char *root;
    size_t len_bytes;
    unsigned page_shift;
    char v1_path[224]; /* groups of the process, as in /proc/self/cgroup; "" if there is none */
    char v2_path[224];
    struct hm_shortage found;
};

struct file_path {
    char text[HM_SHORTAGE_PATH_BYTES];
};

static uint64_t
read_number(const char *path)
{
    char text[32];
    uint64_t value = 0;

    if (hm_os_read_file(path, text, sizeof(text)) <= 0 || text[0] < '0' || text[0] > '9')
        return NO_LIMIT_BYTES;
    for (const char *at = text; *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    return value < NO_LIMIT_BYTES ? value : NO_LIMIT_BYTES;
}

/* --- control groups --------------------------------------------------------------------------- */

/* A line such as "4:hugetlb:/a/b" or "0::/a/b". */
static void
membership_line(void *arg, const char *line)
{
    struct search *search = arg;
    const char *list = strchr(line, ':');
    const char *path = list != NULL ? strchr(list + 1, ':') : NULL;
    const char *name = strstr(line, "hugetlb");
    char *to = NULL;

    if (path == NULL)
        return;
    if (strncmp(line, "0::", 3) == 0)
        to = search->v2_path;
    else if (name != NULL && name < path)
        to = search->v1_path;
    if (to != NULL && strlen(path + 1) < sizeof(search->v1_path))
        memcpy(to, path + 1, strlen(path + 1) + 1);
}

static void
put_size_name(struct hm_fmt *out, unsigned page_shift)
{
    static const char *const units[] = { "KB", "MB", "GB" };
    unsigned unit = page_shift >= 30 ? 2 : (page_shift >= 20 ? 1 : 0);

    hm_fmt_u64(out, (uint64_t)1 << (page_shift - 10 * (unit + 1)));
    hm_fmt_str(out, units[unit]);
}

static void
name_file(const struct search *search, const char *mount, const char *group, const char *file,
          struct file_path *out_path)
{
    struct hm_fmt out = hm_fmt_init(out_path->text, sizeof(out_path->text), -1);

    hm_fmt_str(&out, search->root);
    hm_fmt_str(&out, mount);
    hm_fmt_str(&out, strcmp(group, "/") == 0 ? "" : group);
    hm_fmt_str(&out, "/hugetlb.");
    put_size_name(&out, search->page_shift);
    hm_fmt_str(&out, ".");
    hm_fmt_str(&out, file);
}

/* Whether one limit of one group is what binds. */
static bool
is_bound(struct search *search, const char *mount, const char *group,
         const struct limit_files *files)
{
    struct file_path path;
    uint64_t limit_bytes;
    uint64_t used_bytes;

    name_file(search, mount, group, files->limit, &path);
    limit_bytes = read_number(path.text);
    if (limit_bytes == NO_LIMIT_BYTES)
        return false;
    name_file(search, mount, group, files->usage, &path);
    used_bytes = read_number(path.text);
    if (used_bytes == NO_LIMIT_BYTES || used_bytes + search->len_bytes <= limit_bytes)
        return false;
    name_file(search, mount, group, files->limit, &path);
    memcpy(search->found.path, path.text, sizeof(path.text));
    search->found.cause = files->cause;
    search->found.limit_bytes = limit_bytes;
    return true;
}

/* Look at a group and all above it. Apart, like the next, for the buffers on the stack. */
static HM_NOINLINE bool
climb(struct search *search, const char *mount, const char *from_path,
      const struct limit_files *files)
{
    char group[sizeof(search->v1_path)];
    char *slash = group;

    if (from_path[0] == '\0')
        return false;
    memcpy(group, from_path, strlen(from_path) + 1);
    while (slash != NULL) {
        for (unsigned i = 0; i < 2; i++)
            if (is_bound(search, mount, group, &files[i]))
                return true;
        slash = strrchr(group, '/');
        if (slash != NULL)
            *slash = '\0';
    }
    return false;
}

/* --- the pool --------------------------------------------------------------------------------- */

static uint64_t
pool_number(const struct search *search, const char *file)
{
    char path[192];
    struct hm_fmt out = hm_fmt_init(path, sizeof(path), -1);

    hm_fmt_str(&out, search->root);
    hm_fmt_str(&out, "/sys/kernel/mm/hugepages/hugepages-");
    hm_fmt_u64(&out, ((uint64_t)1 << search->page_shift) / HM_KIB);
    hm_fmt_str(&out, "kB/");
    hm_fmt_str(&out, file);
    return read_number(path);
}

static HM_NOINLINE bool
is_pool_short(const struct search *search)
{
    uint64_t free_count = pool_number(search, "free_hugepages");
    uint64_t promised_count = pool_number(search, "resv_hugepages");
    uint64_t over_count = pool_number(search, "nr_overcommit_hugepages");
    uint64_t surplus_count = pool_number(search, "surplus_hugepages");
    uint64_t left_count;

    if (free_count == NO_LIMIT_BYTES || promised_count == NO_LIMIT_BYTES)
        return false;
    left_count = free_count > promised_count ? free_count - promised_count : 0;
    if (over_count != NO_LIMIT_BYTES && over_count > surplus_count)
        left_count += over_count - surplus_count;
    return left_count << search->page_shift < search->len_bytes;
}

/* --- the machine ------------------------------------------------------------------------------ */

static void
available_line(void *arg, const char *line)
{
    static const char key[] = "MemAvailable:";
    uint64_t *out_kib = arg;

    if (strncmp(line, key, sizeof(key) - 1) != 0)
        return;
    for (line += sizeof(key) - 1; *line == ' '; line++)
        ;
    for (*out_kib = 0; *line >= '0' && *line <= '9'; line++)
        *out_kib = *out_kib * 10 + (uint64_t)(*line - '0');
}

int
hm_os_available(void *ctx, uint64_t *out_bytes)
{
    uint64_t kib = UINT64_MAX;
    int rc = hm_os_read_lines("/proc/meminfo", available_line, &kib);

    (void)ctx;
    if (rc == 0 && kib == UINT64_MAX)
        rc = -ENOENT;
    if (rc == 0)
        *out_bytes = kib * HM_KIB;
    return rc;
}

/* --- for the table ---------------------------------------------------------------------------- */

/* Where the kernel has no control groups there is no limit of theirs. */
static HM_NOINLINE int
read_groups(struct search *search)
{
    struct file_path path;
    struct hm_fmt out = hm_fmt_init(path.text, sizeof(path.text), -1);
    int rc;

    hm_fmt_str(&out, search->root);
    hm_fmt_str(&out, "/proc/self/cgroup");
    rc = hm_os_read_lines(path.text, membership_line, search);
    return rc == -ENOENT ? 0 : rc;
}

int
hm_os_shortage_under(const char *root, size_t len_bytes, unsigned page_shift,
                     struct hm_shortage *out_shortage)
{
    struct search search = { .root = root, .len_bytes = len_bytes, .page_shift = page_shift };
    int rc = read_groups(&search);

    if (rc != 0)
        return rc;
    if (!climb(&search, "/sys/fs/cgroup/hugetlb", search.v1_path, files_v1)
        && !climb(&search, mounts_v2[0], search.v2_path, files_v2)
        && !climb(&search, mounts_v2[1], search.v2_path, files_v2) && is_pool_short(&search))
        search.found.cause = HM_SHORTAGE_POOL;
    *out_shortage = search.found;
    return 0;
}

int
hm_os_shortage(void *ctx, size_t len_bytes, unsigned page_shift, struct hm_shortage *out_shortage)
{
    (void)ctx;
    return hm_os_shortage_under("", len_bytes, page_shift, out_shortage);
}

/* Version 2 has an option of its mount, told in a line such as
 * "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate,memory_hugetlb_accounting". */
static void
mount_line(void *arg, const char *line)
{
    bool *is_charged = arg;
    const char *options = strstr(line, " - cgroup2 ");

    if (options != NULL && strstr(options, "memory_hugetlb_accounting") != NULL)
        *is_charged = true;
}

int
hm_os_pool_charged_under(const char *root, bool *out_is_charged)
{
    bool is_charged = false;
    char path[192];
    struct hm_fmt out = hm_fmt_init(path, sizeof(path), -1);
    int rc;

    hm_fmt_str(&out, root);
    hm_fmt_str(&out, "/proc/self/mountinfo");
    rc = hm_os_read_lines(path, mount_line, &is_charged);
    if (rc == 0)
        *out_is_charged = is_charged;
    return rc;
}

int
hm_os_pool_charged(void *ctx, bool *out_is_charged)
{
    (void)ctx;
    return hm_os_pool_charged_under("", out_is_charged);
}

int
hm_os_surplus_under(const char *root, unsigned page_shift, uint64_t *out_count)
{
    struct search search = { .root = root, .page_shift = page_shift };
    uint64_t count = pool_number(&search, "surplus_hugepages");

    if (count == NO_LIMIT_BYTES)
        return -ENOENT;
    *out_count = count;
    return 0;
}

int
hm_os_surplus(void *ctx, unsigned page_shift, uint64_t *out_count)
{
    (void)ctx;
    return hm_os_surplus_under("", page_shift, out_count);
}
