/* SPDX-License-Identifier: MIT */
/* shared_full.c - fills a shared arena until there is no memory left; told in figures.
 *
 * Usage       shared_full CHAIN MIB [PATH]
 * Prints      got_mib, written to, in blocks of 64 KiB; errno of the call that got none. Or refused
 *             ERRNO. And what was said
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "huma.h"

#define MIB ((size_t)1 << 20)
#define BLOCK_BYTES ((size_t)60000)

static void __attribute__((noreturn)) fail(const char *what)
{
    (void)fprintf(stderr, "shared_full: %s; %s\n", what, huma_last_error());
    _exit(1);
}

static void
say(const char *call)
{
    printf("said %s\n", huma_last_error());
    if (strncmp(huma_last_error(), call, strlen(call)) != 0
        || strlen(huma_last_error()) < strlen(call) + 10)
        fail("no sentence");
}

static void
fill(huma_shared *shared)
{
    uint64_t root = huma_shared_root(shared, "last");
    uint64_t block;
    size_t count = 0;

    while ((block = huma_shared_alloc(shared, BLOCK_BYTES)) != 0) {
        memset(huma_shared_at(shared, block), 7, BLOCK_BYTES);
        if (root != 0 && huma_shared_publish(shared, root, block) == 0)
            root = 0;
        count++;
    }
    printf("got_mib %zu\nerrno %d\n", count * BLOCK_BYTES / MIB, errno);
    say("huma_shared_alloc(): ");
}

int
main(int argc, char **argv)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    huma_shared *shared;

    if (argc < 3)
        fail("usage: shared_full CHAIN MIB [PATH]");
    options.backing = argv[1];
    options.limit_bytes = strtoul(argv[2], NULL, 10) * MIB;
    options.path = argc > 3 ? argv[3] : NULL;
    shared = huma_shared_create(&options);
    if (shared == NULL) {
        printf("refused %d\n", errno);
        say("huma_shared_create(): ");
        if (argc > 3 && access(argv[3], F_OK) == 0)
            fail("a file is left");
        return 0;
    }
    fill(shared);
    if (huma_shared_verify(shared) != 0)
        fail("verify");
    /* What is there goes on to be of use. */
    if (huma_shared_take(shared, huma_shared_root(shared, "last")) == 0 && argc < 4)
        fail("take");
    huma_shared_detach(shared);
    return 0;
}
