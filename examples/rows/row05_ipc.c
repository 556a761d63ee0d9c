/* SPDX-License-Identifier: MIT */
/* row05_ipc.c - how fast messages go to another process: pipe, socket, shared memory.
 *
 * Technique   A pipe or a socket copies each message into the kernel and out of it. In shared
 *             memory the writer writes it where the reader reads it; a ring (huma_shared_ring_put)
 *             hands over where it is.
 * Shows       GB/s of messages of 1 MiB and of 4 KiB, each written whole and read whole. Small
 *             messages only gain if not each of them wakes the other side: the ring wakes it when
 *             it was empty.
 * Run         cc -O2 row05_ipc.c -o row05_ipc $(pkg-config --cflags --libs huma) && ./row05_ipc
 */
#include <sys/socket.h>

#include "rows.h"

#define SLOTS 8

enum way { PIPE, SOCKET, RING };

struct lane {
    enum way way;
    int fds[2]; /* from [0] is read */
    uint64_t ring;
    char *buffer;
};

static huma_shared *shared;
static volatile uint64_t sink;

static void
produce(struct lane *lane, size_t size)
{
    uint64_t block = lane->way == RING ? huma_shared_alloc(shared, size) : 0;
    char *mem = lane->way == RING ? huma_shared_at(shared, block) : lane->buffer;
    ssize_t step;

    need(mem != NULL);
    memset(mem, 5, size);
    if (lane->way == RING) {
        need(huma_shared_ring_put(shared, lane->ring, block, 5000) == 0);
        return;
    }
    for (size_t len = 0; len < size; len += (size_t)step)
        need((step = write(lane->fds[1], mem + len, size - len)) > 0);
}

static void
consume(struct lane *lane, size_t size)
{
    uint64_t block = lane->way == RING ? huma_shared_ring_get(shared, lane->ring, 5000) : 0;
    char *mem = lane->way == RING ? huma_shared_at(shared, block) : lane->buffer;
    uint64_t sum = 0;
    ssize_t step;

    need(mem != NULL);
    for (size_t len = 0; lane->way != RING && len < size; len += (size_t)step)
        need((step = read(lane->fds[0], mem + len, size - len)) > 0);
    for (size_t i = 0; i < size / sizeof(sum); i++)
        sum += ((uint64_t *)(void *)mem)[i];
    sink = sum;
    if (block != 0)
        need(huma_shared_free(shared, block) == 0);
}

/* GB/s of so many bytes in messages of a size. */
static double
measure(enum way way, size_t size, size_t bytes)
{
    struct lane lane = { .way = way, .buffer = malloc(size) };
    double start;
    pid_t child;

    need(lane.buffer != NULL);
    if (way == RING)
        need((lane.ring = huma_shared_ring_create(shared, SLOTS * (size < MIB ? 32 : 1))) != 0);
    else
        need((way == PIPE ? pipe(lane.fds) : socketpair(AF_UNIX, SOCK_STREAM, 0, lane.fds)) == 0);
    start = now_s();
    child = fork();
    for (size_t done = 0; done < bytes; done += size)
        if (child == 0)
            consume(&lane, size);
        else
            produce(&lane, size);
    if (child == 0)
        _exit(0);
    need(is_well(child));
    if (way == RING)
        need(huma_shared_ring_destroy(shared, lane.ring) == 0);
    free(lane.buffer);
    return (double)bytes / (now_s() - start) / 1e9;
}

int
main(void)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    double pipe_gbs;

    options.limit_bytes = 64 * MIB;
    options.initial_bytes = 32 * MIB;
    shared = huma_shared_create(&options);
    need(shared != NULL);
    for (size_t size = MIB; size >= 4 * KIB; size /= 256) {
        size_t bytes = size == MIB ? 512 * MIB : 128 * MIB;

        pipe_gbs = measure(PIPE, size, bytes);
        printf("%s%zu KiB: pipe %.1f, socket %.1f,", size == MIB ? "GB/s of " : "; ", size / KIB,
               pipe_gbs, measure(SOCKET, size, bytes));
        printf(" ring %.1f", measure(RING, size, bytes));
    }
    printf("\n");
    return 0;
}
