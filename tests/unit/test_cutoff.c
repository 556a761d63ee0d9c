/* SPDX-License-Identifier: MIT */
/* test_cutoff.c - which blocks are direct, and what moves the thresholds. */
#include <criterion/criterion.h>
#include <limits.h>

#include "heap/cutoff.h"

enum { PAGE = 4096 };

static struct hm_cutoff cutoff;

static void
setup(void)
{
    hm_cutoff_init(&cutoff);
}

TestSuite(cutoff, .init = setup);

static bool
is_direct(size_t size_bytes)
{
    return hm_cutoff_is_direct(&cutoff, size_bytes, 16);
}

static struct hm_charge
add(size_t size_bytes, size_t align_bytes)
{
    return hm_cutoff_add(&cutoff, size_bytes, align_bytes, PAGE);
}

/* Allocate and free. */
static void
pass(size_t size_bytes)
{
    struct hm_charge charge = add(size_bytes, 16);

    hm_cutoff_remove(&cutoff, &charge);
}

Test(cutoff, at_the_start)
{
    cr_assert(!is_direct(0));
    cr_assert(!is_direct(131048));
    cr_assert(is_direct(131049));
    cr_assert_eq(cutoff.first_direct_bytes, 131049);
    cr_assert_eq(cutoff.trim_threshold_bytes, 128 * HM_KIB);
    cr_assert_eq(cutoff.keep_bytes, 0);
    cr_assert(!cutoff.is_frozen);
}

/* The first that is direct is where hm_cutoff_is_direct changes its answer. */
Test(cutoff, the_first_direct_request)
{
    for (size_t threshold = 0; threshold < 70000; threshold += threshold < 200 ? 1 : 7) {
        size_t first;

        hm_cutoff_set_mmap_threshold(&cutoff, threshold);
        first = cutoff.first_direct_bytes;
        cr_assert(is_direct(first), "threshold %zu, first %zu", threshold, first);
        cr_assert(first == 0 || !is_direct(first - 1), "threshold %zu, first %zu", threshold,
                  first);
    }
    hm_cutoff_set_mmap_threshold(&cutoff, SIZE_MAX);
    cr_assert_eq(cutoff.first_direct_bytes, SIZE_MAX);
    cr_assert(!is_direct(PTRDIFF_MAX / 2));
}

Test(cutoff, alignment_adds_to_the_need)
{
    static const struct {
        size_t align_bytes;
        size_t first_bytes;
    } rows[] = {
        { 1, 131049 },    { 8, 131049 },    { 16, 131049 },    { 32, 130969 },   { 64, 130937 },
        { 1024, 129977 }, { 4096, 126905 }, { 16384, 114617 }, { 65536, 65465 },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t align = rows[i].align_bytes;

        cr_expect(!hm_cutoff_is_direct(&cutoff, rows[i].first_bytes - 1, align), "%zu", align);
        cr_expect(hm_cutoff_is_direct(&cutoff, rows[i].first_bytes, align), "%zu", align);
    }
    cr_expect(hm_cutoff_is_direct(&cutoff, 0, 131072));
}

Test(cutoff, charges)
{
    static const struct {
        size_t size_bytes;
        size_t align_bytes;
        size_t mapped_bytes;
        size_t slack_bytes;
    } rows[] = {
        { 0, 16, 0x1000, 0 },
        { 4072, 16, 0x1000, 0 },
        { 4073, 16, 0x2000, 0 },
        { 131049, 16, 0x21000, 0 },
        { 131064, 16, 0x21000, 0 },
        { HM_MIB, 8, 0x101000, 0 },
        { HM_MIB, 32, 0x101000, 0x30 },
        { HM_MIB, 64, 0x101000, 0x30 },
        { HM_MIB, 4096, 0x102000, 0xff0 },
        { 100, 2 * HM_MIB, 0x201000, 2 * HM_MIB - 16 },
    };
    size_t sum_bytes = 0;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct hm_charge charge = add(rows[i].size_bytes, rows[i].align_bytes);

        sum_bytes += rows[i].mapped_bytes;
        cr_expect_eq(charge.mapped_bytes, rows[i].mapped_bytes, "row %zu: %zx", i,
                     charge.mapped_bytes);
        cr_expect_eq(charge.slack_bytes, rows[i].slack_bytes, "row %zu: %zx", i,
                     charge.slack_bytes);
        cr_expect_eq(cutoff.live_count, i + 1);
        cr_expect_eq(cutoff.live_bytes, sum_bytes);
    }
    cr_assert_eq(cutoff.max_live_count, sizeof(rows) / sizeof(rows[0]));
    cr_assert_eq(cutoff.max_live_bytes, sum_bytes);
}

