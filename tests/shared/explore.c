/* SPDX-License-Identifier: MIT */
/* explore.c - every order in which processes can take their steps, and every place to be killed.
 *
 * Problem     A wrong order of two steps may be met once in a billion runs.
 * Idea        Each process is a coroutine; a step is what it does from one access to a shared word
 *             to the next. From each state, each process in turn takes one step, or is killed, and
 *             what follows is gone through, depth first; memory, stacks and accounts are put back
 *             from a copy. A state is the shared memory and what each process has seen so far: one
 *             that was met before is not gone through again. In each state, and not only at the
 *             end, all processes are killed at once, and what they leave must be recovered in full.
 *             A touch of words that were given no memory counts as a fault.
 * Limits      Steps of different processes are seen by all in one order: what weak memory adds
 *             is not tried. States are told apart by 64 bits of hash.
 */
#include <stdio.h>
#include <stdlib.h>

#include "shared/steps.h"

enum {
    DEPTH_MAX = 600,
    WORDS_KEPT = 8, /* of each span: scenes use big blocks only */
    META_BYTES = 2048,
    STACK_KEPT_BYTES = 4096,
    KILL = 16, /* in a choice */
    TRACES_MAX = 1,
};

struct copy {
    struct proc procs[STEPS_PROCS];
    struct kernel kernel;
    unsigned char meta[META_BYTES];
    uint32_t words[STEPS_SPANS][WORDS_KEPT];
    unsigned char ring[STEPS_RING_BYTES];
    unsigned char stacks[STEPS_PROCS][STACK_KEPT_BYTES];
};

/* Hashes; open addressing. */
struct set {
    uint64_t *hashes;
    uint64_t mask;
    uint64_t count;
};

static struct sums sums;
static struct copy *copies;
static struct {
    unsigned choice;
    const volatile void *at;
} trace[DEPTH_MAX];
static struct set states;
static struct set crashes; /* memory that was audited after all were killed */

/* --- copies ----------------------------------------------------------------------------------- */

static uint32_t *
words_of(unsigned span)
{
    return (uint32_t *)(void *)(image + arena.blocks_off + (size_t)span * 4096);
}

static unsigned char *
stack_end(unsigned idx)
{
    return stacks[idx] + STEPS_STACK_BYTES;
}

static size_t
stack_bytes(unsigned idx)
{
    return procs[idx].status == PROC_RUNS ? (uintptr_t)stack_end(idx) - procs[idx].stack_low : 0;
}

/* Seats, roots, chunks and spans. */
static size_t
meta_bytes(void)
{
    return arena.spans_off + arena.span_count * 8 - arena.seats_off;
}

static void
keep(struct copy *copy)
{
    memcpy(copy->procs, procs, sizeof(procs));
    copy->kernel = kernel;
    memcpy(copy->meta, image + arena.seats_off, meta_bytes());
    for (unsigned i = 0; i < arena.span_count; i++)
        memcpy(copy->words[i], words_of(i), sizeof(copy->words[i]));
    memcpy(copy->ring, image + arena.data_off, STEPS_RING_BYTES);
    for (unsigned i = 0; i < STEPS_PROCS; i++) {
        steps_wrong(stack_bytes(i) > STACK_KEPT_BYTES, "a stack does not fit");
        if (stack_bytes(i) <= STACK_KEPT_BYTES)
            memcpy(copy->stacks[i], stack_end(i) - stack_bytes(i), stack_bytes(i));
    }
}

static void
put_back(const struct copy *copy)
{
    memcpy(procs, copy->procs, sizeof(procs));
    kernel = copy->kernel;
    memcpy(image + arena.seats_off, copy->meta, meta_bytes());
    for (unsigned i = 0; i < arena.span_count; i++)
        memcpy(words_of(i), copy->words[i], sizeof(copy->words[i]));
    memcpy(image + arena.data_off, copy->ring, STEPS_RING_BYTES);
    for (unsigned i = 0; i < STEPS_PROCS; i++)
        memcpy(stack_end(i) - stack_bytes(i), copy->stacks[i], stack_bytes(i));
}

static uint64_t
hash_bytes(uint64_t hash, const void *mem, size_t len_bytes)
{
    for (size_t i = 0; i < len_bytes; i += 8) {
        uint64_t value;

        memcpy(&value, (const unsigned char *)mem + i, 8);
        hash = steps_mix(hash, value);
    }
    return hash;
}

static uint64_t
hash_memory(void)
{
    uint64_t hash = hash_bytes(1, image + arena.seats_off, meta_bytes());

    for (unsigned i = 0; i < arena.span_count; i++)
        hash = hash_bytes(hash, words_of(i), WORDS_KEPT * 4);
    if (scene->has_ring)
        hash = hash_bytes(hash, image + arena.data_off, STEPS_RING_BYTES);
    for (unsigned i = 0; i <= STEPS_SEATS; i++)
        hash = steps_mix(hash, kernel.holders[i]);
    hash = steps_mix(hash, (unsigned)kernel.has_memory | (unsigned)kernel.has_words << 1
                               | kernel.dead_count << 2);
    hash = steps_mix(hash, (uint64_t)(uint32_t)kernel.published);
    return steps_mix(hash, (uint64_t)(uint32_t)kernel.published_max);
}

