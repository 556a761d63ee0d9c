/* SPDX-License-Identifier: MIT */
/* story_arena.c - the life of an arena on the fake kernel, while calls of the kernel fail.
 *
 * Problem     An arena must fail as a whole or not at all: one that cannot be made leaves nothing,
 *             and one that is destroyed gives everything back, whatever failed before.
 * Idea        A fixed story: created with memory opened ahead, small, large, aligned and mapped
 *             blocks, resizing, reset, trim, destroyed with blocks in it. An arena that is closed
 *             calls the kernel no more until then. Small blocks have contents; of the others it is
 *             known which pages were written to. What fails says so, has changed nothing, and
 *             succeeds when it is tried again after the fault is lifted.
 * State       `arena`, and of `rig` the kernel, the settings and the map.
 */
#include <stdlib.h>
#include <string.h>

#include "arena/arena.h"
#include "stats/stats.h"
#include "story.h"
#include "support/contents.h"

#define BLOCKS 600
#define AHEAD_BYTES (6 * HM_MIB)
#define CONTENTS_MAX_BYTES (32 * HM_KIB)
#define OWN_ID ((uintptr_t)0x1234)

struct block {
    uintptr_t addr;
    size_t size_bytes;
    size_t usable_bytes;
    uint64_t seed; /* of its contents, if it is small */
};

static struct hm_arena arena;
static struct hm_meta map_meta;
static struct hm_arena_site site;
static struct hm_tcache *caches[2];
static struct block blocks[BLOCKS];
static size_t block_count;
static uint64_t next_seed;
static bool is_shared;
static bool is_closed;

/* --- what must hold --------------------------------------------------------------------------- */

static struct hm_span *
span_at(uintptr_t addr)
{
    return hm_pagemap_get(&rig.pagemap, addr);
}

static bool
walk_contents(const struct block *block, size_t kept_bytes, bool write)
{
    if (block->size_bytes > CONTENTS_MAX_BYTES)
        return true;
    return contents_walk((unsigned char *)block->addr, block->size_bytes, block->seed, kept_bytes,
                         write);
}

static void
check_block(const struct block *block)
{
    size_t page_bytes = hm_page_bytes(&arena.heap.geom);
    struct hm_span *span = span_at(block->addr);

    if (span == NULL || span->heap != &arena.heap || !hm_span_has_block(span, block->addr))
        story_fail("a block is none any more");
    if (hm_span_room(span, block->addr) != block->usable_bytes)
        story_fail("a block has another size than before");
    if (fake_space_is_zero(&rig.fake.space, hm_align_down(block->addr, page_bytes), page_bytes))
        story_fail("the memory of a live block was given back");
    if (!walk_contents(block, block->size_bytes, false))
        story_fail("the contents of a live block have changed");
}

static void
check(void)
{
    const char *broken = hm_pheap_check(&arena.heap);
    size_t live_bytes = 0;
    struct hm_stats stats;
    uintptr_t addr;

    if (broken == NULL)
        broken = hm_pool_check(&arena.pool, &addr);
    if (broken != NULL)
        story_fail(broken);
    for (size_t i = 0; i < block_count; i++) {
        check_block(&blocks[i]);
        live_bytes += blocks[i].usable_bytes;
    }
    hm_stats_read(&arena.pool, false, &stats);
    if (stats.live_bytes != live_bytes)
        story_fail("the statistics count other live bytes than the story");
}

/* Something said that there is no memory. */
static void
expect_fault(void)
{
    if (rig.fake.fault.failed_count == 0)
        story_fail("an operation failed without a fault");
    if (!trial.stays && !story_may_fail(rig.fake.fault.failed_kind))
        story_fail("an operation failed because of a call that it could have done without");
}

/* The same of an arena that lives. Returns with the fault lifted. */
static void
expect_refusal(void)
{
    expect_fault();
    check();
    fake_os_heal(&rig.fake);
    /* Else the pool is left alone for a while, and for good after some answers. */
    memset(arena.heap.backing.pools, 0, sizeof(arena.heap.backing.pools));
}

/* What the kernel would not unmap stays, in one way or another. */
static void
check_nothing_left(void)
{
    bool has_failed = rig.fake.fault.failed_count > 0;
    bool may_stay = has_failed && (trial.stays || rig.fake.fault.failed_kind == FAKE_UNMAP);

    if (rig.fake.space.reserved_bytes != 0 && !may_stay)
        story_fail("address space is left of an arena");
    if (rig.fake.meta_bytes != map_meta.mapped_bytes && !may_stay)
        story_fail("metadata is left of an arena");
    if (rig.fake.space.pool_used_bytes != 0 && !(has_failed && trial.stays))
        story_fail("pages of the pool are left of an arena");
}

