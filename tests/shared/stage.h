/* SPDX-License-Identifier: MIT */
/* stage.h - a small shared arena on anonymous memory, copies of it, and what must be true of one.
 *
 * Problem     What a killed process leaves is to be recovered many thousand times, from memory
 *             that a child is still at work in, and that must not be changed for that.
 * Idea        The arena is memory that parent and children share. Whenever what a child works in
 *             has changed, the parent copies it to memory of its own, where all who are not
 *             bystanders count as dead, and are recovered. In the copy, memory that a chunk need
 *             not have is out of reach: who touches it ends the test.
 *             To tell quickly whether something has changed, only words that may change are looked
 *             at, until a span is claimed or given up: then all are.
 */
#ifndef HM_TESTS_SHARED_STAGE_H
#define HM_TESTS_SHARED_STAGE_H

#include "shared/shared.h"

enum {
    STAGE_CHUNKS = 2,
    STAGE_SPANS = STAGE_CHUNKS * HM_SHARED_CHUNK_SPANS,
    STAGE_SEATS = 6,
    STAGE_ROOTS = 5,
    STAGE_BYSTANDER = 1, /* the seat of a process that is alive and at nothing */
    STAGE_BLOCKS_MAX = 512,
    STAGE_RING_SLOTS = 2,
};

/* What the child lets its parent know, in memory that they share; and what it lends from it. */
struct stage_notes {
    uint64_t cell_off; /* of a cell in a block; 0: there is none */
    uint64_t ring_off; /* of a ring of STAGE_RING_SLOTS; 0: there is none */
    unsigned stolen_count;
    unsigned private_count; /* of the bystander's blocks */
};

struct stage {
    struct hm_shared_geom geom;
    unsigned char *base; /* shared with children */
    unsigned char *copy; /* the parent's own */
    struct stage_notes *notes;
    bool is_shielded[STAGE_CHUNKS]; /* of the copy */
    struct {
        uint64_t off;
        size_t len_bytes;
    } watched[STAGE_SPANS + 2];
    unsigned watched_count;
};

extern struct stage stage;

/* The arena, as it is when nobody has come yet. */
void stage_init(void);

/* A view of base, or of the copy, for whom all seats but the bystander's are of the dead. */
void stage_view(struct hm_shared *view, unsigned char *base);

/* Whether base has changed since it was copied last. */
bool stage_has_changed(void);

/* Copy base. */
void stage_copy(void);

/* Copy base to memory that is kept, and back. */
void *stage_save(void);
void stage_restore(const void *saved);

/* Put what chunks need not have out of reach. */
void stage_shield(unsigned char *base, bool *is_shielded);

/* Recover the copy, and check it. Returns NULL or what is wrong. */
const char *stage_recover_copy(void);

/* What must be true if nobody is at work. */
const char *stage_check(const struct hm_shared *view, uint64_t cell_off);

#endif
