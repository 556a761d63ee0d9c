/* SPDX-License-Identifier: MIT */
/* steps.h - processes in a shared arena, each of whose steps can be put off (see explore.c).
 *
 * Problem     What goes wrong between processes goes wrong between two accesses to shared words.
 * Idea        The core's own files are compiled again behind these macros: before each atomic
 *             access to the arena a process stops, until it is told to go on; and what the access
 *             showed to the process is kept, as all that it does from then on follows from it.
 */
#ifndef HM_TESTS_SHARED_STEPS_H
#define HM_TESTS_SHARED_STEPS_H

#include <string.h>
#include <ucontext.h>

#include "os/os_lock.h" /* its words are a process's own: no steps */

/* Wait before an access to a word of the arena, or to what stands for the kernel's. */
void steps_wait(const volatile void *word);

/* An access showed this to the process that runs. */
void steps_saw(uint64_t value);

#define __atomic_load_n(ptr, order)                                                                \
    __extension__({                                                                                \
        steps_wait(ptr);                                                                           \
        __typeof__(*(ptr)) loaded_ = __atomic_load_n(ptr, order);                                  \
        steps_saw(loaded_);                                                                        \
        loaded_;                                                                                   \
    })

#define __atomic_store_n(ptr, value, order)                                                        \
    __extension__({                                                                                \
        __typeof__(*(ptr)) stored_ = (value);                                                      \
        steps_wait(ptr);                                                                           \
        __atomic_store_n(ptr, stored_, order);                                                     \
    })

#define __atomic_compare_exchange_n(ptr, expected, desired, weak, success, failure)                \
    __extension__({                                                                                \
        steps_wait(ptr);                                                                           \
        bool swapped_                                                                              \
            = __atomic_compare_exchange_n(ptr, expected, desired, weak, success, failure);         \
        steps_saw(swapped_);                                                                       \
        steps_saw(*(expected));                                                                    \
        swapped_;                                                                                  \
    })

#include "shared/shared.h"

enum {
    STEPS_PROCS = 4, /* of a scene */
    STEPS_SEATS = 5,
    STEPS_ROOTS = 2,
    STEPS_SPANS = 32,
    STEPS_HELD = 6,
    STEPS_STACK_BYTES = 32768,
    STEPS_IMAGE_BYTES = 2 * (int)HM_SHARED_CHUNK_BYTES, /* a ring may be at the data's beginning */
    STEPS_RING_BYTES = 320 + 8,                         /* of one cell, which comes last */
};

enum proc_status { PROC_NONE, PROC_READY, PROC_RUNS, PROC_ENDED, PROC_DEAD };

struct proc {
    ucontext_t context;
    struct hm_shared view;
    uint32_t rings[STEPS_SPANS];
    uint64_t hash;           /* of all it saw */
    const volatile void *at; /* the word that it waits at */
    uintptr_t stack_low;
    enum proc_status status;
    int cell_change; /* how many more cells will hold a block, if it ends what it is at */
    unsigned held_count;
    uint64_t held[STEPS_HELD]; /* blocks in its hands */
};

/* One thing that several processes do, and how. */
struct scene {
    const char *name;
    void (*set_up)(void);
    void (*programs[STEPS_PROCS])(struct proc *me);
    unsigned after[STEPS_PROCS]; /* begins when so many have been killed */
    unsigned mortals;            /* who may be killed: one bit each */
    unsigned kills;              /* at most, in one execution */
    unsigned span_count;
    unsigned seat_count;
    bool is_partial; /* only the first and the last span's words count as shared */
    bool has_ring;   /* of one cell, in the first block */
};

struct sums {
    uint64_t executions;
    uint64_t states;
    uint64_t crashes; /* different ones after which the arena was recovered */
    uint64_t steps;
    uint64_t violations;
    bool is_cut; /* there were more states than allowed */
};

/* What the kernel keeps, and the accounts. */
struct kernel {
    uint8_t holders[STEPS_SEATS + 1]; /* of seats: a process and 1, or 0 */
    bool has_words;                   /* the chunk's blocks; for ever, once they are there */
    bool has_memory;                  /* the chunk's data */
    unsigned dead_count;
    int published; /* cells that hold a block: between these two */
    int published_max;
};

extern struct proc procs[STEPS_PROCS];
extern struct proc auditor; /* looks at all, and takes no steps */
extern struct kernel kernel;
extern struct hm_shared_geom arena;
extern const struct scene *scene;
extern const char *wrong; /* NULL: nothing */
extern unsigned char image[STEPS_IMAGE_BYTES];
extern unsigned char stacks[STEPS_PROCS][STEPS_STACK_BYTES];

/* Go through all of a scene; what is wrong is printed. */
struct sums explore(const struct scene *scene, uint64_t states_max);

/* What programs do, on behalf of a process, and keep account of. */
void proc_attach(struct proc *me);
void proc_detach(struct proc *me);
uint64_t proc_alloc(struct proc *me, uint64_t size_bytes);
void proc_free(struct proc *me, uint64_t block_off);
bool proc_publish(struct proc *me, unsigned root, uint64_t block_off);
uint64_t proc_take(struct proc *me, unsigned root);
bool proc_put(struct proc *me, uint64_t block_off);
uint64_t proc_get(struct proc *me);
void proc_recover(struct proc *me);
void proc_trim(struct proc *me);
void proc_kill(struct proc *me);

/* For explore.c. */
void init_proc(struct proc *proc);
void take_step(struct proc *proc);
uint64_t cell_off_of(unsigned root);
uint64_t *steps_ring(void); /* its cell */
uint64_t steps_mix(uint64_t hash, uint64_t value);

/* Something that must not be; it is in the report if `is_so`. */
void steps_wrong(bool is_so, const char *what);

#endif
