/* SPDX-License-Identifier: MIT */
/* story.c - the life of a heap on the fake kernel, while calls of the kernel fail (see story.h).
 *
 * Problem     The ways out of an allocator that is refused something are many, and hardly ever
 *             taken.
 * Idea        A fixed story: threads on several memory nodes, growth past the ramp, large and
 *             mapped blocks, resizing, a limit of address space, remote frees, a dead thread and
 *             the adoption of what it left, trimming, a report, forks, on the side of the parent
 *             and of the child, memory taken and given again and again, everything freed. No crash;
 *             what fails says so, has changed nothing, and succeeds when it is tried again after
 *             the fault is lifted; the invariants hold in between; at the end nothing is left.
 * State       `trial` and `rig`.
 */
#include "story.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "heap/purge.h"
#include "heap/rejoin.h"
#include "heap/shadow.h"
#include "stats/stats.h"

#define BLOCKS 4000

struct trial trial;
struct rig rig;

struct block {
    uintptr_t addr;
    size_t usable_bytes;
};

static struct hm_tcache *caches[2];
static struct block blocks[BLOCKS];
static size_t block_count;

void __attribute__((noreturn)) story_fail(const char *what)
{
    printf(
        "fault: FAILED: story %zu, call %llu of %s (%s) fails %s with errno %d: %s\n",
        trial.story_idx, (unsigned long long)trial.nth, fake_os_kind_name(trial.kind),
        fake_os_kind_name(rig.fake.fault.failed_count > 0 ? rig.fake.fault.failed_kind : FAKE_ANY),
        trial.stays ? "for good" : "once", trial.error, what);
    fflush(stdout);
    _exit(1);
}

/* --- what must hold --------------------------------------------------------------------------- */

bool
story_is_pool_required(void)
{
    return strcmp(trial.story->chain, "hugetlb") == 0
           || strcmp(trial.story->chain, "hugetlb:16M") == 0;
}

bool
story_may_fail(enum fake_call_kind failed)
{
    return failed == FAKE_RESERVE || failed == FAKE_COMMIT || failed == FAKE_MAP_META
           || failed == FAKE_LOCK || (failed == FAKE_UNMAP && rig.fake.limit_bytes != SIZE_MAX)
           || (failed == FAKE_ADVISE_HUGE && strstr(trial.story->chain, "4k") == NULL)
           || (failed >= FAKE_POOL_KERNEL && failed <= FAKE_POOL_MOVE && story_is_pool_required());
}

/* The heap is in order, and the blocks of the story are what they were. */
static void
check(void)
{
    const char *broken = rig_check(&rig);
    size_t page_bytes = hm_page_bytes(&rig.heap.geom);
    size_t live_bytes = 0;
    struct hm_stats stats;

    if (broken != NULL)
        story_fail(broken);
    for (size_t i = 0; i < block_count; i++) {
        uintptr_t page = hm_align_down(blocks[i].addr, page_bytes);

        live_bytes += blocks[i].usable_bytes;
        if (rig_usable(&rig, blocks[i].addr) != blocks[i].usable_bytes)
            story_fail("a block has another size than before");
        if (fake_space_is_zero(&rig.fake.space, page, page_bytes))
            story_fail("the contents of a live block are gone");
    }
    hm_stats_read(&rig.pool, false, &stats);
    if (stats.live_bytes != live_bytes)
        story_fail("the statistics count other live bytes than the story");
}

/* An operation said that there is no memory. Returns with the fault lifted. */
static void
expect_fault(void)
{
    if (rig.fake.fault.failed_count == 0)
        story_fail("an operation failed without a fault");
    if (!trial.stays && !story_may_fail(rig.fake.fault.failed_kind))
        story_fail("an operation failed because of a call that it could have done without");
    check();
    fake_os_heal(&rig.fake);
    /* Else the pool is left alone for a while, and for good after some answers. */
    memset(rig.heap.backing.pools, 0, sizeof(rig.heap.backing.pools));
}

static uintptr_t
alloc(int thread, size_t size_bytes, size_t align_bytes)
{
    bool is_zero = false;
    uintptr_t addr;

    rig.fake.here = thread == 0 ? 0 : trial.story->node_count;
    addr = rig_alloc(&rig, caches[thread], size_bytes, align_bytes, &is_zero);
    if (addr == 0) {
        expect_fault();
        addr = rig_alloc(&rig, caches[thread], size_bytes, align_bytes, &is_zero);
    }
    if (addr == 0)
        story_fail("an operation fails again after the fault was lifted");
    if (is_zero && !fake_space_is_zero(&rig.fake.space, addr, rig_usable(&rig, addr)))
        story_fail("memory that was written to is called zero");
    fake_space_touch(&rig.fake.space, addr, size_bytes);
    if (block_count == BLOCKS)
        story_fail("the story has more blocks than there is room for");
    blocks[block_count++] = (struct block){ addr, rig_usable(&rig, addr) };
    return addr;
}

