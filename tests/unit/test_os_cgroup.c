/* SPDX-License-Identifier: MIT */
/* test_os_cgroup.c - the room in memory cgroups, read from trees of files as kernels show them. */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/os.h"

static char root[64];

static void
setup(void)
{
    snprintf(root, sizeof(root), "test_os_cgroup.%d.tmp", (int)getpid());
}

static void
teardown(void)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s", root);
    cr_assert_eq(system(command), 0);
}

TestSuite(os_cgroup, .init = setup, .fini = teardown);

/* A file of the tree, with the folders it needs. */
static void
put(const char *path, const char *content)
{
    char full[512];
    FILE *file;

    snprintf(full, sizeof(full), "%s%s", root, path);
    for (char *slash = strchr(full, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(full, 0755);
        *slash = '/';
    }
    file = fopen(full, "w");
    cr_assert_not_null(file, "%s", full);
    fputs(content, file);
    fclose(file);
}

#define V1 "/sys/fs/cgroup/memory"
#define V2 "/sys/fs/cgroup"

static void
put_v2(const char *group, const char *max, const char *high, const char *current)
{
    char path[256];

    snprintf(path, sizeof(path), V2 "%s/memory.max", group);
    put(path, max);
    snprintf(path, sizeof(path), V2 "%s/memory.high", group);
    put(path, high);
    snprintf(path, sizeof(path), V2 "%s/memory.current", group);
    put(path, current);
}

static void
expect_room(uint64_t limit_bytes, uint64_t left_bytes)
{
    struct hm_room room = { .limit_bytes = 77, .left_bytes = 77 };

    cr_expect_eq(hm_os_room_under(root, &room), 0);
    cr_expect_eq(room.limit_bytes, limit_bytes, "limit %lu", room.limit_bytes);
    cr_expect_eq(room.left_bytes, left_bytes, "left %lu", room.left_bytes);
}

Test(os_cgroup, no_proc_is_an_error)
{
    struct hm_room room = { .limit_bytes = 77, .left_bytes = 77 };

    cr_assert_eq(hm_os_room_under(root, &room), -ENOENT);
    cr_assert_eq(room.limit_bytes, 77, "outputs are left alone on failure");
    put("/x", "");
}

Test(os_cgroup, nothing_to_read_is_no_limit)
{
    put("/proc/self/cgroup", "");
    expect_room(0, 0);
    put("/proc/self/cgroup", "nonsense\n\n:::\n0:\n");
    expect_room(0, 0);
    put("/proc/self/cgroup", "0::/a\n");
    expect_room(0, 0);
}

Test(os_cgroup, version_2)
{
    put("/proc/self/cgroup", "0::/a/b\n");
    put_v2("/a/b", "1000000\n", "max\n", "400000\n");
    expect_room(1000000, 600000);
    put_v2("/a/b", "1000000\n", "800000\n", "400000\n");
    expect_room(800000, 400000);
    put_v2("/a/b", "max\n", "max\n", "400000\n");
    expect_room(0, 0);
    put_v2("/a/b", "1000000\n", "max\n", "1000001\n");
    expect_room(1000000, 0);
    put_v2("/a/b", "0\n", "max\n", "0\n");
    expect_room(0, 0);
}

/* The limit of any group above holds, too; the group with the least room counts. */
Test(os_cgroup, groups_above)
{
    put("/proc/self/cgroup", "0::/a/b/c\n");
    put_v2("/a/b/c", "1000000\n", "max\n", "100000\n");
    put_v2("/a/b", "max\n", "max\n", "900000\n");
    put_v2("/a", "2000000\n", "max\n", "1500000\n");
    expect_room(2000000, 500000);
    put_v2("/a/b/c", "1000000\n", "max\n", "600000\n");
    expect_room(1000000, 400000);
}

/* In a container the path may be that of the host; what is mounted is its own group. */
Test(os_cgroup, a_path_that_is_not_there)
{
    put("/proc/self/cgroup", "0::/host/path\n");
    put_v2("", "1000000\n", "max\n", "400000\n");
    expect_room(1000000, 600000);
    put("/proc/self/cgroup", "0::/\n");
    expect_room(1000000, 600000);
    put("/proc/self/cgroup", "0::/../../elsewhere\n");
    expect_room(1000000, 600000);
}

Test(os_cgroup, version_1_and_both)
{
    put("/proc/self/cgroup",
        "12:cpu,cpuacct:/x\n5:hugetlb:/y\n4:memory:/a\n1:name=systemd:/memory\n0::/z\n");
    put(V1 "/a/memory.limit_in_bytes", "1000000\n");
    put(V1 "/a/memory.usage_in_bytes", "300000\n");
    put(V1 "/memory.limit_in_bytes", "9223372036854771712\n");
    put(V1 "/memory.usage_in_bytes", "88888888\n");
    put_v2("/z", "500000\n", "max\n", "1\n");
    expect_room(1000000, 700000);
    put("/proc/self/cgroup", "0::/z\n4:cpu,memory:/a\n");
    expect_room(1000000, 700000);
    put("/proc/self/cgroup", "4:cpu,memory2,xmemory:/a\n");
    expect_room(0, 0);
}

/* Page cache can be had back, in part: without that, every group that reads files seems full. */
Test(os_cgroup, page_cache_is_half_free)
{
    put("/proc/self/cgroup", "0::/a\n");
    put_v2("/a", "1000000\n", "max\n", "990000\n");
    put(V2 "/a/memory.stat", "anon 1000\nfile 700000\nworkingset_inactive_file 5\n"
                             "inactive_file 400000\nactive_file 200000\ninactive_anon 7\n");
    expect_room(1000000, 10000 + 300000);
    put_v2("/a", "1000000\n", "max\n", "700000\n");
    expect_room(1000000, 300000);
    put("/proc/self/cgroup", "4:memory:/b\n");
    put(V1 "/b/memory.limit_in_bytes", "1000000\n");
    put(V1 "/b/memory.usage_in_bytes", "1000000\n");
    put(V1 "/b/memory.stat", "inactive_file 1\nactive_file 1\ntotal_inactive_file 100000\n"
                             "total_active_file 50000\ntotal_unevictable 0");
    expect_room(1000000, 75000);
}

/* Whatever does not fit is left alone. */
Test(os_cgroup, a_path_that_is_too_long)
{
    char text[1200];

    memset(text, 'x', sizeof(text));
    memcpy(text, "0::/", 4);
    text[sizeof(text) - 2] = '\n';
    text[sizeof(text) - 1] = '\0';
    put("/proc/self/cgroup", text);
    put_v2("", "1000000\n", "max\n", "400000\n");
    expect_room(0, 0);
}

Test(os_cgroup, the_real_one_can_be_asked)
{
    struct hm_room room = { .limit_bytes = 77, .left_bytes = 77 };

    if (hm_os_room(NULL, &room) != 0)
        cr_skip("/proc/self/cgroup cannot be read");
    cr_assert(room.limit_bytes != 77 || room.left_bytes != 77);
    cr_assert(room.limit_bytes != 0 || room.left_bytes == 0);
}

static bool
allow_all(void)
{
    struct sock_filter code[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
    struct sock_fprog program = { .len = 1, .filter = code };

    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

Test(os_cgroup, filters_are_told)
{
    if (prctl(PR_GET_SECCOMP) != 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 0)
        cr_skip("this process has filters already");
    cr_assert_eq(hm_os_filters(NULL), HM_FILTERS_NONE);
    if (!allow_all())
        cr_skip("only root may add a filter and keep its chance of privileges");
    cr_assert_eq(hm_os_filters(NULL), HM_FILTERS_FIXED);
    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    cr_assert_eq(hm_os_filters(NULL), HM_FILTERS_OPEN);
}
