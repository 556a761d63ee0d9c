/* SPDX-License-Identifier: MIT */
/* early.h - blocks that early.c and its library allocate before anybody's turn. */
#ifndef HUMA_TESTS_EARLY_H
#define HUMA_TESTS_EARLY_H

#include "expect.h"

#include <stdlib.h>

enum { EARLY_COUNT = 40 };

struct early {
    void *blocks[EARLY_COUNT];
};

static inline size_t
early_size(int i)
{
    return ((size_t)1 << (i / 2)) + (size_t)i; /* 1 byte to some 500 KiB */
}

static inline void
early_make(struct early *early)
{
    for (int i = 0; i < EARLY_COUNT; i++) {
        early->blocks[i] = i % 3 ? malloc(early_size(i)) : calloc(1, early_size(i));
        expect(early->blocks[i] != NULL, "%zu bytes", early_size(i));
        pattern_fill(early->blocks[i], early_size(i), (uint64_t)i);
    }
}

static inline void
early_check_and_free(struct early *early, const char *who)
{
    for (int i = 0; i < EARLY_COUNT; i++) {
        expect(early->blocks[i] != NULL, "the %s never ran", who);
        expect(pattern_holds(early->blocks[i], early_size(i), (uint64_t)i), "%s, %zu bytes", who,
               early_size(i));
        early->blocks[i] = realloc(early->blocks[i], 2 * early_size(i));
        free(early->blocks[i]);
    }
    (void)printf("%s: blocks whole\n", who);
}

extern struct early early_in_library;

#endif
