/* SPDX-License-Identifier: MIT */
/* oracle.c - calls of the malloc family and their checks (see oracle.h). */
#include "support/oracle.h"

#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/contents.h"

enum {
    KIB = 1 << 10,
    MIB = 1 << 20,
    KEPT_ERRNO = EXDEV, /* what no call of the family sets */
};

/* C23; glibc has them from 2.42 on, and where they are missing free() does. */
extern void free_sized(void *block, size_t size) __attribute__((weak));
extern void free_aligned_sized(void *block, size_t align, size_t size) __attribute__((weak));

/* The compiler must not see what is asked for, or it takes some of the calls out. */
static volatile size_t too_large_bytes = (size_t)PTRDIFF_MAX + 1;
static volatile size_t half_overflow = SIZE_MAX / 2 + 2;

static void __attribute__((noreturn, format(printf, 2, 3)))
fail(const struct oracle *oracle, const char *format, ...)
{
    va_list args;

    (void)dprintf(STDERR_FILENO, "%s: FAILED: step %llu: ", oracle->name,
                  (unsigned long long)oracle->step_count);
    va_start(args, format);
    (void)vdprintf(STDERR_FILENO, format, args);
    va_end(args);
    (void)dprintf(STDERR_FILENO, "\n");
    abort();
}

/* --- contents --------------------------------------------------------------------------------- */

/* Write the block's contents, or look whether its first kept_bytes are as they were written. */
static bool
walk(const struct oracle_block *block, size_t kept_bytes, bool write)
{
    return contents_walk(block->start, block->size_bytes, block->seed, kept_bytes, write);
}

static void
verify(const struct oracle *oracle, const struct oracle_block *block)
{
    if (!walk(block, block->size_bytes, false))
        fail(oracle, "block %p of %zu bytes has foreign contents", (void *)block->start,
             block->size_bytes);
    if (malloc_usable_size(block->start) != block->usable_bytes)
        fail(oracle, "block %p of %zu bytes: usable size was %zu and is %zu", (void *)block->start,
             block->size_bytes, block->usable_bytes, malloc_usable_size(block->start));
}

static void
expect_zeros(const struct oracle *oracle, const unsigned char *start, size_t size_bytes)
{
    /* Each byte is as the one before it. */
    if (size_bytes > 0 && (start[0] != 0 || memcmp(start, start + 1, size_bytes - 1) != 0))
        fail(oracle, "calloc of %zu bytes at %p is not zero", size_bytes, (const void *)start);
}

/* --- what a call may return ------------------------------------------------------------------- */

/* Enter a new block: where, what was asked, how aligned. */
static void
enter(struct oracle *oracle, struct oracle_block *block, void *mem, size_t size_bytes,
      size_t align_bytes)
{
    uintptr_t addr = (uintptr_t)mem;
    size_t need_bytes = align_bytes > 16 ? align_bytes : 16;

    if (mem == NULL && oracle->may_refuse && errno == ENOMEM) {
        oracle->refused_count++;
        return;
    }
    if (mem == NULL)
        fail(oracle, "no memory for %zu bytes, aligned to %zu, errno %d", size_bytes, align_bytes,
             errno);
    if ((addr & (need_bytes - 1)) != 0)
        fail(oracle, "%zu bytes at %p, not aligned to %zu", size_bytes, mem, need_bytes);
    *block = (struct oracle_block){
        .asked_bytes = size_bytes,
        .size_bytes = size_bytes,
        .usable_bytes = malloc_usable_size(mem),
        .align_bytes = align_bytes,
        .seed = choice_random(&oracle->choice),
    };
    if (block->usable_bytes < size_bytes)
        fail(oracle, "%zu bytes at %p: usable size is %zu", size_bytes, mem, block->usable_bytes);
    for (size_t i = 0; i < ORACLE_BLOCKS; i++) {
        const struct oracle_block *other = &oracle->blocks[i];

        if (other->start != NULL && addr < (uintptr_t)other->start + other->usable_bytes
            && (uintptr_t)other->start < addr + block->usable_bytes)
            fail(oracle, "%zu bytes at %p overlap %zu bytes at %p", size_bytes, mem,
                 other->size_bytes, (void *)other->start);
    }
    block->start = mem;
    oracle->live_bytes += block->usable_bytes;
    (void)walk(block, block->size_bytes, true);
}

