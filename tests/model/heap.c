/* SPDX-License-Identifier: MIT */
/* heap.c - operations on a whole heap, against a model that is too simple to be wrong (see heap.h).
 *
 * Problem     Faults of an allocator hide in sequences that nobody would write down.
 * Idea        Several threads' caches in one thread, on the fake kernel, so that every run can be
 *             repeated. The model is a sorted array of live blocks: no two overlap, each is aligned
 *             and long enough, what was written to stays written, and all invariants of the heap
 *             hold. Each round has another machine and other settings, and ends with nothing left.
 * State       Everything is static: one heap at a time.
 */
#include "model/heap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/remote.h"
#include "heap/purge.h"
#include "stats/stats.h"
#include "support/rig.h"

#define CACHES 6
#define BLOCKS 6000

struct block {
    uintptr_t addr;
    size_t size_bytes; /* as asked for */
    size_t usable_bytes;
};

static struct rig rig;
static struct hm_tcache *caches[CACHES]; /* NULL: that thread does not exist now */
static struct block blocks[BLOCKS];      /* sorted by address */
static size_t block_count;
static size_t live_bytes; /* usable bytes of all blocks */
static struct model_peak peak;

static struct choice *choice; /* of the current round */
static unsigned step_idx;

/* --- choices, failures ------------------------------------------------------------------------ */

static size_t
below(size_t limit)
{
    return choice_below(choice, limit);
}

static bool
one_in(size_t count)
{
    return choice_one_in(choice, count);
}

static void __attribute__((noreturn)) fail(const char *what, uintptr_t addr)
{
    (void)dprintf(STDERR_FILENO, "model: FAILED: step %u: %s (%#zx)\n", step_idx, what,
                  (size_t)addr);
    abort();
}

/* --- the model -------------------------------------------------------------------------------- */

