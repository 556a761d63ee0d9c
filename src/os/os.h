/* SPDX-License-Identifier: MIT */
/* os.h - every kernel service the core may ask for, as one struct of function pointers.
 *
 * Problem     What the kernel does with huge pages cannot be provoked at will, and tests must
 *             neither need gigabytes nor root.
 * Idea        The core calls the kernel only through struct hm_os, and only on slow paths. Tests
 *             hand in a fake kernel whose huge pages cost one word each, one that fails the n-th
 *             call, or a recorder.
 *             Only messages to people, which are written to a descriptor, go past it (base/fmt.c).
 * Contract    Addresses and lengths are multiples of the base page. Functions return 0 or a
 *             negative errno and leave outputs untouched on failure. None of them allocates. errno
 *             is not preserved.
 */
#ifndef HM_OS_OS_H
#define HM_OS_OS_H

#include "base/units.h"

/* What madvise(2) is asked to do with a range. */
enum hm_advice {
    HM_ADVICE_HUGE,           /* back it with transparent huge pages from the next touch on */
    HM_ADVICE_BASE,           /* never a huge page here, nor one made by khugepaged */
    HM_ADVICE_COLLAPSE,       /* make huge pages of what is resident now (Linux 6.1) */
    HM_ADVICE_DISCARD,        /* give the memory back now; reads as zero afterwards */
    HM_ADVICE_DISCARD_LOCKED, /* the same, though it is locked; later pages of the range are as well
                                 (Linux 5.18) */
    HM_ADVICE_LAZY,    /* the kernel may take it when memory is short; until it is written to, it
                           reads as before or as zero */
    HM_ADVICE_COLD,    /* not needed soon; of a part of a huge page: splits it (Linux 5.4) */
    HM_ADVICE_HIDE,    /* leave it out of core dumps */
    HM_ADVICE_SHOW,    /* ... or not */
    HM_ADVICE_NO_FORK, /* a child has nothing there */
    HM_ADVICE_FORK,    /* ... or what the parent has */
    HM_ADVICE_LOCK,    /* what is touched stays in memory: by mlock2 (Linux 4.4) */
};

/* What the kernel says about a range: bytes of each kind. */
struct hm_residency {
    uint64_t resident_bytes; /* present in memory */
    uint64_t huge_bytes;     /* of these: mapped by a huge page */
};

/* Who maps the pages of a range, and how. */
struct hm_sharing {
    size_t present_pages;
    size_t shared_pages; /* of these: in another process, too; counting may end at the first */
    bool is_huge;        /* huge pages map all of it, and it is ours alone; false also where the
                            kernel cannot tell (before Linux 6.7) */
};

/* The machine as found at start. */
struct hm_machine {
    struct hm_geom geom;
};

/* The administrator's word on transparent huge pages of PMD size. */
enum hm_thp_mode {
    HM_THP_ABSENT, /* the kernel has no transparent huge pages */
    HM_THP_NEVER,
    HM_THP_MADVISE,
    HM_THP_ALWAYS,
    HM_THP_PRCTL_OFF, /* allowed on this machine, but switched off for this process */
    HM_THP_UNKNOWN,   /* not read, or it cannot be: the kernel itself obeys it where it is asked */
};

/* Memory that the control groups of this process have left. */
struct hm_room {
    uint64_t limit_bytes; /* of the group that counts; 0: none has a limit, or none can be read */
    uint64_t left_bytes;
};

/* What this thread may know of filters of system calls (seccomp) on itself. */
enum hm_filters {
    HM_FILTERS_NONE,  /* there are none */
    HM_FILTERS_FIXED, /* there are some, and without privileges it cannot add to them */
    HM_FILTERS_OPEN,  /* there are some, and more may have come */
};

/* Memory nodes (NUMA), by the kernel's numbers. */
#define HM_NODE_IDS 1024 /* the most that Linux is built for */

struct hm_node_mask {
    uint64_t words[HM_NODE_IDS / 64];
};

HM_INLINE bool
hm_node_is_in(const struct hm_node_mask *mask, unsigned node)
{
    return node < HM_NODE_IDS && (mask->words[node / 64] >> node % 64 & 1) != 0;
}

HM_INLINE void
hm_node_add(struct hm_node_mask *mask, unsigned node)
{
    mask->words[node / 64] |= (uint64_t)1 << node % 64;
}

/* Which nodes a range gets its memory from, at the first touch. */
enum hm_policy {
    HM_POLICY_PREFER,     /* the one of the mask, or the nearest that has some */
    HM_POLICY_INTERLEAVE, /* all of the mask in turn, a page or a huge page each */
    HM_POLICY_BIND,       /* those of the mask; where they are full, the kernel ends processes */
};

