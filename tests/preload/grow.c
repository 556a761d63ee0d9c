/* SPDX-License-Identifier: MIT */
/* grow.c - blocks that realloc makes longer and shorter keep their bytes, lie on huge pages, and
 * take no more memory than they need.
 *
 * Problem     A block that is resized passes from slots to runs to mappings and back, in place or
 *             not, by copying or by moving page tables: each way may lose bytes, or pages.
 * Idea        Each page of a block bears its number and the block's at known places. Resize some
 *             blocks at random and look at them; then compare what the kernel says is resident with
 *             what the blocks need.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "preload/expect.h"
#include "support/smaps.h"

enum {
    SLOTS = 24,
    STEPS = 50000,
    PAGE_BYTES = 4096,
    MIB = 1 << 20,
    SMALL_MAX_BYTES = 32 << 10,
    GROWN_MIB = 192,
};

struct block {
    char *mem;
    size_t size_bytes;
    uint32_t seed;
};

static struct block blocks[SLOTS];
static uint64_t state = 0x9e3779b97f4a7c15;

static uint32_t
stamp_of(const struct block *block, size_t page_idx)
{
    return block->seed ^ (uint32_t)(page_idx * 0x9e3779b1);
}

/* How many stamps a block has: one at the start of each page that has room for it. */
static size_t
stamp_count(size_t size_bytes)
{
    return size_bytes < sizeof(uint32_t) ? 0 : (size_bytes - sizeof(uint32_t)) / PAGE_BYTES + 1;
}

static void
fill(struct block *block, size_t from_idx)
{
    for (size_t page_idx = from_idx; page_idx < stamp_count(block->size_bytes); page_idx++) {
        uint32_t stamp = stamp_of(block, page_idx);

        memcpy(block->mem + page_idx * PAGE_BYTES, &stamp, sizeof(stamp));
    }
}

static void
look(const struct block *block, size_t page_idx)
{
    uint32_t stamp;

    memcpy(&stamp, block->mem + page_idx * PAGE_BYTES, sizeof(stamp));
    expect(stamp == stamp_of(block, page_idx), "page %zu of a block of %zu bytes", page_idx,
           block->size_bytes);
}

static void
look_at_all(const struct block *block)
{
    for (size_t page_idx = 0; page_idx < stamp_count(block->size_bytes); page_idx++)
        look(block, page_idx);
}

/* Sizes of all orders up to 8 MiB; mostly near the old one. */
static size_t
new_size(size_t old_bytes, size_t least_bytes)
{
    if (draw(&state) % 4 != 0)
        return least_bytes + old_bytes / 4 * (2 + draw(&state) % 5) % ((size_t)8 * MIB);
    return least_bytes + ((size_t)8 * MIB >> draw(&state) % 18) * (draw(&state) % 1024) / 1024;
}

static void
resize(struct block *block, size_t size_bytes)
{
    size_t old_count = stamp_count(block->size_bytes);
    size_t kept_count = stamp_count(size_bytes);
    char *mem = realloc(block->mem, size_bytes);

    expect(mem != NULL, "%zu bytes", size_bytes);
    expect(((uintptr_t)mem & 15) == 0, "%p", (void *)mem);
    block->mem = mem;
    block->size_bytes = size_bytes;
    if (kept_count > old_count)
        kept_count = old_count;
    for (size_t i = 0; i < 8 && kept_count > 0; i++)
        look(block, i == 0 ? kept_count - 1 : draw(&state) % kept_count);
    fill(block, old_count);
}

static unsigned long
rss_kib(void)
{
    struct hm_smaps sum = { 0 };

    expect(hm_smaps_read(&sum) == 0, "smaps_rollup");
    return sum.rss_kib;
}

/* What the blocks need, in whole pages. */
static unsigned long
need_kib(void)
{
    unsigned long kib = 0;

    for (size_t i = 0; i < SLOTS; i++)
        kib += (blocks[i].size_bytes + PAGE_BYTES - 1) / PAGE_BYTES * (PAGE_BYTES / 1024);
    return kib;
}

/* Kept for the next requests: some megabytes; the tail of each block: an eighth; a huge page for
 * each block that has one for itself. */
static void
compare(unsigned long start_kib)
{
    unsigned long need = need_kib();
    unsigned long rss = rss_kib() - start_kib;

    expect(rss <= need + need / 8 + (16 + 2 * SLOTS) * 1024UL, "%lu KiB resident, %lu in blocks",
           rss, need);
}

static void
at_random(size_t least_bytes)
{
    unsigned long start_kib = rss_kib();
    unsigned long peak_kib = 0;

    for (size_t step = 0; step < STEPS; step++) {
        struct block *block = &blocks[draw(&state) % SLOTS];

        if (block->mem == NULL)
            *block = (struct block){ .seed = (uint32_t)draw(&state) };
        resize(block, new_size(block->size_bytes, least_bytes));
        if (need_kib() > peak_kib)
            peak_kib = need_kib();
        if (draw(&state) % 64 == 0) {
            look_at_all(block);
            free(block->mem);
            *block = (struct block){ 0 };
        }
        if (step % 4096 == 0)
            compare(start_kib);
    }
    for (size_t i = 0; i < SLOTS; i++) {
        look_at_all(&blocks[i]);
        free(blocks[i].mem);
        blocks[i] = (struct block){ 0 };
    }
    /* Spans of slots may stay, the last of each class. */
    if (least_bytes > SMALL_MAX_BYTES)
        expect(rss_kib() - start_kib <= 16 * 1024 + peak_kib / 20, "%lu KiB are left of %lu",
               rss_kib() - start_kib, peak_kib);
}

/* In steps of a megabyte, with and without something in the way. Each time the block shall end up
 * on huge pages, as far as they are allowed at all. */
static void
in_steps(bool is_blocked)
{
    struct block *block = &blocks[0];
    struct hm_smaps start = { 0 };
    struct hm_smaps sum = { 0 };
    unsigned long huge_kib;
    void *in_way[GROWN_MIB];

    expect(hm_smaps_read(&start) == 0, "smaps_rollup");
    block->seed = 7;
    for (size_t i = 0; i < GROWN_MIB; i++) {
        resize(block, (i + 1) * MIB);
        in_way[i] = MAP_FAILED;
        if (is_blocked)
            in_way[i] = mmap(NULL, 2 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    expect(hm_smaps_read(&sum) == 0, "smaps_rollup");
    huge_kib = sum.anon_huge_kib - start.anon_huge_kib;
    (void)dprintf(STDOUT_FILENO, "%d MiB in steps%s: %lu KiB on huge pages, %lu resident\n",
                  GROWN_MIB, is_blocked ? ", blocked" : "", huge_kib, sum.rss_kib - start.rss_kib);
    if (hm_smaps_thp_mode() == HM_THP_MADVISE || hm_smaps_thp_mode() == HM_THP_ALWAYS)
        expect(huge_kib >= (GROWN_MIB - GROWN_MIB / 16) * 1024UL, "%lu KiB are huge", huge_kib);
    look_at_all(block);
    for (size_t i = GROWN_MIB; i-- > 1;)
        resize(block, i * MIB);
    look_at_all(block);
    free(block->mem);
    *block = (struct block){ 0 };
    for (size_t i = 0; i < GROWN_MIB; i++)
        if (in_way[i] != MAP_FAILED)
            (void)munmap(in_way[i], 2 * MIB);
}

int
main(void)
{
    in_steps(false);
    in_steps(true);
    at_random(SMALL_MAX_BYTES + 1);
    at_random(1);
    return 0;
}
