/* SPDX-License-Identifier: MIT */
/* bench_shared.c - what shared arenas cost, against a robust mutex around a list, and plain memory.
 *
 * Usage   bench_shared MODE [ROUNDS]      default 9
 *           pairs    allocate and free 100 bytes, 64 live, by one process and by two at a time; the
 *                    same from a list of free blocks behind a robust mutex in shared memory
 *           fill     128 MiB that are new: a shared arena on transparent huge pages, one on base
 *                    pages, and plain shared memory (mmap), allocated and written to
 *           recover  4 million blocks of a process that is dead, in 256 MiB
 * Prints  TSV, medians over the rounds, in which the contenders take turns.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "huma.h"
#include "support.h"

#define MIB ((size_t)1 << 20)

enum { ROUNDS_MAX = 100, PROCESSES_MAX = 2, LIVE = 64, LIST_BLOCKS = 100000, ROUND_MS = 200 };

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
now_ms(void)
{
    return (double)bench_now_ns(CLOCK_MONOTONIC) / 1e6;
}

static huma_shared *
create(const char *backing, size_t limit_bytes)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    huma_shared *shared;

    options.backing = backing;
    options.limit_bytes = limit_bytes;
    shared = huma_shared_create(&options);
    if (shared == NULL)
        bench_stop(1, "%s", huma_last_error());
    return shared;
}

static void *
map_shared(size_t len_bytes)
{
    void *mem = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (mem == MAP_FAILED)
        bench_stop(1, "mmap: %s", strerror(errno));
    return mem;
}

/* --- pairs ------------------------------------------------------------------------------------ */

/* A list of free blocks, linked by offsets, behind a mutex that survives its owner. */
struct list {
    pthread_mutex_t mutex;
    uint64_t first_off;
    uint64_t blocks[LIST_BLOCKS][14];
};

static struct list *list;
static huma_shared *arena;
static struct {
    uint32_t is_begun;
    double ns[PROCESSES_MAX];
} * stage;

static void
make_list(void)
{
    pthread_mutexattr_t attr;

    list = map_shared(sizeof(*list));
    (void)pthread_mutexattr_init(&attr);
    (void)pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    (void)pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    (void)pthread_mutex_init(&list->mutex, &attr);
    for (size_t i = 0; i < LIST_BLOCKS; i++) {
        list->blocks[i][0] = list->first_off;
        list->first_off = (uint64_t)((char *)list->blocks[i] - (char *)list);
    }
}

static uint64_t
list_alloc(void)
{
    uint64_t off;

    (void)pthread_mutex_lock(&list->mutex);
    off = list->first_off;
    list->first_off = *(uint64_t *)(void *)((char *)list + off);
    (void)pthread_mutex_unlock(&list->mutex);
    return off;
}

static void
list_free(uint64_t off)
{
    (void)pthread_mutex_lock(&list->mutex);
    *(uint64_t *)(void *)((char *)list + off) = list->first_off;
    list->first_off = off;
    (void)pthread_mutex_unlock(&list->mutex);
}

static uint64_t
arena_alloc(void)
{
    return huma_shared_alloc(arena, 100);
}

static void
arena_free(uint64_t off)
{
    (void)huma_shared_free(arena, off);
}

/* Nanoseconds for each pair. */
static double
churn(uint64_t (*alloc)(void), void (*release)(uint64_t))
{
    uint64_t live[LIVE] = { 0 };
    int64_t begin_ns = bench_now_ns(CLOCK_MONOTONIC);
    int64_t end_ns = begin_ns + (int64_t)ROUND_MS * 1000000;
    uint64_t count = 0;

    while (bench_now_ns(CLOCK_MONOTONIC) < end_ns)
        for (int i = 0; i < 1000; i++, count++) {
            uint64_t *slot = &live[count % LIVE];

            if (*slot != 0)
                release(*slot);
            *slot = alloc();
        }
    end_ns = bench_now_ns(CLOCK_MONOTONIC);
    for (unsigned i = 0; i < LIVE; i++)
        release(live[i]);
    return (double)(end_ns - begin_ns) / (double)count;
}

/* Pairs of all processes together in a microsecond. */
static double
run_pairs(unsigned process_count, uint64_t (*alloc)(void), void (*release)(uint64_t))
{
    pid_t pids[PROCESSES_MAX];
    double sum = 0;

    stage->is_begun = 0;
    for (unsigned i = 0; i < process_count; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            release(alloc());
            while (__atomic_load_n(&stage->is_begun, __ATOMIC_ACQUIRE) == 0)
                continue;
            stage->ns[i] = churn(alloc, release);
            _exit(0);
        }
    }
    __atomic_store_n(&stage->is_begun, 1, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < process_count; i++) {
        (void)waitpid(pids[i], NULL, 0);
        sum += 1e3 / stage->ns[i];
    }
    return sum;
}

