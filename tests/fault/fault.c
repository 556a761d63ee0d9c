/* SPDX-License-Identifier: MIT */
/* fault.c - the n-th kernel call fails, for every n.
 *
 * Problem     The ways out of an allocator that is refused something are many, and hardly ever
 *             taken.
 * Idea        A fixed story of a heap: threads, growth past the ramp, large and mapped blocks,
 *             resizing, a limit of address space, remote frees, a dead thread and the adoption of
 *             what it left, trimming, a report, a fork, everything freed. It is told again and
 *             again on the fake kernel, on machines with several page sizes, and each time another
 *             call fails: once, with each errno that it can give, and then from there on for good;
 *             then all calls of one kind fail from the start. No crash; what fails says so, has
 *             changed nothing, and succeeds when it is tried again after the fault is lifted; the
 *             invariants hold in between; at the end nothing is left.
 *
 * Usage       fault [STORY [CALL]]   one story, or one call of it: as a failure names them
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "heap/purge.h"
#include "stats/stats.h"
#include "support/rig.h"

#define BLOCKS 4000

/* The settings under which the story is told. */
static const struct story {
    const char *chain;
    size_t huge_start_bytes;
    size_t page_bytes;
    size_t hpage_bytes;
    size_t pool_bytes; /* hugetlb pages that are free at the start */
} stories[] = {
    { "thp,4k", 4 * HM_MIB, 4 * HM_KIB, 2 * HM_MIB, 0 },
    { "thp", 0, 4 * HM_KIB, 2 * HM_MIB, 0 },
    { "4k", 0, 4 * HM_KIB, 2 * HM_MIB, 0 },
    { "thp,4k", 0, 16 * HM_KIB, 32 * HM_MIB, 0 },
    { "thp,4k", 4 * HM_MIB, 4 * HM_KIB, 0, 0 },
    { "hugetlb,thp,4k", 4 * HM_MIB, 4 * HM_KIB, 2 * HM_MIB, 24 * HM_MIB },
    { "hugetlb,4k", 0, 16 * HM_KIB, 32 * HM_MIB, 2048 * HM_MIB },
};

struct block {
    uintptr_t addr;
    size_t usable_bytes;
};

static struct rig rig;
static struct hm_tcache *caches[2];
static struct block blocks[BLOCKS];
static size_t block_count;

/* what is being tried; told on failure */
static const struct story *story;
static uint64_t nth;
static int error;
static bool stays;
static enum fake_call_kind kind = FAKE_ANY; /* which calls count */
static uint64_t failure_runs;

static void __attribute__((noreturn)) fail(const char *what)
{
    printf(
        "fault: FAILED: story %d, call %llu of %s (%s) fails %s with errno %d: %s\n",
        (int)(story - stories), (unsigned long long)nth, fake_os_kind_name(kind),
        fake_os_kind_name(rig.fake.fault.failed_count > 0 ? rig.fake.fault.failed_kind : FAKE_ANY),
        stays ? "for good" : "once", error, what);
    fflush(stdout);
    _exit(1);
}

static void
on_abort(int number)
{
    (void)number;
    fail("aborted; to see its last words run: fault STORY CALL");
}

/* --- what must hold --------------------------------------------------------------------------- */

/* Whether the library may pass a failure of this kind on to the program. */
static bool
may_fail(enum fake_call_kind failed)
{
    return failed == FAKE_RESERVE || failed == FAKE_COMMIT || failed == FAKE_MAP_META
           || (failed == FAKE_UNMAP && rig.fake.limit_bytes != SIZE_MAX)
           || (failed == FAKE_ADVISE_HUGE && strcmp(story->chain, "thp") == 0);
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
        fail(broken);
    for (size_t i = 0; i < block_count; i++) {
        uintptr_t page = hm_align_down(blocks[i].addr, page_bytes);

        live_bytes += blocks[i].usable_bytes;
        if (rig_usable(&rig, blocks[i].addr) != blocks[i].usable_bytes)
            fail("a block has another size than before");
        if (fake_space_is_zero(&rig.fake.space, page, page_bytes))
            fail("the contents of a live block are gone");
    }
    hm_stats_read(&rig.pool, false, &stats);
    if (stats.live_bytes != live_bytes)
        fail("the statistics count other live bytes than the story");
}

/* An operation said that there is no memory. Returns with the fault lifted. */
static void
expect_fault(void)
{
    if (rig.fake.fault.failed_count == 0)
        fail("an operation failed without a fault");
    if (!stays && !may_fail(rig.fake.fault.failed_kind))
        fail("an operation failed because of a call that it could have done without");
    check();
    fake_os_heal(&rig.fake);
}

