/* SPDX-License-Identifier: MIT */
/* writer.c FILE - an arena in a file, with a block of each length from 1 byte on, doubled and one
 * more, in a root of that name; each byte of it is the length's last. */
#include <huma.h>
#include <stdio.h>
#include <string.h>

#define LENGTH_MAX ((size_t)1 << 20)

static int
publish(huma_shared *shared, size_t size)
{
    uint64_t block = huma_shared_alloc(shared, size);
    char name[32];

    (void)snprintf(name, sizeof(name), "%zu", size);
    if (block == 0)
        return -1;
    memset(huma_shared_at(shared, block), (int)(size & 255), size);
    return huma_shared_publish(shared, huma_shared_root(shared, name), block);
}

int
main(int argc, char **argv)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    huma_shared *shared;
    int rc = 0;

    options.path = argc == 2 ? argv[1] : NULL;
    options.limit_bytes = 4 * LENGTH_MAX;
    shared = huma_shared_create(&options);
    if (shared == NULL) {
        (void)fprintf(stderr, "%s\n", huma_last_error());
        return 99;
    }
    for (size_t size = 1; size <= LENGTH_MAX; size += size + 1)
        rc |= publish(shared, size);
    if (rc != 0 || huma_shared_root(shared, "empty") == 0) {
        (void)fprintf(stderr, "%s\n", huma_last_error());
        return 1;
    }
    huma_shared_detach(shared);
    return 0;
}
