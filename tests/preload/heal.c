/* SPDX-License-Identifier: MIT */
/* heal.c - huge pages that fork() and writes of the parent have split are whole again once the
 *          child has gone, and not before.
 *
 *   heal small    a heap of small blocks
 *   heal mapped   one block with a mapping of its own
 *   heal refill   khugepaged does not fill up again what malloc_trim gave back (tests/live)
 *
 * Healing takes a share of the time that passes, so the program goes on for up to ROUNDS rounds
 * with a short sleep in each, and ends as soon as it sees what it waits for.
 */
#include "expect.h"
#include "support/smaps.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

enum {
    SKIPPED = 77,
    HEAP_BYTES = 128 << 20,
    BLOCK_BYTES = 1000,
    BLOCK_COUNT = HEAP_BYTES / BLOCK_BYTES,
    STRIDE_BLOCKS = 500, /* about half a megabyte: no huge page is left out */
    QUIET_ROUNDS = 300,
    ROUNDS = 30000,
    OPS_PER_ROUND = 50,
};

static char *blocks[BLOCK_COUNT];
static char *mapped;
static uint64_t random_state = 88172645463325252u;

static unsigned long
huge_kib(void)
{
    struct hm_smaps sum;

    expect(hm_smaps_read(&sum) == 0, "smaps_rollup");
    return sum.anon_huge_kib;
}

static void
replace(size_t i)
{
    free(blocks[i]);
    blocks[i] = malloc(BLOCK_BYTES);
    expect(blocks[i] != NULL, "malloc(%d)", BLOCK_BYTES);
    memset(blocks[i], (int)i, BLOCK_BYTES);
}

/* Some blocks come and go. */
static void
live(void)
{
    for (int i = 0; i < OPS_PER_ROUND; i++)
        replace(draw(&random_state) % BLOCK_COUNT);
    (void)usleep(1000);
}

static void
skip_if_it_cannot_be(void)
{
    size_t len_bytes = 4 << 20;
    char *area = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    enum hm_thp_mode mode = hm_smaps_thp_mode();
    const char *why = NULL;

    expect(area != MAP_FAILED, "mmap");
    memset(area, 1, len_bytes);
    if (mode == HM_THP_NEVER || mode == HM_THP_ABSENT || prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1)
        why = "no transparent huge pages here";
    else if (madvise(area, len_bytes, MADV_COLLAPSE) != 0 && errno == EINVAL)
        why = "this kernel has no MADV_COLLAPSE";
    else if (access("/proc/self/pagemap", R_OK) != 0)
        why = "/proc/self/pagemap cannot be read";
    else if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) > 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) > 0)
        why = "in a sandbox no files are opened";
    (void)munmap(area, len_bytes);
    if (why == NULL)
        return;
    (void)printf("%s\n", why);
    exit(SKIPPED);
}

/* A child that lives until the descriptor returned is closed. */
static int
fork_child(pid_t *out_pid)
{
    int ends[2];
    char byte;

    expect(pipe(ends) == 0, "pipe");
    *out_pid = fork();
    expect(*out_pid >= 0, "fork");
    if (*out_pid == 0) {
        (void)close(ends[1]);
        (void)!read(ends[0], &byte, 1);
        _exit(0);
    }
    (void)close(ends[0]);
    return ends[1];
}

/* --- khugepaged ------------------------------------------------------------------------------- */

static unsigned long
full_scans(void)
{
    char text[32] = "";
    int fd = open("/sys/kernel/mm/transparent_hugepage/khugepaged/full_scans", O_RDONLY);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;

    expect(n > 0, "full_scans");
    (void)close(fd);
    return strtoul(text, NULL, 10);
}

/* Let khugepaged go through all processes some times. */
static void
await_scans(void)
{
    unsigned long goal = full_scans() + 3;

    for (int round = 0; full_scans() < goal; round++) {
        if (round == ROUNDS) {
            (void)printf("khugepaged does not run\n");
            exit(SKIPPED);
        }
        (void)usleep(1000);
    }
}

