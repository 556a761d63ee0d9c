/* SPDX-License-Identifier: MIT */
/* class.h - size classes: which slot size serves a request.
 *
 * Problem     Few classes waste memory inside the slots, many waste it in spans that are never
 *             filled.
 * Idea        Steps of 16 bytes up to 128, then eight steps per doubling up to 32 KiB: at most one
 *             ninth of a slot is unused, except in the smallest. Class and size follow from each
 *             other by shifts.
 * Invariants  Every slot size is a multiple of 16, so that every slot is aligned for any C type.
 */
#ifndef HM_SPAN_CLASS_H
#define HM_SPAN_CLASS_H

#include "base/units.h"

#define HM_CLASS_COUNT 72
#define HM_SMALL_MAX_BYTES ((size_t)32 * HM_KIB)

#define HM_CLASS_LINEAR_COUNT 8 /* classes 16, 32, .. 128 */
#define HM_CLASS_STEP_SHIFT 3   /* log2 of the steps per doubling */

/* Largest number of slots in a span, in words of 64 bits. */
#define HM_SPAN_WORDS_MAX 64
#define HM_SPAN_SLOTS_MAX ((size_t)HM_SPAN_WORDS_MAX * 64)

HM_INLINE unsigned
hm_class_of(size_t size_bytes)
{
    size_t last = size_bytes - (size_bytes != 0);
    unsigned top_shift;

    if (last < HM_CLASS_LINEAR_COUNT * 16)
        return (unsigned)(last >> 4);
    top_shift = (unsigned)__builtin_clzll(last) ^ 63u;
    /* The shifted value has its top bit, 8, still: one octave is subtracted for it. */
    return ((top_shift - 7) << HM_CLASS_STEP_SHIFT)
           + (unsigned)(last >> (top_shift - HM_CLASS_STEP_SHIFT));
}

HM_INLINE size_t
hm_class_bytes(unsigned class_idx)
{
    unsigned octave = class_idx >> HM_CLASS_STEP_SHIFT;
    size_t step = class_idx & 7;

    return octave == 0 ? (step + 1) << 4 : (step + 9) << (octave + 3);
}

/* The smallest class that holds `size_bytes` and whose slots all lie at multiples of `align_bytes`
 * (a power of two, at most a base page); HM_CLASS_COUNT if there is none. */
unsigned hm_class_of_aligned(size_t size_bytes, size_t align_bytes);

/* Pages of a span of the class: the more spans of it a thread has, the longer the next. */
size_t hm_class_span_pages(const struct hm_geom *geom, unsigned class_idx, unsigned owned_count);

/* The fewest pages of a span of the class where `wish_pages` are wished for. */
size_t hm_class_min_pages(const struct hm_geom *geom, unsigned class_idx, size_t wish_pages);

/* Slots in a span of so many pages. */
uint32_t hm_class_slots(const struct hm_geom *geom, unsigned class_idx, size_t len_pages);

#endif
