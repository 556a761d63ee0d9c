/* SPDX-License-Identifier: MIT */
/* apart.c - one process is stopped in the middle of a call, and another does all it can meanwhile.
 *
 * Problem     Words that look as they did before, though what they are about has been elsewhere in
 *             the meantime, mislead who compares and swaps them. That takes one process to be
 *             stopped between two particular instructions, which storm.c hardly ever meets.
 * Idea        Each of a few calls is made by a child that is stopped after its k-th instruction,
 *             for every k. Then the parent, in a seat of its own, makes calls that bring words
 *             back to what they were as far as they can, and the child goes on. Both believe in
 *             what they have then: it must not be the same block, and when both have died, what is
 *             published and what cells name must agree (stage.h).
 *
 * Usage       apart [EVERY]   only so many-th instruction before a change, where steps are slow
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "shared/meetings.h"
#include "shared/stage.h"
#include "shared/step.h"

enum {
    FAULTS_SHOWN = 8,
    CHANGES_MAX = 256,
    SHORT_STEPS = 250, /* instructions of a short call */
    WINDOW_STEPS = 8,
};

static long fault_count;
static long trial_count;
static long changes[CHANGES_MAX]; /* numbers of instructions */
static unsigned change_count;
static long look_count;
static long every = 1;

/* --- trials ----------------------------------------------------------------------------------- */

static void
attach(struct hm_shared *view)
{
    static uint32_t rings[STAGE_SEATS + 1][STAGE_SPANS];

    stage_view(view, stage.base);
    if (hm_shared_attach(view) != 0)
        exit(99);
    free(view->ring_next);
    view->ring_next = rings[view->seat];
}

static const char *
check(void)
{
    struct hm_shared_sums sums;
    const char *fault = hm_shared_verify(&other, &sums);

    if (fault == NULL && *child_block != 0 && *child_block == other_block)
        fault = "two have the same block";
    if (fault != NULL)
        return fault;
    stage_copy();
    return stage_recover_copy();
}

static void
begin(const struct meeting *meeting, const void *nothing)
{
    stage_restore(nothing);
    stage.watched_count = 0;
    attach(&child);
    attach(&other);
    attach(&dead);
    *child_block = 0;
    other_block = 0;
    meeting->prepare();
}

static void
try_stop(const struct meeting *meeting, const void *nothing, long step_count)
{
    const char *fault;

    begin(meeting, nothing);
    if (step_apart(meeting->work, step_count, meeting->meanwhile))
        trial_count++;
    fault = check();
    if (fault != NULL && fault_count++ < FAULTS_SHOWN)
        printf("%s, after instruction %ld: %s\n", meeting->name, step_count, fault);
}

/* Where the call changes something by itself. */
static void
look(void)
{
    if (change_count < CHANGES_MAX && stage_has_changed()) {
        stage_copy();
        changes[change_count++] = look_count;
    }
    look_count++;
}

/* Before each change of a long call, a few instructions are tried; of a short one, all. */
static void
try_meeting(const struct meeting *meeting, const void *nothing)
{
    long long_count;
    long next = 0;

    change_count = 0;
    look_count = 0;
    begin(meeting, nothing);
    long_count = step_through(meeting->work, look);
    for (unsigned i = 0; i < change_count; i++) {
        long window = long_count <= SHORT_STEPS ? SHORT_STEPS : WINDOW_STEPS;

        if (next < changes[i] - window)
            next = changes[i] - window;
        for (; next <= changes[i]; next++)
            if ((changes[i] - next) % every == 0)
                try_stop(meeting, nothing, next);
    }
}

/* An arena with a bystander, which has had memory for both chunks. */
static void *
prepare(void)
{
    static struct hm_shared bystander;
    static const char *const names[] = { "first", "second", "third" };

    stage_init();
    attach(&bystander);
    if (hm_shared_alloc(&bystander, 3000, 16) == 0)
        exit(99);
    stage.notes->private_count = 1;
    for (unsigned i = 0; i < 3; i++)
        roots[i] = hm_shared_root(&bystander, names[i]);
    child_block = mmap(NULL, sizeof(*child_block), PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (child_block == MAP_FAILED)
        exit(99);
    return stage_save();
}

int
main(int argc, char **argv)
{
    const void *nothing = prepare();

    if (argc > 1)
        every = strtol(argv[1], NULL, 10);
    if (every <= 0)
        return 99;
    for (size_t i = 0; i < meeting_count; i++) {
        long before = trial_count;
        long faults_before = fault_count;

        try_meeting(&meetings[i], nothing);
        printf("%-20s %5ld stops, %ld bad\n", meetings[i].name, trial_count - before,
               fault_count - faults_before);
    }
    printf("%ld trials, %ld bad\n", trial_count, fault_count);
    return fault_count > 0;
}
