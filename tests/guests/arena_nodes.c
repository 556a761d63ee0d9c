/* SPDX-License-Identifier: MIT */
/* arena_nodes.c - on which memory nodes the blocks of an arena lie that asked for some.
 *
 *   arena_nodes STRING only|spread NODE...
 *     fills an arena that has STRING as its nodes, and prints "node N BYTES" as move_pages tells.
 *     Fails if less than 99 % is on the nodes listed; spread: or if one of them has less than half
 *     or more than twice its share.
 *   arena_nodes STRING refused
 *     fails if such an arena can be made.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "huma.h"

enum { NODES_MAX = 64, BLOCKS = 400 };

static int
fail(const char *what)
{
    fprintf(stderr, "arena_nodes: %s: %s\n", what, huma_last_error());
    return 1;
}

/* Blocks of 64 B to 256 KiB, 25 MiB in all, and one of 8 MiB. */
static bool
fill(huma_arena *arena)
{
    size_t large_bytes = (size_t)8 << 20;
    char *large = huma_arena_alloc(arena, large_bytes);

    if (large == NULL)
        return false;
    memset(large, 1, large_bytes);
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = (size_t)64 << i % 13;
        char *block = huma_arena_alloc(arena, size);

        if (block == NULL)
            return false;
        memset(block, 1, size);
    }
    return true;
}

/* Of those listed in `nodes`; 0: one has too little or too much. */
static uint64_t
sum_of(const uint64_t *bytes, char **nodes, int node_count, uint64_t all_bytes, bool is_spread)
{
    uint64_t sum_bytes = 0;

    for (int i = 0; i < node_count; i++) {
        unsigned long node = strtoul(nodes[i], NULL, 10) % NODES_MAX;
        uint64_t share_bytes = all_bytes / (uint64_t)node_count;

        if (is_spread && (bytes[node] < share_bytes / 2 || bytes[node] > share_bytes * 2))
            return 0;
        sum_bytes += bytes[node];
    }
    return sum_bytes;
}

int
main(int argc, char **argv)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    struct huma_info info = HUMA_INFO_INIT;
    uint64_t bytes[NODES_MAX];
    uint64_t all_bytes = 0;
    huma_arena *arena;
    int number;

    if (argc < 3)
        return 2;
    options.nodes = argv[1];
    options.flags = HUMA_ARENA_HUGE_FIRST;
    arena = huma_arena_create(&options);
    if (strcmp(argv[2], "refused") == 0)
        return arena != NULL;
    if (arena == NULL || !fill(arena) || huma_arena_info(arena, &info) != 0)
        return fail("fill");
    number = huma_arena_node_bytes(arena, bytes, NODES_MAX);
    if (number < 0)
        return fail("node_bytes");
    for (int i = 0; i < number && i < NODES_MAX; i++) {
        printf("node %d %llu\n", i, (unsigned long long)bytes[i]);
        all_bytes += bytes[i];
    }
    printf("hugetlb %llu\n", (unsigned long long)info.hugetlb_bytes);
    return sum_of(bytes, argv + 3, argc - 3, all_bytes, strcmp(argv[2], "spread") == 0)
           < all_bytes - all_bytes / 100;
}
