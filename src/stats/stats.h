/* SPDX-License-Identifier: MIT */
/* stats.h - one consistent picture of a heap: what the program holds, and what the kernel gave for
 * it. */
#ifndef HM_STATS_STATS_H
#define HM_STATS_STATS_H

#include "cache/thread.h"
#include "heap/nodes.h"

struct hm_stats {
    const char *name;           /* of an arena; NULL: the heap of the process */
    uint64_t limit_bytes;       /* of heap_bytes; 0: none */
    uint64_t live_bytes;        /* in blocks that the program holds, rounded up to their slots */
    uint64_t heap_bytes;        /* in runs and mappings that serve them */
    uint64_t free_slot_bytes;   /* of that, in slots that were handed out before and are free */
    uint64_t fresh_slot_bytes;  /* and in slots that were never handed out yet */
    uint64_t rest_bytes;        /* and of spans that a reset left, which give way to others */
    uint64_t free_page_bytes;   /* free pages of regions in use that have memory */
    uint64_t span_count[5];     /* by enum hm_span_kind */
    uint64_t direct_count;      /* live direct blocks */
    uint64_t direct_bytes;      /* as glibc would have mapped them */
    uint64_t direct_page_bytes; /* pages that hold them */
    uint64_t max_direct_count;  /* the most there ever were */
    uint64_t max_direct_bytes;
    uint64_t cutoff_bytes; /* what needs as much, header included, becomes a direct block */

    struct hm_residency kernel;               /* of user memory, as the kernel says */
    bool has_kernel;                          /* false: the kernel could not be asked */
    uint64_t backing_bytes[HM_BACKING_KINDS]; /* address space opened on each backing */
    uint64_t pool_surplus_bytes;              /* in pools that serve the heap, of all processes */
    uint64_t reason_count[HM_REASON_COUNT];   /* fallbacks, in regions */

    unsigned node_count;               /* memory nodes with page lists of their own */
    uint16_t node_ids[HM_NODES_MAX];   /* the kernel's numbers */
    uint32_t node_pages[HM_NODES_MAX]; /* base pages in runs that are to lie there */
    uint32_t page_bytes;               /* of a base page */

    uint64_t reserved_bytes;  /* address space of regions and mappings */
    uint64_t kept_bytes;      /* empty regions kept for the next request, at most */
    uint64_t discarded_bytes; /* given back so far */
    uint64_t discard_calls;
    uint64_t collapse_count; /* regions turned into huge pages after their start */
    uint64_t healed_count;   /* huge pages that a fork had split, joined again */

    uint64_t meta_bytes;  /* our own metadata: resident, or mapped if the kernel was not asked */
    uint64_t cache_count; /* thread caches ever made */
    uint64_t orphan_count;
    uint64_t adopted_count;

    uint64_t foreign_free_count; /* blocks of glibc's malloc; left 0 by hm_stats_read */
    uint64_t foreign_realloc_count;
    uint64_t foreign_leak_count;
    uint64_t sized_free_mismatch_count; /* filled in by those who have it: api/process.c */
};

/* Takes heap->lock. Blocks that other threads take or free meanwhile may or may not be counted.
 *   ask_kernel  also read residency, which costs microseconds to milliseconds */
void hm_stats_read(struct hm_pool *pool, bool ask_kernel, struct hm_stats *out_stats);

/* Slots of each size class that no block occupies. Takes heap->lock. */
void hm_stats_read_free_slots(struct hm_pool *pool, uint64_t out_count[HM_CLASS_COUNT]);

#endif