/* Which step of mapping hugetlb pages failed. */
enum hm_pool_step {
    HM_POOL_KERNEL,  /* none: this kernel cannot do it safely */
    HM_POOL_RESERVE, /* the pool does not promise as much */
    HM_POOL_FILL,    /* it did, but the pages are not to be had */
    HM_POOL_MOVE,    /* they cannot be put where they are wanted */
};

/* What keeps a process from hugetlb pages, as files tell. */
enum hm_shortage_cause {
    HM_SHORTAGE_UNKNOWN, /* none of these */
    HM_SHORTAGE_POOL,    /* too few are free and not promised to others */
    HM_SHORTAGE_MAX,     /* a control group's limit on pages in use */
    HM_SHORTAGE_RSVD,    /* ... on pages promised */
};

/* Have the kernel fill memory. Returns as hm_os_populate does. */
typedef int (*hm_populate_fn)(void *ctx, uintptr_t addr, size_t len_bytes);

/* Hugetlb pages for [addr, addr + len_bytes), multiples of their size. */
struct hm_pool_range {
    uintptr_t addr;
    size_t len_bytes;
    unsigned page_shift;     /* log2 of their size */
    bool is_placed;          /* place() was called for the range: keep to its nodes */
    hm_populate_fn populate; /* fills them, wherever they are mapped meanwhile; NULL: the kernel,
                                in this thread */
    void *populate_ctx;
};

#define HM_SHORTAGE_PATH_BYTES 288

struct hm_shortage {
    enum hm_shortage_cause cause;
    char path[HM_SHORTAGE_PATH_BYTES]; /* MAX, RSVD: the file with the limit; may be cut */
    uint64_t limit_bytes;              /* ... and what it says */
};

struct hm_os {
    void *ctx; /* handed to every function */

    /* Reserve `len_bytes` of address space, aligned to `align_bytes` (a power of two, at least a
     * base page). Nothing is accessible yet, and nothing is charged except RLIMIT_AS. */
    int (*reserve)(void *ctx, size_t len_bytes, size_t align_bytes, uintptr_t *out_addr);

    /* The nodes with memory that the process may use. Like the next two, only while filters() says
     * that there are none. */
    int (*nodes)(void *ctx, struct hm_node_mask *out_mask);

    /* The node of the processor that the calling thread runs on; may be without memory. */
    unsigned (*here)(void *ctx);

    /* Set where a range, reserved or more, gets its memory from. */
    int (*place)(void *ctx, uintptr_t addr, size_t len_bytes, enum hm_policy policy,
                 const struct hm_node_mask *mask);

    /* The node of a mask that is nearest to `node`. Opens files: see room(). */
    int (*nearest)(void *ctx, unsigned node, const struct hm_node_mask *mask, unsigned *out_node);

    /* Make reserved address space readable and writable, zero-filled; harmless when it is
     * already. */
    int (*commit)(void *ctx, uintptr_t addr, size_t len_bytes);

    /* Give address space back: what came from reserve() or remap(), or the end of it. */
    int (*unmap)(void *ctx, uintptr_t addr, size_t len_bytes);

    /* Resize a committed mapping. With to_addr == 0 it stays where it is or the call fails; else
     * its pages move to to_addr, a reservation of new_bytes, and the old range is gone. If that
     * fails, the reservation may be gone, and no more. */
    int (*remap)(void *ctx, uintptr_t addr, size_t old_bytes, uintptr_t to_addr, size_t new_bytes);

    /* Move the pages of a part of committed memory, if it is one mapping, to a new one of their own
     * (Linux 5.7). What they leave is as before, without memory. Refused where that would unlock
     * memory that the program has locked.
     *   align_bytes  both ends of the range are multiples of it; the new address nearly always */
    int (*carry)(void *ctx, uintptr_t addr, size_t len_bytes, size_t align_bytes,
                 uintptr_t *out_addr);

    /* Put pages of the hugetlb pool in the place of reserved address space without memory. When it
     * succeeds they are really there, zero-filled: no touch can fail.
     *   out_step  [out] on failure: where */
    int (*pool_map)(void *ctx, const struct hm_pool_range *range, enum hm_pool_step *out_step);

    /* Give them back to the pool; the range is reserved address space again. If it fails, nothing
     * changed. */
    int (*pool_unmap)(void *ctx, uintptr_t addr, size_t len_bytes);

    /* Copy memory that other threads may write to meanwhile: each aligned word is one that was
     * there at some moment of the call. Returns -EFAULT if it cannot be read. */
    int (*copy)(void *ctx, uintptr_t to_addr, uintptr_t from_addr, size_t len_bytes);

