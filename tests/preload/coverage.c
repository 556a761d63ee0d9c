/* SPDX-License-Identifier: MIT */
/* coverage.c - how much of a touched heap lies on huge pages, and how much it takes, as the kernel
 * counts it.
 *
 *   coverage COUNT SIZE[-SIZE] main|thread   COUNT blocks of SIZE bytes, or log-uniform in between,
 *                                            in the main or a second thread
 *
 * One line when all blocks are touched, "fresh", and one when three quarters of them were freed at
 * random and as many allocated again, "again":
 *   PHASE COVERAGE RSS ...   coverage in thousandths: growth of AnonHugePages / growth of Rss since
 *                            the start; Rss of the whole process in KiB
 * Exit 77 where the kernel has, or is told to give, no huge pages.
 */
#include "expect.h"
#include "support/smaps.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

enum { MAX_COUNT = 500000, FREED_PER_MILLE = 750 };

static char *blocks[MAX_COUNT];
static uint32_t sizes[MAX_COUNT];
static uint32_t order[MAX_COUNT];
static size_t block_count;
static double least_bytes;
static double most_bytes;
static uint64_t seed = 1;
static double touched_kib;
static struct hm_smaps before;

static void
touch(size_t i)
{
    double share = (double)(draw(&seed) >> 11) / (double)(UINT64_C(1) << 53);
    size_t len_bytes = (size_t)(least_bytes * pow(most_bytes / least_bytes, share));
    blocks[i] = malloc(len_bytes);
    expect(blocks[i] != NULL, "malloc(%zu)", len_bytes);
    memset(blocks[i], 1, len_bytes);
    sizes[i] = (uint32_t)len_bytes;
    touched_kib += (double)len_bytes / 1024;
}

static void
tell(const char *phase)
{
    struct hm_smaps now;
    expect(hm_smaps_read(&now) == 0, "no smaps_rollup");
    double rss_kib = (double)(now.rss_kib - before.rss_kib);
    double huge_kib = (double)(now.anon_huge_kib - before.anon_huge_kib);
    (void)dprintf(STDOUT_FILENO, "%s %.0f %lu %.3f x touched\n", phase, 1000 * huge_kib / rss_kib,
                  now.rss_kib, rss_kib / touched_kib);
}

static void *
play(void *arg)
{
    size_t freed_count = block_count * FREED_PER_MILLE / 1000;
    for (size_t i = 0; i < block_count; i++)
        touch(i);
    tell("fresh");
    for (size_t i = 0; i < block_count; i++) {
        size_t other = draw(&seed) % (i + 1);
        order[i] = order[other];
        order[other] = (uint32_t)i;
    }
    for (size_t i = 0; i < freed_count; i++) {
        free(blocks[order[i]]);
        touched_kib -= (double)sizes[order[i]] / 1024;
    }
    for (size_t i = 0; i < freed_count; i++)
        touch(order[i]);
    tell("again");
    return arg;
}

static void
skip_without_huge_pages(void)
{
    enum hm_thp_mode mode = hm_smaps_thp_mode();
    if (mode == HM_THP_NEVER || mode == HM_THP_ABSENT) {
        (void)printf("transparent huge pages are %s on this machine\n", hm_smaps_thp_name(mode));
        exit(77);
    }
    if (prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1) {
        (void)printf("huge pages are disabled for this process by prctl(PR_SET_THP_DISABLE)\n");
        exit(77);
    }
}

int
main(int argc, char **argv)
{
    pthread_t thread;
    char *rest;
    if (argc != 4 || (block_count = strtoul(argv[1], NULL, 10)) > MAX_COUNT) {
        (void)fprintf(stderr, "usage: coverage COUNT SIZE[-SIZE] main|thread, COUNT up to %d\n",
                      MAX_COUNT);
        return 99;
    }
    least_bytes = most_bytes = strtod(argv[2], &rest);
    if (*rest == '-')
        most_bytes = strtod(rest + 1, NULL);
    skip_without_huge_pages();
    /* resident before the first look */
    memset(blocks, 0, sizeof(blocks));
    memset(sizes, 0, sizeof(sizes));
    memset(order, 0, sizeof(order));

    expect(hm_smaps_read(&before) == 0, "no smaps_rollup");
    if (strcmp(argv[3], "main") == 0)
        (void)play(NULL);
    else if (pthread_create(&thread, NULL, play, NULL) == 0)
        (void)pthread_join(thread, NULL);
    return 0;
}
