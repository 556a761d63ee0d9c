/* SPDX-License-Identifier: MIT */
/* row12_page_end.c - where a mapped file ends, and where blocks do.
 *
 * Technique   Memory comes in pages. Behind the end of a file its last page can be touched (and the
 *             file does not keep what is there), any page after that is SIGBUS.
 * Shows       That it is so of a file that a program maps itself; and that no block of an arena
 *             ever reaches over the end: sizes are whole pages, and each byte of each block can be
 *             touched until no more are given.
 * Run         cc -O2 row12_page_end.c -o row12_page_end $(pkg-config --cflags --libs huma)
 *             ./row12_page_end
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/mman.h>

#include "rows.h"

/* A file of 100 bytes, mapped with 2 pages; returns the signal of a touch at an offset. */
static int
touch_plain(size_t off)
{
    long page_bytes = sysconf(_SC_PAGESIZE);
    int fd = memfd_create("short", MFD_CLOEXEC);
    int status;
    pid_t child;

    need(fd >= 0 && ftruncate(fd, 100) == 0);
    child = fork();
    if (child == 0) {
        char *mem = mmap(NULL, 2 * (size_t)page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        need(mem != MAP_FAILED);
        mem[off] = 1;
        _exit(0);
    }
    need(waitpid(child, &status, 0) == child);
    (void)close(fd);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* Returns how many blocks there were. */
static int
fill(const char *backing)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    huma_shared *shared;
    struct huma_shared_state state;
    uint64_t block;
    int count = 0;

    options.backing = backing;
    options.limit_bytes = 8 * MIB + 1;
    shared = huma_shared_create(&options);
    need(shared != NULL);
    for (size_t size = 1; (block = huma_shared_alloc(shared, size)) != 0; count++) {
        size_t usable = huma_shared_usable_size(shared, block);

        memset(huma_shared_at(shared, block), 1, usable);
        need(usable >= size && huma_shared_at(shared, block + usable - 1) != NULL);
        size = (size_t)rand() % (size < 200000 ? size * 4 : 1000) + 1;
    }
    need(errno == ENOMEM);
    state = state_of(shared);
    need(state.limit_bytes % state.page_bytes == 0 && state.limit_bytes > options.limit_bytes);
    need(state.ready_bytes % state.page_bytes == 0);
    need(huma_shared_at(shared, state.limit_bytes * 4) == NULL && errno == EINVAL);
    huma_shared_detach(shared);
    return count;
}

int
main(void)
{
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    int blocks;

    need(touch_plain(page_bytes - 1) == 0);
    need(touch_plain(page_bytes) == SIGBUS);
    blocks = fill("4k") + fill("hugetlb,thp,4k");
    printf("plain file: last page ok, next SIGBUS; 2 arenas, %d blocks touched to their ends\n",
           blocks);
    return 0;
}
