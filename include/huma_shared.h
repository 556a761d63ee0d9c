/* SPDX-License-Identifier: MIT */
/* huma_shared.h - memory that processes share and allocate in together; included by huma.h.
 *
 *     struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
 *     options.limit_bytes = (size_t)1 << 30;
 *     huma_shared *shared = huma_shared_create(&options);
 *     uint64_t root = huma_shared_root(shared, "greeting");
 *     uint64_t block = huma_shared_alloc(shared, 100);
 *     strcpy(huma_shared_at(shared, block), "hello");
 *     huma_shared_publish(shared, root, block);
 *
 * Processes that have an arena are forked children, and others that are handed its descriptor, or
 * open it by its name or path. Any of them may be killed at any moment: the others go on, nothing
 * is damaged, and what only the dead one could reach is freed by the next process that runs short,
 * or by huma_shared_recover. Each process has the arena at another address, so that blocks are
 * named by their offset in it. A block is private to the process that allocated it until it is
 * published in a cell, from where any process may take it.
 *
 * Where there is just nothing to be had (ENOENT, EAGAIN, ETIMEDOUT of cells, rings and locks),
 * errno tells all, and no sentence is left. A signal handler that interrupts one of these functions
 * must not fork: parent and child would both go on with it. */
#ifndef HUMA_SHARED_H
#define HUMA_SHARED_H

#include "huma.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct huma_shared huma_shared;

/* --- create ----------------------------------------------------------------------------------- */

/* Bits of huma_shared_options.flags. */

/* Every process has the arena at the same address, or cannot attach it (EADDRNOTAVAIL): blocks may
 * hold pointers to blocks. */
#define HUMA_SHARED_SAME_ADDRESS ((uint64_t)1)

/* What initial_bytes asks for is mapped as well, not only allocated: no page faults there. */
#define HUMA_SHARED_PREFAULT ((uint64_t)2)

/* Only this process, and children that it forks, can write, which the kernel sees to (Linux 5.1);
 * all others attach for reading. No memory goes back before the arena's end. Of a memfd only:
 * neither path nor memory. */
#define HUMA_SHARED_ONE_WRITER ((uint64_t)4)

/* Bits of the flags of huma_shared_attach, _open, _receive, _send and _attach_memory. */

/* The memory is mapped for reading. Only huma_shared_at, _offset, _root (of names that are there),
 * _peek, _read, _usable_size, _info, _verify, _sync, _fd, _send and _detach are of use then; others
 * fail with EROFS. */
#define HUMA_SHARED_READ_ONLY ((uint64_t)8)

/* Accept a file of another user than this one and root. */
#define HUMA_SHARED_ANY_OWNER ((uint64_t)16)

/* Begin with HUMA_SHARED_OPTIONS_INIT and set limit_bytes; all else may be 0 or NULL. */
struct huma_shared_options {
    /* sizeof(struct huma_shared_options) */
    size_t struct_size;
    /* Shown in /proc/PID/maps, of a memfd. Default: "arena". */
    const char *name;
    /* Where other processes find it. NULL: only by its descriptor, in a file in memory (memfd),
     * which is gone with the last process that has it. A name, without '/': in memory, until it is
     * removed or the machine restarts. A path, with '/': in this file, which persists. */
    const char *path;
    /* Where memory comes from: a list as for arenas. Of a hugetlb pool all of limit_bytes is taken
     * at once; transparent huge pages and others as the arena grows. A file's pages are those of
     * its file system. Default: "hugetlb,thp,4k". */
    const char *backing;
    /* NUMA nodes, as for arenas; they hold for all processes, but not of a file on a disk.
     * Default: the kernel's. */
    const char *nodes;
    /* What the arena may grow to, in whole 2 MiB. With memory: 0, as much as fits. */
    size_t limit_bytes;
    /* What it has from the beginning. */
    size_t initial_bytes;
    /* What a process may have for its allocations, in whole 64 KiB: an allocation that needs more
     * fails. Large blocks count until they are published. 0: no limit. */
    size_t process_bytes;
    /* The caller's memory, shared and writable (mmap, shmat), at a multiple of the page size,
     * which shall hold all of the arena, and outlive it. With a `path`, it names a file by whose
     * locks the processes tell who is alive: all name the same, each arena has one of its own, and
     * each process can write to it; it is made, with mode 0600, if it is not there. Without: for
     * forked children only. Default: none. */
    void *memory;
    /* ... and its length. */
    size_t memory_bytes;
    /* How many processes may be attached at a time, but for those that only read, up to 1023.
     * Default: 64. */
    unsigned process_count;
    /* How many roots there may be, up to 4096. Default: 64. */
    unsigned root_count;
    /* Permissions of the file, as of chmod; 0600 are part of them. Default: 0600. */
    unsigned mode;
    /* 0 */
    unsigned reserved;
    /* HUMA_SHARED_* */
    uint64_t flags;
};