static void
forget(struct oracle *oracle, struct oracle_block *block)
{
    oracle->live_bytes -= block->usable_bytes;
    block->start = NULL;
}

static void
expect_refused(const struct oracle *oracle, const void *mem, int want_errno, const char *call)
{
    if (mem != NULL)
        fail(oracle, "%s gives %p for an impossible request", call, mem);
    if (errno != want_errno)
        fail(oracle, "%s refuses with errno %d instead of %d", call, errno, want_errno);
}

/* --- what is asked for ------------------------------------------------------------------------ */

/* Most blocks are small, but each way through an allocator is taken often. */
static size_t
pick_size(struct oracle *oracle)
{
    static const size_t borders[] = { 16,        1 * KIB,   4 * KIB, 32 * KIB, 64 * KIB,
                                      128 * KIB, 256 * KIB, 2 * MIB, 4 * MIB,  32 * MIB };
    struct choice *choice = &oracle->choice;
    size_t kind = choice_below(choice, 64);
    size_t size_bytes;

    if (kind < 36)
        size_bytes = choice_below(choice, 1025);
    else if (kind < 46)
        size_bytes = choice_below(choice, 33 * KIB);
    else if (kind < 54)
        size_bytes = borders[choice_below(choice, sizeof(borders) / sizeof(borders[0]))] - 8
                     + choice_below(choice, 17);
    else if (kind < 61)
        size_bytes = choice_below(choice, (size_t)1 << (15 + choice_below(choice, 7)));
    else if (kind < 62)
        size_bytes = choice_below(choice, (size_t)2 << choice_below(choice, 25));
    else
        size_bytes = 0;
    if (oracle->live_bytes > oracle->limit_bytes
        || size_bytes > oracle->limit_bytes - oracle->live_bytes)
        size_bytes %= KIB;
    return size_bytes;
}

static size_t
pick_align(struct oracle *oracle)
{
    size_t shift = choice_below(&oracle->choice, 64);

    return (size_t)8 << (shift < 56 ? shift % 10 : shift - 50 + 6); /* 8 to 4 KiB, up to 4 MiB */
}

/* --- calls ------------------------------------------------------------------------------------ */

static void
alloc_aligned(struct oracle *oracle, struct oracle_block *block)
{
    size_t size_bytes = pick_size(oracle);
    size_t align_bytes = pick_align(oracle);
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    size_t whole_bytes = (size_bytes + page_bytes - 1) / page_bytes * page_bytes;
    void *mem = NULL;
    int rc;

    errno = 0;
    switch (choice_below(&oracle->choice, 5)) {
    case 0:
        mem = memalign(align_bytes, size_bytes);
        break;
    case 1:
        rc = posix_memalign(&mem, align_bytes, size_bytes);
        if (rc != 0 && mem != NULL)
            fail(oracle, "posix_memalign(%zu, %zu) failed and wrote", align_bytes, size_bytes);
        errno = rc;
        break;
    case 2:
        mem = valloc(size_bytes);
        align_bytes = page_bytes;
        break;
    case 3:
        mem = pvalloc(size_bytes);
        align_bytes = page_bytes;
        size_bytes = whole_bytes;
        break;
    default:
        mem = aligned_alloc(align_bytes, size_bytes);
    }
    enter(oracle, block, mem, size_bytes, align_bytes);
}

static void
alloc(struct oracle *oracle, struct oracle_block *block)
{
    size_t size_bytes;
    size_t count;
    void *mem;

    errno = 0;
    switch (choice_below(&oracle->choice, 8)) {
    case 0:
        alloc_aligned(oracle, block);
        return;
    case 1:
    case 2:
        size_bytes = pick_size(oracle);
        count = 1 + choice_below(&oracle->choice, 8);
        size_bytes = size_bytes / count * count;
        mem = choice_one_in(&oracle->choice, 2) ? calloc(count, size_bytes / count)
                                                : calloc(size_bytes / count, count);
        if (mem != NULL)
            expect_zeros(oracle, mem, size_bytes);
        break;
    case 3:
        size_bytes = pick_size(oracle);
        mem = realloc(NULL, size_bytes);
        break;
    default:
        size_bytes = pick_size(oracle);
        mem = malloc(size_bytes);
    }
    enter(oracle, block, mem, size_bytes, 0);
}