    /* Why `len_bytes` of them cannot be had. Opens files: see room(). */
    int (*shortage)(void *ctx, size_t len_bytes, unsigned page_shift,
                    struct hm_shortage *out_shortage);

    /* Whether memory cgroups count hugetlb pages. Opens a file: see room(). */
    int (*pool_charged)(void *ctx, bool *out_is_charged);

    /* Pages of that pool that the kernel has made beyond what it was told to keep, whoever has
     * them. Opens a file: see room(). */
    int (*surplus)(void *ctx, unsigned page_shift, uint64_t *out_count);

    int (*advise)(void *ctx, uintptr_t addr, size_t len_bytes, enum hm_advice advice);

    /* Ready memory for our own metadata: zero-filled, on base pages. */
    int (*map_meta)(void *ctx, size_t len_bytes, void **out_mem);

    /* Give such memory back, as it came. */
    void (*unmap_meta)(void *ctx, void *mem, size_t len_bytes);

    /* Show `name` in /proc/PID/maps for the range, where the kernel can; failure is of no
     * consequence. */
    void (*name)(void *ctx, uintptr_t addr, size_t len_bytes, const char *name);

    /* Opens files: only while filters() says what it said at the start, and that was not
     * HM_FILTERS_OPEN. */
    enum hm_thp_mode (*thp_mode)(void *ctx);

    /* Whether there are smaller ones where they are advised (Linux 6.8). Opens a file for each
     * size: as the one before. */
    bool (*has_mthp)(void *ctx);

    /* Memory of the machine that can be had without swapping. Opens a file: see room(). */
    int (*available)(void *ctx, uint64_t *out_bytes);

    /* What the memory cgroups have left. Opens files: only while filters() says what it said at
     * the start, and that was not HM_FILTERS_OPEN. Costs tens of microseconds. */
    int (*room)(void *ctx, struct hm_room *out_room);

    enum hm_filters (*filters)(void *ctx);

    /* Add what is resident and huge in the range to *inout. */
    int (*scan)(void *ctx, uintptr_t addr, size_t len_bytes, struct hm_residency *inout);

    /* Whether the range is ours alone again after a fork(). Opens a file: see room(). Costs five to
     * fifty microseconds for a huge page. */
    int (*sharing)(void *ctx, uintptr_t addr, size_t len_bytes, struct hm_sharing *out_sharing);

    /* How much address space the process may have (RLIMIT_AS); SIZE_MAX if there is no limit. */
    size_t (*address_limit)(void *ctx);

    /* Monotonic clock. */
    uint64_t (*now_ns)(void *ctx);

    /* What the calling thread has used of a processor, in the kernel as well. */
    uint64_t (*cpu_ns)(void *ctx);
};

/* The real kernel. */
extern const struct hm_os hm_os_real;

/* Page sizes of the running machine. Never fails: what cannot be read is assumed absent. */
void hm_os_probe(struct hm_machine *out_machine);

/* The geometry for given page sizes. A region is a huge page as long as that is at most 32 MiB;
 * where huge pages are larger or absent, a region is 512 base pages, 2 MiB with 4 KiB pages.
 *   hpage_bytes  0 if the kernel has no PMD huge pages */
struct hm_geom hm_os_geometry(size_t page_bytes, size_t hpage_bytes);

/* Read a small file whole, NUL-terminated, cut at cap_bytes - 1. Returns its length or a negative
 * errno. */
long hm_os_read_file(const char *path, char *buf, size_t cap_bytes);

/* The same for an open descriptor, from where it stands. A cancellation point, unlike the others
 * here. */
long hm_os_read_all(int fd, char *buf, size_t cap_bytes);

/* Hand each line of a text file to `line`, without its end; lines over 500 bytes may come in
 * pieces. Returns 0 or a negative errno. */
int hm_os_read_lines(const char *path, void (*line)(void *arg, const char *text), void *arg);

/* The absolute path of the running program, NUL-terminated; of a script, its interpreter. Returns 0
 * or a negative errno, also if it is too long. */
int hm_os_exe_path(char *buf, size_t cap_bytes);

/* Open `path` for writing, created or emptied. Returns a descriptor or a negative errno. */
int hm_os_create_file(const char *path);

/* A descriptor set aside, and what it was open on. */
struct hm_kept_fd {
    int fd; /* -1: none */
    uint64_t device;
    uint64_t inode;
};

/* Duplicate `fd` out of the way of the program's own descriptors, closed on exec: programs that
 * close stderr before they exit still get their report. Returns 0 or a negative errno. */
int hm_os_keep_fd(int fd, struct hm_kept_fd *out_kept);

/* Whether it is still open on the same file: the program may have closed and reused it. */
bool hm_os_is_kept(const struct hm_kept_fd *kept);

void hm_os_close(int fd);

