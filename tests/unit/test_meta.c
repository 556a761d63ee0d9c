/* SPDX-License-Identifier: MIT */
/* test_meta.c - the bump allocator for metadata. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "heap/meta.h"
#include "support/fake_os.h"

static struct fake_os fake;
static struct hm_meta meta;

static void
setup(void)
{
    fake_os_init(&fake, 4 * HM_KIB, 2 * HM_MIB);
    hm_meta_init(&meta, &fake.os);
}

static void
teardown(void)
{
    fake_os_fini(&fake);
}

TestSuite(meta, .init = setup, .fini = teardown);

Test(meta, pieces_are_zero_aligned_and_apart)
{
    unsigned seed = 1;
    char *pieces[500];
    size_t lens[500];

    for (int i = 0; i < 500; i++) {
        size_t align = (size_t)1 << (rand_r(&seed) % 9);

        lens[i] = 1 + (size_t)rand_r(&seed) % 3000;
        pieces[i] = hm_meta_alloc(&meta, lens[i], align);
        cr_assert_not_null(pieces[i]);
        cr_assert_eq((uintptr_t)pieces[i] % align, 0);
        for (size_t k = 0; k < lens[i]; k++)
            cr_assert_eq(pieces[i][k], 0);
        memset(pieces[i], i % 100 + 1, lens[i]);
    }
    for (int i = 0; i < 500; i++)
        for (size_t k = 0; k < lens[i]; k++)
            cr_assert_eq(pieces[i][k], i % 100 + 1, "piece %d was overwritten", i);
}

Test(meta, a_small_process_maps_one_small_chunk)
{
    for (int i = 0; i < 100; i++)
        cr_assert_not_null(hm_meta_alloc(&meta, 256, 64));
    cr_assert_eq(fake.call_count[FAKE_MAP_META], 1);
    cr_assert_leq(meta.mapped_bytes, 128 * HM_KIB);
    cr_assert_eq(meta.mapped_bytes, fake.meta_bytes);
}

Test(meta, a_table_gets_a_mapping_of_its_own)
{
    char *before = hm_meta_alloc(&meta, 100, 16);
    char *table = hm_meta_alloc(&meta, 5 * HM_MIB + 1, 64);
    char *after = hm_meta_alloc(&meta, 100, 16);

    cr_assert_not_null(table);
    cr_assert_eq((uintptr_t)table % 64, 0);
    memset(table, 1, 5 * HM_MIB + 1);
    cr_assert_eq(after - before, 112, "the chunk is still in use");
    cr_assert_eq(meta.mapped_bytes, fake.meta_bytes);
}

/* A table that comes first lies in the mapping of the first chunk, before it. */
Test(meta, the_first_table_shares_the_first_chunk)
{
    char *table = hm_meta_alloc(&meta, 4 * HM_MIB, 64);
    char *first = hm_meta_alloc(&meta, 100, 64);
    char *piece = first;
    char *last = first;

    cr_assert_not_null(table);
    cr_assert_eq((uintptr_t)table % 64, 0);
    memset(table, 1, 4 * HM_MIB);
    while (fake.call_count[FAKE_MAP_META] == 1) {
        cr_assert_eq(piece[0], 0);
        cr_assert(piece >= table + 4 * HM_MIB);
        last = piece;
        piece = hm_meta_alloc(&meta, 100, 64);
    }
    cr_assert_gt((size_t)(last - first), 100 * HM_KIB, "there is room for more");
    cr_assert_eq(meta.mapped_bytes, fake.meta_bytes);
}

/* What is touched lies together, what is not lies at the other end. */
Test(meta, tables_come_from_the_end)
{
    char *first = hm_meta_alloc(&meta, 100, 64);
    char *table = hm_meta_alloc_table(&meta, 10000);
    char *other = hm_meta_alloc_table(&meta, 5001);
    char *piece = hm_meta_alloc(&meta, 100, 64);

    cr_assert_eq(piece - first, 128);
    cr_assert_gt(table - first, 100000);
    cr_assert_eq((uintptr_t)table % 64, 0);
    cr_assert_eq((uintptr_t)other % 64, 0);
    cr_assert(other + 5001 <= table);
    memset(table, 1, 10000);
    memset(other, 1, 5001);
    while (fake.call_count[FAKE_MAP_META] == 1) {
        cr_assert_eq(piece[0], 0, "nothing overlaps");
        cr_assert(piece + 100 <= other);
        piece = hm_meta_alloc(&meta, 100, 64);
    }
    cr_assert_not_null(hm_meta_alloc_table(&meta, 40 * HM_KIB), "also where a chunk has no room");
    cr_assert_not_null(hm_meta_alloc_table(&meta, 2 * HM_MIB));
    cr_assert_eq(meta.mapped_bytes, fake.meta_bytes);
}

Test(meta, no_memory_is_null_and_heals)
{
    cr_assert_not_null(hm_meta_alloc(&meta, 64, 64));
    fake_os_fail(&fake, FAKE_MAP_META, 1, ENOMEM, true);
    cr_assert_not_null(hm_meta_alloc(&meta, 64, 64), "what is there can still be handed out");
    cr_assert_null(hm_meta_alloc(&meta, HM_MIB, 64));
    while (hm_meta_alloc(&meta, 4096, 64) != NULL)
        continue;
    cr_assert_null(hm_meta_alloc(&meta, 4096, 64));
    fake_os_heal(&fake);
    cr_assert_not_null(hm_meta_alloc(&meta, 4096, 64));
    cr_assert_not_null(hm_meta_alloc(&meta, HM_MIB, 64));
}

/* What was mapped ahead serves when the kernel refuses. */
Test(meta, prepared_memory_is_there_when_the_kernel_refuses)
{
    size_t got_bytes = 0;

    cr_assert_not_null(hm_meta_alloc(&meta, 64, 64));
    hm_meta_prepare(&meta, 3 * HM_MIB);
    hm_meta_prepare(&meta, 3 * HM_MIB);
    cr_assert_eq(fake.call_count[FAKE_MAP_META], 2, "one chunk ahead is enough");
    fake_os_fail(&fake, FAKE_MAP_META, 1, ENOMEM, true);
    while (hm_meta_alloc(&meta, 4096, 64) != NULL)
        got_bytes += 4096;
    cr_assert_geq(got_bytes, 3 * HM_MIB);
    hm_meta_prepare(&meta, 3 * HM_MIB);
    cr_assert_null(hm_meta_alloc(&meta, 4096, 64));
    fake_os_heal(&fake);
    hm_meta_prepare(&meta, 3 * HM_MIB);
    cr_assert_not_null(hm_meta_alloc(&meta, 4096, 64));
    cr_assert_eq(meta.mapped_bytes, fake.meta_bytes);
}

Test(meta, residency_is_that_of_all_chunks)
{
    struct hm_residency sum = { 0 };

    cr_assert_eq(hm_meta_scan(&meta, &sum), 0);
    cr_assert_eq(sum.resident_bytes, 0);
    hm_meta_alloc(&meta, 100, 16);
    hm_meta_alloc(&meta, HM_MIB, 16);
    cr_assert_eq(hm_meta_scan(&meta, &sum), 0);
    cr_assert_eq(sum.resident_bytes, fake.meta_bytes);
    fake_os_fail(&fake, FAKE_SCAN, 2, EPERM, false);
    cr_assert_eq(hm_meta_scan(&meta, &sum), -EPERM);
}
