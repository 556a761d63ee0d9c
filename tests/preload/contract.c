/* SPDX-License-Identifier: MIT */
/* contract.c - what a program may rely on in malloc, as glibc keeps it. */
#include "expect.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

enum { KIB = 1 << 10, MIB = 1 << 20 };

/* volatile: the compiler must not see that these sizes are absurd. */
static volatile size_t too_large = (size_t)PTRDIFF_MAX + 1;
static volatile size_t half_overflow = SIZE_MAX / 2 + 2;
static volatile size_t nearly_all = SIZE_MAX - 2;

static bool
is_aligned(const void *block, size_t align)
{
    return ((uintptr_t)block & (align - 1)) == 0;
}

static bool
is_zero(const unsigned char *block, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (block[i] != 0)
            return false;
    }
    return true;
}

/* The call that was just made failed with ENOMEM. */
#define expect_enomem(call)                                                                        \
    do {                                                                                           \
        errno = 0;                                                                                 \
        expect((call) == NULL, "must fail");                                                       \
        expect(errno == ENOMEM, "errno is %d", errno);                                             \
    } while (0)

/* Blocks of many sizes up to 300 KiB, a window of them alive, each with a pattern of its own. */
static void
check_sizes(void)
{
    enum { WINDOW = 128 };
    void *blocks[WINDOW] = { 0 };
    size_t sizes[WINDOW] = { 0 };
    size_t n = 0;
    for (size_t size = 0; size <= 300 * KIB; size += size < 4 * KIB ? 1 : 127, n++) {
        size_t slot = n % WINDOW;
        expect(pattern_holds(blocks[slot], sizes[slot], n - WINDOW), "%zu bytes", sizes[slot]);
        free(blocks[slot]);
        blocks[slot] = malloc(size);
        sizes[slot] = malloc_usable_size(blocks[slot]);
        expect(blocks[slot] != NULL, "malloc(%zu)", size);
        expect(is_aligned(blocks[slot], 16), "malloc(%zu) gives %p", size, blocks[slot]);
        expect(sizes[slot] >= size, "malloc(%zu): usable size %zu", size, sizes[slot]);
        pattern_fill(blocks[slot], sizes[slot], n);
    }
    for (size_t slot = 0; slot < WINDOW; slot++)
        free(blocks[slot]);
}

static void
check_large(void)
{
    void *blocks[9] = { 0 };
    size_t size = 1 * MIB;
    for (size_t i = 0; i < 9; i++, size *= 2) {
        blocks[i] = malloc(size + i);
        expect(blocks[i] != NULL, "malloc(%zu)", size + i);
        expect(is_aligned(blocks[i], 16), "malloc(%zu) gives %p", size + i, blocks[i]);
        pattern_fill(blocks[i], size + i, i);
    }
    for (size_t i = 0; i < 9; i++) {
        size = ((size_t)MIB << i) + i;
        expect(pattern_holds(blocks[i], size, i), "%zu bytes", size);
        free(blocks[i]);
    }
}

static void
check_zero_size(void)
{
    void *first = malloc(0);
    void *second = malloc(0);
    expect(first != NULL && second != NULL && first != second, "%p, %p", first, second);
    free(first);
    free(second);
    free(NULL);
    expect(malloc_usable_size(NULL) == 0, "usable size of no block");
    expect((first = calloc(0, 8)) != NULL, "calloc(0, 8)");
    free(first);
}

static void
check_calloc(void)
{
    for (size_t size = 1; size <= 8 * MIB; size += size / 2 + 1) {
        void *dirty = malloc(size);
        memset(dirty, 0xff, size);
        free(dirty);
        unsigned char *block = calloc(size, 1);
        expect(block != NULL && is_zero(block, size), "calloc(%zu, 1)", size);
        memset(block, 0xff, malloc_usable_size(block));
        free(block);
    }
    expect_enomem(calloc(half_overflow, 2));
    expect_enomem(calloc(nearly_all / 16, 32));
    expect_enomem(calloc(too_large, 1));
}

static void
check_too_large(void)
{
    void *block = malloc(100);
    pattern_fill(block, 100, 5);
    expect_enomem(malloc(too_large));
    expect_enomem(malloc(nearly_all));
    expect_enomem(realloc(block, too_large));
    expect_enomem(reallocarray(block, half_overflow, 2));
    expect_enomem(memalign(64, too_large));
    expect_enomem(aligned_alloc(4096, nearly_all - 4096));
    expect_enomem(valloc(nearly_all));
    expect_enomem(pvalloc(nearly_all));
    void *out = block;
    expect(posix_memalign(&out, 64, too_large) == ENOMEM, "posix_memalign");
    expect(out == block, "posix_memalign failed and changed the pointer");
    expect(pattern_holds(block, 100, 5), "a failed realloc changed the block");
    free(block);
}