static void
resize(int thread, size_t idx, size_t size_bytes)
{
    uintptr_t addr = rig_realloc(&rig, caches[thread], blocks[idx].addr, size_bytes);

    if (addr == 0) {
        expect_fault();
        addr = rig_realloc(&rig, caches[thread], blocks[idx].addr, size_bytes);
    }
    if (addr == 0)
        story_fail("realloc fails again after the fault was lifted");
    fake_space_touch(&rig.fake.space, addr, size_bytes);
    blocks[idx] = (struct block){ addr, rig_usable(&rig, addr) };
}

static struct hm_tcache *
new_thread(void)
{
    struct hm_tcache *cache = hm_tcache_acquire(&rig.pool, 0);

    if (cache == NULL) {
        expect_fault();
        cache = hm_tcache_acquire(&rig.pool, 0);
    }
    if (cache == NULL)
        story_fail("a thread gets no cache after the fault was lifted");
    hm_mixing_start(cache);
    return cache;
}

/* Free every second block, or all of them. */
static void
free_some(int thread, size_t step)
{
    size_t kept_count = 0;

    for (size_t i = 0; i < block_count; i++) {
        if (i % step == 0)
            rig_free(&rig, caches[thread], blocks[i].addr);
        else
            blocks[kept_count++] = blocks[i];
    }
    block_count = kept_count;
}

/* --- the story -------------------------------------------------------------------------------- */

void
story_set_up(void)
{
    fake_os_init(&rig.fake, trial.story->page_bytes, trial.story->hpage_bytes);
    rig.fake.tick_ns = 1000000;
    rig.fake.space.pool_bytes = trial.story->pool_bytes;
    if (trial.story->pool_shift != 0)
        rig.fake.space.pool_shift = trial.story->pool_shift;
    for (unsigned node = 1; node < trial.story->node_count; node++)
        hm_node_add(&rig.fake.nodes, rig.fake.nearest = node);
    hm_conf_defaults(&rig.conf);
    rig_chain(&rig, trial.story->chain);
    rig.conf.is_locked = trial.story->is_locked;
    rig.conf.huge_start_bytes = trial.story->huge_start_bytes;
    rig.conf.numa = trial.story->numa;
    rig.pagemap = (struct hm_pagemap){ 0 };
    if (trial.nth != 0)
        fake_os_fail(&rig.fake, trial.kind, trial.nth, trial.error, trial.stays);
}

static void
begin(void)
{
    const struct hm_geom *geom = &rig.fake.space.geom;

    block_count = 0;
    story_set_up();
    if (hm_heap_init(&rig.heap, &rig.pagemap, &rig.fake.os, &rig.conf, geom) != 0) {
        if (rig.fake.fault.failed_count == 0)
            story_fail("no heap, without a fault");
        fake_os_heal(&rig.fake);
        if (hm_heap_init(&rig.heap, &rig.pagemap, &rig.fake.os, &rig.conf, geom) != 0)
            story_fail("no heap after the fault was lifted");
    }
    hm_pool_init(&rig.pool, &rig.heap);
}

static void
grow(void)
{
    caches[0] = new_thread();
    caches[1] = new_thread();
    for (size_t size_bytes = 16; size_bytes <= 32 * HM_KIB; size_bytes *= 2)
        for (int i = 0; i < (size_bytes <= 512 ? 150 : 40); i++)
            alloc(i % 2, size_bytes, 16);
    for (int i = 0; i < 30; i++)
        alloc(0, 700 * HM_KIB, 16);
    for (int i = 0; i < 20; i++)
        alloc(1, 5 * HM_MIB / 2 + 4096, 16);
    alloc(0, 100, 64 * HM_KIB);
    /* A mapping of its own, which cannot come from the pool. */
    if (!story_is_pool_required())
        alloc(0, 5000, 8 * HM_MIB);
    check();
}

static void
resize_blocks(void)
{
    size_t mapped_idx = block_count;
    size_t run_idx = block_count + 1;

    /* Each time to where the pagemap has no leaf yet. */
    rig.fake.space.base_addr += HM_GIB << 6;
    alloc(0, 48 * HM_MIB, 16);
    alloc(1, 300 * HM_KIB, 16);
    resize(0, mapped_idx, 64 * HM_MIB + 12288);
    rig.fake.no_room_to_grow = true;
    rig.fake.space.base_addr += HM_GIB << 6;
    resize(0, mapped_idx, 200 * HM_MIB);
    resize(1, mapped_idx, 40 * HM_MIB);
    resize(1, run_idx, 500 * HM_KIB);
    resize(1, run_idx, 5 * HM_MIB);
    resize(1, run_idx, 50 * HM_KIB);
    resize(0, run_idx, 80 * HM_MIB);
    resize(0, mapped_idx, 3 * HM_MIB);
    resize(0, mapped_idx, 100);
    check();
}

/* Address space as it is and no more: a mapping gets what the extents do not need. That munmap
 * fails is then another reason that there is none. */
