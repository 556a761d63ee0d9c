/* SPDX-License-Identifier: MIT */
/* row03_truncated.c - a file that is shorter than what is mapped of it: an error, and no signal.
 *
 * Technique   A touch behind the end of a mapped file ends a process with SIGBUS ("Bus error"): the
 *             file was cut short, or the disk had no room for a page of it.
 * Shows       An arena that was cut to any length is refused with a sentence. Where the disk is
 *             full, a call fails; no access to memory does.
 * Run         cc -O2 row03_truncated.c -o row03_truncated $(pkg-config --cflags --libs huma)
 *             ./row03_truncated cut /var/tmp/x.huma
 *             ./row03_truncated full DIR      DIR: on a file system with less than 12 MiB left
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "rows.h"

static huma_shared *
create(const char *path, size_t initial_bytes)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;

    options.path = path;
    options.limit_bytes = 16 * MIB;
    options.initial_bytes = initial_bytes;
    return huma_shared_create(&options);
}

static int
is_refused(const char *path, off_t len)
{
    huma_shared *shared;

    need(truncate(path, len) == 0);
    errno = 0;
    shared = huma_shared_open(path, 0);
    return shared == NULL && errno == EINVAL && huma_last_error()[0] != '\0';
}

/* From all of it down to nothing: what is left is each time as it was. */
static void
cut(const char *path)
{
    huma_shared *shared = create(path, 0);
    struct stat file;
    int count = 0;

    need(shared != NULL && stat(path, &file) == 0);
    huma_shared_detach(shared);
    need(is_refused(path, file.st_size - 1));
    for (off_t len = file.st_size - 4096; len > 12288; len -= 65536, count++)
        need(is_refused(path, len));
    for (off_t len = 12288; len >= 0; len--, count++)
        need(is_refused(path, len));
    need(unlink(path) == 0);
    printf("cut to %d lengths: refused, no signal\n", count + 1);
}

static void
full(const char *dir)
{
    huma_shared *shared;
    uint64_t block;
    size_t bytes = 0;
    char path[4096];
    int error;

    (void)snprintf(path, sizeof(path), "%s/x.huma", dir);
    shared = create(path, 12 * MIB);
    error = errno;
    need(shared == NULL && (error == ENOSPC || error == ENOMEM));
    need(access(path, F_OK) != 0);
    /* It may begin small, and then grow. */
    shared = create(path, 0);
    need(shared != NULL);
    while ((block = huma_shared_alloc(shared, 64 * KIB)) != 0) {
        memset(huma_shared_at(shared, block), 7, 64 * KIB);
        bytes += 64 * KIB;
    }
    need(errno == ENOMEM && bytes < 12 * MIB);
    huma_shared_detach(shared);
    printf("full disk: at creation: %s; at growth, after %zu KiB: no memory\n", strerror(error),
           bytes / KIB);
}

int
main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "cut") == 0)
        cut(argv[2]);
    else if (argc == 3 && strcmp(argv[1], "full") == 0)
        full(argv[2]);
    else
        return 2;
    return 0;
}