static uint64_t
hash_state(void)
{
    uint64_t hash = hash_memory();

    for (unsigned i = 0; i < STEPS_PROCS; i++)
        hash = steps_mix(steps_mix(hash, procs[i].status),
                         procs[i].status == PROC_DEAD ? 0 : procs[i].hash);
    return hash;
}

/* Enter a hash. Returns whether it is new; one that has no room counts as old. */
static bool
enter(struct set *set, uint64_t hash)
{
    uint64_t slot = hash & set->mask;

    hash += hash == 0;
    while (set->hashes[slot] != 0 && set->hashes[slot] != hash)
        slot = (slot + 1) & set->mask;
    if (set->hashes[slot] == hash)
        return false;
    if (set->count * 2 > set->mask) {
        sums.is_cut = true;
        return false;
    }
    set->hashes[slot] = hash;
    set->count++;
    return true;
}

/* --- is all well ------------------------------------------------------------------------------ */

static void
audit_sums(int published, bool is_drained)
{
    const char *fault;
    struct hm_shared_sums now;
    unsigned held_count = 0;

    fault = hm_shared_verify(&auditor.view, &now);
    steps_wrong(fault != NULL, fault);
    for (unsigned i = 0; i < STEPS_PROCS; i++)
        held_count += procs[i].status != PROC_DEAD ? procs[i].held_count : 0;
    steps_wrong(now.private_count != held_count, "a block is private to nobody, or was lost");
    steps_wrong(now.published_count != (unsigned)published, "a block is published in no cell");
    steps_wrong(is_drained && now.span_bytes != 0, "spans are not free in the end");
    steps_wrong(is_drained && now.seat_count != 0, "a seat is not free in the end");
}

static unsigned
count_cells(void)
{
    unsigned count = 0;

    for (unsigned i = 0; i < STEPS_ROOTS; i++)
        count += hm_shared_root_of(&auditor.view, i)->block != 0;
    if (scene->has_ring)
        count += hm_cell_block(*steps_ring()) != 0;
    return count;
}

static void
drain_ring(void)
{
    bool is_full = hm_cell_block(*steps_ring()) != 0;
    uint64_t block_off;

    (void)hm_shared_ring_get(&auditor.view, arena.data_off, &block_off, 0);
    steps_wrong(is_full != (block_off != 0), "the ring holds what cannot be got");
    steps_wrong(block_off != 0 && hm_shared_free(&auditor.view, block_off) != 0,
                "what was got cannot be freed");
}

/* Free everything, and see that it is. */
static void
drain(void)
{
    if (scene->has_ring)
        drain_ring();
    for (unsigned i = 0; i < STEPS_ROOTS; i++) {
        bool is_full = hm_shared_root_of(&auditor.view, i)->block != 0;
        uint64_t block_off = hm_shared_take(&auditor.view, cell_off_of(i));

        steps_wrong(is_full && block_off == 0, "a cell holds what cannot be taken");
        steps_wrong(block_off != 0 && hm_shared_free(&auditor.view, block_off) != 0,
                    "what was taken cannot be freed");
    }
    for (unsigned i = 0; i < STEPS_PROCS; i++) {
        if (procs[i].status == PROC_NONE || procs[i].status == PROC_DEAD)
            continue;
        while (procs[i].held_count > 0)
            proc_free(&procs[i], procs[i].held[0]);
        if (procs[i].view.seat != 0)
            proc_detach(&procs[i]);
    }
    hm_shared_detach(&auditor.view);
    audit_sums(0, true);
}

/* Of what processes left, after all have ended, or are dead. */
static void
audit(void)
{
    struct hm_shared_sums now;
    const char *fault = hm_shared_verify(&auditor.view, &now);

    steps_wrong(fault != NULL, fault);
    steps_wrong(hm_shared_is_ready(&auditor.view, 0) && !(kernel.has_words && kernel.has_memory),
                "a chunk is said to have memory");
    init_proc(&auditor);
    if (hm_shared_attach(&auditor.view) != 0) {
        steps_wrong(true, "there is no seat");
        return;
    }
    (void)hm_shared_recover(&auditor.view);
    audit_sums((int)count_cells(), false);
    steps_wrong((int)count_cells() < kernel.published, "what was in a cell is lost");
    steps_wrong((int)count_cells() > kernel.published_max, "what was taken is still in a cell");
    drain();
    auditor.view.seat = 0;
}

/* --- the search ------------------------------------------------------------------------------- */

