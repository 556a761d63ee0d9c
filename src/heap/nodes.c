/* SPDX-License-Identifier: MIT */
/* nodes.c - whose memory a thread gets (see nodes.h).
 *
 * Problem     By default the kernel takes memory from the node of the thread that touches a page
 *             first. An allocator spoils that: a thread on another node gets the page when it is
 *             reused.
 * Idea        Address space is reserved for one node at a time, with a policy that prefers its
 *             memory, and each node has page lists of its own. A thread is served by the node that
 *             it runs on when it needs pages; what it frees goes back to the lists of the node that
 *             it came from. A node without memory that the process may use is served by the nearest
 *             one. The policy prefers and does not insist: a node that is full is no reason to
 *             fail. Where all memory is to come from the same nodes, whoever allocates, there is
 *             one set of lists and one policy.
 *             With one node, or none that can be told, heap->nodes is NULL and nothing is asked.
 * State       heap->nodes, heap->has_one_node.
 * Locking     heap->lock is held by the caller.
 */
#include "heap/nodes.h"

#include <errno.h>

#include "base/fmt.h"
#include "heap/fit.h"

/* A filter of system calls may end the process for one that it does not know; without a policy the
 * kernel's own rule holds, which is not bad. */
bool
hm_nodes_may_ask(const struct hm_heap *heap)
{
    return heap->os->filters(heap->os->ctx) == HM_FILTERS_NONE;
}

/* For all memory of a heap. */
static const enum hm_policy policies[] = {
    [HM_NUMA_LOCAL] = HM_POLICY_PREFER, /* of the node */
    [HM_NUMA_INTERLEAVE] = HM_POLICY_INTERLEAVE,
    [HM_NUMA_OFF] = HM_POLICY_PREFER,
    [HM_NUMA_BIND] = HM_POLICY_BIND,
    [HM_NUMA_PREFER] = HM_POLICY_PREFER,
};

/* --- at the start ----------------------------------------------------------------------------- */

static void
say(unsigned id, unsigned near_id)
{
    char buf[160];
    struct hm_fmt out = hm_fmt_init(buf, sizeof(buf), 2);

    hm_fmt_str(&out, "huma: memory node ");
    hm_fmt_u64(&out, id);
    hm_fmt_str(&out, " has no memory for this process; threads there get that of node ");
    hm_fmt_u64(&out, near_id);
    hm_fmt_str(&out, "; see Mems_allowed_list in /proc/self/status\n");
    hm_fmt_flush(&out);
}

static unsigned
count_nodes(const struct hm_node_mask *mask)
{
    unsigned count = 0;

    for (unsigned i = 0; i < HM_NODE_IDS / 64; i++)
        count += (unsigned)__builtin_popcountll(mask->words[i]);
    return count;
}

static void
enter_nodes(struct hm_nodes *nodes, const struct hm_node_mask *mask)
{
    for (unsigned id = 0; id < HM_NODE_IDS; id++) {
        nodes->idx_of[id] = HM_NODES_MAX;
        if (nodes->count == HM_NODES_MAX || !hm_node_is_in(mask, id))
            continue;
        nodes->ids[nodes->count] = (uint16_t)id;
        nodes->idx_of[id] = (uint8_t)nodes->count++;
        hm_node_add(&nodes->mask, id);
    }
}

/* Nobody will ask again. */
static void
say_one(const struct hm_heap *heap, const struct hm_node_mask *mask)
{
    unsigned id = heap->os->here(heap->os->ctx);

    for (unsigned near_id = 0; near_id < HM_NODE_IDS; near_id++)
        if (hm_node_is_in(mask, near_id) && !hm_node_is_in(mask, id))
            say(id, near_id);
}

/* Lists for all nodes; those of the first are there. */
static bool
add_lists(struct hm_heap *heap, unsigned count)
{
    struct hm_fits *fits = hm_meta_alloc(&heap->meta, count * sizeof(*fits), sizeof(void *));

    if (fits == NULL)
        return false;
    fits[0] = heap->fits[0];
    for (unsigned i = 1; i < count; i++)
        if (hm_fit_init(heap, &fits[i]) != 0)
            return false;
    heap->fits = fits;
    return true;
}

/* NULL if there is one node, or it makes no difference. */
static struct hm_nodes *
make_nodes(struct hm_heap *heap)
{
    const struct hm_os *os = heap->os;
    const struct hm_conf *conf = heap->backing.conf;
    struct hm_node_mask mask;
    struct hm_nodes *nodes;

    if (conf->numa == HM_NUMA_OFF || !hm_nodes_may_ask(heap) || os->nodes(os->ctx, &mask) != 0)
        return NULL;
    if (count_nodes(&mask) < 2) {
        if (conf->verbose)
            say_one(heap, &mask);
        return NULL;
    }
    nodes = hm_meta_alloc(&heap->meta, sizeof(*nodes), sizeof(uint64_t));
    if (nodes == NULL)
        return NULL;
    if (count_nodes(&conf->nodes) > 0)
        mask = conf->nodes;
    enter_nodes(nodes, &mask);
    nodes->policy = policies[conf->numa];
    if (conf->numa != HM_NUMA_LOCAL)
        nodes->count = 1;
    return add_lists(heap, nodes->count) ? nodes : NULL;
}

/* --- threads ---------------------------------------------------------------------------------- */

/* Which node serves threads on one that has no lists; the first if that cannot be told. */
static HM_COLD unsigned
find_nearest(struct hm_heap *heap, unsigned id)
{
    const struct hm_os *os = heap->os;
    struct hm_nodes *nodes = heap->nodes;
    unsigned near_id = nodes->ids[0];
    int saved_errno = errno;

    if (hm_backing_may_open(&heap->backing))
        (void)os->nearest(os->ctx, id, &nodes->mask, &near_id);
    errno = saved_errno;
    nodes->idx_of[id] = nodes->idx_of[near_id];
    if (heap->backing.conf->verbose)
        say(id, nodes->ids[nodes->idx_of[id]]);
    return nodes->idx_of[id];
}

unsigned
hm_nodes_here_slow(struct hm_heap *heap)
{
    struct hm_nodes *nodes = heap->nodes;
    unsigned id;
    unsigned idx;

    if (nodes == NULL) {
        nodes = make_nodes(heap);
        heap->nodes = nodes;
        heap->has_one_node = nodes == NULL;
    }
    if (nodes == NULL || nodes->count == 1)
        return 0;
    id = heap->os->here(heap->os->ctx);
    if (id >= HM_NODE_IDS)
        return 0;
    idx = nodes->idx_of[id];
    return HM_LIKELY(idx < nodes->count) ? idx : find_nearest(heap, id);
}

HM_LATER void
hm_nodes_place_slow(struct hm_heap *heap, uintptr_t addr, size_t len_bytes, unsigned node)
{
    const struct hm_os *os = heap->os;
    const struct hm_nodes *nodes = heap->nodes;
    struct hm_node_mask one = { { 0 } };

    if (!hm_nodes_may_ask(heap))
        return;
    hm_node_add(&one, nodes->ids[node]);
    if (nodes->count == 1)
        (void)os->place(os->ctx, addr, len_bytes, nodes->policy, &nodes->mask);
    else
        (void)os->place(os->ctx, addr, len_bytes, HM_POLICY_PREFER, &one);
}
