/* SPDX-License-Identifier: MIT */
/* os_file.c - the few files the library reads and the one it writes.
 *
 * Problem     sysfs and procfs are read inside malloc, where stdio is out of reach.
 * Idea        open, read until the end or the buffer is full, close; signals are waited out.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cancel.h"
#include "os/os.h"

/* Out of the way of descriptors that programs number themselves, below the usual limit of 1024. */
#define KEPT_FD_MIN 900

long
hm_os_read_file(const char *path, char *buf, size_t cap_bytes)
{
    int cancel_state = hm_cancel_disable();
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    long len_bytes = fd >= 0 ? hm_os_read_all(fd, buf, cap_bytes) : -errno;

    if (fd >= 0)
        (void)close(fd);
    hm_cancel_restore(cancel_state);
    return len_bytes;
}

long
hm_os_read_all(int fd, char *buf, size_t cap_bytes)
{
    size_t len_bytes = 0;

    while (len_bytes + 1 < cap_bytes) {
        ssize_t n = read(fd, buf + len_bytes, cap_bytes - 1 - len_bytes);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len_bytes += (size_t)n;
    }
    buf[len_bytes] = '\0';
    return (long)len_bytes;
}

static void
each_line(int fd, void (*line)(void *arg, const char *text), void *arg)
{
    char buf[512];
    size_t fill_bytes = 0;
    long n;

    while ((n = hm_os_read_all(fd, buf + fill_bytes, sizeof(buf) - fill_bytes)) > 0) {
        char *start = buf;
        char *end;

        fill_bytes += (size_t)n;
        while ((end = strchr(start, '\n')) != NULL) {
            *end = '\0';
            line(arg, start);
            start = end + 1;
        }
        fill_bytes -= (size_t)(start - buf);
        if (fill_bytes == sizeof(buf) - 1) {
            line(arg, buf);
            fill_bytes = 0;
        }
        memmove(buf, start, fill_bytes);
    }
    buf[fill_bytes] = '\0';
    if (fill_bytes > 0)
        line(arg, buf);
}

int
hm_os_read_lines(const char *path, void (*line)(void *arg, const char *text), void *arg)
{
    int cancel_state = hm_cancel_disable();
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = fd >= 0 ? 0 : -errno;

    if (fd >= 0) {
        each_line(fd, line, arg);
        (void)close(fd);
    }
    hm_cancel_restore(cancel_state);
    return rc;
}

int
hm_os_exe_path(char *buf, size_t cap_bytes)
{
    ssize_t len_bytes = readlink("/proc/self/exe", buf, cap_bytes);

    if (len_bytes < 0)
        return -errno;
    if ((size_t)len_bytes >= cap_bytes)
        return -ENAMETOOLONG;
    buf[len_bytes] = '\0';
    return 0;
}

/* O_NONBLOCK: a FIFO without a reader is an error, not a wait for ever. */
int
hm_os_create_file(const char *path)
{
    int cancel_state = hm_cancel_disable();
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);

    fd = fd >= 0 ? fd : -errno;
    hm_cancel_restore(cancel_state);
    return fd;
}

void
hm_os_close(int fd)
{
    int cancel_state = hm_cancel_disable();

    (void)close(fd);
    hm_cancel_restore(cancel_state);
}

int
hm_os_keep_fd(int fd, struct hm_kept_fd *out_kept)
{
    struct stat info;
    int kept_fd = fcntl(fd, F_DUPFD_CLOEXEC, KEPT_FD_MIN);

    if (kept_fd < 0)
        kept_fd = fcntl(fd, F_DUPFD_CLOEXEC, fd + 1);
    if (kept_fd < 0 || fstat(kept_fd, &info) != 0)
        return -errno;
    *out_kept = (struct hm_kept_fd){ .fd = kept_fd, .device = info.st_dev, .inode = info.st_ino };
    return 0;
}

bool
hm_os_is_kept(const struct hm_kept_fd *kept)
{
    struct stat info;

    return kept->fd >= 0 && fstat(kept->fd, &info) == 0 && info.st_dev == kept->device
           && info.st_ino == kept->inode;
}
