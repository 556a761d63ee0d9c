/* SPDX-License-Identifier: MIT */
/* os_numa.c - memory nodes: which there are, where a thread runs, where memory shall lie.
 *
 * Problem     A processor reaches the memory of its own node fastest. The library needs nothing
 *             beyond libc, and on a machine with one node it shall not notice.
 * Idea        Raw system calls. One of them tells which nodes have memory that this process may
 *             use, its cpuset included. Distances are read only for a node that is not among them.
 * Sources     set_mempolicy(2), get_mempolicy(2), mbind(2); Linux
 *             Documentation/ABI/stable/sysfs-devices-node.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fmt.h"
#include "os/os.h"
#include "os/os_linux.h"

int
hm_os_nodes(void *ctx, struct hm_node_mask *out_mask)
{
    struct hm_node_mask mask = { { 0 } };

    (void)ctx;
    if (syscall(SYS_get_mempolicy, NULL, mask.words, (unsigned long)HM_NODE_IDS, NULL,
                HM_MPOL_F_MEMS_ALLOWED)
        != 0)
        return -errno;
    *out_mask = mask;
    return 0;
}

unsigned
hm_os_here(void *ctx)
{
    unsigned cpu = 0;
    unsigned node = 0;

    (void)ctx;
    (void)getcpu(&cpu, &node);
    return node;
}

int
hm_os_place(void *ctx, uintptr_t addr, size_t len_bytes, enum hm_policy policy,
            const struct hm_node_mask *mask)
{
    static const int modes[] = { [HM_POLICY_PREFER] = HM_MPOL_PREFERRED,
                                 [HM_POLICY_INTERLEAVE] = HM_MPOL_INTERLEAVE,
                                 [HM_POLICY_BIND] = HM_MPOL_BIND };

    (void)ctx;
    /* The kernel takes one bit fewer than it is told. */
    return syscall(SYS_mbind, addr, len_bytes, modes[policy], mask->words,
                   (unsigned long)HM_NODE_IDS + 1, 0)
                   == 0
               ? 0
               : -errno;
}

/* --- distances -------------------------------------------------------------------------------- */

/* A number in *inout_text, which is moved behind it and one character more. */
static unsigned
take_number(const char **inout_text)
{
    const char *text = *inout_text;
    unsigned value = 0;

    for (; *text >= '0' && *text <= '9'; text++)
        if (value < HM_NODE_IDS)
            value = value * 10 + (unsigned)(*text - '0');
    *inout_text = *text != '\0' ? text + 1 : text;
    return value;
}

/* A list as in "0-3,8". Returns false if it is none. */
static bool
parse_nodes(const char *text, struct hm_node_mask *out_mask)
{
    while (*text >= '0' && *text <= '9') {
        unsigned first = take_number(&text);
        unsigned last = first;

        if (text[-1] == '-')
            last = take_number(&text);
        if (last >= HM_NODE_IDS || last < first)
            return false;
        while (first <= last)
            hm_node_add(out_mask, first++);
    }
    return *text == '\0';
}

/* Distances are listed for the nodes that are online, in their order. */
static int
pick_nearest(const char *distances, const struct hm_node_mask *online,
             const struct hm_node_mask *mask, unsigned *out_node)
{
    unsigned least = UINT32_MAX;

    for (unsigned node = 0; node < HM_NODE_IDS; node++) {
        unsigned distance;

        if (!hm_node_is_in(online, node))
            continue;
        if (*distances < '0' || *distances > '9')
            break;
        distance = take_number(&distances);
        if (hm_node_is_in(mask, node) && distance < least) {
            least = distance;
            *out_node = node;
        }
    }
    return least != UINT32_MAX ? 0 : -ENOENT;
}

HM_LATER int
hm_os_nearest_under(const char *root, unsigned node, const struct hm_node_mask *mask,
                    unsigned *out_node)
{
    struct hm_node_mask online = { { 0 } };
    char path[192];
    char text[512]; /* distances to a hundred nodes */
    struct hm_fmt out = hm_fmt_init(path, sizeof(path), -1);
    long rc;

    hm_fmt_str(&out, root);
    hm_fmt_str(&out, "/sys/devices/system/node/online");
    rc = hm_os_read_file(path, text, sizeof(text));
    if (rc < 0)
        return (int)rc;
    if (!parse_nodes(text, &online))
        return -EINVAL;
    out = hm_fmt_init(path, sizeof(path), -1);
    hm_fmt_str(&out, root);
    hm_fmt_str(&out, "/sys/devices/system/node/node");
    hm_fmt_u64(&out, node);
    hm_fmt_str(&out, "/distance");
    rc = hm_os_read_file(path, text, sizeof(text));
    return rc < 0 ? (int)rc : pick_nearest(text, &online, mask, out_node);
}

int
hm_os_nearest(void *ctx, unsigned node, const struct hm_node_mask *mask, unsigned *out_node)
{
    (void)ctx;
    return hm_os_nearest_under("", node, mask, out_node);
}
