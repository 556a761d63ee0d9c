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
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "shared/stage.h"
#include "shared/step.h"

enum {
    FAULTS_SHOWN = 8,
    CHANGES_MAX = 256,
    SHORT_STEPS = 250, /* instructions of a short call */
    WINDOW_STEPS = 8,
};

/* Each is one call, by the child. */
struct meeting {
    const char *name;
    void (*prepare)(void);
    void (*work)(void);
    void (*meanwhile)(void);
};

static struct hm_shared child; /* its view, which it inherits */
static struct hm_shared other; /* the parent's */
static struct hm_shared dead;  /* of a process that is dead */
static uint64_t roots[3];      /* cells */
static uint64_t *child_block;  /* what the child believes to have; shared */
static uint64_t other_block;   /* what the parent does */
static uint64_t block_off;     /* prepared */
static long fault_count;
static long trial_count;
static long changes[CHANGES_MAX]; /* numbers of instructions */
static unsigned change_count;
static long look_count;

static uint64_t
must_alloc(struct hm_shared *view, uint64_t size_bytes)
{
    uint64_t off = hm_shared_alloc(view, size_bytes, 16);

    if (off == 0)
        abort();
    return off;
}

static void
must(int rc)
{
    if (rc != 0)
        abort();
}

/* --- preparations ----------------------------------------------------------------------------- */

static void
prepare_published(void)
{
    block_off = must_alloc(&other, 1000);
    must(hm_shared_publish(&other, roots[0], block_off));
}

static void
prepare_private(void)
{
    block_off = must_alloc(&child, 1000);
}

/* The third of 512 bytes, which may be the second of 1024 later. */
static void
prepare_third(void)
{
    uint64_t one = must_alloc(&other, 512);
    uint64_t two = must_alloc(&other, 512);

    block_off = must_alloc(&other, 512);
    must(hm_shared_free(&other, one));
    must(hm_shared_free(&other, two));
    must(hm_shared_publish(&other, roots[0], block_off));
}

static void
prepare_large(void)
{
    block_off = must_alloc(&other, 3 * HM_SHARED_SPAN_BYTES);
    must(hm_shared_publish(&other, roots[0], block_off));
}

/* A span that the dead left with one block in a cell. */
static void
prepare_orphan(void)
{
    block_off = must_alloc(&dead, 1000);
    must(hm_shared_publish(&dead, roots[0], block_off));
    (void)must_alloc(&dead, 1000);
    hm_shared_detach(&dead);
}

static void
prepare_empty_orphan(void)
{
    prepare_orphan();
    must(hm_shared_free(&other, hm_shared_take(&other, roots[0])));
}

static void
prepare_dead(void)
{
    block_off = must_alloc(&dead, 1000);
    must(hm_shared_publish(&dead, roots[0], block_off));
    (void)must_alloc(&dead, 1000);
    (void)must_alloc(&dead, 3 * HM_SHARED_SPAN_BYTES);
}

/* --- what the child does ---------------------------------------------------------------------- */

static void
work_take(void)
{
    *child_block = hm_shared_take(&child, roots[0]);
}

static void
work_publish(void)
{
    *child_block = hm_shared_publish(&child, roots[0], block_off) == 0 ? 0 : block_off;
}

static void
work_alloc_small(void)
{
    *child_block = must_alloc(&child, 1000);
}

static void
work_alloc_large(void)
{
    *child_block = must_alloc(&child, 3 * HM_SHARED_SPAN_BYTES);
}

static void
work_trim(void)
{
    (void)hm_shared_trim(&child);
}

static void
work_recover(void)
{
    hm_shared_recover_seat(&child, dead.seat);
}

static void
work_detach(void)
{
    hm_shared_detach(&child);
}

/* --- and the parent meanwhile ----------------------------------------------------------------- */

static void
take(void)
{
    other_block = hm_shared_take(&other, roots[0]);
}

/* The same word as before: published, by nobody. */
static void
take_and_publish_elsewhere(void)
{
    take();
    if (other_block != 0 && hm_shared_publish(&other, roots[1], other_block) == 0)
        other_block = 0;
}

static void
take_and_publish_again(void)
{
    take_and_publish_elsewhere();
    other_block = hm_shared_take(&other, roots[1]);
    if (other_block != 0 && hm_shared_publish(&other, roots[0], other_block) == 0)
        other_block = 0;
}

static void
take_and_free_and_alloc(void)
{
    take();
    if (other_block == 0)
        return;
    must(hm_shared_free(&other, other_block));
    other_block = 0;
    for (unsigned i = 0; i < 2; i++)
        must(hm_shared_publish(&other, roots[1 + i], must_alloc(&other, 1000)));
}

