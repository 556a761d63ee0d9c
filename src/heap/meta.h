/* SPDX-License-Identifier: MIT */
/* meta.h - bump allocator for the library's own metadata.
 *
 * Problem     Metadata must lie apart from user memory, where an overflow cannot reach it, and on
 *             base pages: private hugetlb memory can vanish under a forked child.
 * Idea        Chunks from the kernel, cut from front to back. Nothing is ever given back: who frees
 *             a piece keeps it on a list of its own kind, so that stale references stay readable.
 * Locking     The heap's lock.
 */
#ifndef HM_HEAP_META_H
#define HM_HEAP_META_H

#include "os/os.h"

struct hm_meta {
    const struct hm_os *os;       /* const */
    struct hm_meta_chunk *chunks; /* all chunks, the latest first */
    char *next;                   /* first free byte of the current chunk */
    size_t left_bytes;            /* free bytes behind `next` */
    char *spare;                  /* a chunk mapped ahead: its first free byte; NULL: none */
    size_t spare_bytes;           /* free bytes there */
    size_t mapped_bytes;          /* all chunks together */
};

/* In every chunk: at its start, or behind the table that a mapping begins with. */
struct hm_meta_chunk {
    struct hm_meta_chunk *next;
    uintptr_t addr; /* of the mapping */
    size_t len_bytes;
};

void hm_meta_init(struct hm_meta *meta, const struct hm_os *os);

/* Give all of it back. What `meta` itself lies in may be part of that. */
void hm_meta_fini(struct hm_meta *meta);

/* `len_bytes` zero-filled bytes aligned to `align_bytes` (a power of two up to a cache line), or
 * NULL if the kernel has no memory. */
void *hm_meta_alloc(struct hm_meta *meta, size_t len_bytes, size_t align_bytes);

/* The same for a table of which little will be touched: it lies apart from what is. */
void *hm_meta_alloc_table(struct hm_meta *meta, size_t len_bytes);

/* Map what shall hold the next `len_bytes` now, as far as it is not there: later the kernel may
 * refuse. That it does so now is of no consequence. */
void hm_meta_prepare(struct hm_meta *meta, size_t len_bytes);

/* Have resident what hm_meta_alloc will give out next, as far as it is mapped. */
void hm_meta_touch(struct hm_meta *meta);

/* Add to *inout what of the metadata is resident, as the kernel says. Returns 0 or a negative
 * errno. */
int hm_meta_scan(const struct hm_meta *meta, struct hm_residency *inout);

#endif
