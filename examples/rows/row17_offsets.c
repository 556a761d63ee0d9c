/* SPDX-License-Identifier: MIT */
/* row17_offsets.c - offsets need not be multiples of anything.
 *
 * Technique   mmap maps whole pages, from an offset that is a multiple of the page size, or it
 *             fails with EINVAL; of hugetlb pages both are multiples of 2 MiB.
 * Shows       mmap refuses an odd offset. huma_shared_read, _write and _sync take any. A program in
 *             another language (row17.py) maps the arena's descriptor, in whole pages, and finds a
 *             block by its offset.
 * Run         cc -O2 row17_offsets.c -o row17_offsets $(pkg-config --cflags --libs huma)
 *             ./row17_offsets [row17.py [BACKING]]
 */
#include <fcntl.h>
#include <sys/mman.h>

#include "rows.h"

#define TEXT "found by its offset"

/* Each odd offset, also those at which the copy goes over the end of a page. */
static int
copy_odd(huma_shared *shared, uint64_t block, size_t size)
{
    char copy[5000];
    int count = 0;

    for (size_t off = 1; off + sizeof(copy) < size; off += 1777, count++) {
        need(huma_shared_read(shared, block + off, copy, sizeof(copy)) == 0);
        need(memcmp(copy, (char *)huma_shared_at(shared, block) + off, sizeof(copy)) == 0);
        need(huma_shared_write(shared, block + off, copy, sizeof(copy)) == 0);
        need(huma_shared_sync(shared, block + off, sizeof(copy)) == 0);
    }
    return count;
}

int
main(int argc, char **argv)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    char numbers[3][32];
    char *bytes;
    huma_shared *shared;
    uint64_t block;
    int count;
    int fd;

    options.backing = argc > 2 ? argv[2] : NULL;
    options.limit_bytes = 8 * MIB;
    shared = huma_shared_create(&options);
    need(shared != NULL);
    block = huma_shared_alloc(shared, MIB);
    bytes = huma_shared_at(shared, block);
    need(bytes != NULL);
    for (size_t i = 0; i < MIB; i++)
        bytes[i] = (char)(i * 31 >> 3);
    /* A descriptor that python3 inherits. */
    fd = fcntl(huma_shared_fd(shared), F_DUPFD, 10);
    need(fd >= 0 && mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 4097) == MAP_FAILED);
    need(errno == EINVAL);
    count = copy_odd(shared, block, MIB);
    strcpy(bytes + 12345, TEXT);
    printf("mmap at an odd offset: EINVAL; read, write, sync at %d odd offsets: ok\n", count);
    (void)fflush(stdout);
    if (argc < 2)
        return 0;
    (void)snprintf(numbers[0], sizeof(numbers[0]), "%d", fd);
    (void)snprintf(numbers[1], sizeof(numbers[1]), "%llu", (unsigned long long)block + 12345);
    (void)snprintf(numbers[2], sizeof(numbers[2]), "%llu",
                   (unsigned long long)state_of(shared).page_bytes);
    (void)execlp("python3", "python3", argv[1], numbers[0], numbers[1], numbers[2], TEXT,
                 (char *)NULL);
    printf("python3 cannot be run: %s\n", strerror(errno));
    return SKIPPED;
}
