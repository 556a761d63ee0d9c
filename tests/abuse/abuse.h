/* SPDX-License-Identifier: MIT */
/* abuse.h - what the programs of this folder share.
 *
 * Problem     Compilers see a misuse of malloc coming, and warn of it or optimise it away.
 * Idea        Pointers go through a volatile, which nobody can see through.
 */
#ifndef HM_TESTS_ABUSE_H
#define HM_TESTS_ABUSE_H

#include <stdlib.h>

static inline void *
hidden(void *ptr)
{
    void *volatile out = ptr;

    return out;
}

/* A block, written to. */
static inline void *
block(size_t size)
{
    char *mem = hidden(malloc(size));

    if (mem == NULL)
        exit(99);
    mem[0] = 1;
    mem[size - 1] = 1;
    return mem;
}

#endif
