/* SPDX-License-Identifier: MIT */
/* oracle.h - calls of the whole malloc family, each held to what the family promises.
 *
 * Problem     Every entry point must keep its contract in any order of calls; a check that is
 *             written once should serve random runs, threads and fuzzers.
 * Idea        A table of blocks is the naive model: where each lies, how long it is, and a seed
 *             that gives its contents. One step makes one call that struct choice picks and checks
 *             its answer: alignment, usable size, no overlap with a block of the table, contents as
 *             they were written (small blocks whole; of large ones head, tail and places between
 *             that the seed picks), zeros of calloc, errno of free, refusals of the impossible.
 *             The table lies in static memory: the oracle itself never allocates.
 * State       struct oracle, one per thread.
 */
#ifndef HM_TESTS_ORACLE_H
#define HM_TESTS_ORACLE_H

#include "support/choice.h"

#define ORACLE_BLOCKS 384

struct oracle_block {
    unsigned char *start; /* NULL: no block */
    size_t asked_bytes;   /* as passed to the call that made it */
    size_t size_bytes;    /* that carry contents: as asked for, or all that is usable */
    size_t usable_bytes;
    size_t align_bytes; /* of an aligned call, else 0 */
    uint64_t seed;      /* of its contents */
};

struct oracle {
    struct choice choice;
    size_t limit_bytes; /* most bytes in blocks of this table */
    bool is_alone;      /* no other thread allocates: sums must be right */
    bool may_refuse;    /* the kernel refuses memory: NULL and ENOMEM are right answers */
    const char *name;   /* told on failure */
    uint64_t step_count;
    uint64_t refused_count; /* calls that had no memory */
    size_t live_bytes;      /* usable bytes of all blocks */
    struct oracle_block blocks[ORACLE_BLOCKS];
};

/* One call, and its checks. What is wrong is told on stderr in one line, and then abort(). */
void oracle_step(struct oracle *oracle);

/* The settings of mallopt as they are in a new process; steps change them. */
void oracle_reset_settings(void);

/* Hand a block over: the table's and `other` change places. The caller orders access to `other`. */
void oracle_swap(struct oracle *oracle, struct oracle_block *other);

/* Check and free everything. */
void oracle_end(struct oracle *oracle);

/* Check and free one block that was swapped out of a table. */
void oracle_free(struct oracle *oracle, struct oracle_block *block);

#endif
