/* SPDX-License-Identifier: MIT */
/* images.c - a process is killed after each of its instructions, and so is who recovers it.
 *
 * Problem     The claim is that whatever a process was at when it was killed, nothing of it is left
 *             when it is recovered, nothing is lost that was published, and nothing of the living
 *             is touched. Kills at random times meet only what lasts long.
 * Idea        What a killed process leaves is what the memory holds. So a story of all that a
 *             process can do is told one instruction at a time (step.h), and whenever the memory
 *             has changed, a copy of it is recovered and checked (stage.h). Such images are then
 *             the beginning of another round: the recovery is told instruction by instruction, and
 *             the recoverer counts as dead at each. It does so in a seat of its own or, as a
 *             process that is just coming, in none.
 *
 * Usage       images [SECONDS]   how long recoverers are stepped through, about
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "shared/stage.h"
#include "shared/step.h"
#include "shared/story.h"

enum { KEPT_MAX = 4096, FAULTS_SHOWN = 8, SPREAD = 7919 /* a prime number */ };

struct tally {
    long looks;
    long images;
    long bad;
    long leaked;
};

static struct tally tally;
static void *kept[KEPT_MAX]; /* images where somebody is in the middle of something, mostly */
static unsigned kept_count;
static bool is_keeping;
static struct hm_shared recoverer;

static double
now(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* --- looks ------------------------------------------------------------------------------------ */

static void
report(const char *fault)
{
    if (strncmp(fault, "leak", 4) == 0)
        tally.leaked++;
    else
        tally.bad++;
    if (tally.leaked + tally.bad <= FAULTS_SHOWN)
        printf("instruction %ld, image %ld: %s\n", tally.looks, tally.images, fault);
}

static void
look(void)
{
    const char *fault;

    tally.looks++;
    if (!stage_has_changed())
        return;
    tally.images++;
    stage_copy();
    if (is_keeping && kept_count < KEPT_MAX)
        kept[kept_count++] = stage_save();
    fault = stage_recover_copy();
    if (fault != NULL)
        report(fault);
    /* What is compared with is what was found, not what became of it. */
    stage_copy();
}

static long
print_tally(const char *what, long step_count, double seconds)
{
    printf("%s: %ld instructions, %ld images, %ld bad, %ld leaking, %.1f s\n", what, step_count,
           tally.images, tally.bad, tally.leaked, seconds);
    return tally.bad + tally.leaked;
}

/* --- who recovers is killed ------------------------------------------------------------------- */

static void
recover(void)
{
    static bool is_shielded[STAGE_CHUNKS];

    stage_shield(stage.base, is_shielded);
    (void)hm_shared_recover(&recoverer);
}

/* Returns the number of steps. */
static long
kill_recoverer(unsigned idx, bool has_seat)
{
    long step_count;

    stage_restore(kept[idx]);
    stage.watched_count = 0;
    stage_view(&recoverer, stage.base);
    if (has_seat && hm_shared_attach(&recoverer) != 0)
        exit(99);
    step_count = step_through(recover, look);
    free(recoverer.ring_next);
    return step_count;
}

/* Images from everywhere, until the time is over. */
static long
kill_recoverers(double seconds)
{
    double begin = now();
    long step_count = 0;
    unsigned base_count = 0;

    for (; base_count < kept_count && now() - begin < seconds; base_count++)
        step_count += kill_recoverer((unsigned)((uint64_t)base_count * SPREAD % kept_count),
                                     base_count % 2 == 0);
    printf("recoverers are killed from %u of %u images on\n", base_count, kept_count);
    return print_tally("recoverers", step_count, now() - begin);
}

int
main(int argc, char **argv)
{
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 6;
    double begin = now();
    long bad_count;
    long step_count;

    stage_init();
    story_prepare();
    is_keeping = true;
    step_count = step_through(story_tell, look);
    bad_count = print_tally("story", step_count, now() - begin);
    is_keeping = false;
    tally = (struct tally){ 0 };
    bad_count += kill_recoverers(seconds);
    return bad_count > 0;
}
