/* SPDX-License-Identifier: MIT */
/* os_shared.c - files in memory that processes share (see os_shared.h). */
#include "os/os_shared.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fmt.h"
#include "os/os_linux.h"

/* The user's alone, until it is set. */
#define PRIVATE_MODE 0600

/* --- making and finding files ----------------------------------------------------------------- */

int
hm_os_shared_set_length(int fd, uint64_t len_bytes)
{
    return ftruncate(fd, (off_t)len_bytes) == 0 ? 0 : -errno;
}

/* Whatever the umask is. */
static int
set_mode(int fd, unsigned mode)
{
    return fchmod(fd, mode) == 0 ? 0 : -errno;
}

int
hm_os_shared_create(const char *name, unsigned page_shift, unsigned mode)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    char shown[96];
    struct hm_fmt out = hm_fmt_init(shown, sizeof(shown), -1);
    int fd;
    int rc;

    hm_fmt_str(&out, HM_SHARED_MEMFD_PREFIX);
    hm_fmt_str(&out, name);
    if (page_shift != 0)
        flags |= MFD_HUGETLB | page_shift << MFD_HUGE_SHIFT;
    fd = memfd_create(shown, flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(shown, flags); /* before Linux 6.3 */
    if (fd < 0)
        return -errno;
    rc = set_mode(fd, mode);
    if (rc == 0)
        return fd;
    (void)close(fd);
    return rc;
}

int
hm_os_shared_seal_length(int fd)
{
    return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0 ? 0 : -errno;
}

int
hm_os_shared_create_in(const char *folder, unsigned mode)
{
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, PRIVATE_MODE);
    int rc;

    if (fd < 0)
        return -errno;
    rc = set_mode(fd, mode);
    if (rc == 0)
        return fd;
    (void)close(fd);
    return rc;
}

/* The path that leads to a descriptor's file. */
static void
name_fd(char buf[32], int fd)
{
    struct hm_fmt out = hm_fmt_init(buf, 32, -1);

    hm_fmt_str(&out, "/proc/self/fd/");
    hm_fmt_u64(&out, (uint64_t)fd);
}

int
hm_os_shared_link(int fd, const char *path)
{
    char from[32];

    name_fd(from, fd);
    return linkat(AT_FDCWD, from, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
}

bool
hm_os_shared_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

int
hm_os_shared_open(const char *path, bool is_read_only, bool may_be_link)
{
    /* Neither wait for the other side of a pipe, nor make a terminal this process's. */
    int fd = open(path, (is_read_only ? O_RDONLY : O_RDWR) | (may_be_link ? 0 : O_NOFOLLOW)
                            | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    return fd >= 0 ? fd : -errno;
}

int
hm_os_shared_open_lock(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, PRIVATE_MODE);

    return fd >= 0 ? fd : -errno;
}

int
hm_os_shared_reopen(int fd, bool is_read_only)
{
    char path[32];

    name_fd(path, fd);
    return hm_os_shared_open(path, is_read_only, true);
}

int
hm_os_shared_unlink(int fd, const char *path)
{
    struct stat opened;
    struct stat found;

    if (fstat(fd, &opened) != 0 || lstat(path, &found) != 0)
        return -errno;
    if (opened.st_dev != found.st_dev || opened.st_ino != found.st_ino)
        return -ENOENT;
    return unlink(path) == 0 ? 0 : -errno;
}

bool
hm_os_shared_is_writable(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && (flags & O_ACCMODE) == O_RDWR;
}

int
hm_os_shared_seal_writes(int fd)
{
    return fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0 ? 0 : -errno;
}

int
hm_os_shared_stat(int fd, struct hm_os_shared_file *out_file)
{
    struct stat stat;
    struct statfs fs;
    int seals;

    if (fstat(fd, &stat) != 0 || fstatfs(fd, &fs) != 0)
        return -errno;
    if (!S_ISREG(stat.st_mode))
        return -EINVAL;
    seals = fcntl(fd, F_GET_SEALS);
    seals = seals >= 0 ? seals : 0;
    *out_file = (struct hm_os_shared_file){
        .len_bytes = (uint64_t)stat.st_size,
        .page_bytes = (uint64_t)stat.st_blksize,
        .owner = stat.st_uid,
        .is_named = stat.st_nlink > 0,
        .is_sealed = (seals & F_SEAL_SHRINK) != 0,
        .is_write_sealed = (seals & (F_SEAL_FUTURE_WRITE | F_SEAL_WRITE)) != 0,
    };
    /* A file system's wish for larger reads; its pages are base pages. */
    if (fs.f_type != HUGETLBFS_MAGIC)
        out_file->page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
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

/* --- memory ----------------------------------------------------------------------------------- */

/* At an address that is free. Kernels before 4.17 take it for a wish. */
static int
map_at(int fd, const struct hm_os_shared_map *how, int prot, void **out_base)
{
    void *mem = mmap((void *)how->address, how->len_bytes, prot,
                     MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, fd, 0);

    if (mem == MAP_FAILED)
        return -errno;
    if (mem != (void *)how->address) {
        (void)munmap(mem, how->len_bytes);
        return -EEXIST;
    }
    *out_base = mem;
    return 0;
}

int
hm_os_shared_map(int fd, const struct hm_os_shared_map *how, void **out_base)
{
    int prot = how->is_read_only ? PROT_READ : PROT_READ | PROT_WRITE;
    uintptr_t addr;
    void *mem;
    int rc;

    if (how->address != 0)
        return map_at(fd, how, prot, out_base);
    rc = hm_os_reserve(NULL, how->len_bytes, how->align_bytes, &addr);
    if (rc != 0)
        return rc;
    mem = mmap((void *)addr, how->len_bytes, prot, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0);
    if (mem == MAP_FAILED) {
        rc = -errno;
        (void)munmap((void *)addr, how->len_bytes);
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

int
hm_os_shared_punch(int fd, uint64_t off, uint64_t len_bytes)
{
    return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len_bytes)
                   == 0
               ? 0
               : -errno;
}

int
hm_os_shared_punch_memory(uintptr_t addr, uint64_t len_bytes)
{
    return madvise((void *)addr, len_bytes, MADV_REMOVE) == 0 ? 0 : -errno;
}

int
hm_os_shared_sync(uintptr_t addr, uint64_t len_bytes)
{
    return msync((void *)addr, len_bytes, MS_SYNC) == 0 ? 0 : -errno;
}

int
hm_os_shared_copy(void *to, const void *from, size_t len_bytes)
{
    while (len_bytes > 0) {
        struct iovec local = { to, len_bytes };
        struct iovec remote = { (void *)(uintptr_t)from, len_bytes };
        ssize_t done_bytes = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);

        if (done_bytes <= 0)
            return done_bytes < 0 ? -errno : -EFAULT;
        to = (char *)to + done_bytes;
        from = (const char *)from + done_bytes;
        len_bytes -= (size_t)done_bytes;
    }
    return 0;
}

unsigned *
hm_os_shared_mark(void)
{
    void *mem;

    if (hm_os_map_meta(NULL, sizeof(unsigned), &mem) != 0)
        return NULL;
    *(unsigned *)mem = 1;
    if (madvise(mem, sizeof(unsigned), MADV_WIPEONFORK) == 0)
        return mem;
    hm_os_unmap_meta(NULL, mem, sizeof(unsigned));
    return NULL;
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
