/* SPDX-License-Identifier: MIT */
/* interleave.c - processes in a shared arena meet, are killed and recovered, in every order.
 *
 * Problem     That a process may be killed between any two instructions, and that others go on in
 *             the meantime, is more than tests with clocks and signals can try.
 * Idea        Scenes of two to four processes with a few calls each, on the core's own code; all
 *             their interleavings are gone through (explore.c). After each, and in each state if
 *             all are killed there, the arena must be whole: nothing lost, nothing twice.
 *             Blocks have 16 or 32 KiB, so that the words to look at are few.
 * Limits      Sequential consistency: what weak memory adds is not tried.
 * Usage       interleave [STATES [KILLS [SCENE]]]   bounds for each scene; more kills than usual
 */
#include <stdio.h>
#include <stdlib.h>

#include "shared/steps.h"

#define A (&procs[0])
#define B (&procs[1])
#define C (&procs[2])
#define HALF 32768u /* bytes: two in a span */
#define SPAN HM_SHARED_SPAN_BYTES

/* --- programs --------------------------------------------------------------------------------- */

static void
recover(struct proc *me)
{
    proc_recover(me);
}

static void
publish_0(struct proc *me)
{
    (void)proc_publish(me, 0, me->held[0]);
}

static void
take_0(struct proc *me)
{
    (void)proc_take(me, 0);
}

static void
take_0_free(struct proc *me)
{
    uint64_t block_off = proc_take(me, 0);

    if (block_off != 0)
        proc_free(me, block_off);
}

static void
take_0_publish_1(struct proc *me)
{
    uint64_t block_off = proc_take(me, 0);

    if (block_off != 0)
        (void)proc_publish(me, 1, block_off);
}

static void
take_0_free_go(struct proc *me)
{
    take_0_free(me);
    proc_detach(me);
}

static void
alloc_publish_1_go(struct proc *me)
{
    uint64_t block_off = proc_alloc(me, HALF);

    if (block_off != 0)
        (void)proc_publish(me, 1, block_off);
    proc_detach(me);
}

static void
free_first(struct proc *me)
{
    proc_free(me, me->held[0]);
}

static void
alloc_two_spans(struct proc *me)
{
    (void)proc_alloc(me, 2 * SPAN);
}

static void
alloc_three_spans(struct proc *me)
{
    (void)proc_alloc(me, 3 * SPAN);
}

static void
alloc_half(struct proc *me)
{
    (void)proc_alloc(me, HALF);
}

static void
trim(struct proc *me)
{
    proc_trim(me);
}

static void
come_and_go(struct proc *me)
{
    proc_attach(me);
    if (me->view.seat == 0)
        return;
    (void)proc_alloc(me, HALF);
    proc_detach(me);
}

/* Leave the span to all, and divide it anew; a block at the same place goes into the same cell. */
static void
divide_anew(struct proc *me)
{
    uint64_t block_off = proc_take(me, 0);

    if (block_off == 0)
        return;
    proc_free(me, block_off);
    proc_detach(me);
    proc_attach(me);
    for (unsigned i = 0; i < 3; i++)
        block_off = proc_alloc(me, HALF / 2);
    (void)proc_publish(me, 0, block_off);
    (void)proc_publish(me, 1, block_off - HALF / 2);
}

static void
put_first(struct proc *me)
{
    (void)proc_put(me, me->held[0]);
}

static void
get_free(struct proc *me)
{
    uint64_t block_off = proc_get(me);

    if (block_off != 0)
        proc_free(me, block_off);
}

/* The same block, in the next round. */
static void
get_put(struct proc *me)
{
    uint64_t block_off = proc_get(me);

    if (block_off != 0)
        (void)proc_put(me, block_off);
}

/* --- scenes ----------------------------------------------------------------------------------- */

static void
attach_all(void)
{
    for (unsigned i = 0; i < STEPS_PROCS; i++)
        if (procs[i].status == PROC_READY)
            proc_attach(&procs[i]);
}

static void
set_up_publish(void)
{
    attach_all();
    (void)proc_alloc(A, HALF);
}

static void
set_up_publish_large(void)
{
    attach_all();
    (void)proc_alloc(A, 2 * SPAN);
}

static void
set_up_two_publishers(void)
{
    set_up_publish();
    (void)proc_alloc(B, HALF);
}

static void
set_up_take(void)
{
    set_up_publish();
    (void)proc_publish(A, 0, A->held[0]);
}

/* C is dead. */
static void
set_up_free(void)
{
    set_up_publish_large();
    (void)proc_alloc(C, HALF);
    proc_kill(C);
}

/* A has three spans of two free blocks each. */
static void
set_up_look_around(void)
{
    attach_all();
    for (unsigned i = 0; i < 6; i++)
        (void)proc_alloc(A, HALF);
    while (A->held_count > 0)
        proc_free(A, A->held[0]);
}

/* The one seat is that of a dead process, whose block of two spans somebody has half freed. */
static void
set_up_seat(void)
{
    proc_attach(C);
    (void)proc_alloc(C, 2 * SPAN);
    proc_kill(C);
}

static void
set_up_divide(void)
{
    attach_all();
    (void)proc_alloc(A, HALF);
    (void)proc_publish(A, 0, proc_alloc(A, HALF));
    proc_free(A, A->held[0]);
}

/* C has left a span with a block in it. */
static void
set_up_orphan(void)
{
    attach_all();
    (void)proc_publish(C, 0, proc_alloc(C, HALF));
    proc_detach(C);
}