#define HUMA_SHARED_OPTIONS_INIT                                                                   \
    {                                                                                              \
        sizeof(struct huma_shared_options), NULL, NULL, NULL, NULL, 0, 0, 0, NULL, 0, 0, 0, 0, 0,  \
            0                                                                                      \
    }

/* Create an arena; this process is attached. Nobody finds it before it is complete. Returns NULL
 * and errno: EINVAL, ENOMEM, EEXIST (there is one of this path, or in this memory), EMFILE,
 * EADDRNOTAVAIL, ENOSYS (`nodes`, and the kernel cannot be asked for them), EUSERS (`memory`: the
 * file is another arena's), EOPNOTSUPP (the file system lacks O_TMPFILE), or what open(2) sets. */
huma_shared *huma_shared_create(const struct huma_shared_options *options);

/* --- attach ----------------------------------------------------------------------------------- */

/* Attach an arena that another process has created. Whatever the file holds, these functions fail
 * with a sentence (huma_last_error) and do no harm. What the kernel cannot prevent afterwards is
 * told by huma_shared_info: `risks`.
 *   flags  HUMA_SHARED_READ_ONLY, HUMA_SHARED_ANY_OWNER
 * Return NULL and errno: EINVAL (it is no arena), EACCES, EPERM (its creator alone writes), EUSERS
 * (process_count are attached), EADDRNOTAVAIL, ENOMEM, EMFILE, and as told below. */

/* By its descriptor, inherited or received; it is not needed any more afterwards. A memfd must be
 * sealed against being cut short, as huma_shared_create does. */
huma_shared *huma_shared_attach(int fd, uint64_t flags);

/* By its name or path. ENOENT: there is none. */
huma_shared *huma_shared_open(const char *path, uint64_t flags);

/* In memory that this process has mapped, in which another has created it.
 *   path  as in huma_shared_options: not NULL, unless flags has HUMA_SHARED_READ_ONLY */
huma_shared *huma_shared_attach_memory(void *memory, size_t memory_bytes, const char *path,
                                       uint64_t flags);

/* Descriptor of the arena, to be handed to another process; it stays the arena's. A child that was
 * forked needs none: it has the arena, and is attached at its first call. Returns -1 and EINVAL
 * (also of an arena in the caller's memory). */
int huma_shared_fd(huma_shared *shared);

/* Send an arena over a UNIX socket, and attach what was sent.
 *   flags  HUMA_SHARED_READ_ONLY: a descriptor that can only be read from
 * Return -1 or NULL, and errno: EINVAL, EBADMSG (no arena was sent), ECONNRESET (the other side has
 * closed the socket), EAGAIN (the socket does not block), what sendmsg(2) and recvmsg(2) set, and
 * as huma_shared_attach. */
int huma_shared_send(huma_shared *shared, int socket, uint64_t flags);
huma_shared *huma_shared_receive(int socket, uint64_t flags);

/* Free all blocks that are private to this process, and forget the arena. No other thread uses it
 * any more. NULL is no error. */
void huma_shared_detach(huma_shared *shared);

/* Remove the name or path of an arena that no living process has attached; its memory is freed.
 * Returns 0, or -1 and errno: ENOENT, EBUSY (somebody has it), EINVAL (it is no arena), EACCES. */
int huma_shared_remove(const char *path);

/* --- blocks ----------------------------------------------------------------------------------- */

/* Allocate a block that is private to this process, aligned to 16; calloc: of zeros; aligned_alloc:
 * at a multiple of a power of two up to 2 MiB. Returns its offset; or 0 and errno: ENOMEM, EINVAL,
 * EUSERS (this is a child, and process_count are attached), EROFS (attached for reading). */
uint64_t huma_shared_alloc(huma_shared *shared, size_t size) HUMA_KEEP;
uint64_t huma_shared_calloc(huma_shared *shared, size_t nmemb, size_t size) HUMA_KEEP;
uint64_t huma_shared_aligned_alloc(huma_shared *shared, size_t alignment, size_t size) HUMA_KEEP;

