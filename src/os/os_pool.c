/* SPDX-License-Identifier: MIT */
/* os_pool.c - pages of the hugetlb pool, mapped so that no touch can fail.
 *
 * Problem     A hugetlb page that is mapped need not be there: under a control group's limit, or a
 *             policy of nodes, the promise that mmap took does not hold, and the touch ends the
 *             process, or never returns. A failed MAP_FIXED has destroyed what lay there before.
 * Idea        Map them where the kernel likes, with a promise of the pool; fill them by
 *             MADV_POPULATE_WRITE, which answers with an error what would be a signal; only then
 *             move them to where they are wanted. They go back by one mmap over them, so that the
 *             address space is never free for others.
 *             Linux 5.14 brought the filling, 5.16 the moving. Older kernels unmap the target
 *             before they refuse to move, so they are not asked.
 * Sources     mmap(2), madvise(2), mremap(2); Linux Documentation/admin-guide/mm/hugetlbpage.rst.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "os/os.h"
#include "os/os_linux.h"

#define RESERVE_FLAGS (MAP_PRIVATE | MAP_ANONYMOUS)
#define COPY_STEP_BYTES (64 * HM_KIB) /* the smallest size of hugetlb pages; divides all others */

static unsigned
take_number(const char **inout_text)
{
    unsigned value = 0;

    for (; **inout_text >= '0' && **inout_text <= '9' && value < 100000; ++*inout_text)
        value = value * 10 + (unsigned)(**inout_text - '0');
    return value;
}

/* Whether the kernel moves hugetlb mappings. */
static bool
can_move(void)
{
    struct utsname name;
    const char *text = name.release;
    unsigned major;

    if (uname(&name) != 0)
        return false;
    major = take_number(&text);
    if (*text == '.')
        text++;
    return major > 5 || (major == 5 && take_number(&text) >= 16);
}

/* --- nodes ------------------------------------------------------------------------------------ */

struct policy {
    int mode;
    struct hm_node_mask mask;
};

static int
set_policy(void *mem, size_t len_bytes, int mode, const struct hm_node_mask *mask)
{
    /* The kernel takes one bit fewer than it is told. */
    return syscall(SYS_mbind, mem, len_bytes, mode, mask->words, (unsigned long)HM_NODE_IDS + 1, 0)
                   == 0
               ? 0
               : -errno;
}

/* Returns 0, or what a touch would end in as a negative errno. */
int
hm_os_populate(void *ctx, uintptr_t addr, size_t len_bytes)
{
    (void)ctx;
    return madvise((void *)addr, len_bytes, MADV_POPULATE_WRITE) == 0 ? 0 : -errno;
}

/* Fill the pages from the nodes of the range that they are for. A preferred node is the only one
 * meanwhile: rather memory of this node from the next backing than hugetlb pages from afar. */
static int
fill(void *mem, const struct hm_pool_range *range)
{
    hm_populate_fn populate = range->populate != NULL ? range->populate : hm_os_populate;
    size_t len_bytes = range->len_bytes;
    struct policy policy = { 0 };
    int rc;

    bool has_policy = range->is_placed
                      && syscall(SYS_get_mempolicy, &policy.mode, policy.mask.words,
                                 (unsigned long)HM_NODE_IDS, range->addr, HM_MPOL_F_ADDR)
                             == 0
                      && policy.mode != 0;

    if (has_policy
        && set_policy(mem, len_bytes, policy.mode == HM_MPOL_PREFERRED ? HM_MPOL_BIND : policy.mode,
                      &policy.mask)
               != 0)
        return -EFAULT;
    rc = populate(range->populate_ctx, (uintptr_t)mem, len_bytes);
    if (rc != 0)
        return rc;
    /* After a fork a copy may come from anywhere. */
    if (has_policy && policy.mode == HM_MPOL_PREFERRED)
        (void)set_policy(mem, len_bytes, policy.mode, &policy.mask);
    return 0;
}

/* --- for the table ---------------------------------------------------------------------------- */

int
hm_os_pool_map(void *ctx, const struct hm_pool_range *range, enum hm_pool_step *out_step)
{
    int flags = RESERVE_FLAGS | MAP_HUGETLB | (int)(range->page_shift << MAP_HUGE_SHIFT);
    size_t len_bytes = range->len_bytes;
    void *addr = (void *)range->addr;
    void *mem;
    int rc;

    (void)ctx;
    *out_step = HM_POOL_KERNEL;
    if (!can_move())
        return -ENOSYS;
    *out_step = HM_POOL_RESERVE;
    mem = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (mem == MAP_FAILED)
        return -errno;
    *out_step = HM_POOL_FILL;
    rc = fill(mem, range);
    if (rc == 0) {
        *out_step = HM_POOL_MOVE;
        if (mremap(mem, len_bytes, len_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, addr) != MAP_FAILED)
            return 0;
        rc = -errno;
        /* Nearly always the target is untouched, and this is refused. */
        (void)mmap(addr, len_bytes, PROT_NONE, RESERVE_FLAGS | MAP_FIXED_NOREPLACE, -1, 0);
    }
    (void)munmap(mem, len_bytes);
    return rc;
}

int
hm_os_pool_unmap(void *ctx, uintptr_t addr, size_t len_bytes)
{
    (void)ctx;
    return mmap((void *)addr, len_bytes, PROT_NONE, RESERVE_FLAGS | MAP_FIXED, -1, 0) != MAP_FAILED
               ? 0
               : -errno;
}

/* Data races are what this is for. */
__attribute__((no_sanitize("thread"))) static void
copy_words(uint64_t *to, const uint64_t *from, size_t word_count)
{
    for (size_t i = 0; i < word_count; i++)
        to[i] = hm_load(&from[i]);
}

/* Nobody can take the right to read from less than a hugetlb page of the smallest size. */
int
hm_os_copy(void *ctx, uintptr_t to_addr, uintptr_t from_addr, size_t len_bytes)
{
    (void)ctx;
    for (size_t done_bytes = 0; done_bytes < len_bytes; done_bytes += COPY_STEP_BYTES) {
        if (!hm_os_is_readable(from_addr + done_bytes))
            return -EFAULT;
        copy_words((uint64_t *)(to_addr + done_bytes), (const uint64_t *)(from_addr + done_bytes),
                   COPY_STEP_BYTES / 8);
    }
    return 0;
}
