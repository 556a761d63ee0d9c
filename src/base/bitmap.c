/* SPDX-License-Identifier: MIT */
/* bitmap.c - runs of bits (see bitmap.h).
 *
 * Problem     A region has 32 to 2048 pages; its bitmap is read on every run taken or given back.
 * Idea        Walk from edge to edge (next set, next clear) by counting trailing zeros, a word at a
 *             time.
 */
#include "base/bitmap.h"

#include "base/check.h"

/* Ones for the bits [from, from + count) of one word; count is 1 .. 64. */
static uint64_t
mask_of(size_t from, size_t count)
{
    hm_assert(from + count <= 64);
    return (UINT64_MAX >> (64 - count)) << from;
}

/* The part of a run that lies in the word of `idx`: its length in bits. */
static size_t
part_in_word(size_t idx, size_t left_count)
{
    size_t room_count = 64 - idx % 64;

    return left_count < room_count ? left_count : room_count;
}

void
hm_bitmap_set_run(uint64_t *bits, size_t first_idx, size_t run_count)
{
    while (run_count > 0) {
        size_t part_count = part_in_word(first_idx, run_count);

        bits[first_idx / 64] |= mask_of(first_idx % 64, part_count);
        first_idx += part_count;
        run_count -= part_count;
    }
}

void
hm_bitmap_clear_run(uint64_t *bits, size_t first_idx, size_t run_count)
{
    while (run_count > 0) {
        size_t part_count = part_in_word(first_idx, run_count);

        bits[first_idx / 64] &= ~mask_of(first_idx % 64, part_count);
        first_idx += part_count;
        run_count -= part_count;
    }
}

size_t
hm_bitmap_count_run(const uint64_t *bits, size_t first_idx, size_t run_count)
{
    size_t set_count = 0;

    while (run_count > 0) {
        size_t part_count = part_in_word(first_idx, run_count);
        uint64_t word = bits[first_idx / 64] & mask_of(first_idx % 64, part_count);

        set_count += (size_t)__builtin_popcountll(word);
        first_idx += part_count;
        run_count -= part_count;
    }
    return set_count;
}

/* First index >= from_idx where (bit ^ flip) is set; flip is all ones to look for clear bits. */
static size_t
next_edge(const uint64_t *bits, size_t bit_count, size_t from_idx, uint64_t flip)
{
    size_t word_idx = from_idx / 64;
    uint64_t word;

    if (from_idx >= bit_count)
        return bit_count;
    word = (bits[word_idx] ^ flip) & (UINT64_MAX << (from_idx % 64));
    while (word == 0) {
        word_idx++;
        if (word_idx * 64 >= bit_count)
            return bit_count;
        word = bits[word_idx] ^ flip;
    }
    from_idx = word_idx * 64 + (size_t)__builtin_ctzll(word);
    return from_idx < bit_count ? from_idx : bit_count;
}

size_t
hm_bitmap_next_set(const uint64_t *bits, size_t bit_count, size_t from_idx)
{
    return next_edge(bits, bit_count, from_idx, 0);
}

size_t
hm_bitmap_next_clear(const uint64_t *bits, size_t bit_count, size_t from_idx)
{
    return next_edge(bits, bit_count, from_idx, UINT64_MAX);
}

size_t
hm_bitmap_find_clear_run(const uint64_t *bits, size_t bit_count, size_t run_count, size_t align)
{
    size_t idx = 0;

    hm_assert(run_count > 0);
    while (idx + run_count <= bit_count) {
        size_t start_idx = hm_bitmap_next_clear(bits, bit_count, idx);
        size_t end_idx;

        start_idx = (start_idx + align - 1) & ~(align - 1);
        if (start_idx + run_count > bit_count)
            break;
        end_idx = hm_bitmap_next_set(bits, bit_count, start_idx);
        if (end_idx - start_idx >= run_count)
            return start_idx;
        idx = end_idx > start_idx ? end_idx : start_idx + 1;
    }
    return HM_BITMAP_NONE;
}

size_t
hm_bitmap_longest_clear_run(const uint64_t *bits, size_t bit_count)
{
    size_t longest_count = 0;
    size_t idx = 0;

    while (idx + longest_count < bit_count) {
        size_t start_idx = hm_bitmap_next_clear(bits, bit_count, idx);

        idx = hm_bitmap_next_set(bits, bit_count, start_idx);
        if (idx - start_idx > longest_count)
            longest_count = idx - start_idx;
    }
    return longest_count;
}

size_t
hm_bitmap_leading_clear(const uint64_t *bits, size_t bit_count)
{
    return hm_bitmap_next_set(bits, bit_count, 0);
}

size_t
hm_bitmap_trailing_clear(const uint64_t *bits, size_t bit_count)
{
    size_t clear_count = 0;

    while (clear_count < bit_count) {
        size_t idx = bit_count - 1 - clear_count;

        if (idx % 64 == 63 && bits[idx / 64] == 0)
            clear_count += 64;
        else if ((bits[idx / 64] >> (idx % 64) & 1) == 0)
            clear_count++;
        else
            break;
    }
    return clear_count;
}