/* Base pages that were advised late: khugepaged joins them, if it does anything at all. */
static char *
map_bait(size_t len_bytes)
{
    char *area = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    expect(area != MAP_FAILED, "mmap");
    expect(madvise(area, len_bytes, MADV_NOHUGEPAGE) == 0, "MADV_NOHUGEPAGE");
    for (size_t i = 0; i < len_bytes; i += 4096 * 2)
        area[i] = 1;
    expect(madvise(area, len_bytes, MADV_HUGEPAGE) == 0, "MADV_HUGEPAGE");
    return area;
}

static int
watch_khugepaged(void)
{
    enum { BAIT_BYTES = 16 << 20, STRETCH_BLOCKS = 400 };
    struct hm_smaps full;
    struct hm_smaps trimmed;
    struct hm_smaps later;
    size_t bait_kib = BAIT_BYTES >> 10;

    for (size_t i = 0; i < BLOCK_COUNT; i++)
        replace(i);
    expect(hm_smaps_read(&full) == 0, "smaps_rollup");
    for (size_t i = 0; i < BLOCK_COUNT; i++)
        if (i / STRETCH_BLOCKS % 4 != 0)
            free(blocks[i]);
    (void)malloc_trim(0);
    (void)map_bait(BAIT_BYTES);
    expect(hm_smaps_read(&trimmed) == 0, "smaps_rollup");
    expect(trimmed.rss_kib <= full.rss_kib / 2, "%lu of %lu KiB resident", trimmed.rss_kib,
           full.rss_kib);
    await_scans();
    expect(hm_smaps_read(&later) == 0, "smaps_rollup");
    (void)printf("full %lu KiB, trimmed %lu, later %lu; on huge pages %lu, %lu, %lu\n",
                 full.rss_kib, trimmed.rss_kib, later.rss_kib, full.anon_huge_kib,
                 trimmed.anon_huge_kib, later.anon_huge_kib);
    if (later.anon_huge_kib < trimmed.anon_huge_kib + bait_kib / 2) {
        (void)printf("khugepaged did not even take the bait\n");
        return SKIPPED;
    }
    /* Half of the bait was missing. */
    return later.rss_kib <= trimmed.rss_kib + bait_kib / 2 + 4096 ? 0 : 1;
}

int
main(int argc, char **argv)
{
    bool is_mapped = argc > 1 && strcmp(argv[1], "mapped") == 0;
    unsigned long whole_kib;
    unsigned long split_kib;
    unsigned long now_kib = 0;
    int child_fd;
    pid_t child;
    int round;

    skip_if_it_cannot_be();
    if (argc > 1 && strcmp(argv[1], "refill") == 0)
        return watch_khugepaged();
    for (size_t i = 0; i < BLOCK_COUNT; i++)
        replace(i);
    if (is_mapped) {
        mapped = malloc(HEAP_BYTES);
        expect(mapped != NULL, "malloc(%d)", HEAP_BYTES);
        memset(mapped, 1, HEAP_BYTES);
    }
    whole_kib = huge_kib();
    expect(whole_kib >= (HEAP_BYTES >> 10) * 9ul / 10, "%lu KiB on huge pages", whole_kib);

    child_fd = fork_child(&child);
    for (size_t i = 0; !is_mapped && i < BLOCK_COUNT; i += STRIDE_BLOCKS)
        blocks[i][0]++;
    for (size_t i = 0; is_mapped && i < HEAP_BYTES; i += STRIDE_BLOCKS * BLOCK_BYTES)
        mapped[i]++;
    split_kib = huge_kib();
    expect(split_kib <= whole_kib / 2 + whole_kib / 10, "%lu of %lu KiB on huge pages", split_kib,
           whole_kib);
    for (round = 0; round < QUIET_ROUNDS; round++)
        live();
    now_kib = huge_kib();
    expect(now_kib <= split_kib + whole_kib / 20, "%lu KiB, and the child is alive", now_kib);

    (void)close(child_fd);
    expect(waitpid(child, NULL, 0) == child, "waitpid");
    for (round = 0; round < ROUNDS && now_kib < whole_kib * 95 / 100; round++) {
        live();
        if (round % 100 == 99)
            now_kib = huge_kib();
    }
    (void)printf("%s: %lu MiB on huge pages, %lu after the writes, %lu after %d rounds\n",
                 is_mapped ? "mapped" : "small", whole_kib >> 10, split_kib >> 10, now_kib >> 10,
                 round);
    return now_kib >= whole_kib * 95 / 100 ? 0 : 1;
}
