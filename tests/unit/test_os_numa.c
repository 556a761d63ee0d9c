/* SPDX-License-Identifier: MIT */
/* test_os_numa.c - nodes as the kernel tells of them, and distances as sysfs does. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/os.h"

static char root[64];

static void
make_folder(const char *name)
{
    char path[256];

    (void)snprintf(path, sizeof(path), "%s%s", root, name);
    cr_assert_eq(mkdir(path, 0700), 0);
}

static void
write_file(const char *name, const char *text)
{
    char path[256];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s%s", root, name);
    file = fopen(path, "we");
    cr_assert_not_null(file);
    (void)fputs(text, file);
    (void)fclose(file);
}

static void
setup(void)
{
    (void)snprintf(root, sizeof(root), "/tmp/test_os_numa.XXXXXX");
    cr_assert_not_null(mkdtemp(root));
    make_folder("/sys");
    make_folder("/sys/devices");
    make_folder("/sys/devices/system");
    make_folder("/sys/devices/system/node");
    make_folder("/sys/devices/system/node/node8");
}

static void
teardown(void)
{
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -rf '%s'", root);
    cr_assert_eq(system(command), 0);
}

TestSuite(os_numa, .init = setup, .fini = teardown);

static struct hm_node_mask
mask_of(unsigned first, unsigned second)
{
    struct hm_node_mask mask = { { 0 } };

    hm_node_add(&mask, first);
    hm_node_add(&mask, second);
    return mask;
}

/* The columns of a distance file are the nodes that are online, which may be few of many. */
Test(os_numa, nearest_of_those_that_are_online)
{
    struct hm_node_mask mask = mask_of(1, 9);
    unsigned node = 77;

    write_file("/sys/devices/system/node/online", "0-1,8-9\n");
    write_file("/sys/devices/system/node/node8/distance", "40 21 10 20\n");
    cr_assert_eq(hm_os_nearest_under(root, 8, &mask, &node), 0);
    cr_assert_eq(node, 9);
    write_file("/sys/devices/system/node/node8/distance", "40 20 10 20\n");
    cr_assert_eq(hm_os_nearest_under(root, 8, &mask, &node), 0);
    cr_assert_eq(node, 1, "the first of equals");
    mask = mask_of(0, 5);
    cr_assert_eq(hm_os_nearest_under(root, 8, &mask, &node), 0);
    cr_assert_eq(node, 0);
}

Test(os_numa, what_cannot_be_told)
{
    static const char *const lists[] = { "", "1-0\n", "0-2000\n", "nonsense\n", "0,\n\n" };
    struct hm_node_mask mask = mask_of(1, 9);
    unsigned node = 77;

    cr_assert_eq(hm_os_nearest_under(root, 8, &mask, &node), -ENOENT);
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        write_file("/sys/devices/system/node/online", lists[i]);
        cr_assert_lt(hm_os_nearest_under(root, 8, &mask, &node), 0, "%s", lists[i]);
    }
    write_file("/sys/devices/system/node/online", "0-9\n");
    cr_assert_eq(hm_os_nearest_under(root, 8, &mask, &node), -ENOENT, "no distances");
    write_file("/sys/devices/system/node/node8/distance", "10\n");
    cr_assert_eq(hm_os_nearest_under(root, 8, &mask, &node), -ENOENT, "only that of node 0");
    write_file("/sys/devices/system/node/node8/distance", "far away\n");
    cr_assert_eq(hm_os_nearest_under(root, 8, &mask, &node), -ENOENT);
    cr_assert_eq(node, 77, "untouched");
}

/* On any machine there is a node with memory, and this thread runs on one. */
Test(os_numa, this_machine)
{
    struct hm_node_mask mask = { { 0 } };
    uintptr_t addr = 0;
    int rc = hm_os_nodes(NULL, &mask);
    unsigned node = 0;

    if (rc == -ENOSYS || rc == -EPERM)
        cr_skip_test("get_mempolicy is not to be had here");
    cr_assert_eq(rc, 0);
    while (node < HM_NODE_IDS && !hm_node_is_in(&mask, node))
        node++;
    cr_assert_lt(node, HM_NODE_IDS);
    cr_assert_lt(hm_os_here(NULL), HM_NODE_IDS);
    cr_assert_eq(hm_os_reserve(NULL, 4 * HM_MIB, 2 * HM_MIB, &addr), 0);
    mask = mask_of(node, node);
    cr_assert_eq(hm_os_place(NULL, addr, 4 * HM_MIB, HM_POLICY_PREFER, &mask), 0);
    cr_assert_eq(hm_os_place(NULL, addr, 4 * HM_MIB, HM_POLICY_INTERLEAVE, &mask), 0);
    cr_assert_eq(hm_os_commit(NULL, addr, 4 * HM_MIB), 0);
    *(char *)addr = 1;
    cr_assert_eq(hm_os_unmap(NULL, addr, 4 * HM_MIB), 0);
}
