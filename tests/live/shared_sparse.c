/* SPDX-License-Identifier: MIT */
/* shared_sparse.c - a file on hugetlb pages that pretends to be a shared arena, of which only the
 * first page is there: who attaches it would be ended by SIGBUS where he touches another.
 *
 * Usage       shared_sparse GIB      with a pool of one page
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "huma.h"
#include "shared/layout.h"

#define HUGE_SHIFT 21
#define MEMFD_HUGE_SHIFT 26 /* <linux/memfd.h> */

static void __attribute__((noreturn)) broken(const char *what)
{
    perror(what);
    exit(99);
}

static int
make_file(uint64_t data_bytes)
{
    struct hm_shared_header header;
    struct hm_shared_geom geom;
    void *first;
    int fd = memfd_create("sparse", MFD_ALLOW_SEALING | MFD_HUGETLB
                                        | (unsigned)HUGE_SHIFT << MEMFD_HUGE_SHIFT);

    hm_shared_header_init(&header, data_bytes, 64, 64, HUGE_SHIFT);
    hm_shared_header_seal(&header);
    if (!hm_shared_geom_init(&geom, &header) || fd < 0 || ftruncate(fd, (off_t)geom.end_off) != 0)
        broken("memfd");
    first = mmap(NULL, (size_t)1 << HUGE_SHIFT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (first == MAP_FAILED)
        broken("mmap");
    memcpy(first, &header, sizeof(header));
    (void)munmap(first, (size_t)1 << HUGE_SHIFT);
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
        broken("seals");
    return fd;
}

int
main(int argc, char **argv)
{
    int fd = make_file(strtoull(argc > 1 ? argv[1] : "64", NULL, 10) << 30);
    huma_shared *shared = huma_shared_attach(fd, 0);

    printf("attached %d\n", shared != NULL);
    if (shared == NULL) {
        printf("said %s\n", huma_last_error());
        return 0;
    }
    (void)huma_shared_verify(shared);
    (void)huma_shared_recover(shared);
    if (huma_shared_alloc(shared, 100) == 0)
        printf("said %s\n", huma_last_error());
    huma_shared_detach(shared);
    return 0;
}
