/* SPDX-License-Identifier: MIT */
/* os_file.c - the few files the library reads and the one it writes.
 *
 * Problem     sysfs and procfs are read inside malloc, where stdio is out of reach.
 * Idea        open, read until the end or the buffer is full, close; signals are waited out.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "os/os.h"

long
hm_os_read_file(const char *path, char *buf, size_t cap_bytes)
{
    size_t len_bytes = 0;
    ssize_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    while (len_bytes + 1 < cap_bytes) {
        n = read(fd, buf + len_bytes, cap_bytes - 1 - len_bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len_bytes += (size_t)n;
    }
    n = n < 0 ? -errno : 0;
    (void)close(fd);
    buf[len_bytes] = '\0';
    return n < 0 ? (long)n : (long)len_bytes;
}

int
hm_os_create_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    return fd >= 0 ? fd : -errno;
}

int
hm_os_keep_fd(int fd)
{
    int kept_fd = fcntl(fd, F_DUPFD_CLOEXEC, 900);

    if (kept_fd < 0)
        kept_fd = fcntl(fd, F_DUPFD_CLOEXEC, 10);
    return kept_fd >= 0 ? kept_fd : -errno;
}

void
hm_os_close(int fd)
{
    (void)close(fd);
}