void
oracle_free(struct oracle *oracle, struct oracle_block *block)
{
    size_t kind = choice_below(&oracle->choice, 8);
    unsigned char *start = block->start;
    bool is_aligned = block->align_bytes != 0;

    if (start == NULL)
        return;
    verify(oracle, block);
    forget(oracle, block);
    errno = KEPT_ERRNO;
    if (kind == 0 && free_sized != NULL && !is_aligned)
        free_sized(start, block->asked_bytes);
    else if (kind <= 1 && free_aligned_sized != NULL && is_aligned)
        free_aligned_sized(start, block->align_bytes, block->asked_bytes);
    else if (kind == 2 && realloc(start, 0) != NULL)
        fail(oracle, "realloc(%p, 0) gives a block", (void *)start);
    else if (kind != 2)
        free(start);
    if (kind != 2 && errno != KEPT_ERRNO)
        fail(oracle, "free of %zu bytes set errno to %d", block->size_bytes, errno);
}

static void
resize(struct oracle *oracle, struct oracle_block *block)
{
    struct oracle_block old = *block;
    size_t size_bytes = pick_size(oracle) + 1;
    size_t kept_bytes;
    void *mem;

    /* As often to something near as to anything else. */
    if (choice_one_in(&oracle->choice, 2) && old.size_bytes < oracle->limit_bytes / 4)
        size_bytes = 1 + choice_below(&oracle->choice, 2 * old.size_bytes + 16);
    verify(oracle, block);
    errno = 0;
    mem = choice_one_in(&oracle->choice, 4) ? reallocarray(old.start, 1, size_bytes)
                                            : realloc(old.start, size_bytes);
    if (mem == NULL) {
        if (!oracle->may_refuse || errno != ENOMEM)
            fail(oracle, "realloc from %zu to %zu bytes failed, errno %d", old.size_bytes,
                 size_bytes, errno);
        oracle->refused_count++;
        verify(oracle, block);
        return;
    }
    forget(oracle, block);
    kept_bytes = old.size_bytes < size_bytes ? old.size_bytes : size_bytes;
    old.start = mem;
    if (!walk(&old, kept_bytes, false))
        fail(oracle, "realloc from %zu to %zu bytes at %p lost contents", old.size_bytes,
             size_bytes, mem);
    enter(oracle, block, mem, size_bytes, 0);
}

/* All of the usable size is the program's. */
static void
use_all(struct oracle *oracle, struct oracle_block *block)
{
    verify(oracle, block);
    block->size_bytes = block->usable_bytes;
    block->seed = choice_random(&oracle->choice);
    if (block->size_bytes <= 64 * KIB) /* every byte once, then what is checked */
        memset(block->start, 0xa5, block->size_bytes);
    (void)walk(block, block->size_bytes, true);
}

/* Impossible requests leave everything as it was. */
static void
refuse(struct oracle *oracle, struct oracle_block *block)
{
    size_t large_bytes = too_large_bytes + choice_below(&oracle->choice, 4096);
    void *mem = block;

    errno = 0;
    switch (choice_below(&oracle->choice, 8)) {
    case 0:
        expect_refused(oracle, malloc(large_bytes), ENOMEM, "malloc");
        break;
    case 1:
        expect_refused(oracle, calloc(half_overflow, 2), ENOMEM, "calloc");
        break;
    case 2:
        expect_refused(oracle, realloc(block->start, large_bytes), ENOMEM, "realloc");
        break;
    case 3:
        expect_refused(oracle, reallocarray(block->start, 2, half_overflow), ENOMEM,
                       "reallocarray");
        break;
    case 4:
        expect_refused(oracle, memalign(64, large_bytes), ENOMEM, "memalign");
        break;
    case 5:
        expect_refused(oracle, pvalloc(SIZE_MAX - choice_below(&oracle->choice, 4096)), ENOMEM,
                       "pvalloc");
        break;
    case 6:
        if (posix_memalign(&mem, 24, 100) != EINVAL || posix_memalign(&mem, 4, 100) != EINVAL)
            fail(oracle, "posix_memalign takes an alignment that is none");
        break;
    default:
        if (posix_memalign(&mem, 4096, large_bytes) != ENOMEM)
            fail(oracle, "posix_memalign takes an impossible size");
    }
    if (mem != block)
        fail(oracle, "posix_memalign failed and wrote to its pointer");
    if (block->start != NULL)
        verify(oracle, block);
}

