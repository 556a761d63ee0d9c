/* SPDX-License-Identifier: MIT */
/* os_shared.c - files in memory that processes share (see os_shared.h). */
#include "os/os_shared.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fmt.h"
#include "os/os_linux.h"

/* Behind the end of every file that there can be data in. */
#define LOCKS_OFF ((off_t)1 << 60)

/* The user's, whoever else gets the descriptor's path. */
#define FILE_MODE 0600

int
hm_os_shared_create(const char *name, uint64_t len_bytes, unsigned page_shift)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd;

    if (page_shift != 0)
        flags |= MFD_HUGETLB | page_shift << MFD_HUGE_SHIFT;
    fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, flags); /* before Linux 6.3 */
    if (fd < 0)
        return -errno;
    if (fchmod(fd, FILE_MODE) == 0 && ftruncate(fd, (off_t)len_bytes) == 0
        && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0)
        return fd;
    (void)close(fd);
    return -EIO;
}

int
hm_os_shared_reopen(int fd)
{
    char path[32];
    struct hm_fmt out = hm_fmt_init(path, sizeof(path), -1);
    int again;

    hm_fmt_str(&out, "/proc/self/fd/");
    hm_fmt_u64(&out, (uint64_t)fd);
    again = open(path, O_RDWR | O_CLOEXEC);
    return again >= 0 ? again : -errno;
}

int
hm_os_shared_stat(int fd, struct hm_os_shared_file *out_file)
{
    struct stat stat;
    int seals;

    if (fstat(fd, &stat) != 0)
        return -errno;
    if (!S_ISREG(stat.st_mode))
        return -EINVAL;
    seals = fcntl(fd, F_GET_SEALS);
    *out_file
        = (struct hm_os_shared_file){ .len_bytes = (uint64_t)stat.st_size,
                                      .page_bytes = (uint64_t)stat.st_blksize,
                                      .is_sealed = seals >= 0 && (seals & F_SEAL_SHRINK) != 0 };
    return 0;
}

int
hm_os_shared_read(int fd, void *buf, size_t len_bytes)
{
    ssize_t got_bytes;

    do
        got_bytes = pread(fd, buf, len_bytes, 0);
    while (got_bytes < 0 && errno == EINTR);
    if (got_bytes < 0)
        return -errno;
    return (size_t)got_bytes == len_bytes ? 0 : -ENODATA;
}

int
hm_os_shared_map(int fd, uint64_t len_bytes, size_t align_bytes, void **out_base)
{
    uintptr_t addr;
    int rc = hm_os_reserve(NULL, len_bytes, align_bytes, &addr);
    void *mem;

    if (rc != 0)
        return rc;
    mem = mmap((void *)addr, len_bytes, PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0);
    if (mem == MAP_FAILED) {
        rc = -errno;
        (void)munmap((void *)addr, len_bytes);
        return rc;
    }
    *out_base = mem;
    return 0;
}

void
hm_os_shared_unmap(void *base, uint64_t len_bytes)
{
    (void)munmap(base, len_bytes);
}

int
hm_os_shared_fill(int fd, uint64_t off, uint64_t len_bytes)
{
    int rc;

    do
        rc = fallocate(fd, 0, (off_t)off, (off_t)len_bytes);
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? 0 : -errno;
}

void
hm_os_shared_punch(int fd, uint64_t off, uint64_t len_bytes)
{
    (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len_bytes);
}

static bool
lock(int fd, unsigned number, short type)
{
    struct flock range = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = LOCKS_OFF + (off_t)number, .l_len = 1
    };

    return fcntl(fd, F_OFD_SETLK, &range) == 0;
}

bool
hm_os_shared_hold(int fd, unsigned number)
{
    return lock(fd, number, F_WRLCK);
}

void
hm_os_shared_let_go(int fd, unsigned number)
{
    (void)lock(fd, number, F_UNLCK);
}

bool
hm_os_shared_may_be_huge(void)
{
    char text[96];

    if (hm_os_thp_mode(NULL) == HM_THP_NEVER || hm_os_thp_mode(NULL) == HM_THP_ABSENT
        || hm_os_thp_mode(NULL) == HM_THP_PRCTL_OFF)
        return false;
    return hm_os_read_file("/sys/kernel/mm/transparent_hugepage/shmem_enabled", text, sizeof(text))
               > 0
           && strstr(text, "[deny]") == NULL;
}
