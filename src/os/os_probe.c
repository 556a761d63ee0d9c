/* SPDX-License-Identifier: MIT */
/* os_probe.c - the page sizes of the machine.
 *
 * Problem     One binary must serve base pages of 4, 16 and 64 KiB and huge pages from 2 to 512
 *             MiB, and start-up may cost no more than a few microseconds: opening a file of sysfs
 *             takes longer than all else that is done then.
 * Idea        The base page comes with the auxiliary vector. On most machines the PMD size follows
 *             from it; elsewhere it is one sysfs file, read at the start and never again. Whether
 *             the kernel has transparent huge pages at all, the THP mode tells (os_advise.c).
 */
#include <sys/auxv.h>

#include "os/os.h"

#define REGION_MAX_BYTES (32 * HM_MIB)
#define REGION_DEFAULT_PAGES 512

/* Where a page table fills a page, with entries of 8 bytes, a PMD maps as much as a table of pages
 * does: docs/decisions/0016. */
#if defined(__x86_64__) || defined(__aarch64__) || (defined(__riscv) && __riscv_xlen == 64)
#define HAS_FULL_TABLES true
#else
#define HAS_FULL_TABLES false
#endif

static uint32_t
log2_of(size_t value)
{
    return (uint32_t)(63 - __builtin_clzll(value));
}

/* A decimal number at the start of a text, 0 if there is none. */
static size_t
number_of(const char *text)
{
    size_t value = 0;

    for (; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (size_t)(*text - '0');
    return value;
}

struct hm_geom
hm_os_geometry(size_t page_bytes, size_t hpage_bytes)
{
    struct hm_geom geom = { .page_shift = log2_of(page_bytes) };

    if (hm_is_pow2(hpage_bytes) && hpage_bytes > page_bytes)
        geom.hpage_shift = log2_of(hpage_bytes);
    if (geom.hpage_shift != 0 && hpage_bytes <= REGION_MAX_BYTES)
        geom.region_shift = geom.hpage_shift;
    else
        geom.region_shift = geom.page_shift + log2_of(REGION_DEFAULT_PAGES);
    return geom;
}

void
hm_os_probe(struct hm_machine *out_machine)
{
    const char *path = "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size";
    size_t page_bytes = getauxval(AT_PAGESZ);
    char text[32];
    size_t hpage_bytes = 0;

    if (HAS_FULL_TABLES)
        hpage_bytes = page_bytes / sizeof(uint64_t) * page_bytes;
    else if (hm_os_read_file(path, text, sizeof(text)) > 0)
        hpage_bytes = number_of(text);
    out_machine->geom = hm_os_geometry(page_bytes, hpage_bytes);
}
