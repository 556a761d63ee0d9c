/* SPDX-License-Identifier: MIT */
/* replay.c - runs inputs of a fuzz target without a fuzzer: files, or stdin as AFL gives it.
 *
 * Usage       TARGET [FILE...]
 */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { INPUT_BYTES = 1 << 20 };

/* Static: the target's malloc is the one under test. */
static uint8_t input[INPUT_BYTES];

static int
replay(int fd, const char *name)
{
    size_t len_bytes = 0;
    ssize_t got;

    while ((got = read(fd, input + len_bytes, INPUT_BYTES - len_bytes)) > 0)
        len_bytes += (size_t)got;
    if (got < 0) {
        (void)dprintf(STDERR_FILENO, "replay: %s: %s\n", name, strerror(errno));
        return 99;
    }
    (void)dprintf(STDOUT_FILENO, "%s: %zu bytes\n", name, len_bytes);
    return LLVMFuzzerTestOneInput(input, len_bytes);
}

int
main(int argc, char **argv)
{
    if (argc < 2)
        return replay(STDIN_FILENO, "stdin");
    for (int i = 1; i < argc; i++) {
        int fd = open(argv[i], O_RDONLY | O_CLOEXEC);
        int rc = fd < 0 ? 99 : replay(fd, argv[i]);

        if (rc != 0) {
            (void)dprintf(STDERR_FILENO, "replay: %s: cannot be read\n", argv[i]);
            return rc;
        }
        (void)close(fd);
    }
    return 0;
}
