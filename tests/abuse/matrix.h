/* SPDX-License-Identifier: MIT */
/* matrix.h - what the files of the misuse matrix share.
 *
 * Problem     Misuse comes in many combinations: which block, in which state, by which call, in
 *             which thread. A program for each would be thousands.
 * Idea        A scenario builds the state and hands the wrong pointer to misuse(). The harness
 *             (matrix.c) runs each combination in a forked child, which must end by SIGABRT after
 *             one line that names the call, the kind of fault and this very pointer.
 * State       expected, in memory that parent and child share.
 */
#ifndef HM_TESTS_ABUSE_MATRIX_H
#define HM_TESTS_ABUSE_MATRIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abuse/abuse.h"

/* What the line may call the pointer. */
enum {
    FREED = 1,   /* "double free of" if the call frees, else "freed block" */
    INVALID = 2, /* "invalid pointer" */
    EITHER = FREED | INVALID,
    DAMAGED = 4, /* said by a later malloc: "damaged free block" */
};

/* How a child ends that was not caught. */
enum {
    NOT_CAUGHT = 90, /* the call returned, and nothing was said later either */
    NOT_HERE = 91,   /* the combination does not exist here: nothing was tried */
    BROKEN = 99,     /* the set-up failed */
};

/* Sizes that a scenario is run with. */
enum { SMALL = 1, MEDIUM = 2, LARGE = 4, MAPPED = 8, ALL = 15, ONCE = 16 };

struct expected {
    uintptr_t addr;    /* the pointer that is misused; 0: none yet */
    size_t size_bytes; /* slot or block size that the line must name; 0: any */
    unsigned kinds;
};

extern struct expected *expected;

/* The first blocks of a thread, up to SHARED_MAX bytes of a size, lie among those of other sizes.
 * If has_spans is true, each thread takes these before a scenario gets one, which then lies in a
 * span of its size. */
#define SHARED_MAX ((size_t)2048)
extern bool has_spans;

void *block_in_span(size_t size);
#define block block_in_span

/* Release a block rightly, out of the compiler's sight. */
void release(void *ptr);

/* The size that the library says the block has. */
size_t room_of(void *ptr);

/* Hand `ptr` to the call under test, and end the child as not caught if that returns. */
void misuse(void *ptr, unsigned kinds, size_t size_bytes);

/* The same, but detection may come later: the scenario goes on and ends with not_caught(). */
void misuse_once(void *ptr, unsigned kinds, size_t size_bytes);
void not_caught(void) __attribute__((noreturn));
void not_here(void) __attribute__((noreturn));

/* Take and free blocks of the size, and end the child as not caught if two of them are one. Returns
 * if nothing is wrong, or there is no memory. */
void settle(size_t size);

/* As many blocks of the size as fill a few spans, but not too many bytes. */
#define PLENTY_MAX 3000
size_t plenty_of(size_t size);

/* A scenario: `size` is that of the blocks, `step` counts variants from 0. */
typedef void scenario_fn(size_t size, unsigned step);

/* one block, or several, freed twice by one thread (matrix_double.c) */
scenario_fn lone, among_others, in_full_span, delayed, interleaved, neighbour_reused, all_freed;
scenario_fn trimmed, moved, mapping_moved, other_source, written_beside, written_over, parent_freed;

/* no block at all (matrix_invalid.c) */
scenario_fn inside, beside, never_issued, span_ends, aliased, shrunk, foreign, far_away, own_memory;
scenario_fn gone_small, gone_large, every_offset;

/* with threads (matrix_threads.c) */
scenario_fn second_by_other, wrong_by_other, first_by_other, both_by_others, twice_by_other,
    owner_ended;
scenario_fn owner_freed_and_ended, merged, adopted, consumer_twice, concurrent;

#endif