Test(cutoff, charges_on_larger_pages)
{
    struct hm_charge charge = hm_cutoff_add(&cutoff, 200 * HM_KIB, 16, 64 * HM_KIB);

    cr_assert_eq(charge.mapped_bytes, 256 * HM_KIB);
}

Test(cutoff, a_free_moves_both_thresholds)
{
    pass(HM_MIB);
    cr_assert_eq(cutoff.mmap_threshold_bytes, 0x101000);
    cr_assert_eq(cutoff.trim_threshold_bytes, 0x202000);
    cr_assert_eq(cutoff.first_direct_bytes, 0x100fe9);
    cr_assert_eq(cutoff.keep_bytes, 0, "nobody set it");
    cr_assert_eq(cutoff.live_count, 0);
    cr_assert_eq(cutoff.live_bytes, 0);
    cr_assert_eq(cutoff.max_live_count, 1);
    cr_assert_eq(cutoff.max_live_bytes, 0x101000);
}

Test(cutoff, thresholds_never_fall)
{
    struct hm_charge small = add(200 * HM_KIB, 16);

    pass(HM_MIB);
    hm_cutoff_remove(&cutoff, &small);
    cr_assert_eq(cutoff.mmap_threshold_bytes, 0x101000);
}

Test(cutoff, thresholds_stop_below_32_mib)
{
    pass(32 * HM_MIB - 24); /* its chunk has 32 MiB, and a mark */
    cr_assert_eq(cutoff.mmap_threshold_bytes, 128 * HM_KIB);
    pass(33 * HM_MIB);
    cr_assert_eq(cutoff.mmap_threshold_bytes, 128 * HM_KIB);
    pass(32 * HM_MIB - PAGE - 24);
    cr_assert_eq(cutoff.mmap_threshold_bytes, 32 * HM_MIB - PAGE);
    pass(64 * HM_MIB);
    cr_assert_eq(cutoff.mmap_threshold_bytes, 32 * HM_MIB - PAGE);
}

Test(cutoff, a_resize_moves_no_threshold)
{
    struct hm_charge charge = add(200 * HM_KIB, 16);

    hm_cutoff_resize(&cutoff, &charge, 64 * HM_MIB, PAGE);
    cr_assert_eq(charge.mapped_bytes, 0x4001000);
    cr_assert_eq(cutoff.live_bytes, 0x4001000);
    hm_cutoff_resize(&cutoff, &charge, 100, PAGE);
    cr_assert_eq(charge.mapped_bytes, PAGE);
    cr_assert_eq(cutoff.live_bytes, PAGE);
    cr_assert_eq(cutoff.max_live_bytes, 0x4001000);
    cr_assert_eq(cutoff.mmap_threshold_bytes, 128 * HM_KIB);
    hm_cutoff_remove(&cutoff, &charge);
    cr_assert_eq(cutoff.mmap_threshold_bytes, 128 * HM_KIB, "too small by now");
}

/* An aligned block keeps its place in the mapping. */
Test(cutoff, a_resize_keeps_the_slack)
{
    struct hm_charge charge = add(HM_MIB, 4096);

    hm_cutoff_resize(&cutoff, &charge, 2 * HM_MIB, PAGE);
    cr_assert_eq(charge.slack_bytes, 0xff0);
    cr_assert_eq(charge.mapped_bytes, 0x202000);
    hm_cutoff_remove(&cutoff, &charge);
    cr_assert_eq(cutoff.mmap_threshold_bytes, 0x202000 - 0xff0);
}

Test(cutoff, whatever_is_set_freezes)
{
    for (int i = 0; i < 4; i++) {
        hm_cutoff_init(&cutoff);
        if (i == 0)
            hm_cutoff_set_mmap_threshold(&cutoff, 128 * HM_KIB);
        else if (i == 1)
            hm_cutoff_set_trim_threshold(&cutoff, 128 * HM_KIB);
        else if (i == 2)
            hm_cutoff_set_mmap_max(&cutoff, 65536);
        else
            hm_cutoff_freeze(&cutoff);
        pass(HM_MIB);
        cr_expect_eq(cutoff.mmap_threshold_bytes, 128 * HM_KIB, "setting %d", i);
        cr_expect_eq(cutoff.trim_threshold_bytes, 128 * HM_KIB, "setting %d", i);
    }
}

Test(cutoff, frozen_where_they_were)
{
    pass(HM_MIB);
    hm_cutoff_set_trim_threshold(&cutoff, 5);
    pass(2 * HM_MIB);
    cr_assert_eq(cutoff.mmap_threshold_bytes, 0x101000);
    cr_assert_eq(cutoff.trim_threshold_bytes, 5);
    cr_assert_eq(cutoff.keep_bytes, 5);
    hm_cutoff_set_mmap_threshold(&cutoff, 200 * HM_KIB);
    cr_assert(is_direct(HM_MIB));
}