static void
print_word(const volatile void *at)
{
    size_t off = (size_t)((const volatile unsigned char *)at - image);

    if (off >= sizeof(image))
        (void)printf("the kernel");
    else if (off >= arena.data_off)
        (void)printf("the ring + %zu", off - arena.data_off);
    else if (off >= arena.blocks_off)
        (void)printf("block %zu of span %zu", (off - arena.blocks_off) % 4096 / 4,
                     (off - arena.blocks_off) / 4096);
    else if (off >= arena.spans_off)
        (void)printf("span %zu", (off - arena.spans_off) / 8);
    else if (off >= arena.chunks_off)
        (void)printf("the chunk");
    else if (off >= arena.roots_off)
        (void)printf("cell %zu", (off - arena.roots_off) / sizeof(struct hm_shared_root));
    else
        (void)printf("seat %zu + %zu", (off - arena.seats_off) / sizeof(struct hm_shared_seat),
                     (off - arena.seats_off) % sizeof(struct hm_shared_seat));
}

/* Returns whether something was wrong. */
static bool
report(unsigned depth)
{
    if (wrong == NULL)
        return false;
    if (sums.violations++ < TRACES_MAX) {
        (void)printf("%s: %s, after:\n", scene->name, wrong);
        for (unsigned i = 0; i < depth; i++) {
            (void)printf("  %c ", 'A' + (int)(trace[i].choice % KILL));
            if (trace[i].choice >= KILL)
                (void)printf("is killed before ");
            if (trace[i].at != NULL)
                print_word(trace[i].at);
            (void)printf(trace[i].at != NULL ? "\n" : "begins\n");
        }
    }
    wrong = NULL;
    return true;
}

static bool
can_step(const struct proc *proc)
{
    return (proc->status == PROC_READY && kernel.dead_count >= scene->after[proc - procs])
           || proc->status == PROC_RUNS;
}

static bool
can_kill(const struct proc *proc)
{
    return kernel.dead_count < scene->kills && (scene->mortals >> (proc - procs) & 1) != 0
           && (proc->status == PROC_READY || proc->status == PROC_RUNS
               || proc->status == PROC_ENDED);
}

static void go_on(unsigned depth);

static void
choose(unsigned depth, unsigned idx, unsigned kill)
{
    trace[depth].choice = idx | kill;
    trace[depth].at = procs[idx].at;
    if (kill != 0) {
        proc_kill(&procs[idx]);
    } else {
        take_step(&procs[idx]);
        sums.steps++;
    }
    if (report(depth + 1))
        ; /* on from here all would be wrong */
    else if (enter(&states, hash_state()))
        go_on(depth + 1);
    put_back(&copies[depth]);
}

/* All are killed at once. */
static void
audit_crash(unsigned depth)
{
    for (unsigned i = 0; i < STEPS_PROCS; i++)
        if (procs[i].status != PROC_NONE && procs[i].status != PROC_DEAD)
            proc_kill(&procs[i]);
    kernel.dead_count = 0; /* how many is all the same now */
    if (enter(&crashes, hash_memory()))
        audit();
    (void)report(depth);
    put_back(&copies[depth]);
}

static void
go_on(unsigned depth)
{
    bool is_end = true;

    if (depth + 1 == DEPTH_MAX) {
        sums.is_cut = true;
        return;
    }
    keep(&copies[depth]);
    audit_crash(depth);
    for (unsigned i = 0; i < STEPS_PROCS; i++)
        if (can_step(&procs[i])) {
            is_end = false;
            choose(depth, i, 0);
        }
    for (unsigned i = 0; i < STEPS_PROCS; i++)
        if (can_kill(&procs[i]))
            choose(depth, i, KILL);
    if (!is_end)
        return;
    sums.executions++;
    audit();
    (void)report(depth);
    put_back(&copies[depth]);
}

static void
prepare(void)
{
    struct hm_shared_header header;

    memset(image, 0, sizeof(image));
    memset(procs, 0, sizeof(procs));
    kernel = (struct kernel){ 0 };
    hm_shared_header_init(&header, HM_SHARED_CHUNK_BYTES, scene->seat_count, STEPS_ROOTS, 12);
    (void)hm_shared_geom_init(&arena, &header);
    arena.span_count = scene->span_count;
    for (unsigned i = arena.span_count; i < HM_SHARED_CHUNK_SPANS; i++)
        ((uint64_t *)(void *)(image + arena.spans_off))[i] = HM_SHSPAN_HELD;
    init_proc(&auditor);
    for (unsigned i = 0; i < STEPS_PROCS; i++) {
        init_proc(&procs[i]);
        procs[i].status = scene->programs[i] != NULL ? PROC_READY : PROC_NONE;
    }
    scene->set_up();
}

static struct set
new_set(uint64_t count_max)
{
    struct set set = { .mask = 1023 };

    while (set.mask < count_max * 2)
        set.mask = set.mask * 2 + 1;
    set.hashes = calloc(set.mask + 1, sizeof(*set.hashes));
    if (set.hashes == NULL)
        exit(99);
    return set;
}

struct sums
explore(const struct scene *which, uint64_t states_max)
{
    states = new_set(states_max);
    crashes = new_set(states_max);
    copies = calloc(DEPTH_MAX, sizeof(*copies));
    if (copies == NULL)
        exit(99);
    sums = (struct sums){ 0 };
    scene = which;
    prepare();
    (void)enter(&states, hash_state());
    go_on(0);
    sums.states = states.count;
    sums.crashes = crashes.count;
    free(states.hashes);
    free(crashes.hashes);
    free(copies);
    return sums;
}
