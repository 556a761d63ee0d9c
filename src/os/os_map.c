/* SPDX-License-Identifier: MIT */
/* os_map.c - the mmap family: reserve, commit, move and unmap address space.
 *
 * Problem     A huge page needs an aligned range, and kernels before 6.7 do not align anonymous
 *             mappings. RLIMIT_AS and strict overcommit must not refuse what is only reserved.
 * Idea        Reserve inaccessible, untouched address space (which is charged nowhere but to
 *             RLIMIT_AS), cut it to alignment, and open it piece by piece with mprotect.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/check.h"
#include "os/os.h"
#include "os/os_linux.h"

/* mmap as all reservations want it; MAP_FAILED on error. Without MAP_NORESERVE, so that opening too
 * much of it later is refused, as glibc's own mmap would be, instead of ending in the OOM
 * killer. */
static void *
map_none(size_t len_bytes)
{
    return mmap(NULL, len_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* Unmap what lies before and behind [addr, addr + len_bytes) in a mapping. At the limit of
 * vm.max_map_count that can fail, if the kernel joined the mapping with a neighbour; then all of it
 * goes, and if that fails as well, inaccessible address space is lost, and no more. */
static int
trim(void *mem, size_t wide_bytes, uintptr_t addr, size_t len_bytes)
{
    uintptr_t start = (uintptr_t)mem;
    uintptr_t end = addr + len_bytes;
    int rc = 0;

    if (addr > start)
        rc = munmap(mem, addr - start);
    if (rc == 0)
        mem = (void *)addr;
    if (rc == 0 && start + wide_bytes > end)
        rc = munmap((void *)end, start + wide_bytes - end);
    if (rc == 0)
        return 0;
    (void)munmap(mem, start + wide_bytes - (uintptr_t)mem);
    return -ENOMEM;
}

/* Kernels from 6.7 on align a mapping to a huge page if its length is a multiple of one. */
int
hm_os_reserve(void *ctx, size_t len_bytes, size_t align_bytes, uintptr_t *out_addr)
{
    size_t even_bytes = hm_align_up(len_bytes, align_bytes);
    size_t wide_bytes = len_bytes + align_bytes;
    void *mem;
    int rc;

    (void)ctx;
    if (wide_bytes < len_bytes)
        return -ENOMEM;
    mem = map_none(even_bytes);
    if (mem != MAP_FAILED && ((uintptr_t)mem & (align_bytes - 1)) != 0) {
        (void)munmap(mem, even_bytes);
        mem = map_none(wide_bytes);
    } else {
        wide_bytes = even_bytes;
    }
    if (mem == MAP_FAILED)
        return -errno;
    rc = trim(mem, wide_bytes, hm_align_up((uintptr_t)mem, align_bytes), len_bytes);
    if (rc == 0)
        *out_addr = hm_align_up((uintptr_t)mem, align_bytes);
    return rc;
}

size_t
hm_os_address_limit(void *ctx)
{
    struct rlimit limit;

    (void)ctx;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return SIZE_MAX;
    return limit.rlim_cur;
}

int
hm_os_commit(void *ctx, uintptr_t addr, size_t len_bytes)
{
    (void)ctx;
    return mprotect((void *)addr, len_bytes, PROT_READ | PROT_WRITE) == 0 ? 0 : -errno;
}

int
hm_os_unmap(void *ctx, uintptr_t addr, size_t len_bytes)
{
    (void)ctx;
    return munmap((void *)addr, len_bytes) == 0 ? 0 : -errno;
}

int
hm_os_remap(void *ctx, uintptr_t addr, size_t old_bytes, uintptr_t to_addr, size_t new_bytes)
{
    void *mem;

    (void)ctx;
    if (to_addr == 0)
        mem = mremap((void *)addr, old_bytes, new_bytes, 0);
    else
        mem = mremap((void *)addr, old_bytes, new_bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
                     (void *)to_addr);
    return mem != MAP_FAILED ? 0 : -errno;
}

/* The address is a wish: another thread may have mapped something there by now, and the kernel
 * chooses another one then. It unlocks all of the old mapping, so that nothing of it may be locked;
 * the kernel tells by refusing the advice. That is given for a whole huge page, or it would split
 * it. */
int
hm_os_carry(void *ctx, uintptr_t addr, size_t len_bytes, size_t align_bytes, uintptr_t *out_addr)
{
    uintptr_t to_addr = 0;
    void *mem;
    int rc;

    if (madvise((void *)addr, align_bytes, MADV_COLD) != 0)
        return -errno;
    rc = hm_os_reserve(ctx, len_bytes, align_bytes, &to_addr);
    if (rc != 0)
        return rc;
    (void)munmap((void *)to_addr, len_bytes);
    mem = mremap((void *)addr, len_bytes, len_bytes, MREMAP_MAYMOVE | MREMAP_DONTUNMAP,
                 (void *)to_addr);
    if (mem == MAP_FAILED)
        return -errno;
    *out_addr = (uintptr_t)mem;
    return 0;
}

int
hm_os_map_meta(void *ctx, size_t len_bytes, void **out_mem)
{
    void *mem = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    (void)ctx;
    if (mem == MAP_FAILED)
        return -errno;
    /* With THP set to "always" a first touch would take a whole huge page for a few words. */
    (void)madvise(mem, len_bytes, MADV_NOHUGEPAGE);
    *out_mem = mem;
    return 0;
}

void
hm_os_unmap_meta(void *ctx, void *mem, size_t len_bytes)
{
    (void)ctx;
    (void)munmap(mem, len_bytes);
}