static void
pairs(unsigned round_count)
{
    static double values[4][ROUNDS_MAX];
    static const char *const names[]
        = { "arena, 1 process", "arena, 2 processes", "list, 1 process", "list, 2 processes" };

    arena = create("thp,4k", 64 * MIB);
    stage = map_shared(sizeof(*stage));
    make_list();
    for (unsigned round = 0; round < round_count; round++)
        for (unsigned i = 0; i < 4; i++)
            values[i][round] = i < 2 ? run_pairs(i + 1, arena_alloc, arena_free)
                                     : run_pairs(i - 1, list_alloc, list_free);
    bench_say("contender\tpairs_per_us\tns_per_pair");
    for (unsigned i = 0; i < 4; i++) {
        double per_us = median(values[i], round_count);

        bench_say("%s\t%.1f\t%.1f", names[i], per_us, 1e3 * (i % 2 + 1) / per_us);
    }
    huma_shared_detach(arena);
}

/* --- fill ------------------------------------------------------------------------------------- */

static double
fill_arena(const char *backing)
{
    double begin_ms = now_ms();
    huma_shared *shared = create(backing, 128 * MIB);
    uint64_t block = huma_shared_alloc(shared, 128 * MIB);

    if (block == 0)
        bench_stop(1, "%s", huma_last_error());
    memset(huma_shared_at(shared, block), 1, 128 * MIB);
    begin_ms = now_ms() - begin_ms;
    huma_shared_detach(shared);
    return begin_ms;
}

static double
fill_plain(void)
{
    double begin_ms = now_ms();
    void *mem = map_shared(128 * MIB);

    memset(mem, 1, 128 * MIB);
    begin_ms = now_ms() - begin_ms;
    (void)munmap(mem, 128 * MIB);
    return begin_ms;
}

static void
fill(unsigned round_count)
{
    static double values[3][ROUNDS_MAX];
    static const char *const names[] = { "arena, thp", "arena, 4k", "plain" };
    double medians[3];

    /* The first round is to warm up. */
    for (unsigned round = 0; round <= round_count; round++) {
        unsigned at = round == 0 ? 0 : round - 1;

        values[0][at] = fill_arena("thp");
        values[1][at] = fill_arena("4k");
        values[2][at] = fill_plain();
    }
    bench_say("contender\tms\tratio");
    for (unsigned i = 0; i < 3; i++)
        medians[i] = median(values[i], round_count);
    for (unsigned i = 0; i < 3; i++)
        bench_say("%s\t%.1f\t%.2f", names[i], medians[i], medians[i] / medians[2]);
}

/* --- recover ---------------------------------------------------------------------------------- */

static void
recover(unsigned round_count)
{
    static double values[ROUNDS_MAX];
    huma_shared *shared = create("thp,4k", 256 * MIB);
    uint64_t count = 0;

    for (unsigned round = 0; round < round_count; round++) {
        pid_t pid = fork();

        if (pid == 0) {
            while (huma_shared_alloc(shared, 64) != 0)
                continue;
            (void)raise(SIGKILL);
        }
        (void)waitpid(pid, NULL, 0);
        values[round] = now_ms();
        if (huma_shared_recover(shared) != 1)
            bench_stop(1, "nobody was recovered");
        values[round] = now_ms() - values[round];
    }
    while (huma_shared_alloc(shared, 64) != 0)
        count++;
    bench_say("blocks\tms");
    bench_say("%llu\t%.1f", (unsigned long long)count, median(values, round_count));
    huma_shared_detach(shared);
}

int
main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    int rounds = argc > 2 ? atoi(argv[2]) : 9;

    if (rounds < 1 || rounds > ROUNDS_MAX)
        bench_stop(2, "ROUNDS: expected 1 to %d", ROUNDS_MAX);
    if (strcmp(mode, "pairs") == 0)
        pairs((unsigned)rounds);
    else if (strcmp(mode, "fill") == 0)
        fill((unsigned)rounds);
    else if (strcmp(mode, "recover") == 0)
        recover((unsigned)rounds);
    else
        bench_stop(2, "usage: bench_shared pairs|fill|recover [ROUNDS]");
    return 0;
}
