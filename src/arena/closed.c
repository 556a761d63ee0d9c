/* SPDX-License-Identifier: MIT */
/* closed.c - services of the kernel that are refused (see closed.h). */
#include "arena/closed.h"

#include <errno.h>

static int
reserve(void *ctx, size_t len_bytes, size_t align_bytes, uintptr_t *out_addr)
{
    (void)ctx;
    (void)len_bytes;
    (void)align_bytes;
    (void)out_addr;
    return -ENOMEM;
}

static unsigned
here(void *ctx)
{
    (void)ctx;
    return 0;
}

static int
place(void *ctx, uintptr_t addr, size_t len_bytes, enum hm_policy policy,
      const struct hm_node_mask *mask)
{
    (void)ctx;
    (void)addr;
    (void)len_bytes;
    (void)policy;
    (void)mask;
    return -EPERM;
}

/* What was not opened before is not opened any more; and what was, stays. */
static int
commit(void *ctx, uintptr_t addr, size_t len_bytes)
{
    (void)ctx;
    (void)addr;
    (void)len_bytes;
    return -ENOMEM;
}

static int
keep(void *ctx, uintptr_t addr, size_t len_bytes)
{
    (void)ctx;
    (void)addr;
    (void)len_bytes;
    return -EPERM;
}

static int
remap(void *ctx, uintptr_t addr, size_t old_bytes, uintptr_t to_addr, size_t new_bytes)
{
    (void)ctx;
    (void)addr;
    (void)old_bytes;
    (void)to_addr;
    (void)new_bytes;
    return -ENOMEM;
}

static int
carry(void *ctx, uintptr_t addr, size_t len_bytes, size_t align_bytes, uintptr_t *out_addr)
{
    (void)ctx;
    (void)addr;
    (void)len_bytes;
    (void)align_bytes;
    (void)out_addr;
    return -ENOMEM;
}

static int
pool_map(void *ctx, const struct hm_pool_range *range, enum hm_pool_step *out_step)
{
    (void)ctx;
    (void)range;
    *out_step = HM_POOL_KERNEL;
    return -ENOSYS;
}

static int
advise(void *ctx, uintptr_t addr, size_t len_bytes, enum hm_advice advice)
{
    (void)ctx;
    (void)addr;
    (void)len_bytes;
    (void)advice;
    return -EPERM;
}

static int
map_meta(void *ctx, size_t len_bytes, void **out_mem)
{
    (void)ctx;
    (void)len_bytes;
    (void)out_mem;
    return -ENOMEM;
}

static void
name(void *ctx, uintptr_t addr, size_t len_bytes, const char *text)
{
    (void)ctx;
    (void)addr;
    (void)len_bytes;
    (void)text;
}

/* Then no files are opened either. */
static enum hm_filters
filters(void *ctx)
{
    (void)ctx;
    return HM_FILTERS_OPEN;
}

static size_t
address_limit(void *ctx)
{
    (void)ctx;
    return SIZE_MAX;
}

/* Time stands still: nothing becomes old enough to go back. */
static uint64_t
no_ns(void *ctx)
{
    (void)ctx;
    return 0;
}

void
hm_closed_init(struct hm_os *out_os, const struct hm_os *real)
{
    *out_os = *real;
    out_os->reserve = reserve;
    out_os->here = here;
    out_os->place = place;
    out_os->commit = commit;
    out_os->unmap = keep;
    out_os->remap = remap;
    out_os->carry = carry;
    out_os->pool_map = pool_map;
    out_os->pool_unmap = keep;
    out_os->advise = advise;
    out_os->map_meta = map_meta;
    out_os->name = name;
    out_os->filters = filters;
    out_os->address_limit = address_limit;
    out_os->now_ns = no_ns;
    out_os->cpu_ns = no_ns;
}