static void
tighten(void)
{
    size_t first_idx = block_count;

    for (int i = 0; i < 4; i++)
        alloc(0, 31 * HM_MIB, 16);
    for (size_t i = first_idx; i < block_count; i++)
        rig_free(&rig, caches[1], blocks[i].addr);
    block_count = first_idx;
    rig.fake.limit_bytes = rig.fake.space.reserved_bytes;
    for (int i = 0; i < 2; i++) {
        alloc(i, 40 * HM_MIB, 16);
        check();
    }
    alloc(0, 3 * HM_MIB, 16);
    rig.fake.limit_bytes = SIZE_MAX;
    check();
}

static void
wait_ms(uint64_t delay_ms)
{
    rig.fake.now_ns += delay_ms * 1000000;
}

/* What is taken and given again and again is kept, lent to the kernel when it is not wanted for a
 * while, and goes back. */
static void
swing(void)
{
    size_t first_idx = block_count;

    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 12; i++)
            alloc(0, 2 * HM_MIB, 16);
        for (size_t i = first_idx; i < block_count; i++)
            rig_free(&rig, caches[0], blocks[i].addr);
        block_count = first_idx;
    }
    check();
    for (int i = 0; i < 4; i++) {
        wait_ms(700);
        alloc(0, 3 * HM_MIB, 16);
        free_some(0, block_count);
    }
    check();
}

/* A child comes and goes. What is on hugetlb pages is copied for it; what the parent writes to
 * meanwhile is split, and joined afterwards. */
static void
outlive_child(void)
{
    static const uintptr_t nowhere[HM_SHADOW_NEEDED];

    hm_lock_take_for_fork(&rig.heap.lock);
    hm_rejoin_forking(&rig.heap);
    (void)hm_shadow_cast(&rig.heap, nowhere);
    fake_space_fork(&rig.fake.space);
    hm_shadow_drop(&rig.heap);
    hm_lock_give_after_fork(&rig.heap.lock);
    check();
    for (size_t i = 0; i < block_count; i += 10)
        fake_space_touch(&rig.fake.space, blocks[i].addr, 1);
    for (int i = 0; i < 8; i++) {
        if (i == 4)
            fake_space_join(&rig.fake.space);
        wait_ms(200);
        alloc(0, 40 * HM_KIB, 16);
    }
    check();
}

/* What malloc_trim does; whether anything went back is no matter here. */
static void
trim(int thread)
{
    hm_tcache_trim(caches[thread]);
    hm_lock_take(&rig.heap.lock);
    (void)hm_purge_all(&rig.heap);
    hm_lock_give(&rig.heap.lock);
    check();
}

/* The kernel may not say what is resident: then the report has to say that. */
static void
report(void)
{
    uint64_t failed_count = rig.fake.fault.failed_count;
    struct hm_stats stats;

    hm_stats_read(&rig.pool, true, &stats);
    if (stats.has_kernel != (rig.fake.fault.failed_count == failed_count))
        story_fail("the report does not know whether the kernel was asked");
    check();
}

/* Go on as the forked child of one thread; what the other one had is adopted. */
static void
go_on_as_child(void)
{
    hm_lock_take(&rig.heap.lock);
    hm_pool_after_fork(&rig.pool, caches[0]);
    hm_lock_give(&rig.heap.lock);
    check();
    caches[1] = new_thread();
    for (int i = 0; i < 70; i++)
        alloc(1, (size_t)16 << i % 12, 16);
    check();
}

static void
end(void)
{
    free_some(0, 2);
    check();
    hm_tcache_retire(caches[1]);
    caches[1] = new_thread();
    for (int i = 0; i < 70; i++)
        alloc(1, 1024, 16);
    trim(1);
    free_some(1, 3);
    check();
    report();
    go_on_as_child();
    outlive_child();
    swing();
    alloc(0, 3 * HM_MIB, 16);
    trim(0);
    free_some(0, 1);
    hm_tcache_retire(caches[0]);
    hm_tcache_retire(caches[1]);
    check();
}

static void
check_nothing_left(void)
{
    size_t extent_bytes = 0;

    fake_os_heal(&rig.fake);
    hm_purge_all(&rig.heap);
    check();
    if (rig.heap.used_pages != 0 || rig.heap.direct_bytes != 0 || rig.heap.span_count != 0
        || rig.pool.orphan_count != 0)
        story_fail("memory is in use after everything was freed");
    if (rig.heap.kept_count != 0)
        story_fail("memory is kept after all of it was purged");
    for (struct hm_extent *extent = rig.heap.extents; extent != NULL; extent = extent->next)
        extent_bytes += extent->region_count << rig.heap.geom.region_shift;
    /* What the kernel would not unmap trial.stays, without memory in it. */
    if (rig.fake.space.reserved_bytes != extent_bytes
        && (rig.fake.fault.failed_count == 0
            || (!trial.stays && rig.fake.fault.failed_kind != FAKE_UNMAP)))
        story_fail("address space is lost");
}

void
story_tell(void)
{
    begin();
    grow();
    resize_blocks();
    tighten();
    end();
    check_nothing_left();
}
