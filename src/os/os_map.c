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

#include "base/check.h"
#include "os/os.h"

/* mmap as all reservations want it; MAP_FAILED on error. Without MAP_NORESERVE, so that opening too
 * much of it later is refused, as glibc's own mmap would be, instead of ending in the OOM
 * killer. */
static void *
map_none(size_t len_bytes)
{
    return mmap(NULL, len_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

int
hm_os_reserve(void *ctx, size_t len_bytes, size_t align_bytes, uintptr_t *out_addr)
{
    size_t wide_bytes = len_bytes + align_bytes;
    uintptr_t start;
    uintptr_t addr;
    void *mem;

    (void)ctx;
    mem = map_none(len_bytes);
    if (mem == MAP_FAILED)
        return -errno;
    if (((uintptr_t)mem & (align_bytes - 1)) == 0) {
        *out_addr = (uintptr_t)mem;
        return 0;
    }
    (void)munmap(mem, len_bytes);
    if (wide_bytes < len_bytes)
        return -ENOMEM;
    mem = map_none(wide_bytes);
    if (mem == MAP_FAILED)
        return -errno;
    start = (uintptr_t)mem;
    addr = hm_align_up(start, align_bytes);
    if (addr > start)
        (void)munmap(mem, addr - start);
    if (start + wide_bytes > addr + len_bytes)
        (void)munmap((void *)(addr + len_bytes), start + wide_bytes - addr - len_bytes);
    *out_addr = addr;
    return 0;
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
