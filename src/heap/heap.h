/* SPDX-License-Identifier: MIT */
/* heap.h - the state of one heap below its spans: memory from the kernel, cut into runs of pages.
 *
 * Problem     malloc has one heap, a private arena is another, and a test builds ten.
 * Idea        All state in one struct that every function of this folder is handed.
 * Locking     `lock` (rank 2) protects everything here except what is marked otherwise. Functions
 *             of this folder expect it to be held unless they say that they take it.
 */
#ifndef HM_HEAP_HEAP_H
#define HM_HEAP_HEAP_H

#include "backing/backing.h"
#include "base/list.h"
#include "heap/cutoff.h"
#include "heap/demand.h"
#include "heap/meta.h"
#include "heap/pagemap.h"
#include "heap/region.h"
#include "os/os_lock.h"

/* Late collapse, and healing after a fork (heal.c). */
struct hm_heal {
    uint32_t is_due;           /* there is something to do; atomic: read without the lock */
    struct hm_list candidates; /* regions on base pages that are nearly full, the oldest first */
    int64_t credit_ns;         /* time that may be spent; negative: overspent */
    uint64_t credited_ns;      /* until when time has been added to it */
    int64_t saved_ns;          /* what was added and not spent, for what a fork splits */
    uint64_t cost_ns;          /* what a collapse took lately */
    uint64_t retry_ns;         /* not before this time: the kernel refused */
    uint64_t retry_wait_ns;    /* what was added for that; 0: the last collapse succeeded */
    bool is_denied;            /* that was our own decision, and opening a huge page ends it */
    uint64_t next_ns;          /* nothing is done before this time; atomic, as is_due */
    uint64_t collapse_ns;      /* time spent in collapses */
    uint64_t collapse_count;   /* regions turned into huge pages */

    /* suspects (rejoin.c) */
    uint32_t fork_gen;        /* forks so far */
    bool has_suspects;        /* those with an older fork_gen may be split, or become so */
    bool has_shared;          /* this pass met some that have to wait */
    uint32_t shared_row;      /* so many in a row */
    struct hm_region *cursor; /* the region that was looked at last; NULL: none in this pass */
    uint64_t look_ns;         /* no look at another one before this time */
    uint64_t look_wait_ns;    /* what was added for that */
    uint64_t forked_ns;       /* the latest fork */
    uint64_t fork_wait_ns;    /* from a fork until the first look */
    uint64_t healing_ns;      /* time spent since the latest fork */
    uint64_t healed_ns;       /* when that was */
    uint64_t healed_count;    /* huge pages that were split, joined again */
};

/* A mapping that a large block has to itself, asked for in huge pages (mapped.c). */
struct hm_mapped {
    struct hm_mapped *next;
    struct hm_mapped *prev; /* NULL in the first */
    uintptr_t addr;
    size_t len_bytes;
    uint32_t fork_gen; /* as in struct hm_region */
};

struct hm_mapped_list {
    struct hm_mapped *first;
    struct hm_mapped *idle; /* without a mapping */
    struct hm_mapped *at;   /* where a pass is; NULL: before the first */
    size_t at_bytes;        /* so far in it */
    bool has_waiting;       /* some page of it waits */
};

/* Open regions of one node by their free runs (fit.c). */
struct hm_fits {
    struct hm_region **runs; /* [n]: those whose longest free run is n pages */
    uint64_t *runs_map;      /* bit n: runs[n] is not empty */
    struct hm_region *
        *seams;          /* [n]: those from which a free run of n pages crosses into the next */
    uint64_t *seams_map; /* bit n: seams[n] is not empty */
};

/* Runs of blocks that were freed last, for requests of just their length (stash.c). */
#define HM_STASH_RUNS 4

struct hm_stashed {
    uintptr_t addr;           /* 0: none is here, but one of this length was freed lately; atomic */
    size_t len_pages;         /* atomic */
    struct hm_region *region; /* where it starts */
};

struct hm_stash {
    struct hm_stashed runs[HM_STASH_RUNS];
    size_t pages;       /* in all of them */
    size_t limit_pages; /* so much may be kept here without another look; 0: look */
    unsigned next_idx;  /* which place another length takes next */
};

struct hm_heap {
    struct hm_lock lock;
    struct hm_pagemap *pagemap; /* const; see there who may do what */
    const struct hm_os *os;     /* const */
    struct hm_geom geom;        /* const */
    uint32_t region_pages;      /* base pages in a region; const */
    struct hm_meta meta;
    struct hm_backing backing;

    /* the page heap (pheap.c) */
    struct hm_extent *extents; /* all address space of this heap, oldest first */
    struct hm_extent *last_extent;
    struct hm_extent *idle_extents[HM_EXTENT_ROOMS]; /* [n]: without address space, with structs
                                                        for 2^n regions */
    size_t extent_regions;                           /* regions in all extents */
    struct hm_nodes *nodes; /* NULL: there is one, or they make no difference (nodes.c) */
    bool has_one_node;      /* that is known by now */
    struct hm_fits *fits;   /* [node] */
    struct hm_region *kept; /* empty regions with memory, the latest first */
    struct hm_region *kept_last;
    size_t kept_count;
    size_t giant_kept_count; /* empty regions on pages that hold several; in no list (giant.c) */
    size_t open_count;       /* regions with pages in use */
    size_t used_pages;       /* pages in runs, less those of the stash */
    struct hm_stash stash;

