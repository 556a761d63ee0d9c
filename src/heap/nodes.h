/* SPDX-License-Identifier: MIT */
/* nodes.h - the memory nodes that a heap has, each with page lists of its own.
 *
 * Locking     All functions: heap->lock is held by the caller.
 */
#ifndef HM_HEAP_NODES_H
#define HM_HEAP_NODES_H

#include "heap/heap.h"

/* More are served by the nearest of these. */
#define HM_NODES_MAX 32

/* What a heap knows of several nodes. Elsewhere a node is an index in `ids`. */
struct hm_nodes {
    unsigned count; /* with page lists of their own; 1: `policy` is for all memory */
    enum hm_policy policy;
    uint16_t ids[HM_NODES_MAX];  /* the kernel's numbers of these, rising */
    struct hm_node_mask mask;    /* all that the heap may use */
    uint8_t idx_of[HM_NODE_IDS]; /* [the kernel's number]: whose memory threads there get;
                                    HM_NODES_MAX: not known yet */
};

bool hm_nodes_may_ask(const struct hm_heap *heap);
unsigned hm_nodes_here_slow(struct hm_heap *heap);
void hm_nodes_place_slow(struct hm_heap *heap, uintptr_t addr, size_t len_bytes, unsigned node);

HM_INLINE unsigned
hm_nodes_count(const struct hm_heap *heap)
{
    return heap->nodes != NULL ? heap->nodes->count : 1;
}

/* The node whose memory the calling thread is to get. The first call finds out which there are. */
HM_INLINE unsigned
hm_nodes_here(struct hm_heap *heap)
{
    return HM_LIKELY(heap->has_one_node) ? 0 : hm_nodes_here_slow(heap);
}

/* Whether the memory of a region is what the calling thread is to get. */
HM_INLINE bool
hm_nodes_is_near(struct hm_heap *heap, const struct hm_region *region)
{
    return HM_LIKELY(heap->has_one_node) || region->extent->node == hm_nodes_here(heap);
}

/* Let a range, not touched yet, get memory of that node, or of others where it has none left. */
HM_INLINE void
hm_nodes_place(struct hm_heap *heap, uintptr_t addr, size_t len_bytes, unsigned node)
{
    if (HM_UNLIKELY(heap->nodes != NULL))
        hm_nodes_place_slow(heap, addr, len_bytes, node);
}

/* Whether it may be told, and asked again, where ranges lie. */
HM_INLINE bool
hm_nodes_may_place(const struct hm_heap *heap)
{
    return HM_UNLIKELY(heap->nodes != NULL) && hm_nodes_may_ask(heap);
}

#endif
