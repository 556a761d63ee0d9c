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

struct hm_backing {
    const struct hm_os *os;                 /* const */
    const struct hm_conf *conf;             /* const; may be filled in after the first requests */
    struct hm_geom geom;                    /* const */
    enum hm_thp_mode thp_mode;              /* as found at start; const */
    uint64_t reason_count[HM_REASON_COUNT]; /* fallbacks, in regions */
};

void hm_backing_init(struct hm_backing *backing, const struct hm_os *os, const struct hm_conf *conf,
                     const struct hm_geom *geom);

/* Make `len_bytes` at `addr`, reserved address space or memory discarded before, ready for use.
 *
 *   heap_bytes  size of the heap with this request in it; decides on the ramp
 *   out_kind    [out] the backing asked for
 *
 * Returns 0, or -ENOMEM if the chain allows nothing that can serve (a failed step leaves the range
 * as address space without memory). Next on the allocation walk: hm_thp_obtain (backing/thp.c). */
int hm_backing_obtain(struct hm_backing *backing, uintptr_t addr, size_t len_bytes,
                      size_t heap_bytes, enum hm_backing_kind *out_kind);

/* Turn base pages that are in use into huge pages. Returns 0, or a negative errno and nothing
 * changed. */
int hm_backing_collapse(struct hm_backing *backing, uintptr_t addr, size_t len_bytes);

/* Whether huge pages would be asked for if the heap had `heap_bytes`. */
bool hm_backing_wants_huge(struct hm_backing *backing, size_t heap_bytes);

/* The recipes, one file each: 0, or a negative errno and the reason. Next on the allocation walk:
 * os->commit (os/os_map.c), os->advise (os/os_advise.c). */
int hm_thp_obtain(struct hm_backing *backing, uintptr_t addr, size_t len_bytes,
                  enum hm_reason *out_reason);
int hm_base4k_obtain(struct hm_backing *backing, uintptr_t addr, size_t len_bytes,
                     enum hm_reason *out_reason);

#endif
