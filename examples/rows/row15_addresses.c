/* SPDX-License-Identifier: MIT */
/* row15_addresses.c - are the addresses equal in two processes? Is the memory?
 *
 * Technique   Each process maps shared memory where it has room. The addresses differ, the memory
 *             is the same: so it holds offsets, not pointers.
 * Shows       Two processes print different addresses of one block, the same offset, and the same
 *             page of the machine (which only root is told). With HUMA_SHARED_SAME_ADDRESS the
 *             addresses are equal, and blocks can hold pointers.
 * Run         cc -O2 row15_addresses.c -o row15_addresses $(pkg-config --cflags --libs huma)
 *             ./row15_addresses
 */
#include <fcntl.h>

#include "rows.h"

struct seen {
    void *addr;
    uint64_t frame;
    struct seen *next; /* good in all processes only at equal addresses */
};

/* The page of the machine at an address; 0 if this user is not told. */
static uint64_t
frame_of(const void *mem)
{
    uint64_t entry = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    off_t off = (off_t)((uintptr_t)mem / (uintptr_t)sysconf(_SC_PAGESIZE) * sizeof(entry));

    if (fd >= 0 && pread(fd, &entry, sizeof(entry), off) != sizeof(entry))
        entry = 0;
    (void)close(fd);
    return entry & (((uint64_t)1 << 55) - 1);
}

static int
look(const char *name)
{
    huma_shared *shared = huma_shared_open(name, 0);
    struct seen *seen;

    need(shared != NULL);
    seen = huma_shared_at(shared, huma_shared_peek(shared, huma_shared_root(shared, "seen")));
    need(seen != NULL);
    if (seen->next != NULL)
        seen->next->addr = seen->next;
    /* It has been touched by now, so that it has a page in this process, too. */
    seen->addr = seen;
    seen->frame = frame_of(seen);
    return 0;
}

/* What another process, which shares nothing with this one but the name, has seen. */
static struct seen
ask(const char *name, const char *self, uint64_t flags, struct seen *out_ours)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    huma_shared *shared;
    struct seen theirs;
    struct seen *seen;
    pid_t child;

    options.path = name;
    options.limit_bytes = 4 * MIB;
    options.flags = flags;
    shared = huma_shared_create(&options);
    need(shared != NULL);
    seen = huma_shared_at(
        shared, huma_shared_alloc_to(shared, huma_shared_root(shared, "seen"), 2 * sizeof(*seen)));
    need(seen != NULL);
    seen->next = flags != 0 ? seen + 1 : NULL;
    out_ours->addr = seen;
    out_ours->frame = frame_of(seen);
    child = fork();
    if (child == 0) {
        (void)execl(self, self, "look", name, (char *)NULL);
        _exit(1);
    }
    need(is_well(child) && (flags == 0 || seen[1].addr == &seen[1]));
    /* Here something else is at that address by now. */
    need(flags == 0 || (huma_shared_open(name, 0) == NULL && errno == EADDRNOTAVAIL));
    theirs = *seen;
    huma_shared_detach(shared);
    need(huma_shared_remove(name) == 0);
    return theirs;
}

int
main(int argc, char **argv)
{
    struct seen theirs;
    struct seen ours;
    struct seen same;
    char name[64];

    if (argc == 3 && strcmp(argv[1], "look") == 0)
        return look(argv[2]);
    (void)snprintf(name, sizeof(name), "row15.%d", (int)getpid());
    theirs = ask(name, argv[0], 0, &ours);
    need(theirs.frame == ours.frame);
    printf("%p and %p, the same offset, page %s; ", ours.addr, theirs.addr,
           ours.frame != 0 ? "the same" : "not told");
    same = ask(name, argv[0], HUMA_SHARED_SAME_ADDRESS, &ours);
    need(same.addr == ours.addr);
    printf("SAME_ADDRESS: both %p\n", same.addr);
    return 0;
}