    /* purge (purge.c) */
    size_t dirty_free_pages;  /* free but resident pages in open regions on base pages */
    size_t huge_free_pages;   /* free pages in open regions on THP */
    size_t huge_idle_pages;   /* the least there were of them in this epoch of demand */
    unsigned idle_epochs;     /* so long there were too many */
    uint64_t sweep_next_ns;   /* no free base pages are searched for before */
    uint64_t split_next_ns;   /* no huge page is split before */
    size_t vain_pages;        /* of those: with fewer, none is worth being split */
    uint64_t split_count;     /* huge pages split, to give a part back */
    struct hm_demand demand;  /* of pages in runs */
    struct hm_region *sweep;  /* where the search for free base pages goes on; NULL: at the
                                   beginning */
    size_t hidden_count;      /* stretches of regions left out of core dumps (hide.c) */
    uint64_t discarded_bytes; /* all memory ever given back */
    uint64_t discard_calls;

    size_t base_regions; /* open regions on base pages */
    struct hm_heal heal;

    /* memory of the program's (supply.c) */
    uintptr_t supply_addr;
    size_t supply_bytes;  /* 0: the heap gets its memory from the kernel */
    size_t outside_pages; /* in use in its regions, and not its own */

    bool has_shadows;                 /* some region has a copy for a child (shadow.c) */
    enum hm_backing_kind shadow_kind; /* on what */

    /* blocks with a mapping of their own (direct.c) */
    size_t direct_bytes;
    size_t direct_kind_bytes[HM_BACKING_KINDS]; /* the same by backing asked for */
    size_t direct_count;
    struct hm_mapped_list mapped;

    struct hm_cutoff cutoff; /* which blocks are direct, whichever pages they lie on */

    /* spans (span/span.c) */
    struct hm_list spans;           /* every live span; those that a reset emptied come last */
    struct hm_span *idle_spans[65]; /* [n]: unused structs with n words of remote bits */
    size_t span_count;
};

/* Make an empty heap.
 *   pagemap  must outlive the heap. If it was not initialised, its tables become part of the heap's
 *            metadata, and no other heap may use it
 *   conf     must outlive the heap, and may still be filled in later
 * Returns 0 or -ENOMEM. */
int hm_heap_init(struct hm_heap *heap, struct hm_pagemap *pagemap, const struct hm_os *os,
                 const struct hm_conf *conf, const struct hm_geom *geom);

/* Give back everything that the heap has, blocks in use included, and forget it in the pagemap. No
 * thread uses the heap any more.
 *   has_memory  false: all that it has is its metadata */
void hm_heap_fini(struct hm_heap *heap, bool has_memory);

/* Reserve address space for an extent or a mapping, with what conf->has_guards wants around it.
 * Returns 0 or a negative errno.
 *   align_bytes  at least a region */
int hm_heap_reserve(const struct hm_heap *heap, size_t len_bytes, size_t align_bytes,
                    uintptr_t *out_addr);

/* Give back all of it. Returns 0 or a negative errno, and nothing changed. */
int hm_heap_unreserve(const struct hm_heap *heap, uintptr_t addr, size_t len_bytes);

/* The same for good: a mapping that is in nobody's books any more. */
void hm_heap_unmap(const struct hm_heap *heap, uintptr_t addr, size_t len_bytes);

/* Which region of an extent a page lies in, and which page of that it is. */
HM_INLINE size_t
hm_heap_region_of(const struct hm_heap *heap, size_t page_idx)
{
    return page_idx >> (heap->geom.region_shift - heap->geom.page_shift);
}

HM_INLINE size_t
hm_heap_page_of(const struct hm_heap *heap, size_t page_idx)
{
    return page_idx & (heap->region_pages - 1);
}

/* Bytes in use by runs and direct blocks: what the ramp goes by. */
HM_INLINE size_t
hm_heap_bytes(const struct hm_heap *heap)
{
    return hm_pages_to_bytes(&heap->geom, heap->used_pages) + heap->direct_bytes;
}

HM_INLINE bool
hm_heap_is_limited(const struct hm_heap *heap)
{
    return heap->backing.conf->limit_bytes != SIZE_MAX;
}

/* Nothing is accessible for so long before and behind each extent and each mapping. */
HM_INLINE size_t
hm_heap_guard_bytes(const struct hm_heap *heap)
{
    return heap->backing.conf->has_guards ? hm_region_bytes(&heap->geom) : 0;
}

/* How many more bytes may be in use. */
HM_INLINE size_t
hm_heap_left_bytes(const struct hm_heap *heap)
{
    size_t limit_bytes = heap->backing.conf->limit_bytes;
    size_t heap_bytes = hm_heap_bytes(heap);

    return limit_bytes > heap_bytes ? limit_bytes - heap_bytes : 0;
}

#endif