/* Index of the first block at or above `addr`. */
static size_t
idx_of(uintptr_t addr)
{
    size_t low = 0;
    size_t high = block_count;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (blocks[mid].addr >= addr)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

/* Pages that lie in the block, at its start and at its end, are written to. */
static void
touch(const struct block *block)
{
    size_t page_bytes = hm_page_bytes(&rig.heap.geom);
    size_t last_bytes = block->size_bytes < page_bytes ? block->size_bytes : page_bytes;

    if (block->size_bytes == 0)
        return;
    fake_space_touch(&rig.fake.space, block->addr, last_bytes);
    fake_space_touch(&rig.fake.space, block->addr + block->size_bytes - last_bytes, last_bytes);
}

static void
check_written(const struct block *block)
{
    size_t page_bytes = hm_page_bytes(&rig.heap.geom);
    uintptr_t last = block->addr + block->size_bytes - 1;

    if (block->size_bytes == 0)
        return;
    if (fake_space_is_zero(&rig.fake.space, hm_align_down(block->addr, page_bytes), page_bytes)
        || fake_space_is_zero(&rig.fake.space, hm_align_down(last, page_bytes), page_bytes))
        fail("memory of a live block was given back to the kernel", block->addr);
}

static void
insert(uintptr_t addr, size_t size_bytes, size_t align_bytes)
{
    struct block block = { addr, size_bytes, rig_usable(&rig, addr) };
    size_t idx = idx_of(addr);

    if (addr % align_bytes != 0)
        fail("a block is not aligned", addr);
    if (block.usable_bytes < size_bytes)
        fail("a block is too small", addr);
    if (idx > 0 && blocks[idx - 1].addr + blocks[idx - 1].usable_bytes > addr)
        fail("a block overlaps the one before", addr);
    if (idx < block_count && addr + block.usable_bytes > blocks[idx].addr)
        fail("a block overlaps the one behind", addr);
    memmove(blocks + idx + 1, blocks + idx, (block_count - idx) * sizeof(blocks[0]));
    blocks[idx] = block;
    block_count++;
    live_bytes += block.usable_bytes;
    peak.block_count = block_count > peak.block_count ? block_count : peak.block_count;
    peak.live_bytes = live_bytes > peak.live_bytes ? live_bytes : peak.live_bytes;
    touch(&block);
}

static void
erase(size_t idx)
{
    live_bytes -= blocks[idx].usable_bytes;
    block_count--;
    memmove(blocks + idx, blocks + idx + 1, (block_count - idx) * sizeof(blocks[0]));
}

/* --- operations ------------------------------------------------------------------------------- */

/* Most blocks are small, but each way through the allocator is taken often. */
static size_t
random_size(void)
{
    size_t kind = below(100);

    if (kind < 60)
        return below(1025);
    if (kind < 80)
        return below(33 * HM_KIB);
    if (kind < 93)
        return below((size_t)1 << (15 + below(8)));
    if (kind < 99)
        return below(4 * hm_region_bytes(&rig.heap.geom));
    return below((size_t)1 << (25 + below(8)));
}

static size_t
random_align(void)
{
    return one_in(8) ? (size_t)16 << below(one_in(4) ? 22 : 9) : 16;
}

static struct hm_tcache *
random_cache(void)
{
    struct hm_tcache *cache = caches[below(CACHES)];

    return cache != NULL ? cache : caches[0];
}

static void
do_alloc(void)
{
    size_t size_bytes = random_size();
    size_t align_bytes = random_align();
    bool is_zero = false;
    uintptr_t addr;

    if (block_count == BLOCKS)
        return;
    addr = rig_alloc(&rig, random_cache(), size_bytes, align_bytes, &is_zero);
    if (addr == 0)
        fail("no memory, though the kernel has some", size_bytes);
    if (is_zero && !fake_space_is_zero(&rig.fake.space, addr, rig_usable(&rig, addr)))
        fail("memory that was written to is called zero", addr);
    insert(addr, size_bytes, align_bytes);
}

static void
do_free(void)
{
    size_t idx;
    uintptr_t addr;

    if (block_count == 0)
        return;
    idx = below(block_count);
    addr = blocks[idx].addr;
    check_written(&blocks[idx]);
    erase(idx);
    rig_free(&rig, one_in(50) ? NULL : random_cache(), addr);
}

static void
do_realloc(void)
{
    size_t size_bytes = 1 + random_size();
    struct block block;
    uintptr_t addr;
    size_t idx;

    if (block_count == 0)
        return;
    idx = below(block_count);
    block = blocks[idx];
    if (one_in(2))
        size_bytes = 1 + below(2 * block.size_bytes + 16);
    check_written(&block);
    erase(idx);
    addr = rig_realloc(&rig, random_cache(), block.addr, size_bytes);
    if (addr == 0)
        fail("no memory, though the kernel has some", size_bytes);
    insert(addr, size_bytes, 16);
}

/* Free a stretch of neighbours, as programs do that tear something down. */
static void
do_free_many(void)
{
    size_t count = below(block_count / 4 + 1);
    size_t idx = below(block_count - count + 1);
    struct hm_tcache *cache = random_cache();

    while (count-- > 0) {
        uintptr_t addr = blocks[idx].addr;

        check_written(&blocks[idx]);
        erase(idx);
        rig_free(&rig, cache, addr);
    }
}

/* A thread ends or begins; the first one stays. */
static void
do_thread(void)
{
    struct hm_tcache **cache = &caches[1 + below(CACHES - 1)];

    if (*cache != NULL) {
        hm_tcache_retire(*cache);
        *cache = NULL;
    } else {
        *cache = hm_tcache_acquire(&rig.pool, 0);
        if (*cache == NULL)
            fail("no memory for a thread's cache", 0);
        if (one_in(2))
            hm_mixing_start(*cache);
    }
}

/* Go on as a forked child, whose only thread is one of the parent's. */
static void
do_fork(void)
{
    struct hm_tcache *self = random_cache();

    hm_lock_take(&rig.heap.lock);
    hm_pool_after_fork(&rig.pool, self);
    hm_lock_give(&rig.heap.lock);
    memset(caches, 0, sizeof(caches));
    caches[0] = self;
}

/* Where there is a limit of address space, even one that does not bind, extents are cut, too. */
static void
do_purge(void)
{
    rig.fake.limit_bytes = block_count % 2 == 0 ? SIZE_MAX : SIZE_MAX / 2;
    hm_tcache_trim(random_cache());
    hm_lock_take(&rig.heap.lock);
    hm_purge_all(&rig.heap);
    hm_lock_give(&rig.heap.lock);
}

/* --- rounds ----------------------------------------------------------------------------------- */

static void
check_all(void)
{
    const char *broken = rig_check(&rig);
    struct hm_stats stats;

    if (broken != NULL)
        fail(broken, 0);
    hm_stats_read(&rig.pool, false, &stats);
    if (stats.live_bytes != live_bytes)
        fail("live bytes differ from the model's", stats.live_bytes);
    for (size_t i = 0; i < block_count; i++)
        if (rig_usable(&rig, blocks[i].addr) != blocks[i].usable_bytes)
            fail("the usable size of a block has changed", blocks[i].addr);
}

static void
step(size_t alloc_share)
{
    size_t kind = below(1000);

    rig.fake.now_ns += 1000;
    if (kind < alloc_share)
        do_alloc();
    else if (kind < 900)
        do_free();
    else if (kind < 985)
        do_realloc();
    else if (kind < 990)
        do_thread();
    else if (kind < 992)
        do_free_many();
    else if (kind < 994)
        do_purge();
    else if (kind < 995 && one_in(4))
        do_fork();
    else if (kind < 997)
        rig.fake.no_room_to_grow = !rig.fake.no_room_to_grow;
}

static void
begin_round(void)
{
    static const size_t sizes[][2] = {
        { 4 * HM_KIB, 2 * HM_MIB },    { 4 * HM_KIB, 2 * HM_MIB },  { 16 * HM_KIB, 32 * HM_MIB },
        { 64 * HM_KIB, 512 * HM_MIB }, { 64 * HM_KIB, 2 * HM_MIB }, { 4 * HM_KIB, 0 },
    };
    static const char *const chains[] = { "thp,mthp,4k", "thp,4k", "4k", "4k,thp" };
    size_t machine = below(sizeof(sizes) / sizeof(sizes[0]));

    rig_init_on(&rig, sizes[machine][0], sizes[machine][1]);
    rig_chain(&rig, chains[below(4)]);
    rig.fake.has_mthp = true;
    if (one_in(3))
        rig.conf.huge_start_bytes = one_in(2) ? 0 : below(512 * HM_MIB);
    if (one_in(6))
        rig_thp_mode(&rig, (enum hm_thp_mode)below(HM_THP_PRCTL_OFF + 1));
    if (one_in(4))
        rig.fake.huge_room_bytes = below(64 * HM_MIB);
    caches[0] = hm_tcache_acquire(&rig.pool, 0);
    if (one_in(2))
        hm_mixing_start(caches[0]);
    block_count = 0;
    live_bytes = 0;
}

static void
end_round(void)
{
    while (block_count > 0)
        do_free();
    for (size_t i = 0; i < CACHES; i++) {
        if (caches[i] != NULL)
            hm_tcache_retire(caches[i]);
        caches[i] = NULL;
    }
    hm_lock_take(&rig.heap.lock);
    hm_pool_mend(&rig.pool);
    hm_lock_give(&rig.heap.lock);
    check_all();
    if (rig.heap.used_pages != 0 || rig.heap.direct_bytes != 0 || rig.heap.span_count != 0)
        fail("memory is in use after everything was freed", rig.heap.used_pages);
    if (rig.pool.orphan_count != 0)
        fail("there are orphans after everything was freed", rig.pool.orphan_count);
    hm_purge_all(&rig.heap);
    if (rig.heap.kept_count != 0 || rig.heap.dirty_free_pages != 0)
        fail("memory is kept after all of it was purged", rig.heap.kept_count);
    check_all();
    rig_fini(&rig);
}

struct model_peak
model_run(struct choice *who_decides, unsigned step_count)
{
    size_t alloc_share = 700;

    choice = who_decides;
    begin_round();
    for (step_idx = 0; step_idx < step_count && !choice_is_over(choice); step_idx++) {
        /* The heap grows, swings around a size, or shrinks. */
        if (step_idx % 1024 == 1023 && one_in(3))
            alloc_share = 250 + 100 * below(5);
        step(alloc_share);
        if (step_idx % 256 == 0)
            check_all();
    }
    end_round();
    return peak;
}
