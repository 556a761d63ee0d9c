/* SPDX-License-Identifier: MIT */
/* test_stats.c - the picture of a heap, and how it is told. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "heap/direct.h"
#include "stats/print.h"
#include "support/rig.h"

static struct rig rig;
static struct hm_tcache *cache;
static struct hm_stats stats;
static char text[8192];

static void
setup(void)
{
    rig_init(&rig);
    cache = hm_tcache_acquire(&rig.pool, 0);
}

static void
teardown(void)
{
    rig_fini(&rig);
}

TestSuite(stats, .init = setup, .fini = teardown);

static uintptr_t
alloc(size_t size_bytes)
{
    uintptr_t addr = rig_alloc(&rig, cache, size_bytes, 16, NULL);

    cr_assert_neq(addr, 0);
    fake_space_touch(&rig.fake.space, addr, size_bytes);
    return addr;
}

Test(stats, an_empty_heap)
{
    hm_stats_read(&rig.pool, true, &stats);
    cr_assert_eq(stats.live_bytes, 0);
    cr_assert_eq(stats.heap_bytes, 0);
    cr_assert(stats.has_kernel);
    cr_assert_eq(stats.kernel.resident_bytes, 0);
    cr_assert_eq(stats.cache_count, 1);
}

Test(stats, counts_blocks_of_all_kinds)
{
    uintptr_t freed;

    for (int i = 0; i < 100; i++)
        alloc(100);
    alloc(100 * HM_KIB);
    alloc(128 * HM_KIB);
    alloc(300 * HM_MIB);
    freed = alloc(100);
    rig_free(&rig, NULL, freed);
    hm_stats_read(&rig.pool, true, &stats);
    cr_assert_eq(stats.live_bytes, 100 * 112 + 228 * HM_KIB + 300 * HM_MIB);
    cr_assert_eq(stats.span_count[HM_SPAN_RUN], 2);
    cr_assert_eq(stats.span_count[HM_SPAN_MAPPED], 1);
    cr_assert_gt(stats.span_count[HM_SPAN_SLOTS], 0);
    cr_assert_eq(stats.direct_count, 2, "from the cutoff on");
    cr_assert_eq(stats.direct_bytes, 132 * HM_KIB + 300 * HM_MIB + 4 * HM_KIB, "as glibc maps");
    cr_assert_eq(stats.direct_page_bytes, 128 * HM_KIB + 300 * HM_MIB);
    cr_assert_eq(stats.max_direct_count, 2);
    cr_assert_eq(stats.cutoff_bytes, 128 * HM_KIB);
    cr_assert_eq(stats.heap_bytes, hm_heap_bytes(&rig.heap));
    cr_assert_eq(stats.backing_bytes[HM_BACKING_4K], 2 * HM_MIB);
    cr_assert_eq(stats.backing_bytes[HM_BACKING_THP], 300 * HM_MIB);
    cr_assert_eq(stats.kernel.huge_bytes, 300 * HM_MIB);
    cr_assert_geq(stats.kernel.resident_bytes, 300 * HM_MIB + 228 * HM_KIB + 100 * 100);
    cr_assert_eq(stats.reason_count[HM_REASON_HEAP_SMALL], 1);
}

/* The pages of a heap are in live blocks, or said to be free in one way or another. */
Test(stats, says_where_free_bytes_are)
{
    uintptr_t blocks[300];
    uintptr_t hole = alloc(100 * HM_KIB);
    uint64_t before_bytes;

    alloc(3000 * HM_KIB);
    for (int i = 0; i < 300; i++)
        blocks[i] = alloc(1024);
    hm_stats_read(&rig.pool, true, &stats);
    cr_assert_leq(stats.live_bytes + stats.free_slot_bytes + stats.fresh_slot_bytes,
                  stats.heap_bytes);
    before_bytes = stats.free_slot_bytes + stats.fresh_slot_bytes;
    for (int i = 0; i < 300; i += 2)
        rig_free(&rig, cache, blocks[i]);
    hm_stats_read(&rig.pool, true, &stats);
    cr_assert_eq(stats.free_slot_bytes + stats.fresh_slot_bytes, before_bytes + 150 * 1024);
    before_bytes = stats.free_page_bytes;
    rig_free(&rig, cache, hole);
    hm_stats_read(&rig.pool, true, &stats);
    cr_assert_eq(stats.free_page_bytes, before_bytes + 100 * HM_KIB, "base pages that were used");
}

Test(stats, asks_the_kernel_only_if_told_to)
{
    alloc(100);
    fake_os_forget(&rig.fake);
    hm_stats_read(&rig.pool, false, &stats);
    cr_assert_eq(fake_os_calls(&rig.fake), 0);
    cr_assert(!stats.has_kernel);
    fake_os_fail(&rig.fake, FAKE_SCAN, 1, EPERM, true);
    hm_stats_read(&rig.pool, true, &stats);
    cr_assert(!stats.has_kernel);
}

/* What the kernel would not take back when the block shrank. */
Test(stats, asks_about_all_of_a_mapping)
{
    uintptr_t addr = alloc(400 * HM_MIB);

    fake_os_fail(&rig.fake, FAKE_REMAP, 1, ENOMEM, false);
    cr_assert_eq(rig_realloc(&rig, cache, addr, 300 * HM_MIB), addr);
    hm_stats_read(&rig.pool, true, &stats);
    cr_assert_eq(stats.kernel.resident_bytes, 400 * HM_MIB);
}

static void
print_text(void)
{
    struct hm_fmt out = hm_fmt_init(text, sizeof(text), -1);

    hm_stats_print_text(&stats, &out);
}

