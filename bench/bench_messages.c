/* SPDX-License-Identifier: MIT */
/* bench_messages.c - messages and files: shared arenas against pipes, sockets and read(2).
 *
 * Usage   bench_messages MODE [ROUNDS [DIR]]      default 9
 *           messages  one process writes messages of 1 MiB and of 4 KiB whole, another reads all of
 *                     them: by a pipe, one of 1 MiB, a UNIX socket, and a ring in a shared arena.
 *                     The ring wakes its reader only when it was empty
 *           read      64 MiB that are in memory, each byte used once: of a file, by read(2) with a
 *                     buffer of 64 KiB and by a new mapping; of an arena in a file (in DIR,
 *                     default /var/tmp) and of one with a name, attached for it, and kept attached
 * Prints  TSV, medians over the rounds, in which the contenders take turns.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "huma.h"
#include "support.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

enum { ROUNDS_MAX = 100, SLOTS = 64 };

static huma_shared *shared;
static volatile uint64_t sink;

static int
compare(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;

    return (*x > *y) - (*x < *y);
}

static double
median(double *values, unsigned count)
{
    qsort(values, count, sizeof(values[0]), compare);
    return values[count / 2];
}

static double
now_s(void)
{
    return (double)bench_now_ns(CLOCK_MONOTONIC) / 1e9;
}

static void
use(const void *mem, size_t len_bytes)
{
    const uint64_t *words = mem;
    uint64_t sum = 0;

    for (size_t i = 0; i < len_bytes / sizeof(*words); i++)
        sum += words[i];
    sink = sum;
}

static void
must(int is_done, const char *what)
{
    if (!is_done)
        bench_stop(1, "%s: %s %m", what, huma_last_error());
}

/* How much of what an arena has in memory is on huge pages, in percent. */
static unsigned
huge_percent(huma_shared *arena)
{
    struct huma_shared_state info = HUMA_SHARED_STATE_INIT;

    must(huma_shared_info(arena, &info) == 0, "info");
    return info.resident_bytes > 0 ? (unsigned)(info.huge_bytes * 100 / info.resident_bytes) : 0;
}

/* --- messages --------------------------------------------------------------------------------- */

enum way { PIPE, WIDE_PIPE, SOCKET, RING, WAYS };

static const char *const way_names[WAYS] = { "pipe", "pipe of 1 MiB", "socket", "ring" };

struct lane {
    enum way way;
    int fds[2]; /* from [0] is read */
    uint64_t ring;
    char *buf;
};

static void
send_by_ring(const struct lane *lane, size_t size)
{
    uint64_t block = huma_shared_alloc(shared, size);

    must(block != 0, "alloc");
    memset(huma_shared_at(shared, block), 5, size);
    must(huma_shared_ring_put(shared, lane->ring, block, -1) == 0, "put");
}

static void
receive_by_ring(const struct lane *lane, size_t size)
{
    uint64_t block = huma_shared_ring_get(shared, lane->ring, -1);

    must(block != 0, "get");
    use(huma_shared_at(shared, block), size);
    must(huma_shared_free(shared, block) == 0, "free");
}

static void
send_by_fd(const struct lane *lane, size_t size)
{
    memset(lane->buf, 5, size);
    for (size_t off = 0; off < size;) {
        ssize_t step = write(lane->fds[1], lane->buf + off, size - off);

        must(step > 0, "write");
        off += (size_t)step;
    }
}

static void
receive_by_fd(const struct lane *lane, size_t size)
{
    for (size_t off = 0; off < size;) {
        ssize_t step = read(lane->fds[0], lane->buf + off, size - off);

        must(step > 0, "read");
        off += (size_t)step;
    }
    use(lane->buf, size);
}

