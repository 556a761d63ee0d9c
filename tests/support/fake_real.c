/* SPDX-License-Identifier: MIT */
/* fake_real.c - memory behind the fake kernel's address space (see fake_real.h).
 *
 * Problem     The core links free slots through their own memory, so that there must be some; but a
 *             test pretends to have terabytes.
 * Idea        Memory that the real kernel does not set aside until it is written to.
 */
#include "support/fake_real.h"

#include <sys/mman.h>

#include "base/units.h"

#define MAP_FLAGS (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

#define BASE_ALIGN_BYTES (HM_GIB << 6)

/* Far below all that a process maps, and with more than 100 TiB above it. */
#define LOW_BASE ((uintptr_t)1 << 40)

/* More than any extent of the heap, where slots lie. A block of 100 TiB, which the fake kernel
 * grants, would leave this process no address space. */
#define LEN_MAX_BYTES (HM_GIB << 4)

/* Sanitizers have their shadows where the low base is. They, too, put what comes later elsewhere,
 * as long as there is room: AddressSanitizer leaves 100 TiB, ThreadSanitizer 1.5, in two pieces. */
uintptr_t
fake_real_base(void)
{
#ifdef HM_SANITIZE
    for (size_t len_bytes = HM_GIB << 14; len_bytes >= 2 * BASE_ALIGN_BYTES; len_bytes /= 2) {
        void *mem = mmap(NULL, len_bytes, PROT_NONE, MAP_FLAGS, -1, 0);

        if (mem == MAP_FAILED)
            continue;
        (void)munmap(mem, len_bytes);
        return hm_align_up((uintptr_t)mem, BASE_ALIGN_BYTES);
    }
#endif
    return LOW_BASE;
}

bool
fake_real_map(uintptr_t addr, size_t len_bytes)
{
    void *mem;

    if (len_bytes > LEN_MAX_BYTES)
        return false;
    mem = mmap((void *)addr, len_bytes, PROT_READ | PROT_WRITE, MAP_FLAGS | MAP_FIXED_NOREPLACE, -1,
               0);

    /* A kernel before 4.17 takes the address for a wish. */
    if (mem != MAP_FAILED && mem != (void *)addr)
        (void)munmap(mem, len_bytes);
    return mem == (void *)addr;
}

void
fake_real_unmap(bool is_real, uintptr_t addr, size_t len_bytes)
{
    if (is_real)
        (void)munmap((void *)addr, len_bytes);
}

void
fake_real_discard(bool is_real, uintptr_t addr, size_t len_bytes)
{
    if (is_real)
        (void)madvise((void *)addr, len_bytes, MADV_DONTNEED);
}
