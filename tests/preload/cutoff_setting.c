/* SPDX-License-Identifier: MIT */
/* cutoff_setting.c - mallopt, glibc's variables and tunables; thresholds down to nothing. */
#include "cutoff.h"

#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* A parameter that no header has. */
enum { UNKNOWN = 9999, MIB_INT = 1 << 20 };

/* Resident memory of the process in MiB. A stream would allocate, and keep glibc from trimming. */
static size_t
resident_mib(void)
{
    char text[64] = "";
    unsigned long pages = 0;
    int fd = open("/proc/self/statm", O_RDONLY);
    expect(read(fd, text, sizeof(text) - 1) > 0, "no /proc/self/statm");
    (void)close(fd);
    expect(sscanf(text, "%*u %lu", &pages) == 1, "/proc/self/statm says %s", text);
    return pages * (size_t)sysconf(_SC_PAGESIZE) / MIB;
}

/* --- mallopt ---------------------------------------------------------------------------------- */

static void
returns(long unused_a, long unused_b)
{
    static const int params[]
        = { M_MXFAST,       M_TRIM_THRESHOLD, M_TOP_PAD,    M_MMAP_THRESHOLD, M_MMAP_MAX,
            M_CHECK_ACTION, M_PERTURB,        M_ARENA_TEST, M_ARENA_MAX,      M_NLBLKS,
            M_GRAIN,        M_KEEP,           UNKNOWN,      -UNKNOWN };
    static const int values[]
        = { 0, 1, 64, 160, 161, 131072, 33554432, 33554433, -1, 67108864, INT_MAX, INT_MIN };
    (void)unused_a;
    (void)unused_b;
    for (size_t p = 0; p < sizeof(params) / sizeof(params[0]); p++) {
        for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++)
            say("mallopt(%d, %d) is %d", params[p], values[v], mallopt(params[p], values[v]));
    }
}

/* Does the threshold still move by itself? */
static void
freezes(long param, long value)
{
    if (param != UNKNOWN)
        say("%d", mallopt((int)param, (int)value));
    free(malloc(MIB));
    say_first_direct();
}

/* The same after it has moved. */
static void
freezes_late(long param, long value)
{
    free(malloc(MIB));
    say("%d", mallopt((int)param, (int)value));
    free(malloc(2 * MIB));
    say_first_direct();
}

static void
threshold(long value, long unused)
{
    (void)unused;
    (void)mallopt(M_MMAP_THRESHOLD, (int)value);
    say_first_direct();
}

static void
set_in_thread(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, MIB_INT);
}

static void
threshold_of_all_threads(long unused_a, long unused_b)
{
    (void)unused_a;
    (void)unused_b;
    in_thread(set_in_thread);
    say_first_direct();
}

/* At most so many. */
static void
mmap_max(long max, long unused)
{
    void *volatile blocks[4];
    (void)unused;
    (void)mallopt(M_MMAP_MAX, (int)max);
    for (int i = 0; i < 4; i++) {
        blocks[i] = drained_malloc(MIB + (size_t)i * 4 * MIB);
        say_direct("one more");
    }
    free(blocks[0]);
    say_direct("the first is freed");
    blocks[0] = drained_malloc(20 * MIB);
    say_direct("a new one");
    for (int i = 0; i < 4; i++)
        free(blocks[i]);
    say_direct("all are freed");
}

static void
mmap_max_falls(long unused_a, long unused_b)
{
    void *blocks[3];
    (void)unused_a;
    (void)unused_b;
    for (int i = 0; i < 3; i++)
        blocks[i] = malloc(MIB);
    (void)mallopt(M_MMAP_MAX, 2);
    for (int i = 0; i < 3; i++) {
        say("%s", becomes_direct(2 * MIB + (size_t)i * MIB) ? "direct" : "not direct");
        free(blocks[i]);
    }
    say_direct("then");
    (void)mallopt(M_MMAP_MAX, 5);
    say("%s", becomes_direct(8 * MIB) ? "direct" : "not direct");
}

