/* SPDX-License-Identifier: MIT */
/* numa.c - on which memory nodes the blocks of threads lie that stay on one node.
 *
 * Problem     An allocator that reuses memory for any thread undoes what the kernel does well:
 *             memory of the node that touches it first.
 * Idea        One thread for each processor, and only there: it takes blocks of many sizes, frees
 *             half of them, hands some to its neighbour to free, and takes more. At the end the
 *             kernel tells of each page on which node it lies.
 *
 *   numa MIB [wander]  prints "nodes N" and, for each thread, "cpu C node N own_pct P", and which
 *                      node most of its pages are on: "most_node M most_pct Q". With `wander` each
 *                      thread moves to the next processor now and then; what it takes after the
 *                      last move is counted.
 */
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "preload/expect.h"

enum { THREADS_MAX = 64, NODES_MAX = 64, BLOCKS_MAX = 1 << 16, PAGE_BYTES = 4096, BATCH = 512 };

struct block {
    char *mem;
    size_t size_bytes;
};

struct worker {
    pthread_t thread;
    unsigned cpu;
    struct block blocks[BLOCKS_MAX];
    size_t block_count;
    size_t old_count; /* blocks that are not asked about */
    unsigned node;
    unsigned long pages[NODES_MAX + 1]; /* on each node; on none or another */
    unsigned long all_pages;
};

static struct worker workers[THREADS_MAX]; /* not from malloc: it counts */
static unsigned worker_count;
static unsigned cpus[THREADS_MAX];
static size_t worker_bytes;
static int wanders;
static pthread_barrier_t barrier;

static size_t
draw_size(uint64_t *state)
{
    return 16 + ((size_t)1 << draw(state) % 20) * (1 + draw(state) % 8) / 8;
}

static void
fill(struct worker *worker, uint64_t *state)
{
    size_t sum_bytes = 0;

    for (size_t i = 0; i < worker->block_count; i++)
        sum_bytes += worker->blocks[i].size_bytes;
    while (sum_bytes < worker_bytes && worker->block_count < BLOCKS_MAX) {
        struct block *block = &worker->blocks[worker->block_count++];

        block->size_bytes = draw_size(state);
        block->mem = malloc(block->size_bytes);
        expect(block->mem != NULL, "%zu bytes", block->size_bytes);
        memset(block->mem, 1, block->size_bytes);
        sum_bytes += block->size_bytes;
    }
}

/* Free every second block of a worker, by whichever thread calls. */
static void
thin(struct worker *worker)
{
    size_t kept_count = 0;

    for (size_t i = 0; i < worker->block_count; i++) {
        if (i % 2 == 0)
            free(worker->blocks[i].mem);
        else
            worker->blocks[kept_count++] = worker->blocks[i];
    }
    worker->block_count = kept_count;
}

static void
ask(struct worker *worker, void **pages, size_t count)
{
    int nodes[BATCH];

    expect(syscall(SYS_move_pages, 0, count, pages, NULL, nodes, 0) == 0, "%m");
    for (size_t i = 0; i < count; i++)
        worker->pages[nodes[i] >= 0 && nodes[i] < NODES_MAX ? nodes[i] : NODES_MAX]++;
    worker->all_pages += count;
}

static void
count_pages(struct worker *worker)
{
    void *pages[BATCH];
    size_t count = 0;

    for (size_t i = worker->old_count; i < worker->block_count; i++) {
        char *end = worker->blocks[i].mem + worker->blocks[i].size_bytes;

        for (char *mem = worker->blocks[i].mem; mem < end; mem += PAGE_BYTES) {
            pages[count++] = mem;
            if (count < BATCH)
                continue;
            ask(worker, pages, count);
            count = 0;
        }
    }
    ask(worker, pages, count);
}

static void
go_to(struct worker *worker, unsigned idx)
{
    cpu_set_t set;

    worker->cpu = cpus[idx % worker_count];
    CPU_ZERO(&set);
    CPU_SET(worker->cpu, &set);
    expect(sched_setaffinity(0, sizeof(set), &set) == 0, "%m");
    expect(getcpu(&worker->cpu, &worker->node) == 0, "%m");
}

static void *
run(void *arg)
{
    struct worker *worker = arg;
    unsigned idx = (unsigned)(worker - workers);
    struct worker *next = &workers[(idx + 1) % worker_count];
    uint64_t state = 88172645463325252 + idx;

    go_to(worker, idx);
    for (unsigned round = 0; round < 4; round++) {
        fill(worker, &state);
        (void)pthread_barrier_wait(&barrier);
        thin(round % 2 == 0 ? worker : next);
        (void)pthread_barrier_wait(&barrier);
        if (wanders)
            go_to(worker, idx + round + 1);
    }
    worker->old_count = wanders ? worker->block_count : 0;
    fill(worker, &state);
    count_pages(worker);
    return NULL;
}

/* Nodes with processors or memory. */
static unsigned
count_nodes(void)
{
    DIR *folder = opendir("/sys/devices/system/node");
    const struct dirent *entry;
    unsigned count = 0;

    while (folder != NULL && (entry = readdir(folder)) != NULL)
        count += strncmp(entry->d_name, "node", 4) == 0 && entry->d_name[4] >= '0'
                 && entry->d_name[4] <= '9';
    if (folder != NULL)
        (void)closedir(folder);
    return count;
}

static void
print(const struct worker *worker)
{
    unsigned most = 0;

    for (unsigned node = 0; node < NODES_MAX; node++)
        if (worker->pages[node] > worker->pages[most])
            most = node;
    (void)dprintf(STDOUT_FILENO, "cpu %u node %u own_pct %lu most_node %u most_pct %lu\n",
                  worker->cpu, worker->node,
                  worker->pages[worker->node % NODES_MAX] * 100 / worker->all_pages, most,
                  worker->pages[most] * 100 / worker->all_pages);
}

int
main(int argc, char **argv)
{
    cpu_set_t allowed;

    wanders = argc > 2 && !strcmp(argv[2], "wander");
    worker_bytes = (size_t)(argc > 1 ? atoi(argv[1]) : 32) << 20;
    expect(sched_getaffinity(0, sizeof(allowed), &allowed) == 0, "%m");
    for (unsigned cpu = 0; cpu < CPU_SETSIZE && worker_count < THREADS_MAX; cpu++)
        if (CPU_ISSET(cpu, &allowed))
            cpus[worker_count++] = cpu;
    expect(pthread_barrier_init(&barrier, NULL, worker_count) == 0, "%m");
    for (unsigned i = 0; i < worker_count; i++)
        expect(pthread_create(&workers[i].thread, NULL, run, &workers[i]) == 0, "%m");
    for (unsigned i = 0; i < worker_count; i++)
        (void)pthread_join(workers[i].thread, NULL);
    (void)dprintf(STDOUT_FILENO, "nodes %u\n", count_nodes());
    for (unsigned i = 0; i < worker_count; i++)
        print(&workers[i]);
    return 0;
}
