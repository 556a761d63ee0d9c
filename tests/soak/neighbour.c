/* SPDX-License-Identifier: MIT */
/* neighbour.c - takes pages of the hugetlb pool and gives them back, in random amounts.
 *
 * Problem     A pool is not ours alone: from one call to the next it may be full, empty, promised.
 * Idea        Another process that maps some, fills them, holds them for a moment, looks whether
 *             they are what it wrote, and gives them back; until SIGTERM. One time in four it only
 *             has them promised.
 *
 * Usage       neighbour PAGES SEED   at most so many pages at a time
 * Prints      pages filled, and how often the pool had too few.
 */
#include <linux/mman.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

enum { PAGE_BYTES = 2 << 20, PAUSE_US = 40000 };

static volatile sig_atomic_t is_over;

static void
stop(int signo)
{
    (void)signo;
    is_over = 1;
}

static unsigned
draw(uint64_t *random, unsigned limit)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(*random >> 33) % limit;
}

/* Write to each page, wait, read. Returns whether all is as it was written. */
static int
hold(unsigned char *mem, size_t len_bytes, unsigned pause_us)
{
    for (size_t off = 0; off < len_bytes; off += PAGE_BYTES)
        mem[off] = (unsigned char)(off / PAGE_BYTES + 1);
    (void)usleep(pause_us);
    for (size_t off = 0; off < len_bytes; off += PAGE_BYTES)
        if (mem[off] != (unsigned char)(off / PAGE_BYTES + 1))
            return 0;
    return 1;
}

int
main(int argc, char **argv)
{
    unsigned most_pages = argc == 3 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
    uint64_t random = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
    unsigned long taken_pages = 0;
    unsigned long refused_count = 0;

    if (most_pages == 0)
        return 99;
    (void)signal(SIGTERM, stop);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    while (!is_over) {
        size_t len_bytes = (size_t)(draw(&random, most_pages) + 1) * PAGE_BYTES;
        unsigned char *mem = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB, -1, 0);

        if (mem == MAP_FAILED) {
            refused_count++;
        } else {
            if (draw(&random, 4) == 0) {
                (void)usleep(draw(&random, PAUSE_US));
            } else if (madvise(mem, len_bytes, MADV_POPULATE_WRITE) != 0) {
                refused_count++;
            } else if (hold(mem, len_bytes, draw(&random, PAUSE_US))) {
                taken_pages += len_bytes / PAGE_BYTES;
            } else {
                (void)fprintf(stderr, "neighbour: somebody else wrote to its pages\n");
                return 1;
            }
            (void)munmap(mem, len_bytes);
        }
        (void)usleep(draw(&random, PAUSE_US));
    }
    (void)printf("neighbour: %lu pages taken, %lu times refused\n", taken_pages, refused_count);
    return 0;
}
