/* SPDX-License-Identifier: MIT */
/* test_sizes.c - huge pages larger and smaller than a region, and hugetlb pages of every size, on
 * the machines that there are. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "heap/direct.h"
#include "heap/purge.h"
#include "support/rig.h"

#define REGION (32 * HM_MIB) /* of the machine with base pages of 64 KiB ... */
#define HPAGE (512 * HM_MIB) /* ... and huge pages of this size */

static struct rig rig;

/* That machine. Mappings may touch each other, as the kernel joins them. */
static void
begin(const char *chain, bool has_mthp)
{
    rig_init_on(&rig, 64 * HM_KIB, HPAGE);
    rig.fake.space.gap_bytes = 0;
    rig.fake.has_mthp = has_mthp;
    rig_chain(&rig, chain);
}

static uint64_t
count_of(enum hm_reason reason)
{
    return rig.heap.backing.reason_count[reason];
}

/* Blocks until there are so many bytes. Returns the first. */
static uintptr_t
fill(size_t want_bytes, size_t size_bytes)
{
    uintptr_t first = 0;

    for (size_t got_bytes = 0; got_bytes < want_bytes; got_bytes += size_bytes) {
        uintptr_t addr = rig_alloc_large(&rig, size_bytes, 16, NULL);

        cr_assert_neq(addr, 0);
        if (first == 0)
            first = addr;
    }
    return first;
}

/* How many huge pages the kernel could make of the address space from `addr` on. */
static size_t
count_huge(uintptr_t addr, size_t len_bytes)
{
    size_t count = 0;

    for (size_t off = 0; off < len_bytes; off += HPAGE)
        count += fake_space_fits_huge(&rig.fake.space, addr + off);
    return count;
}

/* --- the decision ----------------------------------------------------------------------------- */

static const struct hm_chain all
    = { .kind = { HM_BACKING_THP, HM_BACKING_MTHP, HM_BACKING_4K }, .kind_count = 3 };
static const struct hm_chain mthp_4k
    = { .kind = { HM_BACKING_MTHP, HM_BACKING_4K }, .kind_count = 2 };
static const struct hm_chain thp_mthp
    = { .kind = { HM_BACKING_THP, HM_BACKING_MTHP }, .kind_count = 2 };
static const struct hm_chain only_thp = { .kind = { HM_BACKING_THP }, .kind_count = 1 };

