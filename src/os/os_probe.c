/* SPDX-License-Identifier: MIT */
/* os_probe.c - the page sizes of the machine.
 *
 * Problem     One binary must serve base pages of 4, 16 and 64 KiB and huge pages from 2 to 512
 *             MiB, and start-up may cost no more than a few microseconds.
 * Idea        The base page comes with the auxiliary vector, the PMD size is one sysfs file. It and
 *             the THP mode (os_advise.c) are read at the start and never again: a process may lock
 *             itself into a sandbox where opening a file ends it.
 */
#include <sys/auxv.h>

#include "os/os.h"

#define REGION_MAX_BYTES (32 * HM_MIB)
#define REGION_DEFAULT_PAGES 512

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

    if (hm_os_read_file(path, text, sizeof(text)) > 0)
        hpage_bytes = number_of(text);
    out_machine->geom = hm_os_geometry(page_bytes, hpage_bytes);
}
