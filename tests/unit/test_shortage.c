/* SPDX-License-Identifier: MIT */
/* test_shortage.c - why hugetlb pages are short, read from trees that look like /proc and /sys. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/os.h"

static char root[] = "/tmp/huma-shortage.XXXXXX";

static void
begin(void)
{
    cr_assert_neq(mkdtemp(root), NULL);
}

static void
end(void)
{
    char command[64];

    (void)snprintf(command, sizeof(command), "rm -rf %s", root);
    cr_assert_eq(system(command), 0);
}

static void
put(const char *path, const char *text)
{
    char command[512];

    (void)snprintf(command, sizeof(command), "f=%s%s; mkdir -p ${f%%/*} && printf '%s\\n' >$f",
                   root, path, text);
    cr_assert_eq(system(command), 0);
}

#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"

static void
put_pool(const char *free_count, const char *promised_count, const char *over_count)
{
    put(POOL "free_hugepages", free_count);
    put(POOL "resv_hugepages", promised_count);
    put(POOL "nr_overcommit_hugepages", over_count);
    put(POOL "surplus_hugepages", "1");
}

static struct hm_shortage
find(size_t len_bytes)
{
    struct hm_shortage shortage = { .cause = HM_SHORTAGE_UNKNOWN };

    cr_assert_eq(hm_os_shortage_under(root, len_bytes, 21, &shortage), 0);
    return shortage;
}

TestSuite(shortage, .init = begin, .fini = end);

Test(shortage, the_pool)
{
    put("/proc/self/cgroup", "0::/");
    put_pool("3", "1", "0");
    cr_expect_eq(find(4 * HM_MIB).cause, HM_SHORTAGE_UNKNOWN);
    cr_expect_eq(find(6 * HM_MIB).cause, HM_SHORTAGE_POOL);
    put_pool("3", "1", "2");
    cr_expect_eq(find(6 * HM_MIB).cause, HM_SHORTAGE_UNKNOWN, "a surplus page can be made");
    cr_expect_eq(find(8 * HM_MIB).cause, HM_SHORTAGE_POOL);
}

Test(shortage, surplus_pages_are_counted)
{
    uint64_t count = 77;

    cr_expect_eq(hm_os_surplus_under(root, 21, &count), -ENOENT);
    cr_expect_eq(count, 77);
    put_pool("3", "1", "2");
    cr_expect_eq(hm_os_surplus_under(root, 21, &count), 0);
    cr_expect_eq(count, 1);
    cr_expect_eq(hm_os_surplus_under(root, 30, &count), -ENOENT, "another size");
}

Test(shortage, who_counts_hugetlb_pages)
{
    bool is_charged = true;

    cr_expect_eq(hm_os_pool_charged_under(root, &is_charged), -ENOENT);
    cr_expect(is_charged);
    put("/proc/self/mountinfo", "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate");
    cr_expect_eq(hm_os_pool_charged_under(root, &is_charged), 0);
    cr_expect_not(is_charged);
    put("/proc/self/mountinfo",
        "29 23 0:26 / /a rw - cgroup2 cgroup2 rw,memory_hugetlb_accounting");
    cr_expect_eq(hm_os_pool_charged_under(root, &is_charged), 0);
    cr_expect(is_charged);
}

Test(shortage, version_2_alone_and_beside_version_1)
{
    static const char *const mounts[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };

    put_pool("100", "0", "0");
    for (unsigned i = 0; i < 2; i++) {
        char path[128];
        struct hm_shortage got;

        put("/proc/self/cgroup", "3:cpu:/x\\n0::/a/b");
        (void)snprintf(path, sizeof(path), "%s/a/hugetlb.2MB.max", mounts[i]);
        put(path, "8388608");
        (void)snprintf(path, sizeof(path), "%s/a/hugetlb.2MB.current", mounts[i]);
        put(path, "6291456");
        cr_expect_eq(find(2 * HM_MIB).cause, HM_SHORTAGE_UNKNOWN);
        got = find(4 * HM_MIB);
        cr_expect_eq(got.cause, HM_SHORTAGE_MAX);
        cr_expect_eq(got.limit_bytes, 8388608);
        cr_expect_neq(strstr(got.path, "/a/hugetlb.2MB.max"), NULL, "%s", got.path);
        (void)snprintf(path, sizeof(path), "%s/a/hugetlb.2MB.max", mounts[i]);
        put(path, "max");
        cr_expect_eq(find(4 * HM_MIB).cause, HM_SHORTAGE_UNKNOWN);
        (void)snprintf(path, sizeof(path), "%s/a/b/hugetlb.2MB.rsvd.max", mounts[i]);
        put(path, "2097152");
        (void)snprintf(path, sizeof(path), "%s/a/b/hugetlb.2MB.rsvd.current", mounts[i]);
        put(path, "0");
        cr_expect_eq(find(4 * HM_MIB).cause, HM_SHORTAGE_RSVD);
        (void)snprintf(path, sizeof(path), "%s/a/b/hugetlb.2MB.rsvd.max", mounts[i]);
        put(path, "max");
    }
}

Test(shortage, version_1)
{
    put_pool("100", "0", "0");
    put("/proc/self/cgroup", "5:hugetlb:/a/b\\n0::/");
    put("/sys/fs/cgroup/hugetlb/a/b/hugetlb.2MB.limit_in_bytes", "9223372036852678656");
    put("/sys/fs/cgroup/hugetlb/a/b/hugetlb.2MB.usage_in_bytes", "4194304");
    put("/sys/fs/cgroup/hugetlb/a/hugetlb.2MB.rsvd.limit_in_bytes", "4194304");
    put("/sys/fs/cgroup/hugetlb/a/hugetlb.2MB.rsvd.usage_in_bytes", "4194304");
    cr_expect_eq(find(2 * HM_MIB).cause, HM_SHORTAGE_RSVD);
    put("/sys/fs/cgroup/hugetlb/a/b/hugetlb.2MB.limit_in_bytes", "4194304");
    cr_expect_eq(find(2 * HM_MIB).cause, HM_SHORTAGE_MAX, "the group itself comes first");
}

Test(shortage, nothing_can_be_read)
{
    cr_expect_eq(find(2 * HM_MIB).cause, HM_SHORTAGE_UNKNOWN);
}
