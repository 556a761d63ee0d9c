/* SPDX-License-Identifier: MIT */
/* cutoff_dynamic.c - what moves the threshold, and how realloc treats direct blocks. */
#include "cutoff.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* --- what moves the threshold ----------------------------------------------------------------- */

/* After the free of a block. */
static void
moved_by(long size, long align)
{
    (void)malloc_trim(0);
    void *block = align == 0 ? malloc((size_t)size) : memalign((size_t)align, (size_t)size);
    say_direct("allocated");
    free(block);
    say_first_direct();
}

static void
not_by_malloc(long size, long unused)
{
    void *volatile block = malloc((size_t)size);
    (void)unused;
    say_first_direct();
    expect(block != NULL, "no memory");
}

/* Two direct blocks, freed one after the other. */
static void
moved_by_two(long first_size, long second_size)
{
    void *first = malloc((size_t)first_size);
    void *second = malloc((size_t)second_size);
    free(first);
    say_first_direct();
    free(second);
    say_first_direct();
}

static void
stays_ahead(long size, long max_size)
{
    for (; size <= max_size; size *= 2) {
        void *block = drained_malloc((size_t)size);
        say_direct("allocated");
        free(block);
    }
    say_first_direct();
}

/* A size above the threshold, then one below it. */
static void
again(long size, long unused)
{
    (void)unused;
    for (int i = 0; i < 3; i++) {
        void *block = drained_malloc((size_t)size);
        say_direct("allocated");
        free(block);
    }
}

static void *shared;

static void
thread_frees(void)
{
    free(shared);
}

static void
thread_allocates(void)
{
    shared = malloc(3 * MIB);
}

static void
moved_by_thread(long is_own, long unused)
{
    (void)unused;
    if (is_own)
        in_thread(thread_allocates);
    else
        shared = malloc(3 * MIB);
    in_thread(thread_frees);
    say_direct("freed");
    say_first_direct();
}

static void
moved_for_thread(long unused_a, long unused_b)
{
    (void)unused_a;
    (void)unused_b;
    in_thread(thread_allocates);
    say_direct("allocated");
    free(shared);
    say_direct("freed");
    in_thread(thread_allocates);
    say_direct("allocated again");
}

static void
inherited(long is_child_free, long unused)
{
    void *block = malloc(MIB);
    int status = 0;
    (void)unused;
    if (!is_child_free)
        free(block);
    pid_t child = fork();
    if (child == 0) {
        if (is_child_free)
            free(block);
        say_first_direct();
        _exit(0);
    }
    expect(waitpid(child, &status, 0) == child && status == 0, "the child ended with %d", status);
    say_first_direct();
    say_direct("parent");
}

const struct rule dynamic_rules[] = {
    { "moved-by-131049", NULL, moved_by, 131049, 0 },
    { "moved-by-200000", NULL, moved_by, 200000, 0 },
    { "moved-by-1M", NULL, moved_by, 1 << 20, 0 },
    { "moved-by-20M", NULL, moved_by, 20 << 20, 0 },
    { "moved-by-last", NULL, moved_by, 0x1fff000 - 24, 0 },
    { "moved-by-one-less-than-32M", NULL, moved_by, (32 << 20) - 8192 + 16, 0 },
    { "not-by-32M", NULL, moved_by, (32 << 20) - 24, 0 },
    { "not-by-first-chunk-of-32M", NULL, moved_by, 0x1fff000 - 23, 0 },
    { "not-by-33M", NULL, moved_by, 33 << 20, 0 },
    { "not-by-64M", NULL, moved_by, 64 << 20, 0 },
    { "not-by-heap-block", NULL, moved_by, 100000, 0 },
    { "moved-by-aligned-32", NULL, moved_by, 1 << 20, 32 },
    { "moved-by-aligned-64", NULL, moved_by, 1 << 20, 64 },
    { "moved-by-aligned-4096", NULL, moved_by, 1 << 20, 4096 },
    { "not-by-malloc", NULL, not_by_malloc, 1 << 20, 0 },
    { "larger-then-smaller", NULL, moved_by_two, 1 << 20, 200000 },
    { "smaller-then-larger", NULL, moved_by_two, 200000, 1 << 20 },
    { "twice-the-same", NULL, moved_by_two, 1 << 20, 1 << 20 },
    { "large-after-33M", NULL, moved_by_two, 33 << 20, 1 << 20 },
    { "doubling", NULL, stays_ahead, 200 << 10, 25600 << 10 },
    { "doubling-past-32M", NULL, stays_ahead, 3 << 20, 96 << 20 },
    { "same-again", NULL, again, 1 << 20, 0 },
    { "same-again-above-32M", NULL, again, 40 << 20, 0 },
    { "moved-by-a-thread", NULL, moved_by_thread, 0, 0 },
    { "moved-by-a-thread-of-its-own-block", NULL, moved_by_thread, 1, 0 },
    { "moved-for-threads", NULL, moved_for_thread, 0, 0 },
    { "inherited", NULL, inherited, 0, 0 },
    { "not-moved-by-a-child", NULL, inherited, 1, 0 },
    { 0 },
};

/* --- realloc ---------------------------------------------------------------------------------- */

/* A direct block through `sizes`, its first bytes kept. */
static void *
walk(char *block, const size_t *sizes)
{
    size_t size = malloc_usable_size(block);
    for (; *sizes != 0; sizes++) {
        size_t kept = size < *sizes ? size : *sizes;
        pattern_fill(block, kept, *sizes);
        block = realloc(block, *sizes);
        expect(block != NULL && pattern_holds(block, kept, *sizes), "realloc to %zu", *sizes);
        say_direct("resized");
        size = *sizes;
    }
    return block;
}

