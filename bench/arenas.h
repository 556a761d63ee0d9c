/* SPDX-License-Identifier: MIT */
/* arenas.h - loads for arenas and for what others have in their place, and who runs them.
 *
 * Idea    All sizes are drawn beforehand, so that each contender gets the same ones. The loops are
 *         here, inline, and each contender's file gives them its own calls: so that none of them
 *         pays for a call that a program would not make.
 */
#ifndef BENCH_ARENAS_H
#define BENCH_ARENAS_H

#include <stdbool.h>
#include <stdint.h>

#include "support.h"

#define BENCH_INLINE static inline __attribute__((always_inline))

struct bench_load {
    const char *name;
    bool is_freed_singly;
    uint32_t count;        /* blocks */
    uint32_t slot_count;   /* freed singly: how many live at a time */
    uint32_t phase_count;  /* else: after each all blocks are freed */
    uint32_t *sizes_bytes; /* of each block */
    uint32_t *slots;       /* freed singly: where it goes, and what was there is freed */
    uint32_t *phase_lens;  /* blocks of each phase */
    void **blocks;         /* freed singly: what is in the slots */
};

enum { BENCH_LOADS = 4 };

struct bench_contender {
    const char *name;
    bool is_ours;
    bool is_there;
    void (*turn_to)(unsigned load_idx); /* what has served this load only shall serve */
    void (*free_singly)(const struct bench_load *load); /* NULL: it cannot */
    void (*free_at_once)(const struct bench_load *load);
};

/* Blocks of mixed ages: each takes the place of another. */
BENCH_INLINE void
bench_free_singly(const struct bench_load *load, void *(*alloc)(size_t), void (*free_one)(void *))
{
    for (uint32_t i = 0; i < load->count; i++) {
        void **slot = &load->blocks[load->slots[i]];

        if (*slot != NULL)
            free_one(*slot);
        *slot = alloc(load->sizes_bytes[i]);
        bench_touch(*slot, load->sizes_bytes[i]);
    }
    for (uint32_t i = 0; i < load->slot_count; i++) {
        if (load->blocks[i] != NULL)
            free_one(load->blocks[i]);
        load->blocks[i] = NULL;
    }
}

BENCH_INLINE void
bench_free_at_once(const struct bench_load *load, void *(*alloc)(size_t), void (*free_all)(void))
{
    const uint32_t *size_bytes = load->sizes_bytes;

    for (uint32_t phase = 0; phase < load->phase_count; phase++) {
        for (uint32_t i = 0; i < load->phase_lens[phase]; i++, size_bytes++)
            bench_touch(alloc(*size_bytes), *size_bytes);
        free_all();
    }
}

/* Add those of a library to `contenders`; without the library they are not there. Returns how many.
 *   is_huge  on transparent huge pages from the first byte, as far as the library can */
unsigned bench_arenas_huma(struct bench_contender *contenders, bool is_huge);
unsigned bench_arenas_mimalloc(struct bench_contender *contenders, bool is_huge);
unsigned bench_arenas_apr(struct bench_contender *contenders);

/* What only huma is asked. Each prints a table of its own. */
void bench_arenas_create(unsigned round_count);
void bench_arenas_reset(unsigned round_count);
void bench_arenas_prefault(unsigned round_count);

/* Sorts the values. */
double bench_median(double *values, unsigned count);

#endif