Test(sizes, the_decision)
{
    static const struct {
        const struct hm_chain *chain;
        size_t page_bytes;
        size_t hpage_bytes;
        size_t heap_bytes;
        enum hm_thp_mode thp_mode;
        enum hm_mthp_mode mthp_mode;
        struct hm_pick expected;
    } rows[] = {
#define SMALL 4 * HM_KIB, 2 * HM_MIB
#define MIDDLE 16 * HM_KIB, 32 * HM_MIB
#define LARGE 64 * HM_KIB, 512 * HM_MIB
#define YES HM_THP_MADVISE
        { &all, SMALL, HM_GIB, YES, HM_MTHP_ON, { HM_BACKING_THP, 0 } },
        { &all, SMALL, HM_GIB, HM_THP_NEVER, HM_MTHP_ON, { HM_BACKING_MTHP, HM_REASON_THP_NEVER } },
        { &all, SMALL, HM_GIB, HM_THP_NEVER, HM_MTHP_OFF, { HM_BACKING_4K, HM_REASON_THP_NEVER } },
        { &all, SMALL, HM_MIB, HM_THP_NEVER, HM_MTHP_ON, { HM_BACKING_4K, HM_REASON_HEAP_SMALL } },
        { &mthp_4k, SMALL, HM_MIB, YES, HM_MTHP_ON, { HM_BACKING_4K, HM_REASON_HEAP_SMALL } },
        { &mthp_4k, SMALL, HM_GIB, YES, HM_MTHP_ON, { HM_BACKING_4K, HM_REASON_MTHP_PMD } },
        { &mthp_4k, SMALL, HM_GIB, HM_THP_NEVER, HM_MTHP_ON, { HM_BACKING_MTHP, 0 } },
        { &mthp_4k,
          SMALL,
          HM_GIB,
          HM_THP_NEVER,
          HM_MTHP_OFF,
          { HM_BACKING_4K, HM_REASON_MTHP_OFF } },
        { &mthp_4k, SMALL, HM_GIB, HM_THP_ABSENT, 0, { HM_BACKING_4K, HM_REASON_MTHP_OFF } },
        { &all, SMALL, HM_GIB, HM_THP_PRCTL_OFF, 0, { HM_BACKING_4K, HM_REASON_THP_PRCTL } },
        { &all, MIDDLE, HM_GIB, YES, HM_MTHP_ON, { HM_BACKING_THP, 0 } },
        { &all, LARGE, HM_MIB, YES, HM_MTHP_ON, { HM_BACKING_4K, HM_REASON_HEAP_SMALL } },
        { &all, LARGE, HM_GIB, YES, HM_MTHP_ON, { HM_BACKING_MTHP, HM_REASON_THP_LARGE } },
        { &all, LARGE, HM_GIB, YES, HM_MTHP_OFF, { HM_BACKING_4K, HM_REASON_THP_LARGE } },
        { &all, LARGE, 16 * HM_GIB - 1, YES, 0, { HM_BACKING_MTHP, HM_REASON_THP_LARGE } },
        { &all, LARGE, 16 * HM_GIB, YES, HM_MTHP_ON, { HM_BACKING_THP, 0 } },
        { &all, LARGE, 16 * HM_GIB, HM_THP_NEVER, 2, { HM_BACKING_MTHP, HM_REASON_THP_NEVER } },
        { &thp_mthp, LARGE, HM_MIB, YES, HM_MTHP_ON, { HM_BACKING_MTHP, HM_REASON_THP_LARGE } },
        { &only_thp, LARGE, HM_MIB, YES, HM_MTHP_ON, { HM_BACKING_THP, 0 } },
        { &all, 4 * HM_KIB, 0, HM_GIB, HM_THP_ABSENT, 0, { HM_BACKING_4K, HM_REASON_THP_ABSENT } },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct hm_geom geom = hm_os_geometry(rows[i].page_bytes, rows[i].hpage_bytes);
        struct hm_pick_in in = { .chain = rows[i].chain,
                                 .geom = &geom,
                                 .thp_mode = rows[i].thp_mode,
                                 .mthp_mode = rows[i].mthp_mode,
                                 .heap_bytes = rows[i].heap_bytes,
                                 .huge_start_bytes = 16 * HM_MIB };
        struct hm_pick got = hm_pick_backing(&in);

        cr_expect_eq(got.kind, rows[i].expected.kind, "row %zu: kind %d", i, (int)got.kind);
        cr_expect_eq(got.reason, rows[i].expected.reason, "row %zu: %s", i,
                     hm_reason_code(got.reason));
    }
}

/* --- huge pages of 512 MiB -------------------------------------------------------------------- */

/* A service of some hundred megabytes does not take one, whatever is enabled. */
Test(sizes, a_huge_page_may_be_too_large_for_a_heap)
{
    for (int has_mthp = 0; has_mthp <= 1; has_mthp++) {
        uintptr_t addr;

        begin("thp,mthp,4k", has_mthp);
        addr = fill(900 * HM_MIB, HM_MIB);
        cr_expect_eq(count_huge(addr, HM_GIB), 0);
        cr_expect_gt(count_of(HM_REASON_THP_LARGE), 0);
        cr_expect_eq(count_of(HM_REASON_MTHP_OFF), 0, "the first reason is told");
        cr_expect_eq(rig.fake.mthp_count, 1, "the files are read once");
        cr_expect_null(rig_check(&rig), "%s", rig_check(&rig));
        rig_fini(&rig);
    }
}