/* --- operations ------------------------------------------------------------------------------- */

static void
enter(struct block *block, uintptr_t addr, size_t size_bytes)
{
    *block = (struct block){ addr, size_bytes, hm_span_room(span_at(addr), addr), next_seed++ };
    fake_space_touch(&rig.fake.space, addr, size_bytes);
    (void)walk_contents(block, size_bytes, true);
}

static uintptr_t
try_alloc(struct hm_tcache *cache, size_t size_bytes, size_t align_bytes)
{
    if (align_bytes == 0)
        return (uintptr_t)hm_arena_calloc(&arena, cache, size_bytes);
    return (uintptr_t)hm_arena_alloc(&arena, cache, size_bytes, align_bytes);
}

/* align_bytes 0: of zeros. Returns false if a closed arena has no more. */
static bool
alloc(int thread, size_t size_bytes, size_t align_bytes)
{
    uintptr_t addr = try_alloc(caches[thread], size_bytes, align_bytes);

    if (addr == 0 && is_closed) {
        check();
        return false;
    }
    if (addr == 0) {
        expect_refusal();
        addr = try_alloc(caches[thread], size_bytes, align_bytes);
    }
    if (addr == 0)
        story_fail("an operation fails again after the fault was lifted");
    if (align_bytes == 0
        && (*(char *)addr != 0 || memcmp((char *)addr, (char *)addr + 1, size_bytes - 1) != 0))
        story_fail("calloc returns what is not zero");
    if (align_bytes != 0 && addr % align_bytes != 0)
        story_fail("a block is not aligned");
    if (block_count == BLOCKS)
        story_fail("the story has more blocks than there is room for");
    enter(&blocks[block_count++], addr, size_bytes);
    return true;
}

static void
resize(int thread, size_t idx, size_t size_bytes)
{
    struct block block = blocks[idx];
    void *mem = (void *)block.addr;
    void *moved = hm_arena_realloc(&arena, caches[thread], span_at(block.addr), mem, size_bytes);

    if (moved == NULL) {
        /* It may have been moved and copied back, which the fake kernel cannot see. */
        fake_space_touch(&rig.fake.space, block.addr, block.size_bytes);
        expect_refusal();
        moved = hm_arena_realloc(&arena, caches[thread], span_at(block.addr), mem, size_bytes);
    }
    if (moved == NULL)
        story_fail("realloc fails again after the fault was lifted");
    block.addr = (uintptr_t)moved;
    if (!walk_contents(&block, block.size_bytes < size_bytes ? block.size_bytes : size_bytes,
                       false))
        story_fail("realloc loses contents");
    enter(&blocks[idx], block.addr, size_bytes);
}

static void
free_some(int thread, size_t step)
{
    size_t kept_count = 0;

    for (size_t i = 0; i < block_count; i++) {
        if (i % step == 0)
            hm_arena_free(&arena, caches[thread], span_at(blocks[i].addr), blocks[i].addr);
        else
            blocks[kept_count++] = blocks[i];
    }
    block_count = kept_count;
}

static void
reset(void)
{
    hm_arena_reset(&arena);
    for (size_t i = 0; i < block_count; i++) {
        struct hm_span *span = span_at(blocks[i].addr);

        if (span != NULL && hm_span_has_block(span, blocks[i].addr))
            story_fail("a block lives after a reset");
    }
    block_count = 0;
    check();
}

/* --- the story -------------------------------------------------------------------------------- */

/* Returns whether there is an arena; if not, nothing is left of it. */
static bool
create(void)
{
    struct hm_run run;

    if (hm_arena_init(&arena, &site, &rig.conf, HM_CUTOFF_MOVES, is_shared ? 0 : OWN_ID) != 0)
        return false;
    if (hm_arena_open(&arena, site.os, AHEAD_BYTES, &run) != 0) {
        hm_arena_fini(&arena, true);
        return false;
    }
    fake_space_touch(&rig.fake.space, run.addr, hm_pages_to_bytes(&arena.heap.geom, run.len_pages));
    hm_arena_settle(&arena, &run);
    return true;
}

static struct hm_tcache *
new_thread(void)
{
    struct hm_tcache *cache = hm_tcache_acquire(&arena.pool, 0);

    if (cache == NULL) {
        expect_refusal();
        cache = hm_tcache_acquire(&arena.pool, 0);
    }
    if (cache == NULL)
        story_fail("a thread gets no cache after the fault was lifted");
    return cache;
}

