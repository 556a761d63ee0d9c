/* SPDX-License-Identifier: MIT */
/* nodes.c - NUMA nodes, by libnuma (see nodes.h).
 *
 * Problem     People write nodes as numactl takes them, and the kernel takes masks.
 * Idea        libnuma knows which nodes this process may use. It could read the lists as well, but
 *             tells of what it does not accept on the program's standard error. Wherever a page
 *             lies is asked of move_pages(2), which moves nothing if it is not told where to.
 * Sources     numa(3), move_pages(2).
 */
#include "api/nodes.h"

#include <errno.h>
#include <limits.h>
#include <numa.h>
#include <numaif.h>
#include <string.h>

/* Pages asked for at a time. */
#define BATCH_PAGES 64

/* What stands before a list of nodes. */
static const struct {
    const char *text;
    enum hm_numa numa;
} policies[] = { { "preferred=", HM_NUMA_PREFER },
                 { "interleave=", HM_NUMA_INTERLEAVE },
                 { "", HM_NUMA_BIND } };

/* --- node strings ----------------------------------------------------------------------------- */

/* Returns the number at *inout_text and goes behind it; UINT_MAX: there is none, or no node has
 * it. */
static unsigned
take_number(const char **inout_text)
{
    const char *text = *inout_text;
    unsigned value = 0;

    for (; *text >= '0' && *text <= '9' && value < HM_NODE_IDS; text++)
        value = value * 10 + (unsigned)(*text - '0');
    if (text == *inout_text || value >= HM_NODE_IDS)
        return UINT_MAX;
    *inout_text = text;
    return value;
}

/* "0-1" and the like: those of them that this process may use must be all. */
static bool
take_range(const char **inout_text, struct hm_node_mask *inout_mask)
{
    unsigned first = take_number(inout_text);
    unsigned last = first;

    if (**inout_text == '-') {
        ++*inout_text;
        last = take_number(inout_text);
    }
    if (first == UINT_MAX || last == UINT_MAX || first > last)
        return false;
    for (; first <= last; first++) {
        if (!numa_bitmask_isbitset(numa_all_nodes_ptr, first))
            return false;
        hm_node_add(inout_mask, first);
    }
    return true;
}

static void
add_all(struct hm_node_mask *inout_mask)
{
    for (unsigned id = 0; id < HM_NODE_IDS; id++)
        if (numa_bitmask_isbitset(numa_all_nodes_ptr, id))
            hm_node_add(inout_mask, id);
}

/* Returns how many nodes the list names; 0: it is none, or has nodes that this process may not
 * use. */
static unsigned
parse_list(const char *text, struct hm_node_mask *out_mask)
{
    unsigned node_count = 0;

    *out_mask = (struct hm_node_mask){ { 0 } };
    if (strcmp(text, "all") == 0) {
        add_all(out_mask);
        text = "";
    } else if (!take_range(&text, out_mask)) {
        return 0;
    }
    while (*text == ',') {
        text++;
        if (!take_range(&text, out_mask))
            return 0;
    }
    for (unsigned i = 0; i < HM_NODE_IDS / 64; i++)
        node_count += (unsigned)__builtin_popcountll(out_mask->words[i]);
    return *text == '\0' ? node_count : 0;
}

int
hm_nodes_read(const char *text, struct hm_conf *inout_conf, const char **out_why)
{
    size_t i = 0;
    unsigned node_count;

    if (strcmp(text, "local") == 0) {
        inout_conf->numa = HM_NUMA_LOCAL;
        return 0;
    }
    if (numa_available() < 0) {
        *out_why
            = "nodes cannot be had: the kernel does not answer get_mempolicy, as in containers "
              "that forbid it; leave nodes NULL, or allow it";
        return -ENOSYS;
    }
    while (strncmp(text, policies[i].text, strlen(policies[i].text)) != 0)
        i++;
    node_count = parse_list(text + strlen(policies[i].text), &inout_conf->nodes);
    if (node_count == 0 || (policies[i].numa == HM_NUMA_PREFER && node_count != 1)) {
        *out_why = "the nodes are not accepted; \"0\", \"0-1,3\", \"preferred=1\", "
                   "\"interleave=0-1\", \"interleave=all\" and \"local\" are, with nodes of "
                   "Mems_allowed_list in /proc/self/status";
        return -EINVAL;
    }
    inout_conf->numa = policies[i].numa;
    return 0;
}

/* --- where memory lies ------------------------------------------------------------------------ */

unsigned
hm_nodes_number(void)
{
    return numa_available() < 0 ? 0 : (unsigned)numa_max_node() + 1;
}

int
hm_nodes_add_bytes(uintptr_t addr, size_t len_bytes, size_t page_bytes, uint64_t *bytes,
                   unsigned count)
{
    void *pages[BATCH_PAGES];
    int nodes[BATCH_PAGES];

    for (uintptr_t end_addr = addr + len_bytes; addr < end_addr;) {
        unsigned long page_count = 0;

        for (; page_count < BATCH_PAGES && addr < end_addr; addr += page_bytes)
            pages[page_count++] = (void *)addr;
        if (move_pages(0, page_count, pages, NULL, nodes, 0) != 0)
            return -errno;
        /* A page that is not in memory has a negative errno. */
        for (unsigned long i = 0; i < page_count; i++)
            if (nodes[i] >= 0 && (unsigned)nodes[i] < count)
                bytes[nodes[i]] += page_bytes;
    }
    return 0;
}