static const int params[][2] = {
    { M_PERTURB, 0 },
    { M_MMAP_THRESHOLD, 128 * KIB },
    { M_MMAP_MAX, 65536 },
    { M_TOP_PAD, 128 * KIB },
    { M_TRIM_THRESHOLD, 128 * KIB },
    { M_MXFAST, 128 },
    { M_ARENA_MAX, 0 },
    { M_ARENA_TEST, 8 },
};
#define PARAM_COUNT (sizeof(params) / sizeof(params[0]))

void
oracle_reset_settings(void)
{
    for (size_t i = 0; i < PARAM_COUNT; i++)
        (void)mallopt(params[i][0], params[i][1]);
}

/* One setting away from its default, or none: some close the short ways, which most calls shall
 * take. Where ORACLE_KEEP_PERTURB is set M_PERTURB is left alone: glibc's calloc, which knows fresh
 * memory from used one by the perturb byte of this moment, returns used memory as it is after a
 * change. */
static void
set_one(struct oracle *oracle)
{
    size_t idx = choice_below(&oracle->choice, PARAM_COUNT);
    int value = (int)choice_below(&oracle->choice, 64) * 16;

    oracle_reset_settings();
    if (choice_one_in(&oracle->choice, 3)
        && (params[idx][0] != M_PERTURB || getenv("ORACLE_KEEP_PERTURB") == NULL))
        (void)mallopt(params[idx][0], value);
}

/* Settings and questions, which change no block. */
static void
ask(struct oracle *oracle, struct oracle_block *block)
{
    struct mallinfo2 info;

    errno = KEPT_ERRNO;
    switch (choice_below(&oracle->choice, 4)) {
    case 0:
        if (choice_one_in(&oracle->choice, 8)) /* costs more than all else */
            (void)malloc_trim(choice_below(&oracle->choice, MIB));
        break;
    case 1:
        info = mallinfo2();
        if (oracle->is_alone && info.uordblks + info.hblkhd < oracle->live_bytes)
            fail(oracle, "mallinfo2 says %zu and %zu bytes, but %zu are live", info.uordblks,
                 info.hblkhd, oracle->live_bytes);
        if (info.arena < info.uordblks || info.arena - info.uordblks != info.fordblks)
            fail(oracle, "mallinfo2: arena %zu is not %zu + %zu", info.arena, info.uordblks,
                 info.fordblks);
        break;
    case 2:
        set_one(oracle);
        break;
    default:
        free(NULL);
        if (errno != KEPT_ERRNO)
            fail(oracle, "free(NULL) set errno to %d", errno);
        if (malloc_usable_size(NULL) != 0)
            fail(oracle, "malloc_usable_size(NULL) is not 0");
    }
    if (block->start != NULL)
        verify(oracle, block);
}

/* Free a stretch of blocks, as programs do that tear something down. */
static void
free_many(struct oracle *oracle)
{
    size_t count = choice_below(&oracle->choice, ORACLE_BLOCKS);
    size_t first = choice_below(&oracle->choice, ORACLE_BLOCKS);

    for (size_t i = 0; i < count; i++)
        oracle_free(oracle, &oracle->blocks[(first + i) % ORACLE_BLOCKS]);
}

void
oracle_step(struct oracle *oracle)
{
    struct oracle_block *block = &oracle->blocks[choice_below(&oracle->choice, ORACLE_BLOCKS)];
    size_t kind = choice_below(&oracle->choice, 256);

    oracle->step_count++;
    if (kind == 0)
        free_many(oracle);
    else if (kind < 8)
        ask(oracle, block);
    else if (kind < 12)
        refuse(oracle, block);
    else if (block->start == NULL)
        alloc(oracle, block);
    else if (kind < 80)
        resize(oracle, block);
    else if (kind < 96)
        use_all(oracle, block);
    else if (kind < 104)
        verify(oracle, block);
    else
        oracle_free(oracle, block);
}

void
oracle_swap(struct oracle *oracle, struct oracle_block *other)
{
    struct oracle_block *block = &oracle->blocks[choice_below(&oracle->choice, ORACLE_BLOCKS)];
    struct oracle_block given = *block;

    if (given.start != NULL)
        oracle->live_bytes -= given.usable_bytes;
    *block = *other;
    *other = given;
    if (block->start == NULL)
        return;
    oracle->live_bytes += block->usable_bytes;
    verify(oracle, block);
}

void
oracle_end(struct oracle *oracle)
{
    for (size_t i = 0; i < ORACLE_BLOCKS; i++)
        oracle_free(oracle, &oracle->blocks[i]);
}
