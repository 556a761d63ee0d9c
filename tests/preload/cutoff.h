/* SPDX-License-Identifier: MIT */
/* cutoff.h - rules on glibc's mmap threshold, as programs see them.
 *
 * Problem     A rule must be the same under glibc and under huma, wherever their blocks lie.
 * Idea        A rule does something and says what came of it, in lines that both must print alike.
 *             Whether a block is direct is seen by hblks of mallinfo2. glibc asks the threshold
 *             last, when no free space fits: so space is drained first, and every probe has its
 *             own child.
 */
#ifndef HUMA_TESTS_CUTOFF_H
#define HUMA_TESTS_CUTOFF_H

#include "expect.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

struct rule {
    const char *name;
    const char *env; /* settings NAME=VALUE with a bar between them; NULL: none */
    void (*run)(long a, long b);
    long a;
    long b;
};

/* Print a line of the verdict. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Say a text, then hblks and hblkhd. */
void say_direct(const char *what);

/* Number of direct blocks. */
size_t direct_count(void);

/* Free space goes back, then a block is taken by malloc. */
void *drained_malloc(size_t size);

/* The same: is it direct? The block stays. */
bool becomes_direct(size_t size);

/* The smallest request that is direct now; align 0: of malloc, else of memalign. */
size_t first_direct(size_t align);

/* Say that, by "no request" if there is none up to 100 MiB. */
void say_first_direct(void);

/* Run in a thread of its own, to its end. */
void in_thread(void (*function)(void));

/* Rules by group; each table ends with a row without a name. */
extern const struct rule alloc_rules[];
extern const struct rule dynamic_rules[];
extern const struct rule realloc_rules[];
extern const struct rule setting_rules[];
extern const struct rule small_rules[];

#endif
