/* SPDX-License-Identifier: MIT */
/* arenas_huma.c - huma's arenas and scopes as contenders, and what only they are asked. */
#include "arenas.h"
#include "huma.h"

#define MIB ((size_t)1 << 20)

static huma_arena *shareds[BENCH_LOADS];
static huma_arena *singles[BENCH_LOADS];
static struct huma_scope scopes[BENCH_LOADS];

/* Of the load that is run. */
static huma_arena *shared;
static huma_arena *single;
static struct huma_scope *scope;
static huma_mark scope_start;

static huma_arena *
create(const char *name, uint64_t flags, size_t initial_bytes, unsigned thread_count)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    huma_arena *arena;

    options.name = name;
    options.backing = "thp,4k";
    options.flags = flags;
    options.initial_bytes = initial_bytes;
    options.prefault_threads = thread_count;
    arena = huma_arena_create(&options);
    if (arena == NULL)
        bench_stop(1, "%s", huma_last_error());
    return arena;
}

/* --- contenders ------------------------------------------------------------------------------- */

BENCH_INLINE void *
shared_alloc(size_t size_bytes)
{
    return huma_arena_alloc(shared, size_bytes);
}

BENCH_INLINE void
shared_free(void *block)
{
    huma_arena_free(shared, block);
}

BENCH_INLINE void
shared_reset(void)
{
    (void)huma_arena_reset(shared);
}

static void
shared_singly(const struct bench_load *load)
{
    bench_free_singly(load, shared_alloc, shared_free);
}

static void
shared_at_once(const struct bench_load *load)
{
    bench_free_at_once(load, shared_alloc, shared_reset);
}

BENCH_INLINE void *
single_alloc(size_t size_bytes)
{
    return huma_arena_alloc(single, size_bytes);
}

BENCH_INLINE void
single_free(void *block)
{
    huma_arena_free(single, block);
}

BENCH_INLINE void
single_reset(void)
{
    (void)huma_arena_reset(single);
}

static void
single_singly(const struct bench_load *load)
{
    bench_free_singly(load, single_alloc, single_free);
}

static void
single_at_once(const struct bench_load *load)
{
    bench_free_at_once(load, single_alloc, single_reset);
}

BENCH_INLINE void *
scope_alloc(size_t size_bytes)
{
    return huma_scope_alloc(scope, size_bytes);
}

BENCH_INLINE void
scope_release(void)
{
    huma_scope_release(scope, scope_start);
}

static void
scope_at_once(const struct bench_load *load)
{
    bench_free_at_once(load, scope_alloc, scope_release);
}

static void
shared_turn(unsigned load_idx)
{
    shared = shareds[load_idx];
}

static void
single_turn(unsigned load_idx)
{
    single = singles[load_idx];
}

/* It is empty between turns. */
static void
scope_turn(unsigned load_idx)
{
    scope = &scopes[load_idx];
    scope_start = huma_scope_mark(scope);
}

unsigned
bench_arenas_huma(struct bench_contender *contenders, bool is_huge)
{
    uint64_t flags = is_huge ? HUMA_ARENA_HUGE_FIRST : 0;

    for (unsigned i = 0; i < BENCH_LOADS; i++) {
        shareds[i] = create("shared", flags, 0, 0);
        singles[i] = create("single", flags | HUMA_ARENA_SINGLE_THREADED, 0, 0);
        if (huma_scope_begin(&scopes[i], create("scope", flags, 0, 0)) != 0)
            bench_stop(1, "%s", huma_last_error());
    }
    contenders[0] = (struct bench_contender){ .name = "huma shared",
                                              .turn_to = shared_turn,
                                              .free_singly = shared_singly,
                                              .free_at_once = shared_at_once };
    contenders[1] = (struct bench_contender){ .name = "huma single",
                                              .turn_to = single_turn,
                                              .free_singly = single_singly,
                                              .free_at_once = single_at_once };
    contenders[2] = (struct bench_contender){ .name = "huma scope",
                                              .turn_to = scope_turn,
                                              .free_at_once = scope_at_once };
    for (unsigned i = 0; i < 3; i++)
        contenders[i].is_ours = contenders[i].is_there = true;
    return 3;
}

/* --- what only huma is asked ------------------------------------------------------------------ */

static double
now_us(clockid_t clock)
{
    return (double)bench_now_ns(clock) / 1e3;
}

void
bench_arenas_create(unsigned round_count)
{
    static const uint64_t kinds[] = { 0, HUMA_ARENA_SINGLE_THREADED };
    static double times_us[2][1000];

    for (unsigned i = 0; i < round_count; i++) {
        for (unsigned kind = 0; kind < 2; kind++) {
            double begin_us = now_us(CLOCK_MONOTONIC);

            huma_arena_destroy(create("short", kinds[kind], 0, 0));
            times_us[kind][i] = now_us(CLOCK_MONOTONIC) - begin_us;
        }
    }
    bench_say("arena\tcreate_and_destroy_us");
    bench_say("shared\t%.1f", bench_median(times_us[0], round_count));
    bench_say("single\t%.1f", bench_median(times_us[1], round_count));
}

void
bench_arenas_reset(unsigned round_count)
{
    enum { BLOCK_COUNT = 1000000, SIZES = 3 };
    static const size_t sizes_bytes[SIZES] = { 16, 64, 256 };
    static double times_us[SIZES][1000];
    huma_arena *arena = create("full", HUMA_ARENA_HUGE_FIRST, 0, 0);

    /* The first round is to warm up. */
    for (unsigned i = 0; i <= round_count; i++) {
        for (unsigned k = 0; k < SIZES; k++) {
            double begin_us;

            for (int n = 0; n < BLOCK_COUNT; n++)
                bench_touch(huma_arena_alloc(arena, sizes_bytes[k]), sizes_bytes[k]);
            begin_us = now_us(CLOCK_MONOTONIC);
            (void)huma_arena_reset(arena);
            times_us[k][i > 0 ? i - 1 : 0] = now_us(CLOCK_MONOTONIC) - begin_us;
        }
    }
    bench_say("block_bytes\tblocks\treset_us");
    for (unsigned k = 0; k < SIZES; k++)
        bench_say("%zu\t%d\t%.1f", sizes_bytes[k], BLOCK_COUNT,
                  bench_median(times_us[k], round_count));
    huma_arena_destroy(arena);
}

void
bench_arenas_prefault(unsigned round_count)
{
    enum { THREADS_MAX = 2 };
    static double times_us[THREADS_MAX][1000];
    double medians_us[THREADS_MAX];

    /* The first rounds are to warm up. */
    for (unsigned i = 0; i < round_count + 2; i++) {
        for (unsigned k = 0; k < THREADS_MAX; k++) {
            double begin_us = now_us(CLOCK_MONOTONIC);
            huma_arena *arena = create("ahead", HUMA_ARENA_HUGE_FIRST, 1024 * MIB, k + 1);

            times_us[k][i < 2 ? 0 : i - 2] = now_us(CLOCK_MONOTONIC) - begin_us;
            huma_arena_destroy(arena);
        }
    }
    for (unsigned k = 0; k < THREADS_MAX; k++)
        medians_us[k] = bench_median(times_us[k], round_count);
    bench_say("threads\ts_per_gib\tratio");
    for (unsigned k = 0; k < THREADS_MAX; k++)
        bench_say("%u\t%.4f\t%.2f", k + 1, medians_us[k] / 1e6, medians_us[k] / medians_us[0]);
}
