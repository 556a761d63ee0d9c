/* SPDX-License-Identifier: MIT */
/* backing.h - opens reserved address space on the memory that the pick decided for.
 *
 * Problem     Four kinds of memory are obtained by four different recipes, and any of them can
 *             fail.
 * Idea        One table of obtain functions, one per kind. hm_backing_obtain() asks for the
 *             decision, runs the recipe, falls back along the chain, and counts the reason of every
 *             step down.
 * State       struct hm_backing: conf, machine and counters of one heap.
 * Locking     The heap's lock.
 */
#ifndef HM_BACKING_BACKING_H
#define HM_BACKING_BACKING_H

#include "backing/pick.h"

/* One size of hugetlb pages in the chain. */
struct hm_pool_state {
    uint64_t retry_ns;    /* not asked before */
    uint32_t wait_ns;     /* what was added for that; 0: the last request was served in full */
    uint32_t short_nodes; /* ... for these: bits by hm_range.node */
    uint8_t why;          /* enum hm_reason of the last refusal */
};

struct hm_backing {
    const struct hm_os *os;                 /* const */
    const struct hm_conf *conf;             /* const; may be filled in after the first requests */
    struct hm_geom geom;                    /* const */
    enum hm_thp_mode thp_mode;              /* UNKNOWN before huge pages are wanted; then const */
    enum hm_mthp_mode mthp_mode;            /* UNKNOWN until smaller ones are; then const */
    uint64_t reason_count[HM_REASON_COUNT]; /* fallbacks, in regions */
    uint8_t last_reason;                    /* enum hm_reason, of the latest fallback or failure */
    bool has_huge;   /* regions that are huge pages were asked for at least once */
    bool is_crowded; /* vm.max_map_count was met: mappings are scarce */

    /* the memory cgroup's room */
    enum hm_filters filters;  /* as found at start; OPEN: files are not opened any more */
    struct hm_room room;      /* as last read */
    uint64_t room_ns;         /* when that was; 0: never */
    size_t room_heap_bytes;   /* size of the heap at that time */
    uint64_t room_next_bytes; /* to be opened until it is read again */

    /* hugetlb.c */
    bool is_charge_known;
    bool is_pool_charged;                     /* memory cgroups count hugetlb pages */
    struct hm_pool_state pools[HM_CHAIN_MAX]; /* as in the chain */
};

/* Address space that is to be opened: [addr, addr + len_bytes). */
struct hm_range {
    uintptr_t addr;
    size_t len_bytes;
    size_t rest_bytes;            /* never opened address space behind it, for later; may be 0 */
    enum hm_backing_kind advised; /* what the kernel was told of all of it; HM_BACKING_KINDS: of
                                     some parts nothing, or something else */
    bool is_regions; /* whole closed regions: each may come from elsewhere than the next */
    bool is_placed;  /* the kernel was told of which nodes */
    uint8_t node;    /* of several, below 32: whose memory it is to have */
};

void hm_backing_init(struct hm_backing *backing, const struct hm_os *os, const struct hm_conf *conf,
                     const struct hm_geom *geom);

/* Make a range, reserved address space or memory discarded before, ready for use.
 *
 *   inout_range  `advised` follows what is told to the kernel, also on failure; if it is regions,
 *                len_bytes may fall to that of the first of them, which alone were made ready
 *   heap_bytes   size of the heap with this request in it; decides on the ramp
 *   out_kind     [out] the backing asked for
 *
 * Returns 0, or -ENOMEM if the chain allows nothing that can serve (a failed step leaves the range
 * as address space without memory). Next on the allocation walk: hm_thp_obtain (backing/thp.c). */
int hm_backing_obtain(struct hm_backing *backing, struct hm_range *inout_range, size_t heap_bytes,
                      enum hm_backing_kind *out_kind);

/* Turn base pages that are in use into huge pages. Returns 0, or a negative errno and nothing
 * changed. */
