/* SPDX-License-Identifier: MIT */
/* test_bitmap.c - runs of bits, against the same done one bit at a time. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "base/bitmap.h"

#define BITS 200
#define WORDS HM_BITMAP_WORDS(BITS)

static bool
bit_at(const uint64_t *bits, size_t idx)
{
    return (bits[idx / 64] >> (idx % 64) & 1) != 0;
}

/* Runs of random length, so that words full and empty both occur. */
static void
fill_random(uint64_t *bits, unsigned *seed)
{
    size_t idx = 0;

    for (size_t i = 0; i < WORDS; i++)
        bits[i] = 0;
    while (idx < BITS) {
        size_t run_count = 1 + (size_t)rand_r(seed) % ((size_t)1 << (rand_r(seed) % 8));

        if (run_count > BITS - idx)
            run_count = BITS - idx;
        if (rand_r(seed) % 2 != 0)
            hm_bitmap_set_run(bits, idx, run_count);
        idx += run_count;
    }
}

static size_t
naive_next(const uint64_t *bits, size_t from_idx, bool wanted)
{
    while (from_idx < BITS && bit_at(bits, from_idx) != wanted)
        from_idx++;
    return from_idx < BITS ? from_idx : BITS;
}

static size_t
naive_clear_length(const uint64_t *bits, size_t from_idx)
{
    size_t end_idx = from_idx;

    while (end_idx < BITS && !bit_at(bits, end_idx))
        end_idx++;
    return end_idx - from_idx;
}

Test(bitmap, set_and_clear_touch_nothing_else)
{
    for (size_t first = 0; first < BITS; first += 7) {
        for (size_t count = 1; first + count <= BITS; count += 13) {
            uint64_t ones[WORDS] = { 0 };
            uint64_t zeros[WORDS];

            for (size_t i = 0; i < WORDS; i++)
                zeros[i] = UINT64_MAX;
            hm_bitmap_set_run(ones, first, count);
            hm_bitmap_clear_run(zeros, first, count);
            for (size_t idx = 0; idx < WORDS * 64; idx++) {
                bool is_inside = idx >= first && idx < first + count;

                cr_assert_eq(bit_at(ones, idx), is_inside, "set %zu+%zu: %zu", first, count, idx);
                cr_assert_neq(bit_at(zeros, idx), is_inside, "clear %zu+%zu: %zu", first, count,
                              idx);
            }
        }
    }
}

Test(bitmap, runs_of_no_length_do_nothing)
{
    uint64_t bits[2] = { 5, 5 };

    hm_bitmap_set_run(bits, 64, 0);
    hm_bitmap_clear_run(bits, 0, 0);
    cr_assert_eq(bits[0], 5);
    cr_assert_eq(bits[1], 5);
    cr_assert_eq(hm_bitmap_count_run(bits, 0, 0), 0);
}

Test(bitmap, searches_agree_with_a_naive_loop)
{
    unsigned seed = 1;

    for (int round = 0; round < 300; round++) {
        uint64_t bits[WORDS];
        size_t longest_count = 0;
        size_t set_count = 0;

        fill_random(bits, &seed);
        for (size_t idx = 0; idx <= BITS; idx++) {
            cr_assert_eq(hm_bitmap_next_set(bits, BITS, idx), naive_next(bits, idx, true));
            cr_assert_eq(hm_bitmap_next_clear(bits, BITS, idx), naive_next(bits, idx, false));
            cr_assert_eq(hm_bitmap_count_run(bits, 0, idx), set_count);
            if (idx < BITS) {
                set_count += bit_at(bits, idx);
                if (naive_clear_length(bits, idx) > longest_count)
                    longest_count = naive_clear_length(bits, idx);
            }
        }
        cr_assert_eq(hm_bitmap_longest_clear_run(bits, BITS), longest_count);
        cr_assert_eq(hm_bitmap_leading_clear(bits, BITS), naive_clear_length(bits, 0));
    }
}

Test(bitmap, trailing_clear_counts_from_the_end)
{
    unsigned seed = 2;

    for (int round = 0; round < 300; round++) {
        uint64_t bits[WORDS];
        size_t expected = 0;

        fill_random(bits, &seed);
        while (expected < BITS && !bit_at(bits, BITS - 1 - expected))
            expected++;
        cr_assert_eq(hm_bitmap_trailing_clear(bits, BITS), expected);
    }
}

Test(bitmap, finds_the_lowest_aligned_run)
{
    unsigned seed = 3;

    for (int round = 0; round < 300; round++) {
        uint64_t bits[WORDS];
        size_t align = (size_t)1 << (rand_r(&seed) % 6);
        size_t want_count = 1 + (size_t)rand_r(&seed) % 90;
        size_t expected = HM_BITMAP_NONE;

        fill_random(bits, &seed);
        for (size_t idx = 0; idx < BITS && expected == HM_BITMAP_NONE; idx += align)
            if (naive_clear_length(bits, idx) >= want_count)
                expected = idx;
        cr_assert_eq(hm_bitmap_find_clear_run(bits, BITS, want_count, align), expected,
                     "round %d: %zu bits at multiples of %zu", round, want_count, align);
    }
}

Test(bitmap, full_and_empty_ones)
{
    uint64_t bits[2] = { 0, 0 };

    cr_assert_eq(hm_bitmap_longest_clear_run(bits, 128), 128);
    cr_assert_eq(hm_bitmap_leading_clear(bits, 128), 128);
    cr_assert_eq(hm_bitmap_trailing_clear(bits, 128), 128);
    cr_assert_eq(hm_bitmap_find_clear_run(bits, 128, 128, 1), 0);
    cr_assert_eq(hm_bitmap_find_clear_run(bits, 128, 129, 1), HM_BITMAP_NONE);
    hm_bitmap_set_run(bits, 0, 128);
    cr_assert_eq(hm_bitmap_longest_clear_run(bits, 128), 0);
    cr_assert_eq(hm_bitmap_next_clear(bits, 128, 0), 128);
    cr_assert_eq(hm_bitmap_find_clear_run(bits, 128, 1, 1), HM_BITMAP_NONE);
    cr_assert_eq(hm_bitmap_trailing_clear(bits, 128), 0);
}
