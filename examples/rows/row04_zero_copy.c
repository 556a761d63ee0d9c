/* SPDX-License-Identifier: MIT */
/* row04_zero_copy.c - from mapped memory to a socket with one call, and without a buffer.
 *
 * Technique   write(socket, mapped memory, len) instead of read into a buffer and write from it.
 * Shows       One sendmsg takes a header and 1 MiB straight out of a block. If another process cuts
 *             the file meanwhile, write and huma_shared_read fail with EFAULT; a touch would be
 *             SIGBUS.
 * Run         cc -O2 row04_zero_copy.c -o row04_zero_copy $(pkg-config --cflags --libs huma)
 *             strace -e trace=read,write,sendmsg ./row04_zero_copy /var/tmp/x.huma [BACKING]
 */
#include <sys/socket.h>
#include <sys/uio.h>

#include "rows.h"

#define HEADER "1048576 bytes follow:"

static huma_shared *
create(const char *path, const char *backing)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    huma_shared *shared;

    options.path = path;
    options.backing = backing;
    options.limit_bytes = 4 * MIB;
    shared = huma_shared_create(&options);
    need(shared != NULL);
    return shared;
}

/* The other side: an ordinary reader. */
static void
receive(int socket)
{
    static char got[sizeof(HEADER) + MIB];
    size_t len = 0;

    while (len < sizeof(got)) {
        ssize_t step = recv(socket, got + len, sizeof(got) - len, 0);

        need(step > 0);
        len += (size_t)step;
    }
    need(memcmp(got, HEADER, sizeof(HEADER)) == 0 && got[sizeof(got) - 1] == 'z');
    _exit(0);
}

static uint64_t
send_object(huma_shared *shared)
{
    uint64_t block = huma_shared_alloc(shared, MIB);
    struct iovec parts[2] = { { HEADER, sizeof(HEADER) }, { huma_shared_at(shared, block), MIB } };
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
    int pair[2];
    pid_t child;

    need(block != 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    memset(huma_shared_at(shared, block), 'z', MIB);
    child = fork();
    if (child == 0)
        receive(pair[1]);
    need(sendmsg(pair[0], &message, 0) == (ssize_t)(sizeof(HEADER) + MIB));
    need(is_well(child));
    return block;
}

int
main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "/var/tmp/row04.huma";
    huma_shared *memory = create(NULL, argc > 2 ? argv[2] : NULL);
    huma_shared *file = create(path, NULL);
    struct huma_shared_state state;
    uint64_t block;
    char byte;
    int pipe_fds[2];

    (void)send_object(memory);
    state = state_of(memory);
    block = send_object(file);
    need((state_of(file).risks & HUMA_SHARED_MAY_BE_CUT) != 0);
    need(truncate(path, 0) == 0 && pipe(pipe_fds) == 0);
    need(huma_shared_read(file, block, &byte, 1) == -1 && errno == EFAULT);
    need(write(pipe_fds[1], huma_shared_at(file, block), 1) == -1 && errno == EFAULT);
    need(unlink(path) == 0);
    printf(
        "1 MiB with one sendmsg, from pages of %llu KiB (%llu KiB huge); cut meanwhile: EFAULT\n",
        (unsigned long long)state.page_bytes / KIB, (unsigned long long)state.huge_bytes / KIB);
    return 0;
}