int hm_backing_collapse(struct hm_backing *backing, uintptr_t addr, size_t len_bytes);

/* The same where the kernel knows already that huge pages are wanted. */
int hm_backing_join(struct hm_backing *backing, uintptr_t addr, size_t len_bytes);

/* Whether files may be opened now. */
bool hm_backing_may_open(struct hm_backing *backing);

/* What the memory cgroup has left, as far as is known: read some time ago, less what the heap grew
 * since. Without a limit: more than there can be. */
uint64_t hm_backing_room_bytes(const struct hm_backing *backing, size_t heap_bytes);

/* Surplus pages in the pools of the chain, of all processes: a page that is in use is none, the
 * kernel only knows how many there are. 0 if that cannot be read. */
uint64_t hm_backing_surplus_bytes(struct hm_backing *backing);

/* Whether hugetlb pages count against a limit of the memory cgroup; its room is known then. */
bool hm_backing_is_pool_charged(struct hm_backing *backing, size_t heap_bytes);

/* Memory apart from the heap for a copy of whole regions, never from the pool.
 *   kind  HM_BACKING_THP or HM_BACKING_4K
 *
 * Returns 0, or -ENOMEM also if there might not be enough to write to all of it. */
int hm_backing_obtain_copy(struct hm_backing *backing, size_t len_bytes, enum hm_backing_kind kind,
                           uintptr_t *out_addr);

/* Whether a region would be a huge page if the heap had `heap_bytes`. */
bool hm_backing_wants_huge(struct hm_backing *backing, size_t heap_bytes);

/* Whether regions may be on the pool. */
HM_INLINE bool
hm_backing_has_pool(const struct hm_backing *backing)
{
    return hm_chain_has(&backing->conf->backing, HM_BACKING_HUGETLB);
}

/* Whether what is told to the kernel of parts of one block may differ: then none gets a mapping of
 * its own, which the kernel could not resize. */
HM_INLINE bool
hm_backing_is_mixed(const struct hm_backing *backing)
{
    return hm_backing_has_pool(backing)
           || (backing->geom.hpage_shift > backing->geom.region_shift
               && hm_chain_has(&backing->conf->backing, HM_BACKING_MTHP));
}

/* Count a fallback of so many bytes; the first of a kind may be told.
 *   limit  what set it, if a control group did; else NULL */
void hm_backing_count(struct hm_backing *backing, enum hm_reason reason, size_t len_bytes,
                      const struct hm_shortage *limit);

/* The recipes, one file each: 0, or a negative errno and the reason. Next on the allocation walk:
 * hm_backing_advise, hm_backing_commit (backing/backing.c). */
int hm_thp_obtain(struct hm_backing *backing, struct hm_range *inout_range,
                  enum hm_reason *out_reason);
int hm_mthp_obtain(struct hm_backing *backing, struct hm_range *inout_range,
                   enum hm_reason *out_reason);
int hm_base4k_obtain(struct hm_backing *backing, struct hm_range *inout_range,
                     enum hm_reason *out_reason);

/* A region on THP is to go back. Of a huge page that is larger the kernel frees no part before it
 * is split, as by marking a page of it as cold. */
void hm_thp_part(struct hm_backing *backing, uintptr_t addr);

/* What recipes are made of. Tell the kernel about a range and the rest behind it, unless it knows;
 * then the piece that is opened next joins the mapping of the piece before, and takes none of
 * vm.max_map_count. Next on the allocation walk: os->advise (os/os_advise.c). */
int hm_backing_advise(struct hm_backing *backing, struct hm_range *inout_range,
                      enum hm_backing_kind kind);

/* Open a range; where the kernel has no mapping left to part it from the rest, with the rest. Next
 * on the allocation walk: os->commit (os/os_map.c). */
int hm_backing_commit(struct hm_backing *backing, const struct hm_range *range);

#endif
