/* SPDX-License-Identifier: MIT */
/* bench_index.c - a large index of small nodes, read at random: where page size counts.
 *
 * index   nodes of 24 to 1000 bytes, 2 GiB of them, in a hash table with chains: build, 10^7
 *         look-ups, three quarters freed at random, look-ups, as many allocated again, look-ups,
 *         all freed
 *
 * Keys are scattered numbers, so that the order of the buckets, in which nodes are freed, is random
 * in memory. A look-up compares the keys along the chain and reads the node's last byte.
 */
#include "support.h"

#include <stdlib.h>
#include <string.h>

enum { NODE_LEAST = 24, NODE_RANGE = 977, FREED_PERCENT = 75 };

struct node {
    struct node *next;
    uint64_t key;
    uint32_t len_bytes;
};

struct index {
    struct node **buckets;
    size_t bucket_mask;
    size_t key_count;  /* keys given out so far: 0 to key_count - 1, scattered */
    size_t live_bytes; /* sum of the nodes' lengths */
    uint64_t seed;
    unsigned long found; /* sum over look-ups, so that none is left out */
};

/* A bijection: different numbers get different keys. */
static uint64_t
scatter(uint64_t number)
{
    number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9u;
    number = (number ^ (number >> 27)) * 0x94d049bb133111ebu;
    return number ^ (number >> 31);
}

static void
fill(struct index *index, size_t goal_bytes)
{
    while (index->live_bytes < goal_bytes) {
        size_t len_bytes = NODE_LEAST + bench_below(&index->seed, NODE_RANGE);
        struct node *node = bench_alloc(len_bytes);
        struct node **bucket;

        node->key = scatter(index->key_count++);
        node->len_bytes = (uint32_t)len_bytes;
        bucket = &index->buckets[node->key & index->bucket_mask];
        node->next = *bucket;
        *bucket = node;
        index->live_bytes += len_bytes;
    }
}

static void
look_up(struct index *index, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t key = scatter(bench_below(&index->seed, index->key_count));
        const struct node *node = index->buckets[key & index->bucket_mask];

        while (node != NULL && node->key != key)
            node = node->next;
        if (node != NULL)
            index->found += 1 + ((const unsigned char *)node)[node->len_bytes - 1];
    }
}

static void
drop_from(struct index *index, struct node **link, size_t percent)
{
    while (*link != NULL) {
        struct node *node = *link;

        if (bench_below(&index->seed, 100) >= percent) {
            link = &node->next;
            continue;
        }
        *link = node->next;
        index->live_bytes -= node->len_bytes;
        free(node);
    }
}

static void
drop(struct index *index, size_t percent)
{
    for (size_t i = 0; i <= index->bucket_mask; i++)
        drop_from(index, &index->buckets[i], percent);
}

int
main(int argc, char **argv)
{
    struct bench_task task = bench_task(argc, argv, "index");
    size_t goal_bytes = bench_scaled(&task, 2147483648.0, 65536);
    size_t look_up_count = task.count > 0 ? (size_t)task.count : bench_scaled(&task, 1e7, 1000);
    struct index index = { .seed = 88172645463325252u, .bucket_mask = 1 };
    struct bench_phase phase;

    while (index.bucket_mask * (NODE_LEAST + NODE_RANGE / 2) < goal_bytes)
        index.bucket_mask = index.bucket_mask * 2 + 1;
    bench_phase_begin(&phase);
    index.buckets = calloc(index.bucket_mask + 1, sizeof(struct node *));
    if (index.buckets == NULL)
        bench_stop(1, "no memory for the table");
    fill(&index, goal_bytes);
    bench_phase_end(&phase, "build", NULL);

    bench_phase_begin(&phase);
    look_up(&index, look_up_count);
    bench_phase_end(&phase, "look-up-full", NULL);

    bench_phase_begin(&phase);
    drop(&index, FREED_PERCENT);
    bench_phase_end(&phase, "free-75", NULL);

    bench_phase_begin(&phase);
    look_up(&index, look_up_count);
    bench_phase_end(&phase, "look-up-sparse", NULL);

    bench_phase_begin(&phase);
    fill(&index, goal_bytes);
    bench_phase_end(&phase, "refill", NULL);

    bench_phase_begin(&phase);
    look_up(&index, look_up_count);
    bench_phase_end(&phase, "look-up-refilled", NULL);

    bench_phase_begin(&phase);
    drop(&index, 100);
    free(index.buckets);
    bench_phase_end(&phase, "free-all", NULL);
    if (index.found == 0)
        bench_stop(1, "no key was found");
    bench_final();
    return 0;
}
