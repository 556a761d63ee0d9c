/* SPDX-License-Identifier: MIT */
/* row18_closed.c - a mapping outlives its descriptor, and the name of its file.
 *
 * Technique   After mmap the descriptor can be closed; the file is written back all the same.
 * Shows       An arena got by descriptor, by socket and by name goes on working, and grows, when
 *             the program has closed each descriptor it had and the name is gone. Only the library
 *             keeps one of its own, which no exec inherits.
 * Run         cc -O2 row18_closed.c -o row18_closed $(pkg-config --cflags --libs huma)
 *             ./row18_closed /var/tmp/x.huma
 */
#include <fcntl.h>
#include <sys/socket.h>

#include "rows.h"

static huma_shared *
create(const char *path)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    huma_shared *shared;

    options.path = path;
    options.limit_bytes = 32 * MIB;
    shared = huma_shared_create(&options);
    need(shared != NULL);
    return shared;
}

/* From 2 MiB to most of it. */
static void
grow(huma_shared *shared)
{
    uint64_t before = state_of(shared).ready_bytes;
    uint64_t block = huma_shared_alloc(shared, 24 * MIB);

    need(block != 0);
    memset(huma_shared_at(shared, block), 3, 24 * MIB);
    need(state_of(shared).ready_bytes > before && huma_shared_free(shared, block) == 0);
    need(huma_shared_trim(shared) > 0);
}

int
main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "/var/tmp/row18.huma";
    huma_shared *memory = create(NULL);
    huma_shared *file = create(path);
    huma_shared *ways[4];
    int pair[2];
    int fd = fcntl(huma_shared_fd(memory), F_DUPFD_CLOEXEC, 0);

    need(fd >= 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    need((fcntl(huma_shared_fd(memory), F_GETFD) & FD_CLOEXEC) != 0);
    ways[0] = huma_shared_attach(fd, 0);
    need(huma_shared_send(memory, pair[0], 0) == 0);
    ways[1] = huma_shared_receive(pair[1], 0);
    ways[2] = huma_shared_open(path, 0);
    ways[3] = file;
    need(close(fd) == 0 && close(pair[0]) == 0 && close(pair[1]) == 0 && unlink(path) == 0);
    huma_shared_detach(memory);
    for (int i = 0; i < 4; i++) {
        need(ways[i] != NULL);
        grow(ways[i]);
        need(huma_shared_verify(ways[i]) == 0);
    }
    /* Both views of the one file count. */
    need(state_of(file).process_count == 2);
    for (int i = 0; i < 4; i++)
        huma_shared_detach(ways[i]);
    printf("by descriptor, socket, name: all closed, name removed; each grew by 24 MiB\n");
    return 0;
}
