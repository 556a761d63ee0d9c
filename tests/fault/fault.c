/* SPDX-License-Identifier: MIT */
/* fault.c - the n-th kernel call fails, for every n.
 *
 * Problem     The ways out of an allocator that is refused something are many, and hardly ever
 *             taken.
 * Idea        A fixed story of a heap or of an arena (story.h) is told again and again on the fake
 *             kernel, with each chain of backings, on machines with several page sizes and memory
 *             nodes, and each time another call fails: once, with each errno that it can give, and
 *             then from there on for good; then all calls of one kind fail from the start. No kind
 *             of call is left out in all stories.
 *
 * Usage       fault [STORY [CALL]]   one story, or one call of it: as a failure names them
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "story.h"

static const struct story stories[] = {
    { "thp,4k", 4 * HM_MIB, 4 * HM_KIB, 2 * HM_MIB, 0, 0, 0, 0, false, story_tell },
    { "thp", 0, 4 * HM_KIB, 2 * HM_MIB, 0, 0, 0, 0, false, story_tell },
    { "4k", 0, 4 * HM_KIB, 2 * HM_MIB, 0, 0, 0, 0, false, story_tell },
    { "thp,4k", 0, 16 * HM_KIB, 32 * HM_MIB, 0, 0, 0, 0, false, story_tell },
    { "thp,4k", 4 * HM_MIB, 4 * HM_KIB, 0, 0, 0, 0, 0, false, story_tell },
    { "hugetlb,thp,4k", 4 * HM_MIB, 4 * HM_KIB, 2 * HM_MIB, 24 * HM_MIB, 0, 0, 0, false,
      story_tell },
    { "thp,mthp,4k", 4 * HM_MIB, 64 * HM_KIB, 512 * HM_MIB, 0, 0, 0, 0, false, story_tell },
    { "hugetlb,4k", 0, 16 * HM_KIB, 32 * HM_MIB, 2048 * HM_MIB, 0, 0, 0, false, story_tell },
    { "hugetlb", 0, 4 * HM_KIB, 2 * HM_MIB, 2048 * HM_MIB, 0, 0, 0, false, story_tell },
    { "hugetlb,thp,4k", 0, 4 * HM_KIB, 2 * HM_MIB, 64 * HM_MIB, 0, 3, HM_NUMA_LOCAL, false,
      story_tell },
    { "hugetlb:1G,hugetlb:2M,thp,4k", 0, 4 * HM_KIB, 2 * HM_MIB, 24 * HM_MIB, 0, 2,
      HM_NUMA_INTERLEAVE, false, story_tell },
    { "hugetlb:16M,hugetlb:2M,thp,4k", 4 * HM_MIB, 4 * HM_KIB, 2 * HM_MIB, 48 * HM_MIB, 24, 0, 0,
      false, story_tell },
    { "hugetlb:16M", 0, 4 * HM_KIB, 2 * HM_MIB, 2048 * HM_MIB, 24, 0, 0, false, story_tell },
    { "thp,4k", 4 * HM_MIB, 4 * HM_KIB, 2 * HM_MIB, 0, 0, 0, 0, true, story_tell },
    { "thp,4k", 4 * HM_MIB, 4 * HM_KIB, 2 * HM_MIB, 0, 0, 0, 0, false, story_arena_tell },
    { "hugetlb,thp,4k", 0, 4 * HM_KIB, 2 * HM_MIB, 24 * HM_MIB, 0, 0, 0, false, story_arena_tell },
    { "hugetlb", 0, 4 * HM_KIB, 2 * HM_MIB, 512 * HM_MIB, 0, 0, 0, false, story_arena_shared_tell },
    { "thp,4k", 0, 16 * HM_KIB, 32 * HM_MIB, 0, 0, 2, HM_NUMA_LOCAL, true,
      story_arena_shared_tell },
    { "hugetlb,thp,4k", 0, 4 * HM_KIB, 2 * HM_MIB, 4 * HM_MIB, 0, 0, 0, true,
      story_arena_fixed_tell },
};

static uint64_t failure_runs;
static uint64_t call_counts[FAKE_CALL_KINDS]; /* of the story, when nothing fails */
static bool is_called[FAKE_CALL_KINDS];       /* in one story at least */

static void
on_abort(int number)
{
    (void)number;
    story_fail("aborted; to see its last words run: fault STORY CALL");
}

/* Returns whether the fault was met. */
static bool
try_error(int error, bool stays)
{
    bool is_met;

    trial.error = error;
    trial.stays = stays;
    trial.story->tell();
    is_met = rig.fake.fault.failed_count > 0;
    failure_runs += is_met;
    rig_fini(&rig);
    return is_met;
}

/* Let one call fail in each way. Returns false if there is no such call. */
static bool
try_call(void)
{
    const int *errors;

    (void)try_error(ENOMEM, true);
    if (!try_error(ENOMEM, false))
        return false;
    for (errors = fake_os_errors(rig.fake.fault.failed_kind); *errors != 0; errors++)
        if (*errors != ENOMEM)
            (void)try_error(*errors, false);
    return true;
}

/* All calls of one kind fail, from the first on or from the middle: as in a sandbox. */
static void
try_kinds(void)
{
    for (int kind = 0; kind < FAKE_CALL_KINDS; kind++) {
        trial.kind = (enum fake_call_kind)kind;
        for (const int *errors = fake_os_errors(trial.kind); *errors != 0; errors++)
            for (trial.nth = 1; trial.nth <= 31 && trial.nth <= call_counts[kind]; trial.nth += 6)
                (void)try_error(*errors, true);
    }
}

static void
try_nothing(void)
{
    trial.nth = 0;
    trial.kind = FAKE_ANY;
    trial.story->tell();
    for (int kind = 0; kind < FAKE_CALL_KINDS; kind++) {
        call_counts[kind] = rig.fake.call_count[kind];
        is_called[kind] |= call_counts[kind] > 0;
    }
    rig_fini(&rig);
}

static void
try_story(void)
{
    try_nothing();
    for (trial.nth = 1; try_call(); trial.nth++)
        continue;
    printf("fault: story %zu (%s): ok, each of %llu calls failed in turn\n", trial.story_idx,
           trial.story->chain, (unsigned long long)trial.nth - 1);
    try_kinds();
}

int
main(int argc, char **argv)
{
    size_t story_count = sizeof(stories) / sizeof(stories[0]);
    size_t first = argc > 1 ? strtoul(argv[1], NULL, 10) % story_count : 0;
    size_t last = argc > 1 ? first : story_count - 1;

    (void)signal(SIGABRT, on_abort);
    /* Where huge pages are required, each failure is told there; thousands of times. */
    if (argc <= 2 && freopen("/dev/null", "w", stderr) == NULL)
        return 99;
    for (size_t i = first; i <= last; i++) {
        trial = (struct trial){ .story = &stories[i], .story_idx = i, .kind = FAKE_ANY };
        if (argc > 2) {
            trial.nth = strtoull(argv[2], NULL, 10);
            (void)try_call();
        } else {
            try_story();
        }
    }
    for (int kind = 0; kind < FAKE_CALL_KINDS && argc == 1; kind++)
        if (!is_called[kind]) {
            printf("fault: FAILED: no story has a call of %s\n",
                   fake_os_kind_name((enum fake_call_kind)kind));
            return 1;
        }
    printf("fault: ok, %llu failure runs\n", (unsigned long long)failure_runs);
    return 0;
}