static void
mmap_max_counts_aligned(long unused_a, long unused_b)
{
    (void)unused_a;
    (void)unused_b;
    (void)mallopt(M_MMAP_MAX, 1);
    void *volatile aligned = memalign(2 * MIB, 100);
    say_direct("aligned");
    say("%s", becomes_direct(2 * MIB) ? "direct" : "not direct");
    free(aligned);
    say("%s", becomes_direct(6 * MIB) ? "direct" : "not direct");
}

static void
without_mmap(long size, long unused)
{
    (void)unused;
    (void)mallopt(M_MMAP_MAX, 0);
    char *block = malloc((size_t)size);
    say("%s", block != NULL ? "a block" : "NULL");
    if (block != NULL)
        block[size - 1] = 1;
    say_direct("then");
}

/* --- trim ------------------------------------------------------------------------------------- */

enum { TRIM_COUNT = 640, TRIM_BYTES = 100 << 10 };

/* 64 MiB in blocks of the heap, freed again: does free() give them back? */
static void
trim(long has_threshold, long value)
{
    static char *blocks[TRIM_COUNT];
    if (has_threshold)
        say("%d", mallopt(M_TRIM_THRESHOLD, (int)value));
    for (int i = 0; i < TRIM_COUNT; i++) {
        blocks[i] = malloc(TRIM_BYTES);
        memset(blocks[i], 1, TRIM_BYTES);
    }
    say("%s", resident_mib() >= 62 ? "resident" : "not resident");
    for (int i = TRIM_COUNT - 1; i >= 0; i--)
        free(blocks[i]);
    say("after free() %s", resident_mib() >= 56 ? "all is kept" : "most went back");
    if (has_threshold)
        say("malloc_trim is %d", malloc_trim(0));
    say("then %s", resident_mib() >= 24 ? "all is kept" : "most went back");
}

/* --- variables -------------------------------------------------------------------------------- */

/* Where the threshold is, whether it moves, and how many direct blocks there may be. */
static void
environment(long unused_a, long unused_b)
{
    (void)unused_a;
    (void)unused_b;
    say_first_direct();
    free(malloc(40 * MIB));
    free(malloc(30 * MIB));
    say_first_direct();
    for (int i = 0; i < 3; i++)
        say("%s", becomes_direct(64 * MIB + (size_t)i * MIB) ? "direct" : "not direct");
}

static void
environment_then_mallopt(long value, long unused)
{
    (void)unused;
    say_first_direct();
    (void)mallopt(M_MMAP_THRESHOLD, (int)value);
    say_first_direct();
}

#define THRESHOLD(value) "MALLOC_MMAP_THRESHOLD_=" value
#define MAX(value) "MALLOC_MMAP_MAX_=" value
#define TUNABLES(value) "GLIBC_TUNABLES=" value
#define TUNED "glibc.malloc.mmap_threshold"

