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

/* What files that nobody can find are called. */
#define HM_SHARED_MEMFD_PREFIX "huma:"

/* Make a file that nobody can find, empty yet.
 *   name        shown in /proc/PID/maps, behind the prefix
 *   page_shift  of hugetlb pages; 0: base pages, or transparent ones
 *   mode        who may open it by /proc
 * Returns a descriptor that is closed on exec, or a negative errno. */
int hm_os_shared_create(const char *name, unsigned page_shift, unsigned mode);

/* Nobody can shorten or lengthen it any more. Returns 0 or a negative errno. */
int hm_os_shared_seal_length(int fd);

/* Make a file without a name in a folder; set its length; and give it a name: -EEXIST if there is
 * such a file. */
int hm_os_shared_create_in(const char *folder, unsigned mode);
int hm_os_shared_set_length(int fd, uint64_t len_bytes);
int hm_os_shared_link(int fd, const char *path);

bool hm_os_shared_exists(const char *path);

/* Open a file that may be anybody's; it does not matter if it is none.
 *   may_be_link  follow a symbolic link */
int hm_os_shared_open(const char *path, bool is_read_only, bool may_be_link);

/* Remove the path of a file that is open, unless it leads to another by now. Returns 0 or a
 * negative errno: ENOENT. */
int hm_os_shared_unlink(int fd, const char *path);

/* The same for a file that processes only lock; it is made if it is not there. */
int hm_os_shared_open_lock(const char *path);

/* Open the same file once more, so that its locks are this process's.
 * Returns a descriptor that is closed on exec, or a negative errno. */
int hm_os_shared_reopen(int fd, bool is_read_only);

/* Whether a descriptor may be written to. */
bool hm_os_shared_is_writable(int fd);

/* Forbid all but the mappings that there are to write to it (Linux 5.1). Returns 0 or a negative
 * errno. */
int hm_os_shared_seal_writes(int fd);

/* What a descriptor that came from elsewhere is open on. */
struct hm_os_shared_file {
    uint64_t len_bytes;
    uint64_t page_bytes; /* of a file on hugetlb pages; else of base pages */
    unsigned owner;      /* user */
    bool is_named;       /* it has a path */
    bool is_sealed;      /* nobody can shorten it */
    bool is_write_sealed;
};

/* Returns 0, or a negative errno: EINVAL if it is no regular file. */
int hm_os_shared_stat(int fd, struct hm_os_shared_file *out_file);

/* Read from the beginning. Returns 0 or a negative errno: ENODATA if there is less. */
int hm_os_shared_read(int fd, void *buf, size_t len_bytes);

/* How to map a file. */
struct hm_os_shared_map {
    uint64_t len_bytes; /* all of it */
    size_t align_bytes;
    uintptr_t address; /* there, or -EEXIST; 0: anywhere */
    bool is_read_only;
};

/* Returns 0 or a negative errno. */
int hm_os_shared_map(int fd, const struct hm_os_shared_map *how, void **out_base);
void hm_os_shared_unmap(void *base, uint64_t len_bytes);

/* Have memory allocated in a range; no touch can fail then. Returns 0 or a negative errno. */
int hm_os_shared_fill(int fd, uint64_t off, uint64_t len_bytes);

/* Give the memory of a range back: of a file, and of shared memory that is mapped. Return 0 or a
 * negative errno. */
int hm_os_shared_punch(int fd, uint64_t off, uint64_t len_bytes);
int hm_os_shared_punch_memory(uintptr_t addr, uint64_t len_bytes);

/* Write what is mapped to the disk. Returns 0 or a negative errno. */
int hm_os_shared_sync(uintptr_t addr, uint64_t len_bytes);

/* Copy from or to memory that may be gone. Returns 0 or a negative errno: EFAULT. */
int hm_os_shared_copy(void *to, const void *from, size_t len_bytes);

/* Memory of one word that is 1, and 0 in a child of this process, however it was made (Linux 4.14).
 * Returns NULL if there is none. */
unsigned *hm_os_shared_mark(void);

/* Whether the kernel may be asked for transparent huge pages of such files: not where the
 * administrator denies them, or has switched them off altogether. */
bool hm_os_shared_may_be_huge(void);

/* --- who is alive (os_shared_lives.c) --------------------------------------------------------- */

/* Lock a byte that stands for a number. Returns whether it was free. */
bool hm_os_shared_hold(int fd, unsigned number);
void hm_os_shared_let_go(int fd, unsigned number);

/* Lock that of nobody together with others that do so: who only reads. */
void hm_os_shared_hold_reader(int fd);

/* Whether somebody else has locked one; also where fd is only for reading. */
bool hm_os_shared_is_held(int fd, unsigned number);

/* Lock all of them, 0 to `last`. Returns whether they were free. */
bool hm_os_shared_hold_all(int fd, unsigned last);
void hm_os_shared_let_go_all(int fd, unsigned last);

/* Sleep until another process wakes those who sleep on a word, or it is not `seen` any more. */
void hm_os_shared_sleep(const uint32_t *word, uint32_t seen, unsigned timeout_ms);
void hm_os_shared_wake(const uint32_t *word, int count);

/* --- from process to process (os_shared_pass.c) ----------------------------------------------- */

/* Send a descriptor over a UNIX socket. Returns 0 or a negative errno. */
int hm_os_shared_send(int socket, int fd);

/* Receive one, closed on exec. Returns it or a negative errno: EBADMSG if none was sent, ECONNRESET
 * if the socket was closed, EMFILE. */
int hm_os_shared_receive(int socket);

#endif