static void
open_lane(struct lane *lane, size_t size)
{
    lane->buf = bench_alloc(size);
    if (lane->way == RING) {
        lane->ring = huma_shared_ring_create(shared, size >= MIB ? SLOTS / 8 : SLOTS * 8);
        must(lane->ring != 0, "ring");
    } else if (lane->way == SOCKET) {
        must(socketpair(AF_UNIX, SOCK_STREAM, 0, lane->fds) == 0, "socketpair");
    } else {
        must(pipe(lane->fds) == 0, "pipe");
        if (lane->way == WIDE_PIPE)
            must(fcntl(lane->fds[1], F_SETPIPE_SZ, (int)MIB) > 0, "F_SETPIPE_SZ");
    }
}

static void
close_lane(const struct lane *lane)
{
    free(lane->buf);
    if (lane->way == RING) {
        must(huma_shared_ring_destroy(shared, lane->ring) == 0, "destroy");
        return;
    }
    (void)close(lane->fds[0]);
    (void)close(lane->fds[1]);
}

/* Bytes in a second. */
static double
run_messages(enum way way, size_t size, size_t total_bytes)
{
    struct lane lane = { .way = way };
    double begin_s;
    char go = 0;
    int gate[2];
    int status;
    pid_t pid;

    open_lane(&lane, size);
    must(pipe(gate) == 0, "pipe");
    pid = fork();
    must(pid >= 0, "fork");
    /* Each has a buffer of its own, and begins when the other is there. */
    memset(lane.buf, 1, size);
    must(pid == 0 ? write(gate[1], &go, 1) == 1 : read(gate[0], &go, 1) == 1, "gate");
    begin_s = now_s();
    for (size_t done = 0; done < total_bytes; done += size) {
        if (pid == 0)
            (way == RING ? receive_by_ring : receive_by_fd)(&lane, size);
        else
            (way == RING ? send_by_ring : send_by_fd)(&lane, size);
    }
    if (pid == 0)
        _exit(0);
    must(waitpid(pid, &status, 0) == pid && status == 0, "the reader");
    begin_s = now_s() - begin_s;
    (void)close(gate[0]);
    (void)close(gate[1]);
    close_lane(&lane);
    return (double)total_bytes / begin_s;
}

static void
messages(unsigned round_count)
{
    static double values[2][WAYS][ROUNDS_MAX];
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;

    options.limit_bytes = 64 * MIB;
    options.initial_bytes = 64 * MIB;
    options.backing = "hugetlb,thp";
    shared = huma_shared_create(&options);
    must(shared != NULL, "create");
    /* The first round is to warm up. */
    for (unsigned round = 0; round <= round_count; round++)
        for (unsigned way = 0; way < WAYS; way++)
            for (unsigned i = 0; i < 2; i++)
                values[i][way][round == 0 ? 0 : round - 1]
                    = run_messages((enum way)way, i == 0 ? MIB : 4 * KIB, 256 * MIB);
    bench_say("# %u %% of the arena on huge pages", huge_percent(shared));
    bench_say("size\tcontender\tGB_per_s\tring_is");
    for (unsigned i = 0; i < 2; i++) {
        double ring = median(values[i][RING], round_count);

        for (unsigned way = 0; way < WAYS; way++) {
            double value = median(values[i][way], round_count);

            bench_say("%s\t%s\t%.2f\t%.2f", i == 0 ? "1 MiB" : "4 KiB", way_names[way], value / 1e9,
                      ring / value);
        }
    }
    huma_shared_detach(shared);
}

/* --- read ------------------------------------------------------------------------------------- */

#define FILE_BYTES (64 * MIB)

static double
by_read(int fd)
{
    static char buf[64 * KIB];
    double begin_s = now_s();

    must(lseek(fd, 0, SEEK_SET) == 0, "lseek");
    for (size_t done = 0; done < FILE_BYTES; done += sizeof(buf)) {
        must(read(fd, buf, sizeof(buf)) == (ssize_t)sizeof(buf), "read");
        use(buf, sizeof(buf));
    }
    return now_s() - begin_s;
}