static uintptr_t
alloc(int thread, size_t size_bytes, size_t align_bytes)
{
    bool is_zero = false;
    uintptr_t addr = rig_alloc(&rig, caches[thread], size_bytes, align_bytes, &is_zero);

    if (addr == 0) {
        expect_fault();
        addr = rig_alloc(&rig, caches[thread], size_bytes, align_bytes, &is_zero);
    }
    if (addr == 0)
        fail("an operation fails again after the fault was lifted");
    if (is_zero && !fake_space_is_zero(&rig.fake.space, addr, rig_usable(&rig, addr)))
        fail("memory that was written to is called zero");
    fake_space_touch(&rig.fake.space, addr, size_bytes);
    if (block_count == BLOCKS)
        fail("the story has more blocks than there is room for");
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
        fail("realloc fails again after the fault was lifted");
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
        fail("a thread gets no cache after the fault was lifted");
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

static void
begin(void)
{
    const struct hm_geom *geom = &rig.fake.space.geom;

    fake_os_init(&rig.fake, story->page_bytes, story->hpage_bytes);
    rig.fake.tick_ns = 1000000;
    rig.fake.space.pool_bytes = story->pool_bytes;
    hm_conf_defaults(&rig.conf);
    rig_chain(&rig, story->chain);
    rig.conf.huge_start_bytes = story->huge_start_bytes;
    block_count = 0;
    if (nth != 0)
        fake_os_fail(&rig.fake, kind, nth, error, stays);
    if (hm_heap_init(&rig.heap, &rig.fake.os, &rig.conf, geom) != 0) {
        if (rig.fake.fault.failed_count == 0)
            fail("no heap, without a fault");
        fake_os_heal(&rig.fake);
        if (hm_heap_init(&rig.heap, &rig.fake.os, &rig.conf, geom) != 0)
            fail("no heap after the fault was lifted");
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
        fail("the report does not know whether the kernel was asked");
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
        fail("memory is in use after everything was freed");
    if (rig.heap.kept_count != 0)
        fail("memory is kept after all of it was purged");
    for (struct hm_extent *extent = rig.heap.extents; extent != NULL; extent = extent->next)
        extent_bytes += extent->region_count << rig.heap.geom.region_shift;
    /* What the kernel would not unmap stays, without memory in it. */
    if (rig.fake.space.reserved_bytes != extent_bytes
        && (rig.fake.fault.failed_count == 0
            || (!stays && rig.fake.fault.failed_kind != FAKE_UNMAP)))
        fail("address space is lost");
}

static void
tell(void)
{
    begin();
    grow();
    resize_blocks();
    tighten();
    end();
    failure_runs += rig.fake.fault.failed_count > 0;
    check_nothing_left();
}

/* Tell the story with one call failing in each way. Returns false if there is no such call. */
static bool
try_call(void)
{
    const int *errors = NULL;

    error = ENOMEM;
    stays = true;
    tell();
    rig_fini(&rig);
    stays = false;
    tell();
    if (rig.fake.fault.failed_count == 0) {
        rig_fini(&rig);
        return false;
    }
    errors = fake_os_errors(rig.fake.fault.failed_kind);
    rig_fini(&rig);
    for (; *errors != 0; errors++) {
        if (*errors == ENOMEM)
            continue;
        error = *errors;
        tell();
        rig_fini(&rig);
    }
    return true;
}

/* All calls of one kind fail, from the first on or from the middle: as in a sandbox. */
static void
try_kinds(void)
{
    stays = true;
    for (kind = 0; kind < FAKE_CALL_KINDS; kind++)
        for (const int *errors = fake_os_errors(kind); *errors != 0; errors++)
            for (nth = 1; nth <= 31; nth += 6) {
                error = *errors;
                tell();
                rig_fini(&rig);
            }
    kind = FAKE_ANY;
}

int
main(int argc, char **argv)
{
    size_t story_count = sizeof(stories) / sizeof(stories[0]);
    size_t first = argc > 1 ? strtoul(argv[1], NULL, 10) % story_count : 0;
    size_t last = argc > 1 ? first : story_count - 1;

    (void)signal(SIGABRT, on_abort);
    /* Where huge pages are required, each failure is told there; thousands of times. */
    if (argc <= 2 && freopen("/dev/null", "w", stderr) == NULL)
        return 99;
    for (size_t i = first; i <= last; i++) {
        uint64_t call_count;

        story = &stories[i];
        nth = 0;
        tell();
        call_count = fake_os_calls(&rig.fake);
        rig_fini(&rig);
        if (argc > 2) {
            nth = strtoull(argv[2], NULL, 10);
            (void)try_call();
            continue;
        }
        for (nth = 1; try_call(); nth++)
            continue;
        try_kinds();
        printf("fault: story %zu (%s): ok, each of %llu calls failed in turn\n", i, story->chain,
               (unsigned long long)call_count);
    }
    printf("fault: ok, %llu failure runs\n", (unsigned long long)failure_runs);
    return 0;
}