/* Smaller ones are advised there, but for one base page in the reach of each large one. */
Test(sizes, smaller_ones_serve_a_heap)
{
    size_t base_count = 0;
    size_t small_count = 0;
    uintptr_t addr;

    begin("thp,mthp,4k", true);
    addr = fill(3 * HM_GIB, 20 * HM_MIB);
    for (size_t off = 0; off < 3 * HM_GIB; off += REGION) {
        uintptr_t flags = fake_space_flags(&rig.fake.space, addr + off);
        bool is_first = (hm_align_down(addr + off, REGION) & (HPAGE - 1)) == 0;

        base_count += (flags & FAKE_WANTS_BASE) != 0;
        small_count += (flags & FAKE_WANTS_HUGE) != 0;
        if ((flags & FAKE_WANTS_HUGE) != 0)
            cr_expect_eq((flags & FAKE_BASE_PAGE) != 0, is_first, "at %zu MiB", off / HM_MIB);
    }
    cr_expect_leq(base_count, 1, "%zu regions of the ramp", base_count);
    cr_expect_geq(small_count, 95);
    cr_expect_eq(count_huge(addr, 3 * HM_GIB), 0);
    cr_expect_null(rig_check(&rig), "%s", rig_check(&rig));
    rig_fini(&rig);
}

/* One that is aligned to more than a region has to be a mapping; others are runs of regions. */
Test(sizes, nor_does_a_mapping_take_one)
{
    struct hm_mapping map;

    begin("thp,mthp,4k", true);
    (void)fill(3 * HM_GIB, 3 * HM_GIB);
    cr_expect_eq(rig.heap.direct_count, 0);
    cr_assert_eq(hm_direct_map(&rig.heap, 3 * HM_GIB, HM_GIB, &map), 0);
    cr_expect_eq(map.kind, HM_BACKING_4K);
    cr_expect_eq(count_huge(map.addr, map.len_bytes), 0);
    hm_direct_unmap(&rig.heap, &map);
    rig_fini(&rig);
}

/* A very large heap does, and opens all of it at a time. */
Test(sizes, a_very_large_heap_takes_them)
{
    enum { COUNT = 64 };
    uintptr_t blocks[COUNT];
    size_t before_count;
    uintptr_t first;

    begin("thp,mthp,4k", true);
    first = fill(16 * HM_GIB, 256 * HM_MIB);
    before_count = count_huge(first, 64 * HM_GIB);
    for (size_t i = 0; i < COUNT; i++)
        blocks[i] = fill(1, 256 * HM_MIB);
    cr_expect_leq(before_count, 1);
    cr_expect_geq(count_huge(first, 64 * HM_GIB), 28, "%zu", count_huge(first, 64 * HM_GIB));
    cr_expect_null(rig_check(&rig), "%s", rig_check(&rig));
    fake_os_forget(&rig.fake);
    for (size_t i = 0; i < COUNT; i++)
        rig_free(&rig, NULL, blocks[i]);
    (void)hm_purge_all(&rig.heap);
    cr_expect_geq(rig.fake.call_count[FAKE_COLD], rig.fake.call_count[FAKE_DISCARD],
                  "to give back a part, it must be split");
    cr_expect_null(rig_check(&rig), "%s", rig_check(&rig));
    rig_fini(&rig);
}

/* What is opened ahead may be refused, under strict overcommit: then base pages come. */
Test(sizes, a_very_large_heap_goes_on_without)
{
    begin("thp,4k", false);
    (void)fill(17 * HM_GIB, 256 * HM_MIB);
    fake_os_fail(&rig.fake, FAKE_COMMIT, 1, 12, false);
    (void)fill(HM_GIB, 256 * HM_MIB);
    cr_expect_eq(rig.fake.fault.failed_count, 1);
    cr_expect_null(rig_check(&rig), "%s", rig_check(&rig));
    rig_fini(&rig);
}

