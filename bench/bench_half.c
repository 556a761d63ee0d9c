/* SPDX-License-Identifier: MIT */
/* bench_half.c - how much of a heap goes back when every other block is freed.
 *
 * Usage   bench_half COUNT SIZE
 * Prints  growth of Rss in MiB: with all blocks, touched, and with every other one freed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_COUNT = 4096 };

static char *blocks[MAX_COUNT];

static long
rss_kib(void)
{
    char line[256];
    long value = 0;
    FILE *in = fopen("/proc/self/smaps_rollup", "r");

    if (in == NULL)
        return 0;
    while (fgets(line, sizeof(line), in) != NULL)
        if (strncmp(line, "Rss:", 4) == 0)
            value = atol(line + 4);
    (void)fclose(in);
    return value;
}

int
main(int argc, char **argv)
{
    int count = argc > 2 ? atoi(argv[1]) : 0;
    size_t size = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    long before_kib = rss_kib();
    void *volatile odd = malloc(100000); /* so that the first tail is not a whole region */
    long all_kib;

    if (count < 1 || count > MAX_COUNT || odd == NULL) {
        (void)fprintf(stderr, "usage: bench_half COUNT SIZE, COUNT up to %d\n", MAX_COUNT);
        return 2;
    }
    for (int i = 0; i < count; i++) {
        blocks[i] = malloc(size);
        if (blocks[i] == NULL)
            return 1;
        memset(blocks[i], 1, size);
    }
    all_kib = rss_kib() - before_kib;
    for (int i = 0; i < count; i += 2)
        free(blocks[i]);
    (void)printf("all_mib %ld\nhalf_mib %ld\n", all_kib / 1024, (rss_kib() - before_kib) / 1024);
    return 0;
}