/* Name the calling thread, in at most 15 bytes. */
void hm_os_name_thread(const char *name);

/* The room as it looks with `root` before the names of /proc and /sys: "", or a tree of a test. */
int hm_os_room_under(const char *root, struct hm_room *out_room);

/* The nearest node as a tree of a test says that holds a copy of sysfs; "" for the machine's. */
int hm_os_nearest_under(const char *root, unsigned node, const struct hm_node_mask *mask,
                        unsigned *out_node);

/* thp_mode() and has_mthp() under a tree of a test, or ""; PR_SET_THP_DISABLE is not asked. */
enum hm_thp_mode hm_os_thp_mode_under(const char *root, const struct hm_geom *geom);
bool hm_os_has_mthp_under(const char *root, const struct hm_geom *geom);

/* Why hugetlb pages are short, how many are surplus, and who counts them, under a tree of a test,
 * or "". */
int hm_os_shortage_under(const char *root, size_t len_bytes, unsigned page_shift,
                         struct hm_shortage *out_shortage);
int hm_os_surplus_under(const char *root, unsigned page_shift, uint64_t *out_count);
int hm_os_pool_charged_under(const char *root, bool *out_is_charged);

/* --- addresses that may be anything (os_peek.c) --- */

/* Whether the 8 bytes at `addr`, a multiple of 8, can be read now. Never faults. Sets errno. */
bool hm_os_is_readable(uintptr_t addr);

/* Whether all of [from, to) is memory that a malloc could have mapped: private, of no file, no
 * stack and none of ours, as far as the kernel names them. Returns 0, or a negative errno where the
 * kernel cannot be asked. */
int hm_os_is_heap_like(uintptr_t from, uintptr_t to, bool *out_is_heap_like);

/* The borders of the brk heap; 0: unknown. The start costs a file, the end nothing. */
uintptr_t hm_os_brk_start(void);
uintptr_t hm_os_brk_end(void);

/* parts of hm_os_real, one file per kernel area */
int hm_os_reserve(void *ctx, size_t len_bytes, size_t align_bytes, uintptr_t *out_addr);
int hm_os_commit(void *ctx, uintptr_t addr, size_t len_bytes);
int hm_os_unmap(void *ctx, uintptr_t addr, size_t len_bytes);
int hm_os_remap(void *ctx, uintptr_t addr, size_t old_bytes, uintptr_t to_addr, size_t new_bytes);
int hm_os_carry(void *ctx, uintptr_t addr, size_t len_bytes, size_t align_bytes,
                uintptr_t *out_addr);
int hm_os_pool_map(void *ctx, const struct hm_pool_range *range, enum hm_pool_step *out_step);
int hm_os_pool_unmap(void *ctx, uintptr_t addr, size_t len_bytes);
int hm_os_populate(void *ctx, uintptr_t addr, size_t len_bytes);
int hm_os_available(void *ctx, uint64_t *out_bytes);
int hm_os_copy(void *ctx, uintptr_t to_addr, uintptr_t from_addr, size_t len_bytes);
int hm_os_shortage(void *ctx, size_t len_bytes, unsigned page_shift,
                   struct hm_shortage *out_shortage);
int hm_os_pool_charged(void *ctx, bool *out_is_charged);
int hm_os_surplus(void *ctx, unsigned page_shift, uint64_t *out_count);
size_t hm_os_address_limit(void *ctx);
int hm_os_map_meta(void *ctx, size_t len_bytes, void **out_mem);
void hm_os_unmap_meta(void *ctx, void *mem, size_t len_bytes);
int hm_os_advise(void *ctx, uintptr_t addr, size_t len_bytes, enum hm_advice advice);
void hm_os_name(void *ctx, uintptr_t addr, size_t len_bytes, const char *name);
enum hm_thp_mode hm_os_thp_mode(void *ctx);
bool hm_os_has_mthp(void *ctx);
int hm_os_room(void *ctx, struct hm_room *out_room);
enum hm_filters hm_os_filters(void *ctx);
int hm_os_scan(void *ctx, uintptr_t addr, size_t len_bytes, struct hm_residency *inout);
int hm_os_sharing(void *ctx, uintptr_t addr, size_t len_bytes, struct hm_sharing *out_sharing);
int hm_os_nodes(void *ctx, struct hm_node_mask *out_mask);
unsigned hm_os_here(void *ctx);
int hm_os_place(void *ctx, uintptr_t addr, size_t len_bytes, enum hm_policy policy,
                const struct hm_node_mask *mask);
int hm_os_nearest(void *ctx, unsigned node, const struct hm_node_mask *mask, unsigned *out_node);
uint64_t hm_os_now_ns(void *ctx);
uint64_t hm_os_cpu_ns(void *ctx);

#endif
