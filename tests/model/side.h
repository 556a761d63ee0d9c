/* SPDX-License-Identifier: MIT */
/* side.h - an arena and a table of its live blocks: calls on it, each held to what it promises. */
#ifndef HM_TESTS_MODEL_SIDE_H
#define HM_TESTS_MODEL_SIDE_H

#include "huma.h"
#include "support/choice.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

enum { SIDE_BLOCKS = 1500 };

struct side_block {
    unsigned char *start;
    size_t size_bytes; /* as asked for */
    size_t usable_bytes;
    uint64_t seed; /* of its contents */
    bool is_met;   /* by the walk */
};

struct side {
    huma_arena *arena;
    size_t room_bytes;   /* most bytes in blocks that are asked for */
    size_t limit_bytes;  /* 0: none */
    size_t closed_bytes; /* what there is and no more; 0: there may be more */
    size_t refused_count;
    size_t live_bytes; /* usable bytes of all blocks */
    size_t block_count;
    struct side_block blocks[SIDE_BLOCKS];
};

/* Of the current round. */
extern struct choice side_choice;
extern unsigned side_step_idx;

/* One call. What is wrong is told on stderr in one line, and then abort().
 *   alloc_share  of 1000 calls, how many shall allocate */
void side_step(struct side *side, const struct side *other, size_t alloc_share);

/* Prove what must hold of the arena at any time between calls, and that it has exactly the blocks
 * of the table. */
void side_check(const struct side *side);

/* Check all contents; free the blocks, or leave them; destroy the arena. */
void side_end(struct side *side, bool is_emptied);

void __attribute__((noreturn)) side_fail(const char *what, const void *start);

#endif
