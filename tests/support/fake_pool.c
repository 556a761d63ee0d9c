/* SPDX-License-Identifier: MIT */
/* fake_pool.c - the hugetlb pool of the fake kernel (see fake_os.h).
 *
 * Problem     Hugetlb pages obey fewer calls than other memory, and what the kernel refuses on them
 *             must not be asked.
 * Idea        A flag per region. Pages come from a count of free ones and go back to it. The calls
 *             that suit other memory only are misuse.
 */
#include <errno.h>
#include <stdlib.h>

#include "support/fake_os.h"
#include "support/fake_real.h"

static fake_cell *
cell_at(const struct fake_space *space, const struct fake_mapping *mapping, uintptr_t addr)
{
    return &mapping->cells[(addr - mapping->addr) >> space->geom.region_shift];
}

static bool
is_whole(const struct fake_space *space, uintptr_t addr, size_t len_bytes)
{
    return ((addr | len_bytes) & (hm_region_bytes(&space->geom) - 1)) == 0;
}

void
fake_pool_drop(struct fake_space *space, fake_cell cell)
{
    if ((cell & FAKE_POOL) == 0)
        return;
    space->pool_bytes += hm_region_bytes(&space->geom);
    space->pool_used_bytes -= hm_region_bytes(&space->geom);
}

void
fake_os_forbid_pool(const struct fake_os *fake, uintptr_t addr, size_t len_bytes, const char *what)
{
    const struct fake_mapping *mapping = fake_space_find(&fake->space, addr, len_bytes, what);
    size_t region_bytes = hm_region_bytes(&fake->space.geom);
    uintptr_t end = addr + len_bytes;

    for (addr = hm_align_down(addr, region_bytes); addr < end; addr += region_bytes)
        if ((*cell_at(&fake->space, mapping, addr) & FAKE_POOL) != 0)
            fake_space_misuse(what, addr, len_bytes);
}

static bool
is_inside(const struct fake_space *space, const struct fake_mapping *mapping, uintptr_t addr)
{
    size_t region_bytes = hm_region_bytes(&space->geom);

    return (addr & (((uintptr_t)1 << space->pool_shift) - 1)) != 0
           && (*cell_at(space, mapping, addr) & FAKE_POOL) != 0
           && (*cell_at(space, mapping, addr - region_bytes) & FAKE_POOL) != 0;
}

bool
fake_os_parts_pool(const struct fake_os *fake, uintptr_t addr, size_t len_bytes)
{
    const struct fake_space *space = &fake->space;
    const struct fake_mapping *mapping = fake_space_find(space, addr, len_bytes, "a part");
    uintptr_t end = addr + len_bytes;

    if (space->pool_shift <= space->geom.region_shift || !is_whole(space, addr, len_bytes))
        return false;
    return (addr > mapping->addr && is_inside(space, mapping, addr))
           || (end < mapping->addr + mapping->len_bytes && is_inside(space, mapping, end));
}

/* What is replaced must be address space without memory. */
static void
place(struct fake_os *fake, uintptr_t addr, size_t len_bytes)
{
    const char *what = "pool_map() over memory in use";
    struct fake_space *space = &fake->space;
    const struct fake_mapping *mapping = fake_space_find(space, addr, len_bytes, what);
    size_t region_bytes = hm_region_bytes(&space->geom);
    uintptr_t flags = ~(uintptr_t)(FAKE_WANTS | FAKE_HIDDEN | FAKE_COMMITTED);

    for (size_t off = 0; off < len_bytes; off += region_bytes)
        if ((*cell_at(space, mapping, addr + off) & flags) != 0)
            fake_space_misuse(what, addr + off, region_bytes);
    fake_real_discard(mapping->is_real, addr, len_bytes);
    fake_space_set(space, addr, len_bytes, FAKE_WANTS | FAKE_HIDDEN,
                   FAKE_COMMITTED | FAKE_IS_HUGE | FAKE_POOL, what);
    space->pool_bytes -= len_bytes;
    space->pool_used_bytes += len_bytes;
}

/* What this machine refuses by itself. */
static int
refuse(const struct fake_os *fake, const struct hm_pool_range *range, enum hm_pool_step step)
{
    const struct fake_space *space = &fake->space;
    size_t len_bytes = range->len_bytes;

    if (step == HM_POOL_RESERVE && range->page_shift != space->pool_shift)
        return -EINVAL;
    if (step == HM_POOL_RESERVE && len_bytes > space->pool_bytes)
        return -ENOMEM;
    if (step == HM_POOL_FILL
        && (len_bytes > fake->pool_max_bytes
            || space->pool_used_bytes > fake->pool_max_bytes - len_bytes))
        return -EFAULT;
    return 0;
}

