/* SPDX-License-Identifier: MIT */
/* foreign_plugin.c - a plugin whose calls of malloc go to libc, past a preloaded one; see
 * foreign.c. */
#include "foreign.h"

#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *
make(size_t align, size_t size)
{
    return align > 16 ? memalign(align, size) : malloc(size);
}

struct order {
    size_t align;
    size_t size;
    size_t count;
    void **blocks;
};

static void *
work(void *arg)
{
    struct order *order = arg;

    for (size_t i = 0; i < order->count; i++)
        order->blocks[i] = make(order->align, order->size);
    return NULL;
}

static void
make_in_thread(size_t align, size_t size, size_t count, void **blocks)
{
    struct order order = { .align = align, .size = size, .count = count, .blocks = blocks };
    pthread_t thread;

    if (pthread_create(&thread, NULL, work, &order) != 0)
        abort();
    (void)pthread_join(thread, NULL);
}

/* What libc's own functions allocate for their caller. */
static size_t
make_by_libc(char **texts)
{
    static char line[] = "a line of text\n";
    size_t count = 0;
    size_t size = 0;
    FILE *file = fmemopen(line, sizeof(line) - 1, "r");

    texts[count++] = strdup("a copy of a text");
    texts[count++] = strndup("a copy of a text", 6);
    texts[count] = NULL;
    if (file == NULL || getline(&texts[count++], &size, file) < 0
        || asprintf(&texts[count++], "%s and %d", "text", 42) < 0)
        abort();
    (void)fclose(file);
    file = open_memstream(&texts[count++], &size);
    if (file == NULL || fprintf(file, "%1000d", 42) != 1000)
        abort();
    (void)fclose(file);
    texts[count++] = getcwd(NULL, 0);
    texts[count++] = realpath("/", NULL);
    return count;
}

const struct plugin plugin = {
    .make = make,
    .make_in_thread = make_in_thread,
    .make_by_libc = make_by_libc,
    .free = free,
};