/* --- smaller ones where PMD size is off ------------------------------------------------------- */

Test(sizes, smaller_ones_serve_where_the_administrator_has_these_only)
{
    uintptr_t addr;

    rig_init(&rig);
    rig.fake.has_mthp = true;
    rig_thp_mode(&rig, HM_THP_NEVER);
    (void)fill(15 * HM_MIB, 100 * HM_KIB);
    cr_expect_eq(rig.fake.mthp_count, 0, "small processes read no files");
    (void)fill(16 * HM_MIB, 100 * HM_KIB);
    addr = fill(64 * HM_MIB, 100 * HM_KIB);
    cr_expect_eq(fake_space_flags(&rig.fake.space, addr) & FAKE_WANTS, FAKE_WANTS_HUGE);
    cr_expect_gt(count_of(HM_REASON_THP_NEVER), 0);
    cr_expect_eq(rig.fake.mthp_count, 1);
    cr_expect_eq(rig.fake.call_count[FAKE_COLLAPSE], 0, "a collapse would not ask him");
    cr_expect_null(rig_check(&rig), "%s", rig_check(&rig));
    rig_fini(&rig);
}

/* Files may not be opened: nobody knows whether the advice would bring larger ones. */
Test(sizes, in_a_sandbox_there_are_none)
{
    rig_init(&rig);
    rig_chain(&rig, "mthp,4k");
    rig.fake.has_mthp = true;
    rig.fake.filters = HM_FILTERS_FIXED;
    (void)fill(64 * HM_MIB, 100 * HM_KIB);
    cr_expect_eq(rig.fake.mthp_count, 0);
    cr_expect_eq(rig.fake.call_count[FAKE_ADVISE_HUGE], 0);
    cr_expect_gt(count_of(HM_REASON_MTHP_OFF), 0);
    rig_fini(&rig);
}

Test(sizes, a_refused_advice)
{
    begin("mthp,4k", true);
    fake_os_fail(&rig.fake, FAKE_ADVISE_BASE, 2, 12, true);
    (void)fill(2 * HM_GIB, HM_MIB);
    cr_expect_gt(count_of(HM_REASON_ADVICE_FAILED), 0);
    cr_expect_null(rig_check(&rig), "%s", rig_check(&rig));
    rig_fini(&rig);
}

/* --- hugetlb ---------------------------------------------------------------------------------- */

/* The sizes that kernels list in sysfs, on the machines that list them. */
Test(sizes, hugetlb_pages_up_to_a_region_serve)
{
    static const struct {
        size_t page_bytes;
        size_t hpage_bytes;
        const char *chain;
        unsigned pool_shift;
        enum hm_reason expected;
    } rows[] = {
        { SMALL, "hugetlb,4k", 21, HM_REASON_NONE },
        { SMALL, "hugetlb:64k,4k", 16, HM_REASON_NONE }, /* arm64 */
        { SMALL, "hugetlb:2M,4k", 21, HM_REASON_NONE },
        { SMALL, "hugetlb:32M,4k", 25, HM_REASON_POOL_LARGE },
        { SMALL, "hugetlb:1G,4k", 30, HM_REASON_POOL_LARGE },
        { SMALL, "hugetlb:1M,4k", 21, HM_REASON_POOL_SIZE },
        { MIDDLE, "hugetlb,4k", 25, HM_REASON_NONE },
        { MIDDLE, "hugetlb:2M,4k", 21, HM_REASON_NONE },
        { MIDDLE, "hugetlb:1G,4k", 30, HM_REASON_POOL_LARGE },
        { 64 * HM_KIB, 2 * HM_MIB, "hugetlb,4k", 21, HM_REASON_NONE }, /* ppc64 */
        { 64 * HM_KIB, 2 * HM_MIB, "hugetlb:1G,4k", 30, HM_REASON_POOL_LARGE },
        { LARGE, "hugetlb,4k", 29, HM_REASON_POOL_LARGE },
        { LARGE, "hugetlb:2M,4k", 21, HM_REASON_NONE },
        { LARGE, "hugetlb:16G,4k", 34, HM_REASON_POOL_LARGE },
        { 4 * HM_KIB, 0, "hugetlb,4k", 21, HM_REASON_POOL_SIZE },
        { 4 * HM_KIB, 0, "hugetlb:2M,4k", 21, HM_REASON_NONE },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uintptr_t addr;
        bool is_served;

        rig_init_on(&rig, rows[i].page_bytes, rows[i].hpage_bytes);
        rig_chain(&rig, rows[i].chain);
        rig.fake.space.pool_shift = rows[i].pool_shift;
        rig.fake.space.pool_bytes = 64 * HM_GIB;
        addr = fill(HM_MIB, HM_MIB);
        is_served = (fake_space_flags(&rig.fake.space, addr) & FAKE_POOL) != 0;
        cr_expect_eq(is_served, rows[i].expected == HM_REASON_NONE, "row %zu", i);
        if (!is_served)
            cr_expect_gt(count_of(rows[i].expected), 0, "row %zu", i);
        rig_fini(&rig);
    }
}