int
fake_os_pool_map(void *ctx, const struct hm_pool_range *range, enum hm_pool_step *out_step)
{
    struct fake_os *fake = ctx;
    uintptr_t addr = range->addr;
    size_t len_bytes = range->len_bytes;
    struct fake_call call = { .addr = addr, .len_bytes = len_bytes };

    (void)pthread_mutex_lock(&fake->mutex);
    if (!is_whole(&fake->space, addr, len_bytes))
        fake_space_misuse("pool_map() of a part of a region", addr, len_bytes);
    for (unsigned step = HM_POOL_KERNEL; step <= HM_POOL_MOVE && call.rc == 0; step++) {
        *out_step = (enum hm_pool_step)step;
        call.kind = (enum fake_call_kind)(FAKE_POOL_KERNEL + step);
        call.rc = fake_os_step(fake, call.kind);
        if (call.rc == 0)
            call.rc = refuse(fake, range, *out_step);
    }
    if (call.rc == 0)
        place(fake, addr, len_bytes);
    return fake_os_end(fake, call);
}

int
fake_os_pool_unmap(void *ctx, uintptr_t addr, size_t len_bytes)
{
    struct fake_os *fake = ctx;
    struct fake_space *space = &fake->space;
    struct fake_call call = { .kind = FAKE_POOL_UNMAP, .addr = addr, .len_bytes = len_bytes };
    const char *what = "pool_unmap() of what is not on the pool";
    const struct fake_mapping *mapping;

    call.rc = fake_os_begin(fake, FAKE_POOL_UNMAP);
    mapping = fake_space_find(space, addr, len_bytes, what);
    if (!is_whole(space, addr, len_bytes) || fake_os_parts_pool(fake, addr, len_bytes))
        fake_space_misuse(what, addr, len_bytes);
    for (size_t off = 0; off < len_bytes && call.rc == 0; off += hm_region_bytes(&space->geom)) {
        fake_cell *cell = cell_at(space, mapping, addr + off);

        if ((*cell & FAKE_POOL) == 0)
            fake_space_misuse(what, addr + off, len_bytes);
        fake_pool_drop(space, *cell);
        free((void *)(*cell & ~(uintptr_t)FAKE_FLAGS));
        *cell = 0;
        space->committed_bytes -= hm_region_bytes(&space->geom);
    }
    if (call.rc == 0)
        fake_real_discard(mapping->is_real, addr, len_bytes);
    return fake_os_end(fake, call);
}

/* What was copied to is memory from then on. */
int
fake_os_copy(void *ctx, uintptr_t to_addr, uintptr_t from_addr, size_t len_bytes)
{
    struct fake_os *fake = ctx;
    struct fake_call call
        = { .kind = FAKE_COPY, .addr = from_addr, .len_bytes = len_bytes, .to_addr = to_addr };

    call.rc = fake_os_begin(fake, FAKE_COPY);
    (void)fake_space_find(&fake->space, from_addr, len_bytes, "copy() of what was not reserved");
    if (call.rc == 0 && fake->unreadable_addr - from_addr < len_bytes)
        call.rc = -EFAULT;
    if (call.rc == 0)
        fake_space_touch(&fake->space, to_addr, len_bytes);
    return fake_os_end(fake, call);
}

int
fake_os_shortage(void *ctx, size_t len_bytes, unsigned page_shift, struct hm_shortage *out_shortage)
{
    struct fake_os *fake = ctx;
    struct fake_call call = { .kind = FAKE_SHORTAGE, .len_bytes = len_bytes };

    (void)page_shift;
    call.rc = fake_os_begin(fake, FAKE_SHORTAGE);
    if (call.rc == 0)
        *out_shortage = fake->shortage;
    return fake_os_end(fake, call);
}

int
fake_os_available(void *ctx, uint64_t *out_bytes)
{
    const struct fake_os *fake = ctx;

    if (fake->available_bytes == 0)
        return -ENOENT;
    *out_bytes = fake->available_bytes;
    return 0;
}

int
fake_os_pool_charged(void *ctx, bool *out_is_charged)
{
    const struct fake_os *fake = ctx;

    *out_is_charged = fake->is_pool_charged;
    return 0;
}

int
fake_os_surplus(void *ctx, unsigned page_shift, uint64_t *out_count)
{
    const struct fake_os *fake = ctx;

    (void)page_shift;
    if (fake->surplus_count == UINT64_MAX)
        return -ENOENT;
    *out_count = fake->surplus_count;
    return 0;
}