/* Resize a block that is private to this process; it may move. 0 as `block` allocates. Returns its
 * offset; or 0 and errno, and the block is as it was. */
uint64_t huma_shared_realloc(huma_shared *shared, uint64_t block, size_t size) HUMA_KEEP;

/* Free a block, private or published, whoever allocated it; 0 is no error. One that a cell holds is
 * to be taken before: the cell would go on naming it. Returns 0, or -1 and EINVAL if there is no
 * block. */
int huma_shared_free(huma_shared *shared, uint64_t block);

/* Bytes that may be used of a block; 0 if there is none. */
size_t huma_shared_usable_size(huma_shared *shared, uint64_t block);

/* The address of an offset in this process, and back. Good until huma_shared_detach. NULL or 0, and
 * EINVAL, if it lies outside. */
void *huma_shared_at(huma_shared *shared, uint64_t off);
uint64_t huma_shared_offset(huma_shared *shared, const void *ptr);

/* Copy out of an arena and into it, where its memory may be gone since others could take it away
 * (`risks`): a touch would end the process with SIGBUS. Return 0, or -1 and errno: EFAULT (it is
 * gone, or buf cannot be accessed), EINVAL (it lies outside), EROFS. */
int huma_shared_read(huma_shared *shared, uint64_t off, void *buf, size_t size);
int huma_shared_write(huma_shared *shared, uint64_t off, const void *buf, size_t size);

/* Write a range of an arena in a file to the disk; of size 0, all of it. For one that is in memory
 * there is nothing to do. Returns 0, or -1 and errno: EINVAL, EIO. */
int huma_shared_sync(huma_shared *shared, uint64_t off, size_t size);

/* --- cells ------------------------------------------------------------------------------------ */

/* The cell with a name, made if nobody has asked for it yet. Cells are words of 8 bytes: of roots,
 * or any in blocks that are set to 0 before, which hold 0 or the offset of a block. Returns its
 * offset; or 0 and errno: ENOSPC (root_count have names), ENOENT (it is not there, and the arena
 * was attached for reading), EINVAL. */
uint64_t huma_shared_root(huma_shared *shared, const char *name);

/* Put a block that is private to this process into a cell that holds 0. If this process dies at any
 * moment of it, the block is in the cell or freed. A cell in a block that is itself private goes
 * with it, and what it holds is lost: publish that first. Returns 0, or -1 and errno: EEXIST (the
 * cell holds a block), EINVAL. */
int huma_shared_publish(huma_shared *shared, uint64_t cell, uint64_t block);

/* Take the block out of a cell; it is private to this process then. If this process dies at any
 * moment of it, the block is in the cell, or freed as all that this process had. Returns its
 * offset; or 0 and errno: ENOENT (the cell is empty, or somebody is taking the block),
 * EINVAL. */
uint64_t huma_shared_take(huma_shared *shared, uint64_t cell);

/* The block that a cell holds now, which stays there; others may take and free it at any time.
 * Returns its offset; or 0 and errno: ENOENT (the cell is empty, or somebody is taking the block),
 * EINVAL. */
uint64_t huma_shared_peek(huma_shared *shared, uint64_t cell);

/* Allocate a block of zeros into a cell that holds 0: it is there whole, or not at all. Returns its
 * offset; or 0 and errno: EEXIST, ENOMEM, EINVAL. */
uint64_t huma_shared_alloc_to(huma_shared *shared, uint64_t cell, size_t size);

/* --- rings ------------------------------------------------------------------------------------ */

/* A queue of blocks, first in, first out, from any number of processes to any number. Nothing is
 * copied: a block that is put there is published, and private to who gets it. Who dies in between
 * leaves the others the rest. A process that sleeps is woken only when the ring was empty, or full.
 *   timeout_ms  how long to wait; 0: not at all; negative: for ever */

/* Create a ring for slot_count blocks, rounded up to a power of two, at most 2^20. It is a block,
 * private until it is published, as in a root, where others find it (huma_shared_peek). Returns its
 * offset; or 0 and errno: ENOMEM, EINVAL. */
uint64_t huma_shared_ring_create(huma_shared *shared, size_t slot_count) HUMA_KEEP;

