/* SPDX-License-Identifier: MIT */
/* cutoff_alloc.c - which requests are direct, and what they count for. */
#include "cutoff.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* The last request of malloc that is not direct, and the first that is. */
enum { BELOW = 131048, ABOVE = 131049 };

static void
smallest(long align, long unused)
{
    (void)unused;
    if (align == 0)
        say_first_direct();
    else
        say("aligned to %ld, direct from %zu on", align, first_direct((size_t)align));
}

enum call {
    CALLOC,
    CALLOC_MANY,
    REALLOC,
    REALLOCARRAY,
    MEMALIGN,
    ALIGNED_ALLOC,
    POSIX_MEMALIGN,
    VALLOC,
    PVALLOC
};

static void *
call(enum call which, size_t size)
{
    void *block = NULL;
    (void)malloc_trim(0);
    switch (which) {
    case CALLOC:
        return calloc(1, size);
    case CALLOC_MANY:
        return calloc(size, 1);
    case REALLOC:
        return realloc(NULL, size);
    case REALLOCARRAY:
        return reallocarray(NULL, size, 1);
    case MEMALIGN:
        return memalign(16, size);
    case ALIGNED_ALLOC:
        return aligned_alloc(8, size);
    case POSIX_MEMALIGN:
        return posix_memalign(&block, 16, size) == 0 ? block : NULL;
    case VALLOC:
        return valloc(size);
    default:
        return pvalloc(size);
    }
}

/* valloc and pvalloc need a page and 48 bytes more. */
static void
boundary(long which, long less)
{
    void *volatile block = call((enum call)which, (size_t)(BELOW - less));
    say_direct("below");
    block = call((enum call)which, (size_t)(ABOVE - less));
    say_direct("above");
    expect(block != NULL, "no memory");
}

static void
charge(long size, long align)
{
    void *volatile block = NULL;
    (void)malloc_trim(0);
    block = align == 0 ? malloc((size_t)size) : memalign((size_t)align, (size_t)size);
    expect(malloc_usable_size(block) >= (size_t)size, "%ld bytes do not fit", size);
    say_direct("allocated");
    free(block);
    say_direct("freed");
}

/* Direct blocks are not among those in use. */
static void
not_in_use(long size, long unused)
{
    size_t before = mallinfo2().uordblks;
    void *volatile block = drained_malloc((size_t)size);
    (void)unused;
    expect(block != NULL, "no memory");
    say("in use %s", mallinfo2().uordblks < before + (size_t)size / 2 ? "as before" : "more");
}

static void
zeros(long size, long mmap_max)
{
    size_t clean = 0;
    char *block = NULL;
    (void)mallopt(M_MMAP_MAX, (int)mmap_max);
    for (int i = 0; i < 2; i++) {
        block = calloc(1, (size_t)size);
        for (clean = 0; clean < (size_t)size && block[clean] == 0; clean++)
            ;
        say("%zu zeros", clean);
        memset(block, 1, (size_t)size);
        free(block);
    }
}

/* Fields of mallinfo are int. */
static void
wraps(long size, long unused)
{
    void *volatile block = malloc((size_t)size);
    struct mallinfo info;
    (void)unused;
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    info = mallinfo();
    expect(block != NULL, "no memory for %ld bytes", size);
    say("%d direct, %d bytes", info.hblks, info.hblkhd);
}

static void
keeps_errno(long size, long unused)
{
    void *volatile block = malloc((size_t)size);
    (void)unused;
    errno = EXDEV;
    free(block);
    say("errno is %s", errno == EXDEV ? "kept" : "lost");
}

static void
thread_takes(void)
{
    /* What is left of a new arena would fit the first probe. */
    void *volatile block = malloc(100000);
    block = malloc(ABOVE);
    say_direct("above");
    block = malloc(BELOW);
    say_direct("below");
    expect(block != NULL, "no memory");
}

static void
thread(long unused_a, long unused_b)
{
    (void)unused_a;
    (void)unused_b;
    in_thread(thread_takes);
}

static void
too_large(long size, long unused)
{
    (void)unused;
    errno = 0;
    void *volatile block = malloc((size_t)size);
    say("%s, errno %d", block == NULL ? "NULL" : "a block", errno);
    say_direct("then");
}

const struct rule alloc_rules[] = {
    { "boundary", NULL, smallest, 0, 0 },
    { "boundary-calloc", NULL, boundary, CALLOC, 0 },
    { "boundary-calloc-many", NULL, boundary, CALLOC_MANY, 0 },
    { "boundary-realloc", NULL, boundary, REALLOC, 0 },
    { "boundary-reallocarray", NULL, boundary, REALLOCARRAY, 0 },
    { "boundary-memalign", NULL, boundary, MEMALIGN, 0 },
    { "boundary-aligned_alloc", NULL, boundary, ALIGNED_ALLOC, 0 },
    { "boundary-posix_memalign", NULL, boundary, POSIX_MEMALIGN, 0 },
    { "boundary-valloc", NULL, boundary, VALLOC, 4096 + 48 },
    { "boundary-pvalloc", NULL, boundary, PVALLOC, 2 * 4096 + 48 },
    { "boundary-pvalloc-rounds", NULL, boundary, PVALLOC, 4096 + 48 },
    { "boundary-thread", NULL, thread, 0, 0 },
    { "aligned-32", NULL, smallest, 32, 0 },
    { "aligned-48", NULL, smallest, 48, 0 },
    { "aligned-64", NULL, smallest, 64, 0 },
    { "aligned-256", NULL, smallest, 256, 0 },
    { "aligned-1024", NULL, smallest, 1024, 0 },
    { "aligned-4096", NULL, smallest, 4096, 0 },
    { "aligned-5000", NULL, smallest, 5000, 0 },
    { "aligned-16384", NULL, smallest, 16384, 0 },
    { "aligned-65536", NULL, smallest, 65536, 0 },
    { "aligned-131072", NULL, smallest, 131072, 0 },
    { "charge-131049", NULL, charge, 131049, 0 },
    { "charge-131064", NULL, charge, 131064, 0 },
    { "charge-131065", NULL, charge, 131065, 0 },
    { "charge-135144", NULL, charge, 135144, 0 },
    { "charge-135145", NULL, charge, 135145, 0 },
    { "charge-1M", NULL, charge, 1 << 20, 0 },
    { "charge-1M-page-less", NULL, charge, (1 << 20) + 4072, 0 },
    { "charge-1M-page-more", NULL, charge, (1 << 20) + 4073, 0 },
    { "charge-40M", NULL, charge, 40 << 20, 0 },
    { "charge-aligned-32", NULL, charge, 1 << 20, 32 },
    { "charge-aligned-1000", NULL, charge, 1 << 20, 1000 },
    { "charge-aligned-4096", NULL, charge, 1 << 20, 4096 },
    { "charge-aligned-64K", NULL, charge, 100000, 65536 },
    { "charge-aligned-2M", NULL, charge, 100, 2 << 20 },
    { "charge-aligned-4M", NULL, charge, 40 << 20, 4 << 20 },
    { "not-in-use", NULL, not_in_use, 1 << 20, 0 },
    { "zeros-direct", NULL, zeros, 1 << 20, 65536 },
    { "zeros-heap", NULL, zeros, 1 << 20, 0 },
    { "wraps", NULL, wraps, 3L << 30, 0 },
    { "keeps-errno", NULL, keeps_errno, 1 << 20, 0 },
    { "keeps-errno-mapped", NULL, keeps_errno, 64 << 20, 0 },
    { "too-large", NULL, too_large, 1L << 50, 0 },
    { 0 },
};
