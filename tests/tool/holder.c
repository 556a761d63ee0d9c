/* SPDX-License-Identifier: MIT */
/* holder.c - has a shared arena until it is killed, for tests of the tool.
 *
 * Usage   holder [PATH]   prints "ready" when it has it, with a block of 5 MB in a root
 */
#include <stdio.h>
#include <unistd.h>

#include "huma.h"

int
main(int argc, char **argv)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    huma_shared *shared;

    options.name = "tool-test";
    options.path = argc > 1 ? argv[1] : NULL;
    options.backing = "4k";
    options.limit_bytes = (size_t)64 << 20;
    shared = huma_shared_create(&options);
    if (shared == NULL
        || huma_shared_alloc_to(shared, huma_shared_root(shared, "block"), 5000000) == 0) {
        (void)fprintf(stderr, "holder: %s\n", huma_last_error());
        return 1;
    }
    (void)printf("ready\n");
    (void)fflush(stdout);
    for (;;)
        (void)pause();
}