Test(cutoff, at_most_so_many)
{
    struct hm_charge charges[3];

    hm_cutoff_set_mmap_max(&cutoff, 2);
    for (int i = 0; i < 2; i++) {
        cr_assert(is_direct(HM_MIB));
        charges[i] = add(HM_MIB, 16);
    }
    cr_assert(!is_direct(HM_MIB));
    hm_cutoff_remove(&cutoff, &charges[0]);
    cr_assert(is_direct(HM_MIB));
    charges[0] = add(HM_MIB, 16);
    hm_cutoff_set_mmap_max(&cutoff, 1);
    hm_cutoff_remove(&cutoff, &charges[0]);
    cr_assert(!is_direct(HM_MIB), "one is still alive");
    hm_cutoff_remove(&cutoff, &charges[1]);
    cr_assert(is_direct(HM_MIB));
}

Test(cutoff, none_at_all)
{
    static const int none[] = { 0, -1, INT_MIN };

    for (int i = 0; i < 3; i++) {
        hm_cutoff_set_mmap_max(&cutoff, none[i]);
        cr_expect(!is_direct(HM_GIB), "%d", none[i]);
    }
}

/* --- a long random life against the rules told once more, plainly ----------------------------- */

struct model {
    size_t threshold;
    int max;
    bool is_frozen;
    size_t count;
    size_t bytes;
};

enum { BLOCKS = 40, STEPS = 200000 };

static struct model model;
static size_t chunks[BLOCKS]; /* length of a block's mapping; 0: no block */
static struct hm_charge charges[BLOCKS];

static size_t
chunk_of(size_t size)
{
    size_t chunk = size + 8;

    while (chunk % 16 != 0)
        chunk++;
    return chunk < 32 ? 32 : chunk;
}

static size_t
mapping_of(size_t size)
{
    return (chunk_of(size) + 8 + PAGE - 1) / PAGE * PAGE;
}

static void
step_alloc(unsigned i, size_t size)
{
    bool expected
        = chunk_of(size) >= model.threshold && model.max > 0 && model.count < (size_t)model.max;

    cr_assert_eq(is_direct(size), expected, "size %zu", size);
    if (!expected)
        return;
    charges[i] = add(size, 16);
    chunks[i] = mapping_of(size);
    model.count++;
    model.bytes += chunks[i];
}

static void
step_free(unsigned i)
{
    hm_cutoff_remove(&cutoff, &charges[i]);
    if (!model.is_frozen && chunks[i] + 2 > model.threshold && chunks[i] + 2 <= 32 * HM_MIB)
        model.threshold = chunks[i];
    model.count--;
    model.bytes -= chunks[i];
    chunks[i] = 0;
}

static void
step_resize(unsigned i, size_t size)
{
    hm_cutoff_resize(&cutoff, &charges[i], size, PAGE);
    model.bytes += mapping_of(size) - chunks[i];
    chunks[i] = mapping_of(size);
}

static void
step_set(uint64_t random, size_t size)
{
    if (random % 2 == 0) {
        model.threshold = size;
        hm_cutoff_set_mmap_threshold(&cutoff, size);
    } else {
        model.max = (int)(random % 60) - 10;
        hm_cutoff_set_mmap_max(&cutoff, model.max);
    }
    model.is_frozen = true;
}

static uint64_t
draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

Test(cutoff, a_long_life)
{
    uint64_t state = 20;

    for (int step = 0; step < STEPS; step++) {
        uint64_t random = draw(&state);
        unsigned i = (unsigned)(random >> 8) % BLOCKS;
        size_t size = (size_t)(draw(&state) >> (64 - 12 - draw(&state) % 16));

        if (step % 2000 == 0) {
            hm_cutoff_init(&cutoff);
            model = (struct model){ .threshold = 128 * HM_KIB, .max = 65536 };
            for (unsigned k = 0; k < BLOCKS; k++)
                chunks[k] = 0;
        }
        if (step % 2000 > 1000 && random % 50 == 0)
            step_set(random >> 20, size);
        else if (chunks[i] == 0)
            step_alloc(i, size);
        else if (random % 3 == 0)
            step_resize(i, size);
        else
            step_free(i);
        cr_assert_eq(cutoff.mmap_threshold_bytes, model.threshold, "step %d", step);
        cr_assert_eq(cutoff.live_count, model.count, "step %d", step);
        cr_assert_eq(cutoff.live_bytes, model.bytes, "step %d", step);
    }
}