/* --- what the files say ----------------------------------------------------------------------- */

static void
put(const char *root, const char *path, const char *text)
{
    char command[512];

    (void)snprintf(command, sizeof(command),
                   "f=%s/sys/kernel/mm/transparent_hugepage/%s; mkdir -p ${f%%/*} && "
                   "echo '%s' >$f",
                   root, path, text);
    cr_assert_eq(system(command), 0);
}

Test(sizes, the_administrator_has_a_word_on_each)
{
    static const struct {
        const char *general;
        const char *pmd;   /* NULL: a kernel before 6.8 */
        const char *small; /* one of 64 KiB */
        enum hm_thp_mode mode;
        bool has_mthp;
    } rows[] = {
        { "always [madvise] never", NULL, NULL, HM_THP_MADVISE, false },
        { "[always] madvise never", NULL, NULL, HM_THP_ALWAYS, false },
        { "always madvise [never]", NULL, NULL, HM_THP_NEVER, false },
        { "always [madvise] never", "always [inherit] madvise never",
          "always inherit madvise [never]", HM_THP_MADVISE, false },
        { "always [madvise] never", "always inherit madvise [never]",
          "always [inherit] madvise never", HM_THP_NEVER, true },
        { "always madvise [never]", "always [inherit] madvise never",
          "always inherit [madvise] never", HM_THP_NEVER, true },
        { "always madvise [never]", "always inherit [madvise] never",
          "always [inherit] madvise never", HM_THP_MADVISE, false },
        { "always madvise [never]", "[always] inherit madvise never",
          "[always] inherit madvise never", HM_THP_ALWAYS, true },
    };
    struct hm_geom geom = hm_os_geometry(4 * HM_KIB, 2 * HM_MIB);

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char root[] = "/tmp/huma-sizes.XXXXXX";
        char command[64];

        cr_assert_not_null(mkdtemp(root));
        cr_expect_eq(hm_os_thp_mode_under(root, &geom), HM_THP_ABSENT);
        put(root, "enabled", rows[i].general);
        if (rows[i].pmd != NULL) {
            put(root, "hugepages-2048kB/enabled", rows[i].pmd);
            put(root, "hugepages-64kB/enabled", rows[i].small);
        }
        cr_expect_eq(hm_os_thp_mode_under(root, &geom), rows[i].mode, "row %zu", i);
        cr_expect_eq(hm_os_has_mthp_under(root, &geom), rows[i].has_mthp, "row %zu", i);
        (void)snprintf(command, sizeof(command), "rm -r %s", root);
        cr_assert_eq(system(command), 0);
    }
}