/* Put a block that is private to this process into a ring. Returns 0, or -1 and errno: EAGAIN (it
 * is full, and timeout_ms 0), ETIMEDOUT, EINVAL. */
int huma_shared_ring_put(huma_shared *shared, uint64_t ring, uint64_t block, int timeout_ms);

/* Get the oldest block out of a ring; it is private to this process then. Returns its offset; or 0
 * and errno: EAGAIN (it is empty, and timeout_ms 0), ETIMEDOUT, EINVAL. */
uint64_t huma_shared_ring_get(huma_shared *shared, uint64_t ring, int timeout_ms);

/* Free the blocks that are in a ring, and it. Nobody uses it any more; a cell that names it was
 * emptied before. Returns 0, or -1 and EINVAL. */
int huma_shared_ring_destroy(huma_shared *shared, uint64_t ring);

/* --- locks ------------------------------------------------------------------------------------ */

/* Lock what programs keep in an arena, by a word of 8 bytes in a block, which was set to 0 before.
 * It is held by the process: another of its threads waits for it, and may unlock it; a forked child
 * does not hold its parent's.
 *   timeout_ms  as for rings
 * Returns 0; 1 (it is locked, and who held it last has died or detached: what it guards may be half
 * done); or -1 and errno: EAGAIN, ETIMEDOUT, EINVAL. Who waits notices within 0.1 s that its holder
 * died. */
int huma_shared_lock(huma_shared *shared, uint64_t word, int timeout_ms);

/* Unlock. Returns 0, or -1 and errno: EPERM (this process does not hold it), EINVAL. */
int huma_shared_unlock(huma_shared *shared, uint64_t word);

/* --- the whole -------------------------------------------------------------------------------- */

/* Free what processes that are dead had to themselves. Returns how many there were, or -1. */
int huma_shared_recover(huma_shared *shared);

/* Give the memory of 2 MiB pieces without a block back to the system. Returns its length; 0 if none
 * can go back. */
size_t huma_shared_trim(huma_shared *shared);

/* Values of huma_shared_state.kind. */
#define HUMA_SHARED_MEMFD 0u  /* a file in memory that has no name */
#define HUMA_SHARED_FILE 1u   /* a file: on a disk, or in memory with a name */
#define HUMA_SHARED_MEMORY 2u /* the caller's memory */

/* Bits of huma_shared_state.risks: what others may do to this process, and nothing prevents. */
#define HUMA_SHARED_MAY_BE_CUT 1u    /* cut the file short: a touch ends with SIGBUS */
#define HUMA_SHARED_MAY_BE_HOLED 2u  /* take pages of a pool away: the same */
#define HUMA_SHARED_MAY_BE_ZEROED 4u /* take memory away: it reads as zero */
#define HUMA_SHARED_MAY_CHANGE 8u    /* write, also to what is published */

/* Begin with HUMA_SHARED_STATE_INIT; later versions add fields at the end. */
struct huma_shared_state {
    size_t struct_size;
    uint64_t private_bytes;   /* of blocks that are private to a process */
    uint64_t published_bytes; /* ... and of those that are published */
    uint64_t heap_bytes;      /* of pieces of 64 KiB that hold blocks, or are some process's */
    uint64_t ready_bytes;     /* that have memory */
    uint64_t limit_bytes;
    uint64_t page_bytes;     /* of the file: of a hugetlb pool, or of base pages */
    uint64_t resident_bytes; /* mapped in this process, as the kernel says */
    uint64_t huge_bytes;     /* ... on huge pages */
    uint64_t process_count;  /* attached and alive; without those that only read */
    uint64_t dead_count;     /* attached and dead: nobody has recovered them yet */
    unsigned kind;           /* HUMA_SHARED_MEMFD, _FILE, _MEMORY */
    unsigned risks;          /* HUMA_SHARED_MAY_* */
};

#define HUMA_SHARED_STATE_INIT                                                                     \
    {                                                                                              \
        sizeof(struct huma_shared_state), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0                       \
    }

/* Tell what an arena holds, counted now. Returns 0, or -1 and EINVAL. */
int huma_shared_info(huma_shared *shared, struct huma_shared_state *info);

/* Look at all that the arena's state is made of, with bounds, whatever others wrote there. Returns
 * 0; or -1 and errno: EUCLEAN (something is wrong that no process's death can cause:
 * huma_last_error()), EINVAL. */
int huma_shared_verify(huma_shared *shared);

#ifdef __cplusplus
}
#endif

#endif
