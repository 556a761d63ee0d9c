/* SPDX-License-Identifier: MIT */
/* row14_preload.c - malloc gives large blocks memory of their own; here it is on huge pages.
 *
 * Technique   malloc takes large requests from mmap. With LD_PRELOAD=libhuma_preload.so they lie on
 *             huge pages, in a program that knows nothing of it.
 * Shows       Blocks of 1 MiB lie on huge pages, but for the first ones of a small process;
 *             mallinfo2 counts those that malloc would have mapped. After fork the child's copies
 *             are its own: shared memory is never got from malloc, only from huma_shared_alloc.
 * Run         cc -O2 row14_preload.c -o row14_preload
 *             LD_PRELOAD=libhuma_preload.so ./row14_preload
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE ((size_t)1 << 20)
#define BLOCKS 64

/* KiB on huge pages in the mapping that a block lies in. */
static long
huge_kib(const void *block)
{
    unsigned long start;
    unsigned long end;
    char line[512];
    int is_inside = 0;
    long kib;
    long sum = 0;
    FILE *file = fopen("/proc/self/smaps", "r");

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            is_inside = (unsigned long)block >= start && (unsigned long)block < end;
        else if (is_inside
                 && (sscanf(line, "AnonHugePages: %ld", &kib) == 1
                     || sscanf(line, "Private_Hugetlb: %ld", &kib) == 1))
            sum += kib;
    }
    if (file != NULL)
        (void)fclose(file);
    return sum;
}

int
main(void)
{
    static char *blocks[BLOCKS];
    int huge_count = 0;
    int status;
    pid_t child;

    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(SIZE);
        if (blocks[i] == NULL)
            return 1;
        memset(blocks[i], 'p', SIZE);
    }
    for (int i = 0; i < BLOCKS; i++)
        huge_count += huge_kib(blocks[i]) > 0;
    child = fork();
    if (child == 0) {
        memset(blocks[BLOCKS - 1], 'c', SIZE);
        _exit(0);
    }
    if (waitpid(child, &status, 0) != child || status != 0 || blocks[BLOCKS - 1][SIZE - 1] != 'p') {
        printf("the child wrote into its parent's memory\n");
        return 1;
    }
    printf(
        "of %d blocks of 1 MiB %d in huge-page regions, %zu of their own; child's copy: private\n",
        BLOCKS, huge_count, mallinfo2().hblks);
    return huge_count > 0 ? 0 : 1;
}