/* Grow and shrink through sizes on both sides of every border. */
static void
check_realloc(void)
{
    static const size_t steps[]
        = { 1,         24,        100,     1000,    5000,     33 * KIB, 100 * KIB,
            200,       129 * KIB, 1 * MIB, 3 * MIB, 64 * MIB, 70 * MIB, 2 * MIB,
            130 * KIB, 40 * KIB,  5 * MIB, 17,      0 };
    size_t size = 10;
    void *block = realloc(NULL, size);
    for (size_t i = 0; steps[i] != 0; i++) {
        size_t kept = size < steps[i] ? size : steps[i];
        kept
            = kept > DENSE_BYTES ? DENSE_BYTES : kept; /* beyond, the pattern depends on the size */
        unsigned char *bytes = block;
        for (size_t k = 0; k < kept; k++)
            bytes[k] = pattern_byte(k, i);
        bytes[size - 1] = pattern_byte(size - 1, i);
        bytes = block = realloc(block, steps[i]);
        expect(block != NULL, "realloc from %zu to %zu", size, steps[i]);
        for (size_t k = 0; k < kept; k++)
            expect(bytes[k] == pattern_byte(k, i), "realloc from %zu to %zu, byte %zu", size,
                   steps[i], k);
        if (steps[i] >= size)
            expect(bytes[size - 1] == pattern_byte(size - 1, i),
                   "realloc from %zu to %zu, last byte", size, steps[i]);
        size = steps[i];
    }
    expect(realloc(block, 0) == NULL, "realloc(p, 0) frees and gives NULL");
    block = reallocarray(NULL, 1000, 10);
    expect(block != NULL && malloc_usable_size(block) >= 10000, "reallocarray(NULL, 1000, 10)");
    free(block);
}

static void
check_aligned(void)
{
    static const size_t sizes[] = { 1, 24, 1000, 5000, 100 * KIB, 3 * MIB };
    void *block = &block;
    expect(posix_memalign(&block, 24, 8) == EINVAL, "an alignment of 24");
    expect(posix_memalign(&block, 4, 8) == EINVAL, "an alignment of 4");
    expect(posix_memalign(&block, 0, 8) == EINVAL, "an alignment of 0");
    expect(block == &block, "posix_memalign failed and changed the pointer");
    for (size_t align = 8; align <= 4 * MIB; align *= 2) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            void *blocks[3] = { 0 };
            size_t size = sizes[i];
            expect(posix_memalign(&blocks[0], align, size) == 0, "%zu, %zu", align, size);
            blocks[1] = aligned_alloc(align, size);
            blocks[2] = memalign(align, size);
            for (size_t k = 0; k < 3; k++) {
                expect(blocks[k] != NULL && is_aligned(blocks[k], align), "%p, not at %zu",
                       blocks[k], align);
                expect(malloc_usable_size(blocks[k]) >= size, "usable size");
                pattern_fill(blocks[k], malloc_usable_size(blocks[k]), k);
            }
            for (size_t k = 0; k < 3; k++) {
                size_t usable = malloc_usable_size(blocks[k]);
                expect(pattern_holds(blocks[k], usable, k), "align %zu, %zu bytes", align, size);
            }
            blocks[0] = realloc(blocks[0], size + 100);
            expect(((unsigned char *)blocks[0])[0] == pattern_byte(0, 0),
                   "realloc of an aligned block");
            for (size_t k = 0; k < 3; k++)
                free(blocks[k]);
        }
    }
}

static void
check_pages(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t size = 1; size < 8 * page; size += 1111) {
        void *whole = pvalloc(size);
        void *block = valloc(size);
        expect(is_aligned(block, page) && is_aligned(whole, page), "valloc, pvalloc(%zu)", size);
        size_t rounded = (size + page - 1) / page * page;
        expect(malloc_usable_size(whole) >= rounded, "pvalloc(%zu)", size);
        memset(whole, 1, rounded);
        memset(block, 1, size);
        free(whole);
        free(block);
    }
}

static void
check_errno(void)
{
    for (size_t size = 1; size <= 64 * MIB; size *= 4) {
        char *block = malloc(size);
        block[size - 1] = 1;
        errno = EXDEV;
        free(block);
        expect(errno == EXDEV, "free of %zu bytes left errno %d", size, errno);
    }
}

int
main(void)
{
    check_sizes();
    check_large();
    check_zero_size();
    check_calloc();
    check_too_large();
    check_realloc();
    check_aligned();
    check_pages();
    check_errno();
    (void)printf("contract kept\n");
    return 0;
}
