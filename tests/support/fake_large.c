/* SPDX-License-Identifier: MIT */
/* fake_large.c - huge pages that are larger or smaller than a region, of the fake kernel.
 *
 * Idea        The books are by region. Of a larger huge page it is enough to know whether the
 *             kernel could make one; smaller ones have no books.
 */
#include "support/fake_os.h"

bool
fake_os_has_mthp(void *ctx)
{
    struct fake_os *fake = ctx;

    fake->mthp_count++;
    return fake->has_mthp;
}

void
fake_space_base(struct fake_space *space, uintptr_t addr, size_t len_bytes, const char *what)
{
    bool is_large = space->geom.hpage_shift > space->geom.region_shift;

    /* A mapping of one page has none behind it. */
    if (is_large && len_bytes == hm_page_bytes(&space->geom)
        && fake_space_has(space, addr + len_bytes))
        fake_space_set(space, addr, hm_region_bytes(&space->geom), 0, FAKE_BASE_PAGE, what);
    else
        fake_space_set(space, addr, len_bytes, FAKE_WANTS, FAKE_WANTS_BASE, what);
}

bool
fake_space_fits_huge(const struct fake_space *space, uintptr_t addr)
{
    size_t hpage_bytes = (size_t)1 << space->geom.hpage_shift;
    uintptr_t end;

    addr = hm_align_down(addr, hpage_bytes);
    for (end = addr + hpage_bytes; addr < end; addr += hm_region_bytes(&space->geom))
        if (!fake_space_has(space, addr)
            || (fake_space_flags(space, addr) & (FAKE_COMMITTED | FAKE_WANTS))
                   != (FAKE_COMMITTED | FAKE_WANTS_HUGE))
            return false;
    return true;
}
