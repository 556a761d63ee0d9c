/* SPDX-License-Identifier: MIT */
/* units.h - bytes, base pages and huge pages, and the way between them.
 *
 * Problem     Page sizes are facts of the running kernel: 4, 16 or 64 KiB, with huge pages of 2 to
 *             512 MiB.
 * Idea        struct hm_geom is filled once at start and handed down; nothing else knows a page
 *             size.
 */
#ifndef HM_BASE_UNITS_H
#define HM_BASE_UNITS_H

#include "base/compiler.h"

#define HM_KIB ((size_t)1 << 10)
#define HM_MIB ((size_t)1 << 20)
#define HM_GIB ((size_t)1 << 30)

struct hm_geom {
    uint32_t page_shift;   /* log2 of the base page; const after start */
    uint32_t hpage_shift;  /* log2 of the PMD huge page, 0 without one; const after start */
    uint32_t region_shift; /* log2 of a region (os/os_probe.c); const after start */
};

HM_INLINE size_t
hm_page_bytes(const struct hm_geom *geom)
{
    return (size_t)1 << geom->page_shift;
}

HM_INLINE size_t
hm_region_bytes(const struct hm_geom *geom)
{
    return (size_t)1 << geom->region_shift;
}

HM_INLINE uint32_t
hm_region_pages(const struct hm_geom *geom)
{
    return 1u << (geom->region_shift - geom->page_shift);
}

/* `align_bytes` is a power of two. The caller rules out overflow. */
HM_INLINE uintptr_t
hm_align_up(uintptr_t value, uintptr_t align_bytes)
{
    return (value + align_bytes - 1) & ~(align_bytes - 1);
}

HM_INLINE uintptr_t
hm_align_down(uintptr_t value, uintptr_t align_bytes)
{
    return value & ~(align_bytes - 1);
}

HM_INLINE bool
hm_is_pow2(size_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

HM_INLINE size_t
hm_bytes_to_pages_up(const struct hm_geom *geom, size_t len_bytes)
{
    return (len_bytes + hm_page_bytes(geom) - 1) >> geom->page_shift;
}

HM_INLINE size_t
hm_pages_to_bytes(const struct hm_geom *geom, size_t len_pages)
{
    return len_pages << geom->page_shift;
}

#endif