const struct rule setting_rules[] = {
    { "mallopt-returns", NULL, returns, 0, 0 },
    { "frozen-by-nothing", NULL, freezes, UNKNOWN, 0 },
    { "frozen-by-M_MMAP_THRESHOLD", NULL, freezes, M_MMAP_THRESHOLD, 131072 },
    { "frozen-by-M_TRIM_THRESHOLD", NULL, freezes, M_TRIM_THRESHOLD, 131072 },
    { "frozen-by-M_TOP_PAD", NULL, freezes, M_TOP_PAD, 0 },
    { "frozen-by-M_MMAP_MAX", NULL, freezes, M_MMAP_MAX, 65536 },
    { "not-frozen-by-M_ARENA_MAX", NULL, freezes, M_ARENA_MAX, 1 },
    { "not-frozen-by-M_ARENA_TEST", NULL, freezes, M_ARENA_TEST, 1 },
    { "not-frozen-by-M_PERTURB", NULL, freezes, M_PERTURB, 0 },
    { "not-frozen-by-M_MXFAST", NULL, freezes, M_MXFAST, 64 },
    { "not-frozen-by-M_CHECK_ACTION", NULL, freezes, M_CHECK_ACTION, 1 },
    { "not-frozen-by-unknown", NULL, freezes, -UNKNOWN, 1 },
    { "frozen-late-by-M_TRIM_THRESHOLD", NULL, freezes_late, M_TRIM_THRESHOLD, 1 },
    { "frozen-late-by-M_MMAP_THRESHOLD", NULL, freezes_late, M_MMAP_THRESHOLD, 300000 },
    { "not-frozen-late-by-M_MXFAST", NULL, freezes_late, M_MXFAST, 0 },
    { "threshold-40000", NULL, threshold, 40000, 0 },
    { "threshold-131056", NULL, threshold, 131056, 0 },
    { "threshold-131057", NULL, threshold, 131057, 0 },
    { "threshold-131071", NULL, threshold, 131071, 0 },
    { "threshold-131073", NULL, threshold, 131073, 0 },
    { "threshold-131088", NULL, threshold, 131088, 0 },
    { "threshold-32M", NULL, threshold, 32 << 20, 0 },
    { "threshold-64M", NULL, threshold, 64 << 20, 0 },
    { "threshold-2G", NULL, threshold, INT_MAX, 0 },
    { "threshold-minus-1", NULL, threshold, -1, 0 },
    { "threshold-lowest-int", NULL, threshold, INT_MIN, 0 },
    { "threshold-of-all-threads", NULL, threshold_of_all_threads, 0, 0 },
    { "mmap_max-0", NULL, mmap_max, 0, 0 },
    { "mmap_max-1", NULL, mmap_max, 1, 0 },
    { "mmap_max-2", NULL, mmap_max, 2, 0 },
    { "mmap_max-3", NULL, mmap_max, 3, 0 },
    { "mmap_max-minus-1", NULL, mmap_max, -1, 0 },
    { "mmap_max-lowest-int", NULL, mmap_max, INT_MIN, 0 },
    { "mmap_max-falls", NULL, mmap_max_falls, 0, 0 },
    { "mmap_max-counts-aligned", NULL, mmap_max_counts_aligned, 0, 0 },
    { "without-mmap-64M", NULL, without_mmap, 64 << 20, 0 },
    { "without-mmap-1T", NULL, without_mmap, 1L << 50, 0 },
    { "trim-default", NULL, trim, 0, 0 },
    { "trim-never", NULL, trim, 1, -1 },
    { "trim-1G", NULL, trim, 1, 1 << 30 },
    { "env-threshold", THRESHOLD("200000"), environment, 0, 0 },
    { "env-threshold-default", THRESHOLD("131072"), environment, 0, 0 },
    { "env-threshold-hex", THRESHOLD("0x40000"), environment, 0, 0 },
    { "env-threshold-HEX", THRESHOLD("0X4A000"), environment, 0, 0 },
    { "env-threshold-octal", THRESHOLD("01000000"), environment, 0, 0 },
    { "env-threshold-blank", THRESHOLD(" 200000 "), environment, 0, 0 },
    { "env-threshold-plus", THRESHOLD("+200000"), environment, 0, 0 },
    { "env-threshold-text-behind", THRESHOLD("200000abc"), environment, 0, 0 },
    { "env-threshold-minus-1", THRESHOLD("-1"), environment, 0, 0 },
    { "env-threshold-negative", THRESHOLD("-200000"), environment, 0, 0 },
    { "env-threshold-overflow", THRESHOLD("99999999999999999999999"), environment, 0, 0 },
    { "env-threshold-largest", THRESHOLD("18446744073709551615"), environment, 0, 0 },
    { "env-threshold-wrong-name", "MALLOC_MMAP_THRESHOLD=200000", environment, 0, 0 },
    { "env-trim", "MALLOC_TRIM_THRESHOLD_=131072", environment, 0, 0 },
    { "env-trim-empty", "MALLOC_TRIM_THRESHOLD_=", environment, 0, 0 },
    { "env-top-pad", "MALLOC_TOP_PAD_=0", environment, 0, 0 },
    { "env-top-pad-text", "MALLOC_TOP_PAD_=abc", environment, 0, 0 },
    { "env-max-0", MAX("0"), environment, 0, 0 },
    { "env-max-1", MAX("1"), environment, 0, 0 },
    { "env-max-2", MAX("2"), environment, 0, 0 },
    { "env-max-empty", MAX(""), environment, 0, 0 },
    { "env-max-default", MAX("65536"), environment, 0, 0 },
    { "env-max-largest", MAX("2147483647"), environment, 0, 0 },
    { "env-max-too-large", MAX("2147483648"), environment, 0, 0 },
    { "env-max-wraps", MAX("4294967297"), environment, 0, 0 },
    { "env-max-minus-1", MAX("-1"), environment, 0, 0 },
    { "env-max-negative", MAX("-3000000000"), environment, 0, 0 },
    { "env-arena-max", "MALLOC_ARENA_MAX=1", environment, 0, 0 },
    { "env-arena-test", "MALLOC_ARENA_TEST=1", environment, 0, 0 },
    { "env-check", "MALLOC_CHECK_=3", environment, 0, 0 },
    { "env-perturb", "MALLOC_PERTURB_=5", environment, 0, 0 },
    { "env-then-mallopt", THRESHOLD("200000"), environment_then_mallopt, 1 << 20, 0 },
    { "env-two", THRESHOLD("200000") "|" MAX("1"), environment, 0, 0 },
    { "tunable-threshold", TUNABLES(TUNED "=300000"), environment, 0, 0 },
    { "tunable-threshold-hex", TUNABLES(TUNED "=0x40000"), environment, 0, 0 },
    { "tunable-threshold-minus-1", TUNABLES(TUNED "=-1"), environment, 0, 0 },
    { "tunable-trim", TUNABLES("glibc.malloc.trim_threshold=1"), environment, 0, 0 },
    { "tunable-trim-empty", TUNABLES("glibc.malloc.trim_threshold="), environment, 0, 0 },
    { "tunable-top-pad", TUNABLES("glibc.malloc.top_pad=0"), environment, 0, 0 },
    { "tunable-max", TUNABLES("glibc.malloc.mmap_max=1"), environment, 0, 0 },
    { "tunable-max-minus-1", TUNABLES("glibc.malloc.mmap_max=-1"), environment, 0, 0 },
    { "tunable-max-too-large", TUNABLES("glibc.malloc.mmap_max=3000000000"), environment, 0, 0 },
    { "tunable-two", TUNABLES(TUNED "=300000:glibc.malloc.mmap_max=1"), environment, 0, 0 },
    { "tunable-twice", TUNABLES(TUNED "=300000:" TUNED "=400000"), environment, 0, 0 },
    { "tunable-behind-colon", TUNABLES(":" TUNED "=300000"), environment, 0, 0 },
    { "tunable-before-colon", TUNABLES(TUNED "=300000:"), environment, 0, 0 },
    { "tunable-alone", TUNABLES(TUNED), environment, 0, 0 },
    { "tunable-alone-then-max", TUNABLES(TUNED ":glibc.malloc.mmap_max=0"), environment, 0, 0 },
    { "tunable-behind-text", TUNABLES("foo:" TUNED "=300000"), environment, 0, 0 },
    { "tunable-behind-other", TUNABLES("foo=1:" TUNED "=300000"), environment, 0, 0 },
    { "tunable-as-value", TUNABLES("foo=" TUNED "=300000"), environment, 0, 0 },
    { "tunable-second-equals", TUNABLES(TUNED "=300000=4"), environment, 0, 0 },
    { "tunable-blank", TUNABLES(" " TUNED "=300000"), environment, 0, 0 },
    { "tunable-comma", TUNABLES(TUNED "=300000," TUNED "=400000"), environment, 0, 0 },
    { "tunable-check", TUNABLES("glibc.malloc.check=3"), environment, 0, 0 },
    { "tunable-tcache", TUNABLES("glibc.malloc.tcache_count=3"), environment, 0, 0 },
    { "tunable-wins", THRESHOLD("200000") "|" TUNABLES(TUNED "=300000"), environment, 0, 0 },
    { "tunable-wins-first", TUNABLES(TUNED "=300000") "|" THRESHOLD("200000"), environment, 0, 0 },
    { "tunable-wrong-loses", MAX("1") "|" TUNABLES("glibc.malloc.mmap_max=-1"), environment, 0, 0 },
    { "tunable-beside-env", MAX("1") "|" TUNABLES(TUNED "=300000"), environment, 0, 0 },
    { 0 },
};
