/* SPDX-License-Identifier: MIT */
/* row10_read_mmap.c - the same 64 MiB by read(2) and through a mapping.
 *
 * Technique   "read takes 2 to 3 times as long as mmap": it copies, and a mapping has page faults.
 * Shows       Milliseconds for 64 MiB that are in memory, each byte used once, the best of five. Of
 *             a file that was written in small pieces, read with a large buffer is as fast as a
 *             mapping: faults cost what the copy does. Of one that was written at once the kernel
 *             may have large pages, and a mapping wins; so does an arena, most of all one that
 *             stays mapped.
 * Run         cc -O2 row10_read_mmap.c -o row10_read_mmap $(pkg-config --cflags --libs huma)
 *             ./row10_read_mmap /var/tmp/x
 */
#include <fcntl.h>
#include <sys/mman.h>

#include "rows.h"

#define LEN (64 * MIB)
#define ROUNDS 5

static volatile uint64_t sink;

static void
use(const void *mem, size_t len)
{
    const uint64_t *words = mem;
    uint64_t sum = 0;

    for (size_t i = 0; i < len / sizeof(*words); i++)
        sum += words[i];
    sink = sum;
}

/* A buffer of 4 KiB, of 64 KiB, ... */
static double
by_read(int fd, off_t from, size_t step)
{
    char *buffer = aligned_alloc(4096, step);
    double start = now_s();

    need(buffer != NULL);
    memset(buffer, 0, step);
    for (off_t off = from; off < from + (off_t)LEN; off += (off_t)step) {
        need(pread(fd, buffer, step, off) == (ssize_t)step);
        use(buffer, step);
    }
    free(buffer);
    return (now_s() - start) * 1e3;
}

static double
by_mmap(int fd)
{
    double start = now_s();
    void *mem = mmap(NULL, LEN, PROT_READ, MAP_SHARED, fd, 0);

    need(mem != MAP_FAILED);
    use(mem, LEN);
    need(munmap(mem, LEN) == 0);
    return (now_s() - start) * 1e3;
}

/* What is attached for this alone, or has been for long. */
static double
by_arena(int fd, const huma_shared *kept, uint64_t block)
{
    double start = now_s();
    huma_shared *fresh = kept == NULL ? huma_shared_attach(fd, HUMA_SHARED_READ_ONLY) : NULL;
    huma_shared *shared = kept == NULL ? fresh : (huma_shared *)kept;

    need(shared != NULL);
    use(huma_shared_at(shared, block), LEN);
    huma_shared_detach(fresh);
    return (now_s() - start) * 1e3;
}

/* A file of 64 MiB, written in pieces. */
static int
make_file(const char *path, const char *mem, size_t step)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    need(fd >= 0 && unlink(path) == 0);
    for (size_t off = 0; off < LEN; off += step)
        need(write(fd, mem + off, step) == (ssize_t)step);
    return fd;
}

#define best(call)                                                                                 \
    ({                                                                                             \
        double least = 1e9;                                                                        \
        for (int round = 0; round < ROUNDS; round++) {                                             \
            double took = call;                                                                    \
            least = took < least ? took : least;                                                   \
        }                                                                                          \
        least;                                                                                     \
    })

int
main(int argc, char **argv)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    const char *path = argc > 1 ? argv[1] : "/var/tmp/row10";
    huma_shared *shared;
    uint64_t block;
    int pieces_fd;
    int whole_fd;
    int arena_fd;

    options.backing = "thp,4k";
    options.limit_bytes = LEN + 8 * MIB;
    shared = huma_shared_create(&options);
    need(shared != NULL);
    block = huma_shared_aligned_alloc(shared, 2 * MIB, LEN);
    need(block != 0);
    memset(huma_shared_at(shared, block), 1, LEN);
    pieces_fd = make_file(path, huma_shared_at(shared, block), 4 * KIB);
    whole_fd = make_file(path, huma_shared_at(shared, block), LEN);
    arena_fd = huma_shared_fd(shared);
    printf(
        "ms: file in pieces: read 4 KiB %.1f, 64 KiB %.1f, mmap %.1f; written at once: mmap %.1f;",
        best(by_read(pieces_fd, 0, 4 * KIB)), best(by_read(pieces_fd, 0, 64 * KIB)),
        best(by_mmap(pieces_fd)), best(by_mmap(whole_fd)));
    printf(
        " arena, %llu%% huge: read 4 KiB %.1f, 1 MiB %.1f, attach %.1f, kept %.1f\n",
        (unsigned long long)(state_of(shared).huge_bytes * 100 / state_of(shared).resident_bytes),
        best(by_read(arena_fd, (off_t)block, 4 * KIB)), best(by_read(arena_fd, (off_t)block, MIB)),
        best(by_arena(arena_fd, NULL, block)), best(by_arena(arena_fd, shared, block)));
    return 0;
}
