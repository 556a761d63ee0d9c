/* SPDX-License-Identifier: MIT */
/* cutoff_small.c - thresholds so low that requests of any size are direct. */
#include "cutoff.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static void
threshold(long value, long unused)
{
    (void)unused;
    (void)mallopt(M_MMAP_THRESHOLD, (int)value);
    say_first_direct();
}

static void
environment(long unused_a, long unused_b)
{
    (void)unused_a;
    (void)unused_b;
    say_first_direct();
}

/* A direct block of `size` bytes, once free space is used up: a page of them at most. */
static void *
direct_block(size_t size)
{
    size_t before = direct_count();
    void *block = NULL;
    (void)malloc_trim(0);
    for (int i = 0; i < 4096 && direct_count() == before; i++)
        block = malloc(size);
    expect(direct_count() > before, "none of many requests of %zu bytes is direct", size);
    return block;
}

/* Requests of every size; at threshold 0. */
static void
every_size(long unused_a, long unused_b)
{
    static const size_t sizes[] = { 0, 1, 24, 25, 100, 1000, 1024, 1025, 4000, 5000, 32768, 32769 };
    (void)unused_a;
    (void)unused_b;
    (void)mallopt(M_MMAP_THRESHOLD, 0);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char *block = direct_block(sizes[i]);
        expect(malloc_usable_size(block) >= sizes[i], "%zu bytes do not fit", sizes[i]);
        memset(block, 1, sizes[i]);
        say_direct("allocated");
        free(block);
        say_direct("freed");
    }
}

static void
resized(long size, long unused)
{
    static const size_t sizes[] = { 5000, 20, 33000, 300000, 8, 40 << 20, 100, 0 };
    (void)unused;
    (void)mallopt(M_MMAP_THRESHOLD, 0);
    char *block = direct_block((size_t)size);
    for (size_t i = 0; sizes[i] != 0; i++) {
        size_t kept = (size_t)size < sizes[i] ? (size_t)size : sizes[i];
        pattern_fill(block, kept, i);
        block = realloc(block, sizes[i]);
        expect(block != NULL && pattern_holds(block, kept, i), "realloc to %zu", sizes[i]);
        say_direct("resized");
        size = (long)sizes[i];
    }
    free(block);
    say_direct("freed");
}

static void
other_calls(long unused_a, long unused_b)
{
    void *volatile block = NULL;
    (void)unused_a;
    (void)unused_b;
    (void)mallopt(M_MMAP_THRESHOLD, 0);
    (void)direct_block(24);
    (void)malloc_trim(0);
    block = calloc(100, 90);
    say("calloc: %s", ((char *)block)[8999] == 0 ? "zeros" : "dirt");
    say_direct("calloc");
    block = memalign(64, 9000);
    say_direct("memalign");
    block = valloc(9000);
    say_direct("valloc");
    block = aligned_alloc(4096, 9000);
    say_direct("aligned_alloc");
    block = realloc(NULL, 9000);
    say_direct("realloc");
    expect(block != NULL, "no memory");
}

/* Blocks of the heap that the threshold has fallen below. */
static void
shrinks(long size, long new_size)
{
    void *block = malloc((size_t)size);
    (void)mallopt(M_MMAP_THRESHOLD, 0);
    block = realloc(block, (size_t)new_size);
    say_direct("shrunk");
    free(block);
    say_direct("freed");
}

/* Whatever the threshold, mmap_max counts. */
static void
used_up(long unused_a, long unused_b)
{
    (void)unused_a;
    (void)unused_b;
    (void)mallopt(M_MMAP_THRESHOLD, 16384);
    (void)mallopt(M_MMAP_MAX, 1);
    void *first = drained_malloc(20000);
    say_direct("first");
    void *second = drained_malloc(21000);
    say_direct("second");
    free(first);
    first = drained_malloc(24000);
    say_direct("again");
    free(first);
    free(second);
    say_direct("freed");
}

static void
aligned(long align, long unused)
{
    (void)unused;
    (void)mallopt(M_MMAP_THRESHOLD, 20000);
    say("aligned to %ld, direct from %zu on", align, first_direct((size_t)align));
}

const struct rule small_rules[] = {
    { "small-0", NULL, threshold, 0, 0 },
    { "small-1", NULL, threshold, 1, 0 },
    { "small-100", NULL, threshold, 100, 0 },
    { "small-8192", NULL, threshold, 8192, 0 },
    { "small-16384", NULL, threshold, 16384, 0 },
    { "small-20000", NULL, threshold, 20000, 0 },
    { "small-32768", NULL, threshold, 32768, 0 },
    { "small-32784", NULL, threshold, 32784, 0 },
    { "small-32792", NULL, threshold, 32792, 0 },
    { "small-env-0", "MALLOC_MMAP_THRESHOLD_=0", environment, 0, 0 },
    { "small-env-empty", "MALLOC_MMAP_THRESHOLD_=", environment, 0, 0 },
    { "small-env-suffix", "MALLOC_MMAP_THRESHOLD_=128K", environment, 0, 0 },
    { "small-env-text", "MALLOC_MMAP_THRESHOLD_=abc", environment, 0, 0 },
    { "small-env-octal", "MALLOC_MMAP_THRESHOLD_=08", environment, 0, 0 },
    { "small-env-hex-nothing", "MALLOC_MMAP_THRESHOLD_=0x", environment, 0, 0 },
    { "small-env-20000", "MALLOC_MMAP_THRESHOLD_=20000", environment, 0, 0 },
    { "small-tunable", "GLIBC_TUNABLES=glibc.malloc.mmap_threshold=20000", environment, 0, 0 },
    { "small-tunable-as-value",
      "GLIBC_TUNABLES=glibc.malloc.mmap_threshold=glibc.malloc.mmap_threshold=300000", environment,
      0, 0 },
    { "small-every-size", NULL, every_size, 0, 0 },
    { "small-resized", NULL, resized, 24, 0 },
    { "small-resized-1000", NULL, resized, 1000, 0 },
    { "small-other-calls", NULL, other_calls, 0, 0 },
    { "small-shrinks-30000", NULL, shrinks, 30000, 100 },
    { "small-shrinks-50000", NULL, shrinks, 50000, 33000 },
    { "small-shrinks-100000", NULL, shrinks, 100000, 100 },
    { "small-used-up", NULL, used_up, 0, 0 },
    { "small-aligned-64", NULL, aligned, 64, 0 },
    { "small-aligned-4096", NULL, aligned, 4096, 0 },
    { 0 },
};
