/* SPDX-License-Identifier: MIT */
/* expect.h - for test programs: expectations, and blocks filled with a pattern.
 *
 * Problem     A test of malloc should not lean on malloc to report, and must see any byte that
 *             changes.
 * Idea        Reports go out by vdprintf. A block is filled with a pattern that a seed gives: whole
 *             up to DENSE_BYTES, else both ends and a byte in every STRIDE_BYTES, so that large
 *             ones are cheap.
 */
#ifndef HUMA_TESTS_EXPECT_H
#define HUMA_TESTS_EXPECT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

enum { DENSE_BYTES = 32 << 10, STRIDE_BYTES = 1024 };

static inline void __attribute__((noreturn, format(printf, 3, 4)))
expect_failed(const char *condition, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)dprintf(STDERR_FILENO, "line %d: not so: %s: ", line, condition);
    (void)vdprintf(STDERR_FILENO, format, args);
    (void)dprintf(STDERR_FILENO, "\n");
    va_end(args);
    _exit(1);
}

/* End the program with status 1 and the message unless the condition holds. */
#define expect(condition, ...)                                                                     \
    ((condition) ? (void)0 : expect_failed(#condition, __LINE__, __VA_ARGS__))

/* xorshift: the next of a sequence that any non-zero state starts. */
static inline uint64_t
draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static inline unsigned char
pattern_byte(size_t offset, uint64_t seed)
{
    return (unsigned char)(((offset + seed) * 0x9e3779b97f4a7c15u) >> 56);
}

/* Distance to the next byte of a block that carries the pattern. */
static inline size_t
pattern_step(size_t offset, size_t size)
{
    if (size <= DENSE_BYTES || offset < 64 || offset >= size - 64)
        return 1;
    size_t left = size - 64 - offset;
    return left < STRIDE_BYTES ? left : STRIDE_BYTES;
}

static inline void
pattern_fill(void *block, size_t size, uint64_t seed)
{
    unsigned char *bytes = block;
    for (size_t i = 0; i < size; i += pattern_step(i, size))
        bytes[i] = pattern_byte(i, seed);
}

static inline bool
pattern_holds(const void *block, size_t size, uint64_t seed)
{
    const unsigned char *bytes = block;
    for (size_t i = 0; i < size; i += pattern_step(i, size)) {
        if (bytes[i] != pattern_byte(i, seed))
            return false;
    }
    return true;
}

#endif
