/* SPDX-License-Identifier: MIT */
/* bitmap.c - runs of bits (see bitmap.h).
 *
 * Problem     A region has 32 to 2048 pages; its bitmap is read on every run taken or given back.
 * Idea        A word at a time, and in it from edge to edge by counting zeros.
 */
#include "base/bitmap.h"

#include "base/check.h"

/* The part of a run that lies in the word of `idx`: its length in bits. */
static size_t
part_in_word(size_t idx, size_t left_count)
{
    size_t room_count = 64 - idx % 64;

    return left_count < room_count ? left_count : room_count;
}

void
hm_bitmap_set_run_slow(uint64_t *bits, size_t first_idx, size_t run_count)
{
    while (run_count > 0) {
        size_t part_count = part_in_word(first_idx, run_count);

        bits[first_idx / 64] |= hm_bitmap_mask(first_idx % 64, part_count);
        first_idx += part_count;
        run_count -= part_count;
    }
}

void
hm_bitmap_clear_run_slow(uint64_t *bits, size_t first_idx, size_t run_count)
{
    while (run_count > 0) {
        size_t part_count = part_in_word(first_idx, run_count);

        bits[first_idx / 64] &= ~hm_bitmap_mask(first_idx % 64, part_count);
        first_idx += part_count;
        run_count -= part_count;
    }
}

size_t
hm_bitmap_count_run_slow(const uint64_t *bits, size_t first_idx, size_t run_count)
{
    size_t set_count = 0;

    while (run_count > 0) {
        size_t part_count = part_in_word(first_idx, run_count);
        uint64_t word = bits[first_idx / 64] & hm_bitmap_mask(first_idx % 64, part_count);

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

/* The word of `idx`, a multiple of 64; what lies past the last bit counts as set. */
static uint64_t
word_at(const uint64_t *bits, size_t bit_count, size_t idx)
{
    uint64_t word = bits[idx / 64];

    return bit_count - idx < 64 ? word | UINT64_MAX << (bit_count - idx) : word;
}

/* A walk over the clear runs in the order of their bits. */
struct walk {
    size_t enough_count;  /* it ends at a run of at least so many */
    size_t longest_count; /* the longest so far, or what does not count yet */
    size_t longest_idx;   /* where it begins */
};

HM_INLINE bool
note_run(struct walk *walk, size_t end_idx, size_t run_count)
{
    if (run_count > walk->longest_count) {
        walk->longest_count = run_count;
        walk->longest_idx = end_idx - run_count;
    }
    return walk->longest_count >= walk->enough_count;
}

/* Clear runs that lie within the word of `idx` and reach neither end of it. What is left of it is
 * looked at only while it can hold a longer one. */
HM_INLINE bool
walk_word(struct walk *walk, uint64_t word, size_t idx)
{
    size_t at = (size_t)__builtin_ctzll(word);

    for (;;) {
        uint64_t rest = word >> at;

        at += (size_t)__builtin_ctzll(~rest);
        if (64 - at <= walk->longest_count)
            return false;
        rest = word >> at;
        if (rest == 0)
            return false;
        at += (size_t)__builtin_ctzll(rest);
        if (note_run(walk, idx + at, (size_t)__builtin_ctzll(rest)))
            return true;
    }
}

HM_INLINE void
walk_clear_runs(struct walk *walk, const uint64_t *bits, size_t bit_count)
{
    size_t open_count = 0; /* clear bits up to the word that is looked at */

    for (size_t idx = 0; idx < bit_count; idx += 64) {
        uint64_t word = word_at(bits, bit_count, idx);
        size_t lead_count;

        if (word == 0) {
            open_count += 64;
            continue;
        }
        lead_count = (size_t)__builtin_ctzll(word);
        if (note_run(walk, idx + lead_count, open_count + lead_count))
            return;
        if (~word != 0 && walk_word(walk, word, idx))
            return;
        open_count = (size_t)__builtin_clzll(word);
    }
    (void)note_run(walk, bit_count, open_count);
}

/* The first run long enough at a multiple of `align`, from edge to edge. */
static size_t
find_aligned(const uint64_t *bits, size_t bit_count, size_t run_count, size_t align)
{
    size_t idx = 0;

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
hm_bitmap_find_clear_run(const uint64_t *bits, size_t bit_count, size_t run_count, size_t align)
{
    struct walk walk = { .enough_count = run_count, .longest_count = run_count - 1 };

    hm_assert(run_count > 0);
    if (align > 1)
        return find_aligned(bits, bit_count, run_count, align);
    walk_clear_runs(&walk, bits, bit_count);
    return walk.longest_count >= run_count ? walk.longest_idx : HM_BITMAP_NONE;
}

size_t
hm_bitmap_longest_clear_run(const uint64_t *bits, size_t bit_count)
{
    struct walk walk = { .enough_count = SIZE_MAX };

    walk_clear_runs(&walk, bits, bit_count);
    return walk.longest_count;
}

size_t
hm_bitmap_leading_clear(const uint64_t *bits, size_t bit_count)
{
    return hm_bitmap_next_set(bits, bit_count, 0);
}

size_t
hm_bitmap_trailing_clear(const uint64_t *bits, size_t bit_count)
{
    size_t left_count = bit_count;

    while (left_count > 0) {
        size_t part_count = (left_count - 1) % 64 + 1;
        uint64_t word = bits[(left_count - 1) / 64] << (64 - part_count);

        if (word != 0)
            return bit_count - left_count + (size_t)__builtin_clzll(word);
        left_count -= part_count;
    }
    return bit_count;
}