Test(stats, the_text_says_what_counts)
{
    alloc(512 * HM_MIB);
    alloc(100);
    hm_stats_read(&rig.pool, true, &stats);
    print_text();
    cr_assert_not_null(strstr(text, "coverage 100.0 %"), "%s", text);
    cr_assert_not_null(strstr(text, "512 MiB"), "%s", text);
    cr_assert_not_null(strstr(text, "thp"), "%s", text);
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1)
        cr_assert_eq(strncmp(line, "huma: ", 6), 0, "every line is marked: %s", line);
}

Test(stats, sizes_are_told_with_two_digits_at_least)
{
    static const struct {
        uint64_t bytes;
        const char *expected;
    } rows[] = {
        { 5 * HM_KIB, " 5 KiB" },       { 10 * HM_MIB - HM_KIB, " 10239 KiB" },
        { 10 * HM_MIB, " 10 MiB" },     { 10 * HM_GIB, " 10 GiB" },
        { 5000 * HM_GIB, " 5000 GiB" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        stats = (struct hm_stats){ .live_bytes = rows[i].bytes };
        print_text();
        cr_expect_not_null(strstr(text, rows[i].expected), "%s in: %s", rows[i].expected, text);
    }
}

Test(stats, the_text_names_reasons_with_counts)
{
    rig_thp_mode(&rig, HM_THP_NEVER);
    alloc(512 * HM_MIB);
    hm_stats_read(&rig.pool, true, &stats);
    print_text();
    cr_assert_not_null(strstr(text, "256 regions  thp-never: "), "%s", text);
}

Test(stats, an_unknown_residency_is_called_unknown)
{
    hm_stats_read(&rig.pool, false, &stats);
    print_text();
    cr_assert_not_null(strstr(text, "unknown"), "%s", text);
    cr_assert_null(strstr(text, "coverage"), "%s", text);
}

Test(stats, foreign_blocks_are_told_where_there_are_any)
{
    hm_stats_read(&rig.pool, false, &stats);
    print_text();
    cr_assert_null(strstr(text, "foreign"), "%s", text);
    stats.foreign_realloc_count = 7;
    stats.foreign_leak_count = 5;
    print_text();
    cr_assert_not_null(strstr(text, "foreign blocks           0  "), "%s", text);
    cr_assert_not_null(strstr(text, "foreign moved            7  "), "%s", text);
    cr_assert_not_null(strstr(text, "foreign leaked           5  "), "%s", text);
}

/* A small reader: brackets match, and between two members there is a comma. */
static void
check_json(const char *json)
{
    int depth = 0;
    bool in_string = false;

    for (const char *c = json; *c != '\0'; c++) {
        if (*c == '"' && (c == json || c[-1] != '\\'))
            in_string = !in_string;
        if (in_string)
            continue;
        depth += *c == '{';
        depth -= *c == '}';
        cr_assert(depth > 0 || c[1] == '\n' || c[1] == '\0', "text behind the object");
        if (*c == ',')
            cr_assert_null(strchr(",}", c[1 + strspn(c + 1, " \n")]), "a comma too many");
    }
    cr_assert_eq(depth, 0);
    cr_assert(!in_string);
}

Test(stats, json)
{
    struct hm_fmt out = hm_fmt_init(text, sizeof(text), -1);

    alloc(512 * HM_MIB);
    hm_stats_read(&rig.pool, true, &stats);
    hm_stats_print_json(&stats, 4711, &out);
    check_json(text);
    cr_assert_not_null(strstr(text, "\"pid\": 4711,"), "%s", text);
    cr_assert_not_null(strstr(text, "\"huge_bytes\": 536870912,"), "%s", text);
    cr_assert_not_null(strstr(text, "\"thp-never\": 0"), "%s", text);
    cr_assert_not_null(strstr(text, "\"mapped\": 1"), "%s", text);
}

Test(stats, surplus_pages_are_told_where_hugetlb_pages_serve)
{
    struct hm_fmt out = hm_fmt_init(text, sizeof(text), -1);

    rig.fake.surplus_count = 3;
    alloc(HM_MIB);
    hm_stats_read(&rig.pool, true, &stats);
    cr_assert_eq(stats.pool_surplus_bytes, 0, "no pool serves");
    rig_chain(&rig, "hugetlb,thp,4k");
    rig.fake.space.pool_bytes = 4 * HM_MIB;
    alloc(4 * HM_MIB);
    hm_stats_read(&rig.pool, true, &stats);
    cr_assert_eq(stats.pool_surplus_bytes, 6 * HM_MIB);
    hm_stats_print_json(&stats, 1, &out);
    cr_assert_not_null(strstr(text, "\"pool_surplus_bytes\": 6291456,"), "%s", text);
    out = hm_fmt_init(text, sizeof(text), -1);
    hm_stats_print_text(&stats, &out);
    cr_assert_not_null(strstr(text, "pool surplus          6144 KiB  of all"), "%s", text);
    rig.fake.surplus_count = UINT64_MAX;
    hm_stats_read(&rig.pool, true, &stats);
    cr_assert_eq(stats.pool_surplus_bytes, 0, "cannot be read");
}

Test(stats, json_without_the_kernel)
{
    struct hm_fmt out = hm_fmt_init(text, sizeof(text), -1);

    hm_stats_read(&rig.pool, false, &stats);
    hm_stats_print_json(&stats, 1, &out);
    check_json(text);
    cr_assert_null(strstr(text, "resident_bytes"));
}
