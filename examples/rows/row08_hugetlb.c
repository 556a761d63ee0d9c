/* SPDX-License-Identifier: MIT */
/* row08_hugetlb.c - memory on reserved huge pages: all of it from the beginning, or refused.
 *
 * Technique   The administrator reserves huge pages (sysctl vm.nr_hugepages=4), a program maps
 *             them. They miss the TLB less, and are never swapped. If there are too few, mmap often
 *             succeeds, and a touch ends the process with SIGBUS.
 * Shows       An arena of 6 MiB, with its state, takes 4 pages when it is made. All are free again
 *             after exit, and after kill -9. With 3 pages "hugetlb" is refused with a sentence, and
 *             "hugetlb,thp,4k" gets the next best.
 * Run         cc -O2 row08_hugetlb.c -o row08_hugetlb $(pkg-config --cflags --libs huma)
 *             sysctl vm.nr_hugepages=4; ./row08_hugetlb enough
 *             sysctl vm.nr_hugepages=3; ./row08_hugetlb few; sysctl vm.nr_hugepages=0
 */
#include <signal.h>

#include "rows.h"

#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"

static long
free_pages(void)
{
    FILE *file = fopen(POOL, "r");
    long count = -1;

    need(file != NULL && fscanf(file, "%ld", &count) == 1);
    (void)fclose(file);
    return count;
}

static huma_shared *
create(const char *backing)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;

    options.backing = backing;
    options.limit_bytes = 6 * MIB;
    options.initial_bytes = 6 * MIB;
    options.flags = HUMA_SHARED_PREFAULT;
    return huma_shared_create(&options);
}

static void
enough(void)
{
    huma_shared *shared;
    long before = free_pages();
    long during;
    int is_ready[2];
    char byte;
    pid_t child;

    shared = create("hugetlb");
    need(shared != NULL && state_of(shared).huge_bytes >= 6 * MIB);
    during = free_pages();
    huma_shared_detach(shared);
    need(free_pages() == before && pipe(is_ready) == 0);
    child = fork();
    if (child == 0) {
        need(create("hugetlb") != NULL && write(is_ready[1], "", 1) == 1);
        (void)pause();
    }
    need(read(is_ready[0], &byte, 1) == 1 && free_pages() == during);
    need(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    need(free_pages() == before);
    printf("pool %ld -> %ld -> %ld, also after kill -9\n", before, during, before);
}

static void
few(void)
{
    long before = free_pages();
    huma_shared *shared = create("hugetlb");

    need(shared == NULL && errno == ENOMEM && free_pages() == before);
    /* It says what to do. */
    need(strstr(huma_last_error(), "nr_hugepages") != NULL);
    printf("with %ld: %s\n", before, huma_last_error());
    shared = create("hugetlb,thp,4k");
    need(shared != NULL && free_pages() == before);
    printf("with %ld: \"hugetlb\" refused; \"hugetlb,thp,4k\": %llu of %llu KiB on THP\n", before,
           (unsigned long long)state_of(shared).huge_bytes / KIB,
           (unsigned long long)state_of(shared).resident_bytes / KIB);
}

int
main(int argc, char **argv)
{
    if (argc != 2 || (strcmp(argv[1], "enough") != 0 && strcmp(argv[1], "few") != 0)) {
        (void)fprintf(stderr, "usage: row08_hugetlb enough|few\n");
        return 2;
    }
    if (argv[1][0] == 'e')
        enough();
    else
        few();
    return 0;
}
