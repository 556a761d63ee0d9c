/* SPDX-License-Identifier: MIT */
/* os_shared.h - files in memory that processes share.
 *
 * Problem     Memory that several processes map must not vanish under any of them: not because a
 *             file is cut short, nor because there was less memory than was promised. And who has
 *             died must be told from who is slow, across containers.
 * Idea        A memfd that is sealed against every change of its length. Memory is allocated in the
 *             file before it is touched (fallocate), which fails where a touch would end the
 *             process. A living process holds a lock on a byte of its own behind the end of the
 *             file (OFD lock): the kernel gives it up when the process dies, and at no other time.
 * Sources     memfd_create(2), fallocate(2), fcntl(2) and its OFD locks, madvise(2).
 */
#ifndef HM_OS_OS_SHARED_H
#define HM_OS_OS_SHARED_H

#include "os/os.h"

/* Make a file of `len_bytes` that nobody can shorten or lengthen, and only this user opens.
 *   page_shift  of hugetlb pages; 0: base pages, or transparent ones
 * Returns a descriptor that is closed on exec, or a negative errno. */
int hm_os_shared_create(const char *name, uint64_t len_bytes, unsigned page_shift);

/* Open the same file once more, so that its locks are this process's.
 * Returns a descriptor that is closed on exec, or a negative errno. */
int hm_os_shared_reopen(int fd);

/* What a descriptor that came from elsewhere is open on. */
struct hm_os_shared_file {
    uint64_t len_bytes;
    uint64_t page_bytes; /* of a file on hugetlb pages; else of base pages */
    bool is_sealed;      /* nobody can shorten it */
};

/* Returns 0, or a negative errno: EINVAL if it is no regular file. */
int hm_os_shared_stat(int fd, struct hm_os_shared_file *out_file);

/* Read from the beginning. Returns 0 or a negative errno: ENODATA if there is less. */
int hm_os_shared_read(int fd, void *buf, size_t len_bytes);

/* Map all of it at a multiple of `align_bytes`. Returns 0 or a negative errno. */
int hm_os_shared_map(int fd, uint64_t len_bytes, size_t align_bytes, void **out_base);
void hm_os_shared_unmap(void *base, uint64_t len_bytes);

/* Have memory allocated in a range; no touch can fail then. Returns 0 or a negative errno. */
int hm_os_shared_fill(int fd, uint64_t off, uint64_t len_bytes);

/* Give the memory of a range back. */
void hm_os_shared_punch(int fd, uint64_t off, uint64_t len_bytes);

/* Lock a byte that stands for a number. Returns whether it was free. */
bool hm_os_shared_hold(int fd, unsigned number);
void hm_os_shared_let_go(int fd, unsigned number);

/* Whether the kernel may be asked for transparent huge pages of such files: not where the
 * administrator denies them, or has switched them off altogether. */
bool hm_os_shared_may_be_huge(void);

#endif
