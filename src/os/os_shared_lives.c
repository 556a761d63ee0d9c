/* SPDX-License-Identifier: MIT */
/* os_shared_lives.c - who is alive, and who sleeps, of the processes that share a file (see
 * os_shared.h).
 *
 * Idea        Locks of open file descriptions (OFD): whoever opens the file has his own, and they
 *             end with the last process that has that description open. A lock for reading can be
 *             had where the file was opened for reading.
 * Sources     fcntl(2), futex(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "os/os_shared.h"

/* Behind the end of every file that there can be data in. */
#define LOCKS_OFF ((off_t)1 << 60)

/* Nobody's number: who only reads. */
#define READERS 0

static bool
lock(int fd, unsigned first, unsigned count, short type)
{
    struct flock range = { .l_type = type,
                           .l_whence = SEEK_SET,
                           .l_start = LOCKS_OFF + (off_t)first,
                           .l_len = (off_t)count };

    return fcntl(fd, F_OFD_SETLK, &range) == 0;
}

bool
hm_os_shared_hold(int fd, unsigned number)
{
    return lock(fd, number, 1, F_WRLCK);
}

void
hm_os_shared_let_go(int fd, unsigned number)
{
    (void)lock(fd, number, 1, F_UNLCK);
}

void
hm_os_shared_hold_reader(int fd)
{
    (void)lock(fd, READERS, 1, F_RDLCK);
}

bool
hm_os_shared_is_held(int fd, unsigned number)
{
    struct flock range = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCKS_OFF + (off_t)number, .l_len = 1
    };

    return fcntl(fd, F_OFD_GETLK, &range) == 0 && range.l_type != F_UNLCK;
}

bool
hm_os_shared_hold_all(int fd, unsigned last)
{
    return lock(fd, 0, last + 1, F_WRLCK);
}

void
hm_os_shared_let_go_all(int fd, unsigned last)
{
    (void)lock(fd, 0, last + 1, F_UNLCK);
}

void
hm_os_shared_sleep(const uint32_t *word, uint32_t seen, unsigned timeout_ms)
{
    struct timespec timeout
        = { .tv_sec = timeout_ms / 1000, .tv_nsec = (long)(timeout_ms % 1000) * 1000000 };
    int saved_errno = errno;

    (void)syscall(SYS_futex, word, FUTEX_WAIT, seen, &timeout, NULL, 0);
    errno = saved_errno;
}

void
hm_os_shared_wake(const uint32_t *word, int count)
{
    int saved_errno = errno;

    (void)syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
    errno = saved_errno;
}
