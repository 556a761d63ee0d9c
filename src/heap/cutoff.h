/* SPDX-License-Identifier: MIT */
/* cutoff.h - which blocks are direct: glibc's mmap threshold, and what moves it.
 *
 * Problem     Programs know glibc's mmap threshold: they move it by mallopt and by variables, watch
 *             hblks in mallinfo2, and are tuned to its growing by itself. huma does not map such
 *             blocks one by one, but the program must see the same rules.
 * Idea        Direct is a property of a block, whichever pages it lies on: what glibc would have
 *             mapped. It is decided once, when the block is allocated, from the bytes that glibc
 *             would have needed, header and alignment included; and it stays until the block is
 *             freed. With it goes the block's charge, the length of the mapping that glibc would
 *             have made.
 * State       struct hm_cutoff, one in each heap.
 * Locking     heap->lock is held by the caller of functions that change it. The others read single
 *             words, and may be called without.
 * Invariants  live_count and live_bytes are the number and the sum of the charges of live blocks.
 * Sources     glibc 2.36, observed; mallopt(3).
 */
#ifndef HM_HEAP_CUTOFF_H
#define HM_HEAP_CUTOFF_H

#include "base/units.h"

/* What a direct block counts for. */
struct hm_charge {
    size_t mapped_bytes; /* length of glibc's mapping; 0: the block is not direct */
    size_t slack_bytes;  /* part of it before an aligned block */
};

struct hm_cutoff {
    size_t mmap_threshold_bytes; /* needs from this size on are direct; atomic */
    size_t first_direct_bytes;   /* the smallest request of malloc that needs as much; SIZE_MAX:
                                    none does; atomic */
    size_t trim_threshold_bytes; /* what glibc leaves at the top of its heap */
    size_t keep_bytes;           /* free memory that is to be kept: the trim threshold once it was
                                    set, 0 before */
    int mmap_max;                /* at most so many direct blocks at a time; atomic */
    bool is_frozen;              /* a parameter was set: the thresholds do not move any more */
    size_t live_count;           /* direct blocks; atomic */
    size_t live_bytes;           /* their charges */
    size_t max_live_count;       /* the most there ever were of both */
    size_t max_live_bytes;
};

void hm_cutoff_init(struct hm_cutoff *out_cutoff);

/* Whether a block needs as much as the cutoff, and one more may be direct. */
bool hm_cutoff_is_direct_slow(const struct hm_cutoff *cutoff, size_t size_bytes,
                              size_t align_bytes);

/* Whether a block that is requested now would be direct. Of a sum of both sizes above PTRDIFF_MAX
 * it may say anything.
 *   align_bytes  power of two; 16 and less: that of malloc */
HM_INLINE bool
hm_cutoff_is_direct(const struct hm_cutoff *cutoff, size_t size_bytes, size_t align_bytes)
{
    if (align_bytes <= 16 && size_bytes < hm_load(&cutoff->first_direct_bytes))
        return false;
    return hm_cutoff_is_direct_slow(cutoff, size_bytes, align_bytes);
}

/* A block that is direct was allocated: count it. */
struct hm_charge hm_cutoff_add(struct hm_cutoff *cutoff, size_t size_bytes, size_t align_bytes,
                               size_t page_bytes);

/* A direct block was resized; moves no threshold. */
void hm_cutoff_resize(struct hm_cutoff *cutoff, struct hm_charge *charge, size_t size_bytes,
                      size_t page_bytes);

/* A direct block was freed: count it no more. If the thresholds may move, its size becomes the new
 * cutoff. */
void hm_cutoff_remove(struct hm_cutoff *cutoff, const struct hm_charge *charge);

/* What mallopt and glibc's variables set. Each freezes the thresholds, whatever the value. */
void hm_cutoff_set_mmap_threshold(struct hm_cutoff *cutoff, size_t threshold_bytes);
void hm_cutoff_set_trim_threshold(struct hm_cutoff *cutoff, size_t threshold_bytes);
void hm_cutoff_set_mmap_max(struct hm_cutoff *cutoff, int max_count);

/* A parameter was set that has no effect here but this: glibc's top_pad. */
void hm_cutoff_freeze(struct hm_cutoff *cutoff);

#endif
