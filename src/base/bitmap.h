/* SPDX-License-Identifier: MIT */
/* bitmap.h - runs of bits: the base pages of one region, the regions of one extent.
 *
 * Problem     The page heap looks for a run of free pages, takes it, gives it back, and wants to
 *             know the longest run left.
 * Idea        Bit set = in use. All searches work on whole words where they can.
 * Invariants  Bits past the last one are never read by the callers here: every function takes a
 *             length.
 */
#ifndef HM_BASE_BITMAP_H
#define HM_BASE_BITMAP_H

#include "base/compiler.h"

#define HM_BITMAP_WORDS(bit_count) (((bit_count) + 63) / 64)
#define HM_BITMAP_NONE SIZE_MAX

HM_INLINE void
hm_bitmap_set(uint64_t *bits, size_t idx)
{
    bits[idx / 64] |= (uint64_t)1 << idx % 64;
}

HM_INLINE void
hm_bitmap_clear(uint64_t *bits, size_t idx)
{
    bits[idx / 64] &= ~((uint64_t)1 << idx % 64);
}

/* Ones for the bits [from, from + count) of one word; count is 1 .. 64. */
HM_INLINE uint64_t
hm_bitmap_mask(size_t from, size_t count)
{
    return (UINT64_MAX >> (64 - count)) << from;
}

/* Whether a run lies within one word, as most do. */
HM_INLINE bool
hm_bitmap_in_word(size_t first_idx, size_t run_count)
{
    return run_count - 1 < 64 - first_idx % 64;
}

void hm_bitmap_set_run_slow(uint64_t *bits, size_t first_idx, size_t run_count);
void hm_bitmap_clear_run_slow(uint64_t *bits, size_t first_idx, size_t run_count);
size_t hm_bitmap_count_run_slow(const uint64_t *bits, size_t first_idx, size_t run_count);

HM_INLINE void
hm_bitmap_set_run(uint64_t *bits, size_t first_idx, size_t run_count)
{
    if (HM_LIKELY(hm_bitmap_in_word(first_idx, run_count)))
        bits[first_idx / 64] |= hm_bitmap_mask(first_idx % 64, run_count);
    else
        hm_bitmap_set_run_slow(bits, first_idx, run_count);
}

HM_INLINE void
hm_bitmap_clear_run(uint64_t *bits, size_t first_idx, size_t run_count)
{
    if (HM_LIKELY(hm_bitmap_in_word(first_idx, run_count)))
        bits[first_idx / 64] &= ~hm_bitmap_mask(first_idx % 64, run_count);
    else
        hm_bitmap_clear_run_slow(bits, first_idx, run_count);
}

/* Number of set bits among `run_count` bits from `first_idx` on: mostly none or all of them. */
HM_INLINE size_t
hm_bitmap_count_run(const uint64_t *bits, size_t first_idx, size_t run_count)
{
    if (HM_LIKELY(hm_bitmap_in_word(first_idx, run_count))) {
        uint64_t mask = hm_bitmap_mask(first_idx % 64, run_count);
        uint64_t word = bits[first_idx / 64] & mask;

        if (word == 0)
            return 0;
        if (word == mask)
            return run_count;
    }
    return hm_bitmap_count_run_slow(bits, first_idx, run_count);
}

/* First index >= from_idx whose bit is set (or clear); bit_count if there is none. */
size_t hm_bitmap_next_set(const uint64_t *bits, size_t bit_count, size_t from_idx);
size_t hm_bitmap_next_clear(const uint64_t *bits, size_t bit_count, size_t from_idx);

/* Lowest start of `run_count` clear bits at a multiple of `align` (a power of two), or
 * HM_BITMAP_NONE. */
size_t hm_bitmap_find_clear_run(const uint64_t *bits, size_t bit_count, size_t run_count,
                                size_t align);

/* Length of the longest run of clear bits. */
size_t hm_bitmap_longest_clear_run(const uint64_t *bits, size_t bit_count);

/* Number of clear bits in front of the first set one, and behind the last set one. */
size_t hm_bitmap_leading_clear(const uint64_t *bits, size_t bit_count);
size_t hm_bitmap_trailing_clear(const uint64_t *bits, size_t bit_count);

#endif