/* Memory that there is already. */
static void
set_up_trim(void)
{
    attach_all();
    (void)proc_alloc(A, HALF);
    proc_free(A, A->held[0]);
    proc_detach(A);
    proc_attach(A);
}

/* A ring of one cell that nobody frees, in a root, and a block for each of two. */
static void
set_up_ring(void)
{
    attach_all();
    hm_shared_ring_init(&A->view, proc_alloc(A, HALF), 1);
    (void)proc_publish(A, 0, A->held[0]);
    (void)proc_alloc(A, HALF);
    (void)proc_alloc(B, HALF);
}

/* It is full. */
static void
set_up_full_ring(void)
{
    set_up_ring();
    (void)proc_put(A, A->held[0]);
    proc_free(B, B->held[0]);
}

static void
no_steps(struct proc *me)
{
    (void)me;
}

static const struct scene scenes[] = {
    { .name = "publish, take",
      .set_up = set_up_publish,
      .programs = { publish_0, take_0_free, recover },
      .after = { 0, 0, 1 },
      .mortals = 7,
      .kills = 2 },
    { .name = "publish, take: large",
      .set_up = set_up_publish_large,
      .programs = { publish_0, take_0_free, recover },
      .after = { 0, 0, 1 },
      .mortals = 7,
      .kills = 2 },
    { .name = "two takers",
      .set_up = set_up_take,
      .programs = { no_steps, take_0_free, take_0_publish_1, recover },
      .after = { 0, 0, 0, 1 },
      .mortals = 6,
      .kills = 1 },
    { .name = "two publishers",
      .set_up = set_up_two_publishers,
      .programs = { publish_0, publish_0, take_0, recover },
      .after = { 0, 0, 0, 1 },
      .mortals = 3,
      .kills = 1 },
    { .name = "free, recover, allocate",
      .set_up = set_up_free,
      .programs = { free_first, recover, no_steps, alloc_two_spans },
      .mortals = 3,
      .kills = 2,
      .span_count = 3 },
    { .name = "two runs",
      .set_up = attach_all,
      .programs = { alloc_two_spans, alloc_two_spans, recover },
      .after = { 0, 0, 1 },
      .mortals = 3,
      .kills = 1,
      .span_count = 3 },
    { .name = "run, span",
      .set_up = attach_all,
      .programs = { alloc_three_spans, alloc_half, recover },
      .after = { 0, 0, 1 },
      .mortals = 3,
      .kills = 1 },
    { .name = "span given back",
      .set_up = set_up_look_around,
      .programs = { alloc_half, alloc_two_spans, recover },
      .after = { 0, 0, 1 },
      .mortals = 3,
      .kills = 1 },
    { .name = "trim, claim",
      .set_up = set_up_trim,
      .programs = { trim, alloc_half },
      .mortals = 3,
      .kills = 1,
      .span_count = STEPS_SPANS,
      .is_partial = true },
    { .name = "orphan adopted",
      .set_up = set_up_orphan,
      .programs = { take_0_free_go, alloc_publish_1_go, no_steps },
      .mortals = 3,
      .kills = 1,
      .span_count = 1 },
    { .name = "two recoverers",
      .set_up = set_up_publish,
      .programs = { publish_0, take_0, recover, recover },
      .after = { 0, 0, 1, 1 },
      .mortals = 5,
      .kills = 2 },
    { .name = "one seat",
      .set_up = set_up_seat,
      .programs = { come_and_go, come_and_go, no_steps },
      .mortals = 3,
      .kills = 2,
      .seat_count = 1 },
    { .name = "ring: put, get",
      .set_up = set_up_ring,
      .programs = { put_first, get_free, recover },
      .after = { 0, 0, 1 },
      .mortals = 7,
      .kills = 2,
      .has_ring = true },
    { .name = "ring: two put",
      .set_up = set_up_ring,
      .programs = { put_first, put_first, get_free },
      .mortals = 0,
      .has_ring = true },
    { .name = "ring: two get",
      .set_up = set_up_full_ring,
      .programs = { no_steps, get_put, get_free, recover },
      .after = { 0, 0, 0, 1 },
      .mortals = 6,
      .kills = 1,
      .has_ring = true },
    { .name = "span divided anew",
      .set_up = set_up_divide,
      .programs = { divide_anew, take_0 },
      .mortals = 0 },
};

static bool
play(const struct scene *from, uint64_t states_max, unsigned kills)
{
    struct scene it = *from;
    struct sums sums;

    if (it.span_count == 0)
        it.span_count = 4;
    if (it.seat_count == 0)
        it.seat_count = STEPS_SEATS;
    if (it.mortals != 0)
        it.kills += kills;
    sums = explore(&it, states_max);
    (void)printf("%-24s %6llu ends %8llu states %8llu steps %8llu crashes %6llu violations%s\n",
                 it.name, (unsigned long long)sums.executions, (unsigned long long)sums.states,
                 (unsigned long long)sums.steps, (unsigned long long)sums.crashes,
                 (unsigned long long)sums.violations, sums.is_cut ? ", not all" : "");
    (void)fflush(stdout);
    return sums.violations == 0;
}

int
main(int argc, char **argv)
{
    uint64_t states_max = argc > 1 ? strtoull(argv[1], NULL, 0) : 3000000;
    unsigned kills = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : 0;
    bool is_well = true;

#ifdef HM_SANITIZE
    (void)puts("a sanitizer does not know of stacks that are put back");
    return 77;
#endif
    for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++)
        if (argc <= 3 || i == strtoul(argv[3], NULL, 0))
            is_well = play(&scenes[i], states_max, kills) && is_well;
    return is_well ? 0 : 1;
}
