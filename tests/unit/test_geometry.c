/* SPDX-License-Identifier: MIT */
/* test_geometry.c - page sizes: the arithmetic of units.h and the geometry that os_probe.c
 * derives. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>

#include "os/os.h"

Test(geometry, of_known_machines)
{
    static const struct {
        size_t page_bytes;
        size_t hpage_bytes;
        uint32_t hpage_shift;
        size_t region_bytes;
    } rows[] = {
        { 4 * HM_KIB, 2 * HM_MIB, 21, 2 * HM_MIB },     /* x86-64, arm64 */
        { 16 * HM_KIB, 32 * HM_MIB, 25, 32 * HM_MIB },  /* arm64 */
        { 64 * HM_KIB, 2 * HM_MIB, 21, 2 * HM_MIB },    /* ppc64 */
        { 64 * HM_KIB, 512 * HM_MIB, 29, 32 * HM_MIB }, /* arm64: too large for a region */
        { 4 * HM_KIB, 0, 0, 2 * HM_MIB },               /* no huge pages */
        { 64 * HM_KIB, 0, 0, 32 * HM_MIB },
        { 4 * HM_KIB, 3 * HM_MIB, 0, 2 * HM_MIB }, /* nonsense is no huge page */
        { 4 * HM_KIB, 4 * HM_KIB, 0, 2 * HM_MIB },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct hm_geom geom = hm_os_geometry(rows[i].page_bytes, rows[i].hpage_bytes);

        cr_expect_eq(hm_page_bytes(&geom), rows[i].page_bytes, "row %zu", i);
        cr_expect_eq(geom.hpage_shift, rows[i].hpage_shift, "row %zu", i);
        cr_expect_eq(hm_region_bytes(&geom), rows[i].region_bytes, "row %zu", i);
        cr_expect_eq(hm_region_pages(&geom), rows[i].region_bytes / rows[i].page_bytes);
    }
}

Test(geometry, of_this_machine)
{
    struct hm_machine machine;

    hm_os_probe(&machine);
    cr_assert_eq(hm_page_bytes(&machine.geom), (size_t)sysconf(_SC_PAGESIZE));
    cr_assert_gt(machine.geom.region_shift, machine.geom.page_shift);
    cr_assert(machine.geom.hpage_shift == 0 || machine.geom.hpage_shift > machine.geom.page_shift);
}

/* On most machines the file is not read: what is derived must be what it says. */
Test(geometry, of_huge_pages_as_the_kernel_has_it)
{
    struct hm_machine machine;
    char text[32];

    if (hm_os_read_file("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", text, sizeof(text))
        <= 0)
        cr_skip("this kernel does not tell");
    hm_os_probe(&machine);
    cr_assert_eq((size_t)1 << machine.geom.hpage_shift, strtoul(text, NULL, 10));
}

Test(geometry, aligns_and_converts)
{
    struct hm_geom geom = hm_os_geometry(16 * HM_KIB, 32 * HM_MIB);

    cr_assert_eq(hm_align_up(0, 16), 0);
    cr_assert_eq(hm_align_up(1, 16), 16);
    cr_assert_eq(hm_align_up(16, 16), 16);
    cr_assert_eq(hm_align_down(31, 16), 16);
    cr_assert_eq(hm_bytes_to_pages_up(&geom, 0), 0);
    cr_assert_eq(hm_bytes_to_pages_up(&geom, 1), 1);
    cr_assert_eq(hm_bytes_to_pages_up(&geom, 16 * HM_KIB), 1);
    cr_assert_eq(hm_bytes_to_pages_up(&geom, 16 * HM_KIB + 1), 2);
    cr_assert_eq(hm_pages_to_bytes(&geom, 3), 48 * HM_KIB);
    cr_assert(hm_is_pow2(1) && hm_is_pow2(4096) && !hm_is_pow2(0) && !hm_is_pow2(12));
}
