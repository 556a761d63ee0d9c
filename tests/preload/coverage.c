/* SPDX-License-Identifier: MIT */
/* coverage.c - how much of a freshly touched heap lies on huge pages, as the kernel counts it.
 *
 *   coverage COUNT SIZE main|thread   fill COUNT blocks of SIZE bytes in the main or a second one
 *
 * Coverage is growth of AnonHugePages / growth of Rss between two looks at smaps_rollup, with
 * nothing else done in between. Exit 0 if it is LEAST_PCT or more; 77 where the kernel has, or is
 * told to give, no huge pages.
 */
#include "expect.h"
#include "support/smaps.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

enum { MAX_COUNT = 300000, LEAST_PCT = 95 };

static char *blocks[MAX_COUNT];
static size_t block_count;
static size_t block_bytes;

static void *
touch(void *arg)
{
    for (size_t i = 0; i < block_count; i++) {
        blocks[i] = malloc(block_bytes);
        expect(blocks[i] != NULL, "malloc(%zu)", block_bytes);
        memset(blocks[i], 1, block_bytes);
    }
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
    struct hm_smaps before;
    struct hm_smaps after;
    pthread_t thread;
    if (argc != 4 || (block_count = strtoul(argv[1], NULL, 10)) > MAX_COUNT) {
        (void)fprintf(stderr, "usage: coverage COUNT SIZE main|thread, COUNT up to %d\n",
                      MAX_COUNT);
        return 99;
    }
    block_bytes = strtoul(argv[2], NULL, 10);
    skip_without_huge_pages();
    memset(blocks, 0, sizeof(blocks)); /* resident before the first look */

    expect(hm_smaps_read(&before) == 0, "no smaps_rollup");
    if (strcmp(argv[3], "main") == 0)
        (void)touch(NULL);
    else if (pthread_create(&thread, NULL, touch, NULL) == 0)
        (void)pthread_join(thread, NULL);
    expect(hm_smaps_read(&after) == 0, "no smaps_rollup");

    double rss_kib = (double)(after.rss_kib - before.rss_kib);
    double huge_kib = (double)(after.anon_huge_kib - before.anon_huge_kib);
    double touched_kib = (double)block_count * (double)block_bytes / 1024;
    (void)printf(
        "%6zu x %7zu bytes, %-6s thread: coverage %5.1f %%, Rss +%.0f KiB (%.3f x touched)\n",
        block_count, block_bytes, argv[3], 100 * huge_kib / rss_kib, rss_kib,
        rss_kib / touched_kib);
    return 100 * huge_kib >= LEAST_PCT * rss_kib ? 0 : 1;
}
