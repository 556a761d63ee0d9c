/* SPDX-License-Identifier: MIT */
/* region.h - one huge page worth of address space and the state of its base pages.
 *
 * Problem     The page heap cuts runs of base pages out of huge pages, and must know what is in
 *             use, what was ever written, and how long a run still fits.
 * Idea        Two bitmaps per region, out of line: pages in use, and pages that may hold something
 *             other than zeros ("dirty"). Regions are reserved many at a time, as extents.
 * Locking     The heap's lock.
 * Invariants  used_pages is the number of bits set in the first bitmap, longest_free_pages its
 *             longest clear run; a page in use is dirty; in a closed region nothing is in use and
 *             nothing is dirty.
 */
#ifndef HM_HEAP_REGION_H
#define HM_HEAP_REGION_H

#include "backing/backing.h"
#include "base/bitmap.h"
#include "base/list.h"
#include "heap/meta.h"

/* Extents have structs for a power of two of regions: of so many sizes. */
#define HM_EXTENT_ROOMS 32

enum hm_region_state {
    HM_REGION_CLOSED, /* address space only: never opened, or discarded */
    HM_REGION_OPEN,   /* some pages are in use */
    HM_REGION_KEPT,   /* nothing in use, memory kept for the next request */
};

struct hm_region {
    struct hm_region *next; /* neighbours in the list that the state names (heap.h) */
    struct hm_region *prev;
    struct hm_region *seam_next; /* neighbours in the list of seams of this length (fit.h) */
    struct hm_region *seam_prev;
    struct hm_extent *extent; /* const */
    uintptr_t addr;           /* const */
    uint32_t used_pages;
    uint32_t longest_free_pages;
    uint32_t dirty_pages;
    uint32_t fork_gen;     /* forks of the heap when its pages were last known to be ours alone */
    uint32_t seam_pages;   /* free run across the end of this region and the begin of the next: 0
                            unless both are open and free there */
    uint8_t state;         /* enum hm_region_state */
    uint8_t backing;       /* enum hm_backing_kind; valid unless closed */
    bool is_refused;       /* the kernel would not collapse it since it was opened (heal.c) */
    bool is_shared;        /* with the child of a fork that is under way (shadow.c) */
    bool is_lazy;          /* kept, and the kernel may take its memory when it is short (purge.c) */
    uint8_t epoch;         /* of demand, in which it was kept */
    uint8_t giant_shift;   /* log2 of the hugetlb page that it is a part of; 0: of none (giant.c) */
    uintptr_t shadow_addr; /* its copy for the child of a fork that is under way; 0: none */
    struct hm_list heal_link; /* in heap->heal.candidates; valid unless closed */
    uint64_t bits[]; /* HM_BITMAP_WORDS(pages) words of pages in use, then as many of dirty pages */
};

/* Adjacent regions, reserved together. */
struct hm_extent {
    struct hm_extent *next;
    uintptr_t addr;                   /* const while placed */
    uintptr_t end_addr;               /* may lie a part of a region behind the last region */
    size_t region_count;              /* falls when the end is unmapped */
    size_t room_count;                /* regions that there are structs for; const */
    size_t stride_bytes;              /* distance of two region structs; const */
    char *regions;                    /* room_count structs, zero where never used; const */
    uint64_t *in_use;                 /* one bit per region: state is OPEN */
    uint64_t *hidden;                 /* one bit per stretch of regions (hide.h) */
    size_t tail_idx;                  /* regions from here on were never opened */
    uint8_t node;                     /* whose memory it has: index as in nodes.h */
    enum hm_backing_kind tail_advice; /* what the kernel was told of these; HM_BACKING_KINDS: not
                                         the same of all */
};

HM_INLINE struct hm_region *
hm_extent_region(const struct hm_extent *extent, size_t region_idx)
{
    return (struct hm_region *)(void *)(extent->regions + region_idx * extent->stride_bytes);
}

HM_INLINE size_t
hm_region_idx(const struct hm_region *region, const struct hm_geom *geom)
{
    return (region->addr - region->extent->addr) >> geom->region_shift;
}

HM_INLINE uint64_t *
hm_region_dirty_bits(struct hm_region *region, uint32_t page_count)
{
    return region->bits + HM_BITMAP_WORDS(page_count);
}

/* Structs for up to `room_count` regions, without address space. Returns the extent or NULL. */
struct hm_extent *hm_extent_create(struct hm_meta *meta, const struct hm_geom *geom,
                                   size_t room_count);

/* Make the whole regions of the range those of the extent, all closed. Its region structs and bits
 * must be zero: new, or cleaned up after use. */
void hm_extent_place(struct hm_extent *extent, const struct hm_geom *geom, uintptr_t addr,
                     size_t len_bytes);

/* The closed regions [from_idx, to_idx) as a range to be opened: the tail behind them is its
 * rest. */
struct hm_range hm_extent_range(const struct hm_extent *extent, const struct hm_geom *geom,
                                size_t from_idx, size_t to_idx);

/* The backing of the regions [from_idx, to_idx), none of them closed; HM_BACKING_KINDS: not all
 * have the same. */
enum hm_backing_kind hm_extent_backing(const struct hm_extent *extent, size_t from_idx,
                                       size_t to_idx);

/* Note what became of such a range. */
void hm_extent_note(struct hm_extent *extent, const struct hm_range *range, size_t to_idx,
                    bool is_opened);

/* Enter pages as in use, or as free. hm_region_take returns how many of them were dirty before. */
uint32_t hm_region_take(struct hm_region *region, uint32_t page_count, uint32_t page_idx,
                        uint32_t len_pages);
void hm_region_give(struct hm_region *region, uint32_t page_count, uint32_t page_idx,
                    uint32_t len_pages);

#endif