static void
begin(void)
{
    block_count = 0;
    next_seed = 0;
    is_closed = false;
    story_set_up();
    hm_meta_init(&map_meta, &rig.fake.os);
    site = (struct hm_arena_site){ &rig.pagemap, &rig.fake.os, &rig.fake.space.geom };
    if (hm_pagemap_init(&rig.pagemap, &map_meta, SIZE_MAX) != 0) {
        expect_fault();
        fake_os_heal(&rig.fake);
        if (hm_pagemap_init(&rig.pagemap, &map_meta, SIZE_MAX) != 0)
            story_fail("no map after the fault was lifted");
    }
    if (!create()) {
        expect_fault();
        check_nothing_left();
        fake_os_heal(&rig.fake);
        if (!create())
            story_fail("no arena after the fault was lifted");
    }
    caches[0] = caches[1] = &arena.own;
    for (int i = 0; i < 2 && is_shared; i++)
        caches[i] = new_thread();
    check();
}

static void
grow(void)
{
    for (size_t size_bytes = 16; size_bytes <= 32 * HM_KIB; size_bytes *= 2)
        for (int i = 0; i < 12; i++)
            (void)alloc(i % 2, size_bytes, i % 4 == 3 ? 0 : 16);
    (void)alloc(0, HM_MIB, 0);
    for (int i = 0; i < 6; i++)
        (void)alloc(0, 700 * HM_KIB, 16);
    for (int i = 0; i < 5; i++)
        (void)alloc(1, 5 * HM_MIB / 2 + 4096, 16);
    (void)alloc(0, 100, 64 * HM_KIB);
    /* A mapping of its own, which cannot come from the pool. */
    if (!story_is_pool_required())
        (void)alloc(0, 5000, 8 * HM_MIB);
    check();
}

static void
resize_blocks(void)
{
    size_t mapped_idx = block_count;
    size_t small_idx = block_count + 1;

    (void)alloc(0, 5 * HM_MIB, 16);
    (void)alloc(1, 3000, 16);
    resize(0, mapped_idx, 7 * HM_MIB + 12288);
    rig.fake.no_room_to_grow = true;
    resize(0, mapped_idx, 18 * HM_MIB);
    resize(1, small_idx, 30 * HM_KIB);
    resize(1, small_idx, 500 * HM_KIB);
    resize(1, small_idx, 5 * HM_MIB);
    resize(0, small_idx, 50 * HM_KIB);
    resize(1, mapped_idx, 3 * HM_MIB);
    resize(0, mapped_idx, 100);
    check();
}

static void
refill(void)
{
    for (int i = 0; i < 60; i++)
        (void)alloc(i % 2, (size_t)16 << i % 12, 16);
    for (int i = 0; i < 3; i++)
        (void)alloc(i % 2, 3 * HM_MIB, 16);
    check();
}

/* A few blocks are still there, a mapping of its own among them. */
static void
end(void)
{
    refill();
    if (!is_closed && !story_is_pool_required())
        (void)alloc(1, 5000, 8 * HM_MIB);
    for (int i = 0; i < 2 && is_shared; i++)
        hm_tcache_retire(caches[i]);
    hm_arena_fini(&arena, true);
    for (size_t i = 0; i < block_count; i++)
        if (span_at(blocks[i].addr) != NULL)
            story_fail("the map knows a block of an arena that is gone");
    check_nothing_left();
}

static void
live(void)
{
    begin();
    grow();
    free_some(1, 3);
    check();
    resize_blocks();
    reset();
    refill();
    reset();
    (void)hm_arena_trim(&arena, caches[0]);
    check();
    end();
}

void
story_arena_tell(void)
{
    is_shared = false;
    live();
}

void
story_arena_shared_tell(void)
{
    is_shared = true;
    live();
}

/* As much as there is, three times. */
void
story_arena_fixed_tell(void)
{
    uint64_t call_count;

    is_shared = false;
    begin();
    hm_arena_equip(&arena);
    hm_arena_close(&arena);
    is_closed = true;
    call_count = fake_os_calls(&rig.fake);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; alloc(0, (size_t)16 << i % 14, i % 3 == 0 ? 0 : 16) && block_count < BLOCKS;
             i++)
            continue;
        if (block_count < 100)
            story_fail("an arena that was opened ahead has no room");
        free_some(0, 2);
        check();
        reset();
        (void)hm_arena_trim(&arena, caches[0]);
        check();
    }
    if (fake_os_calls(&rig.fake) != call_count)
        story_fail("a closed arena calls the kernel");
    end();
}