static void
stays_direct(long size, long align)
{
    static const size_t sizes[]
        = { 1 * MIB, 1 * MIB + 100, 64 * MIB, 200 * KIB, 100, 300 * KIB, 33 * MIB, 40 * KIB,
            20,      5 * MIB,       34 * MIB, 31 * MIB,  0 };
    void *block = align == 0 ? malloc((size_t)size) : memalign((size_t)align, (size_t)size);
    block = walk(block, sizes);
    say_first_direct();
    free(block);
    say_direct("freed");
    say_first_direct();
}

/* What realloc leaves is what the free counts. */
static void
freed_after(long size, long new_size)
{
    void *block = realloc(malloc((size_t)size), (size_t)new_size);
    say_direct("resized");
    free(block);
    say_first_direct();
}

static void
frees_at_zero(long size, long unused)
{
    void *block = realloc(malloc((size_t)size), 0);
    (void)unused;
    say("%s", block == NULL ? "NULL" : "a block");
    say_first_direct();
}

/* A block of the heap: may it become direct? */
static void
heap_block(long size, long new_size)
{
    void *block = drained_malloc((size_t)size);
    say_direct("allocated");
    (void)malloc_trim(0);
    block = realloc(block, (size_t)new_size);
    say_direct("resized");
    free(block);
    say_direct("freed");
}

/* The threshold passes a direct block and a block of the heap. */
static void
threshold_passes(long unused_a, long unused_b)
{
    void *direct = malloc(200 * KIB);
    (void)unused_a;
    (void)unused_b;
    free(malloc(4 * MIB));
    void *heap = drained_malloc(900 * KIB);
    say_direct("allocated");
    direct = realloc(direct, 300 * KIB);
    say_direct("direct one resized");
    heap = realloc(heap, 950 * KIB);
    say_direct("heap one resized");
    direct = realloc(direct, 50 * KIB);
    say_direct("direct one shrunk");
    heap = realloc(heap, 50 * KIB);
    say_direct("heap one shrunk");
    free(heap);
    free(direct);
    say_direct("both freed");
    say_first_direct();
}

/* The threshold falls below blocks of the heap: they stay what they are when they shrink. */
static void
threshold_falls(long size, long new_size)
{
    (void)mallopt(M_MMAP_MAX, 0);
    void *block = malloc((size_t)size);
    (void)mallopt(M_MMAP_MAX, 100);
    say_direct("allocated");
    block = realloc(block, (size_t)new_size);
    say_direct("shrunk");
    free(block);
    say_direct("freed");
}

static void
too_large(long size, long unused)
{
    static volatile size_t absurd = (size_t)1 << 50;
    char *block = malloc((size_t)size);
    (void)unused;
    pattern_fill(block, (size_t)size, 7);
    errno = 0;
    say("%s", realloc(block, absurd) == NULL ? "NULL" : "a block");
    say("errno %d", errno);
    say("%s", pattern_holds(block, (size_t)size, 7) ? "kept" : "lost");
    say_direct("still");
}

static void
slots_are_used_up(long unused_a, long unused_b)
{
    (void)unused_a;
    (void)unused_b;
    (void)mallopt(M_MMAP_MAX, 1);
    void *direct = malloc(MIB);
    void *heap = drained_malloc(100 * KIB);
    (void)malloc_trim(0);
    heap = realloc(heap, 2 * MIB);
    say_direct("a heap block grew");
    direct = realloc(direct, 3 * MIB);
    say_direct("the direct one grew");
    free(direct);
    say_direct("it is freed");
    heap = realloc(heap, 1 * MIB);
    say_direct("the heap block shrank");
    free(heap);
}

const struct rule realloc_rules[] = {
    { "realloc-stays-direct", NULL, stays_direct, 200 << 10, 0 },
    { "realloc-stays-direct-from-40M", NULL, stays_direct, 40 << 20, 0 },
    { "realloc-stays-direct-aligned-32", NULL, stays_direct, 200 << 10, 32 },
    { "realloc-stays-direct-aligned-4096", NULL, stays_direct, 200 << 10, 4096 },
    { "realloc-grown-then-freed", NULL, freed_after, 200 << 10, 1 << 20 },
    { "realloc-shrunk-then-freed", NULL, freed_after, 1 << 20, 100 },
    { "realloc-shrunk-to-200K-then-freed", NULL, freed_after, 64 << 20, 200 << 10 },
    { "realloc-grown-past-32M-then-freed", NULL, freed_after, 1 << 20, 40 << 20 },
    { "realloc-zero-frees", NULL, frees_at_zero, 1 << 20, 0 },
    { "realloc-heap-becomes-direct", NULL, heap_block, 100 << 10, 1 << 20 },
    { "realloc-small-becomes-direct", NULL, heap_block, 100, 1 << 20 },
    { "realloc-heap-becomes-direct-40M", NULL, heap_block, 100 << 10, 40 << 20 },
    { "realloc-heap-stays-heap", NULL, heap_block, 50 << 10, 100 << 10 },
    { "realloc-threshold-passes", NULL, threshold_passes, 0, 0 },
    { "realloc-heap-shrinks-64M-1M", NULL, threshold_falls, 64 << 20, 1 << 20 },
    { "realloc-heap-shrinks-64M-40M", NULL, threshold_falls, 64 << 20, 40 << 20 },
    { "realloc-heap-shrinks-2M-1M", NULL, threshold_falls, 2 << 20, 1 << 20 },
    { "realloc-heap-shrinks-2M-100", NULL, threshold_falls, 2 << 20, 100 },
    { "realloc-too-large", NULL, too_large, 1 << 20, 0 },
    { "realloc-too-large-40M", NULL, too_large, 40 << 20, 0 },
    { "realloc-slots-used-up", NULL, slots_are_used_up, 0, 0 },
    { 0 },
};
