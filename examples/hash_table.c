/* SPDX-License-Identifier: MIT */
/* hash_table.c - a hash table in an arena that wishes for pages of 1 GiB.
 *
 * Problem     Each look-up in a large table misses the TLB: on pages of 4 KiB the processor reads
 *             page tables before it reads the entry.
 * Idea        One arena for the table and its keys, on the largest pages that there are: of 1 GiB
 *             if the administrator reserved some, else of 2 MiB from the pool, else transparent
 *             ones.
 *             Where they came from, and why no better ones, is told by huma_arena_info.
 *
 *     cc -O2 hash_table.c $(pkg-config --cflags --libs huma) && ./a.out 10000000
 *     echo 2 >/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages    gives it such pages
 */
#include <huma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    char *key;
    uint64_t value;
};

struct table {
    huma_arena *arena;
    struct entry *entries;
    size_t mask; /* their number is a power of two */
};

/* FNV-1a. */
static uint64_t
hash(const char *key)
{
    uint64_t value = 0xcbf29ce484222325u;

    for (; *key != '\0'; key++)
        value = (value ^ (unsigned char)*key) * 0x100000001b3u;
    return value;
}

/* The entry with the key, or where it belongs. */
static struct entry *
find(const struct table *table, const char *key)
{
    size_t idx = (size_t)hash(key) & table->mask;

    while (table->entries[idx].key != NULL && strcmp(table->entries[idx].key, key) != 0)
        idx = (idx + 1) & table->mask;
    return &table->entries[idx];
}

/* Room for `count` entries, half of it empty. */
static int
create(struct table *table, size_t count)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    size_t room = 16;

    while (room < 2 * count)
        room *= 2;
    options.name = "hash table";
    options.page_bytes = (size_t)1 << 30;
    options.flags = HUMA_ARENA_SINGLE_THREADED;
    table->arena = huma_arena_create(&options);
    if (table->arena == NULL)
        return -1;
    table->entries = huma_arena_calloc(table->arena, room, sizeof(struct entry));
    table->mask = room - 1;
    return table->entries != NULL ? 0 : -1;
}

static int
put(struct table *table, const char *key, uint64_t value)
{
    struct entry *entry = find(table, key);

    if (entry->key == NULL) {
        entry->key = huma_arena_alloc(table->arena, strlen(key) + 1);
        if (entry->key == NULL)
            return -1;
        strcpy(entry->key, key);
    }
    entry->value = value;
    return 0;
}

int
main(int argc, char **argv)
{
    size_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000;
    struct huma_info info = HUMA_INFO_INIT;
    struct table table;
    char key[32];
    size_t found = 0;

    if (count == 0 || count > (size_t)1 << 40) {
        fprintf(stderr, "usage: hash_table [ENTRIES], from 1 to 2^40\n");
        return 2;
    }
    if (create(&table, count) != 0) {
        fprintf(stderr, "hash_table: %s\n", huma_last_error());
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        snprintf(key, sizeof(key), "key %zu", i * 7919);
        if (put(&table, key, i) != 0) {
            fprintf(stderr, "hash_table: %s\n", huma_last_error());
            return 1;
        }
    }
    for (size_t i = 0; i < count; i++) {
        snprintf(key, sizeof(key), "key %zu", i * 7919);
        found += find(&table, key)->key != NULL && find(&table, key)->value == i;
    }
    printf("%zu of %zu keys found\n", found, count);
    if (huma_arena_info(table.arena, &info) == 0)
        printf("%llu KiB: %llu on hugetlb pages, %llu on transparent huge pages; latest fallback: "
               "%s\n",
               (unsigned long long)info.resident_bytes / 1024,
               (unsigned long long)info.hugetlb_bytes / 1024,
               (unsigned long long)info.thp_bytes / 1024, info.fallback_code);
    huma_arena_destroy(table.arena);
    return found != count;
}