/* The span has blocks of another size, and the cell names the one at the same place. */
static void
take_and_change_class(void)
{
    uint64_t blocks[3];

    take();
    if (other_block == 0)
        return;
    must(hm_shared_free(&other, other_block));
    other_block = 0;
    hm_shared_detach(&other);
    must(hm_shared_attach(&other));
    for (unsigned i = 0; i < 3; i++)
        blocks[i] = must_alloc(&other, 1024);
    (void)hm_shared_publish(&other, roots[0], blocks[1]);
    must(hm_shared_publish(&other, roots[1], blocks[2]));
}

static void
publish_another(void)
{
    other_block = must_alloc(&other, 1000);
    if (hm_shared_publish(&other, roots[0], other_block) == 0)
        other_block = 0;
}

static void
alloc_small(void)
{
    other_block = must_alloc(&other, 1000);
}

static void
alloc_large(void)
{
    other_block = must_alloc(&other, 2 * HM_SHARED_SPAN_BYTES);
}

static void
trim(void)
{
    (void)hm_shared_trim(&other);
}

/* An orphan is adopted, and left again with a block in a cell. */
static void
adopt_and_leave(void)
{
    while (hm_shared_read_span(
               &other, (uint32_t)((block_off - other.geom.data_off) >> HM_SHARED_SPAN_SHIFT))
               .state
           == HM_SHSPAN_ORPHAN) {
        other_block = hm_shared_alloc(&other, 1000, 16);
        if (other_block == 0)
            break;
    }
    if (other_block != 0)
        must(hm_shared_publish(&other, roots[1], other_block));
    other_block = 0;
    hm_shared_detach(&other);
    must(hm_shared_attach(&other));
}

static void
take_and_free(void)
{
    take();
    if (other_block != 0)
        must(hm_shared_free(&other, other_block));
    other_block = 0;
}

static const struct meeting meetings[] = {
    { "take, take", prepare_published, work_take, take },
    { "take, elsewhere", prepare_published, work_take, take_and_publish_elsewhere },
    { "take, again", prepare_published, work_take, take_and_publish_again },
    { "take, reuse", prepare_published, work_take, take_and_free_and_alloc },
    { "take, other class", prepare_third, work_take, take_and_change_class },
    { "take large, reuse", prepare_large, work_take, take_and_free_and_alloc },
    { "publish, take", prepare_private, work_publish, take },
    { "publish, elsewhere", prepare_private, work_publish, take_and_publish_elsewhere },
    { "publish, again", prepare_private, work_publish, take_and_publish_again },
    { "publish, reuse", prepare_private, work_publish, take_and_free_and_alloc },
    { "publish, another", prepare_private, work_publish, publish_another },
    { "alloc small, small", prepare_orphan, work_alloc_small, alloc_small },
    { "alloc small, trim", prepare_empty_orphan, work_alloc_small, trim },
    { "alloc large, large", prepare_orphan, work_alloc_large, alloc_large },
    { "alloc large, small", prepare_orphan, work_alloc_large, alloc_small },
    { "alloc large, trim", prepare_orphan, work_alloc_large, trim },
    { "trim, small", prepare_empty_orphan, work_trim, alloc_small },
    { "trim, large", prepare_empty_orphan, work_trim, alloc_large },
    { "trim, adopt", prepare_empty_orphan, work_trim, adopt_and_leave },
    { "recover, free", prepare_dead, work_recover, take_and_free },
    { "recover, elsewhere", prepare_dead, work_recover, take_and_publish_elsewhere },
    { "recover, large", prepare_dead, work_recover, alloc_large },
    { "detach, free", prepare_private, work_detach, take_and_free },
};

/* --- trials ----------------------------------------------------------------------------------- */

static void
attach(struct hm_shared *view)
{
    static uint32_t rings[STAGE_SEATS + 1][STAGE_SPANS];

    stage_view(view, stage.base);
    must(hm_shared_attach(view));
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
    (void)must_alloc(&bystander, 3000);
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
main(void)
{
    const void *nothing = prepare();

    for (size_t i = 0; i < sizeof(meetings) / sizeof(*meetings); i++) {
        long before = trial_count;
        long faults_before = fault_count;

        try_meeting(&meetings[i], nothing);
        printf("%-20s %5ld stops, %ld bad\n", meetings[i].name, trial_count - before,
               fault_count - faults_before);
    }
    printf("%ld trials, %ld bad\n", trial_count, fault_count);
    return fault_count > 0;
}