static double
by_mmap(int fd)
{
    double begin_s = now_s();
    void *mem = mmap(NULL, FILE_BYTES, PROT_READ, MAP_SHARED, fd, 0);

    must(mem != MAP_FAILED, "mmap");
    use(mem, FILE_BYTES);
    (void)munmap(mem, FILE_BYTES);
    return now_s() - begin_s;
}

static double
by_arena(huma_shared *kept, const char *path, uint64_t block)
{
    double begin_s = now_s();
    huma_shared *arena = kept != NULL ? kept : huma_shared_open(path, HUMA_SHARED_READ_ONLY);

    must(arena != NULL, "open");
    use(huma_shared_at(arena, block), FILE_BYTES);
    if (kept == NULL)
        huma_shared_detach(arena);
    return now_s() - begin_s;
}

/* An arena with one block of all of it. */
static huma_shared *
make_arena(const char *path, uint64_t *out_block)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    huma_shared *arena;

    options.path = path;
    options.backing = "thp,4k";
    options.limit_bytes = FILE_BYTES;
    arena = huma_shared_create(&options);
    must(arena != NULL, path);
    *out_block = huma_shared_alloc_to(arena, huma_shared_root(arena, "all"), FILE_BYTES);
    must(*out_block != 0, "alloc");
    memset(huma_shared_at(arena, *out_block), 5, FILE_BYTES);
    return arena;
}

static void
reading(unsigned round_count, const char *folder)
{
    static const char *const names[]
        = { "file, read 64 KiB", "file, new mapping",           "arena in a file, attached",
            "... and kept",      "arena with a name, attached", "... and kept" };
    static double values[6][ROUNDS_MAX];
    char path[200];
    char name[40];
    uint64_t blocks[2];
    huma_shared *arenas[2];
    char *text = bench_alloc(64 * KIB);
    int fd;

    (void)snprintf(path, sizeof(path), "%s/bench_messages.%d", folder, (int)getpid());
    (void)snprintf(name, sizeof(name), "bench_messages.%d", (int)getpid());
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    must(fd >= 0 && unlink(path) == 0, path);
    for (size_t done = 0; done < FILE_BYTES; done += 64 * KIB)
        must(write(fd, text, 64 * KIB) == (ssize_t)(64 * KIB), "write");
    arenas[0] = make_arena(path, &blocks[0]);
    arenas[1] = make_arena(name, &blocks[1]);
    for (unsigned round = 0; round <= round_count; round++) {
        unsigned at = round == 0 ? 0 : round - 1;

        values[0][at] = by_read(fd);
        values[1][at] = by_mmap(fd);
        values[2][at] = by_arena(NULL, path, blocks[0]);
        values[3][at] = by_arena(arenas[0], path, blocks[0]);
        values[4][at] = by_arena(NULL, name, blocks[1]);
        values[5][at] = by_arena(arenas[1], name, blocks[1]);
    }
    bench_say("# on huge pages: %u %% of the arena in a file, %u %% of the one with a name",
              huge_percent(arenas[0]), huge_percent(arenas[1]));
    bench_say("contender\tms\tread_takes");
    for (unsigned i = 0; i < 6; i++) {
        double value = median(values[i], round_count);

        bench_say("%s\t%.2f\t%.2f", names[i], value * 1e3, median(values[0], round_count) / value);
    }
    for (unsigned i = 0; i < 2; i++) {
        huma_shared_detach(arenas[i]);
        must(huma_shared_remove(i == 0 ? path : name) == 0, "remove");
    }
}

int
main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    int rounds = argc > 2 ? atoi(argv[2]) : 9;

    if (rounds < 1 || rounds > ROUNDS_MAX)
        bench_stop(2, "ROUNDS: expected 1 to %d", ROUNDS_MAX);
    if (strcmp(mode, "messages") == 0)
        messages((unsigned)rounds);
    else if (strcmp(mode, "read") == 0)
        reading((unsigned)rounds, argc > 3 ? argv[3] : "/var/tmp");
    else
        bench_stop(2, "usage: bench_messages messages [ROUNDS] | read [ROUNDS [DIR]]");
    return 0;
}
