/* SPDX-License-Identifier: MIT */
/* purge.c - gives memory back: whole empty regions first, loose base pages second, parts of huge
 *           pages last.
 *
 * Problem     Memory that the program freed should leave the process, but taking it back from the
 *             kernel costs more than anything else an allocator does, and releasing a part of a
 *             huge page splits it.
 * Idea        A few empty regions are kept for the next request, and as many more as the program
 *             was seen to want again (demand.h); what exceeds them goes back at once, the oldest
 *             first. Kept ones that nobody wanted for an epoch are lent to the kernel, and after
 *             another one the surplus goes back. In regions on base pages, free pages are returned
 *             when there are many of them. A huge page that is partly in use is split only if for
 *             many epochs there were too many free pages in such, or if others free what a thread
 *             had that sleeps, and then so that the kernel really gets the memory. All of it
 *             happens in calls that the program makes, a part in each.
 * State       struct hm_heap, its part "purge".
 * Locking     heap->lock is held by the caller.
 * Invariants  A region that was discarded is closed: its next use asks anew for a backing. One that
 *             was split is on base pages, and the kernel was told so: khugepaged does not refill
 *             it.
 */
#include "heap/purge.h"

#include "backing/hugetlb.h"
#include "heap/extent.h"
#include "heap/giant.h"
#include "heap/hide.h"
#include "heap/nodes.h"
#include "heap/stash.h"

/* Empty regions kept: this many bytes of them, at least one, and one for KEPT_SHARE in use. */
#define KEPT_MIN_BYTES (8 * HM_MIB)
#define KEPT_SHARE 32

/* ... and no more than this share of what the memory cgroup has left. */
#define ROOM_SHARE 4

/* Free base pages kept in open regions: this many bytes, or this share of the heap if that is
 * more. */
#define DIRTY_MIN_BYTES (6 * HM_MIB)
#define DIRTY_SHARE 8

/* Free pages left alone in huge pages partly in use: this many bytes and this share of the heap.
 * What exceeds them for so many epochs goes back. */
#define IDLE_MIN_BYTES (32 * HM_MIB)
#define IDLE_SHARE 4
#define IDLE_EPOCHS 8

/* A huge page may be split if more than this share of it is free in one run. No more than so many
 * are: each takes two of vm.max_map_count. */
#define SPLIT_SHARE 8
#define SPLIT_MAX 8192

/* One call does so much of what is not its own: regions to close, to lend, to search for free base
 * pages, pages to discard in them, huge pages to split. Each takes less than a few milliseconds. */
#define CLOSE_BATCH 64
#define LEND_BATCH 256
#define SWEEP_REGIONS 256
#define SWEEP_PAGES 2048
#define SPLIT_BATCH 2

/* Splits take no more than this share of the time, and searches for free base pages no more than
 * that: what they give back may have to be faulted in again soon, at several times the price. */
#define SPLIT_TIME_SHARE 10
#define SWEEP_TIME_SHARE 50

void
hm_purge_keep(struct hm_heap *heap, struct hm_region *region)
{
    region->is_lazy = false;
    region->epoch = heap->demand.epoch;
    region->prev = NULL;
    region->next = heap->kept;
    if (heap->kept != NULL)
        heap->kept->prev = region;
    else
        heap->kept_last = region;
    heap->kept = region;
    heap->kept_count++;
}

static int
discard(struct hm_heap *heap, uintptr_t addr, size_t len_bytes)
{
    enum hm_advice advice
        = heap->backing.conf->is_locked ? HM_ADVICE_DISCARD_LOCKED : HM_ADVICE_DISCARD;
    int rc = heap->os->advise(heap->os->ctx, addr, len_bytes, advice);

    if (rc == 0) {
        heap->discarded_bytes += len_bytes;
        heap->discard_calls++;
    }
    return rc;
}

/* --- empty regions ---------------------------------------------------------------------------- */

/* Give an empty region's memory back. If the kernel refuses, it stays kept: nothing is lost. */
static size_t
close_region(struct hm_heap *heap, struct hm_region *region)
{
    size_t region_bytes = hm_region_bytes(&heap->geom);
    size_t was_dirty_bytes = hm_pages_to_bytes(&heap->geom, region->dirty_pages);

    if (region->backing == HM_BACKING_HUGETLB) {
        if (!hm_giant_release(heap, region->addr, region_bytes, region->extent->node))
            return 0;
        was_dirty_bytes = region_bytes;
    } else {
        if (region->backing == HM_BACKING_THP)
            hm_thp_part(&heap->backing, region->addr);
        if (region->dirty_pages > 0 && discard(heap, region->addr, region_bytes) != 0)
            return 0;
    }
    hm_pheap_unkeep(heap, region);
    region->state = HM_REGION_CLOSED;
    region->dirty_pages = 0;
    hm_bitmap_clear_run(hm_region_dirty_bits(region, heap->region_pages), 0, heap->region_pages);
    hm_hide_try(heap, region);
    return was_dirty_bytes;
}

void
hm_purge_vacated(struct hm_heap *heap, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        heap->kept->dirty_pages = 0;
        (void)close_region(heap, heap->kept);
    }
}

/* How many empty regions may stay in any case: more if the program set a higher trim threshold. */
static size_t
keep_floor(const struct hm_heap *heap)
{
    size_t min_count = KEPT_MIN_BYTES >> heap->geom.region_shift;
    size_t keep_count = (min_count > 0 ? min_count : 1) + heap->open_count / KEPT_SHARE;
    size_t set_count = heap->cutoff.keep_bytes >> heap->geom.region_shift;

    return keep_count > set_count ? keep_count : set_count;
}

/* ... and with what the program swings by. Near the limit of a memory cgroup they are lacking where
 * they cannot serve: in mappings of their own, and outside of the heap. */
static size_t
keep_limit(const struct hm_heap *heap)
{
    size_t keep_count = keep_floor(heap) + hm_demand_swing(&heap->demand) / heap->region_pages;
    uint64_t room_bytes = hm_backing_room_bytes(&heap->backing, hm_heap_bytes(heap));
    uint64_t room_count = room_bytes / ROOM_SHARE >> heap->geom.region_shift;

    return keep_count < room_count ? keep_count : (size_t)room_count;
}

/* Close kept regions, the oldest first, until `keep_count` are left or the kernel refuses. */
static size_t
close_oldest(struct hm_heap *heap, size_t keep_count)
{
    size_t given_bytes = 0;

    while (heap->kept_count > keep_count) {
        size_t before_count = heap->kept_count;

        given_bytes += close_region(heap, heap->kept_last);
        if (heap->kept_count == before_count)
            break;
    }
    return given_bytes;
}

static uint8_t
age_epochs(const struct hm_heap *heap, const struct hm_region *region)
{
    return (uint8_t)(heap->demand.epoch - region->epoch);
}

/* What was kept for a swing and not wanted for a whole epoch. Returns whether there is more. */
static bool
close_unwanted(struct hm_heap *heap)
{
    size_t keep_count = keep_floor(heap);

    for (unsigned i = 0; i < CLOSE_BATCH; i++) {
        size_t before_count = heap->kept_count;

        if (before_count <= keep_count || age_epochs(heap, heap->kept_last) < 2)
            return false;
        (void)close_region(heap, heap->kept_last);
        if (heap->kept_count == before_count)
            return false;
    }
    return true;
}

/* Kept regions of past epochs: the kernel may have their memory when it is short. */
static void
lend_unwanted(struct hm_heap *heap)
{
    struct hm_region *region = heap->kept_last;
    size_t left_count = LEND_BATCH;

    for (; region != NULL && age_epochs(heap, region) > 0 && left_count > 0;
         region = region->prev) {
        if (region->is_lazy || region->backing == HM_BACKING_HUGETLB)
            continue;
        left_count--;
        region->is_lazy = true;
        (void)heap->os->advise(heap->os->ctx, region->addr, hm_region_bytes(&heap->geom),
                               HM_ADVICE_LAZY);
    }
}

/* Past the ramp an empty region on base pages is worth more closed: it comes back huge. */
static void
close_base_regions(struct hm_heap *heap, size_t emptied_count)
{
    for (size_t i = 0; i < emptied_count && hm_backing_is_base(heap->kept->backing); i++) {
        size_t before_count = heap->kept_count;

        if (heap->cutoff.keep_bytes != SIZE_MAX
            && hm_backing_wants_huge(&heap->backing, hm_heap_bytes(heap)))
            (void)close_region(heap, heap->kept);
        if (heap->kept_count == before_count || heap->kept == NULL)
            break;
    }
}

/* --- free base pages -------------------------------------------------------------------------- */

/* Return the free pages of an open region on base pages. Returns their number. */
static size_t
discard_free_pages(struct hm_heap *heap, struct hm_region *region)
{
    uint64_t *dirty = hm_region_dirty_bits(region, heap->region_pages);
    size_t start_idx = 0;
    size_t given_pages = 0;

    while (region->dirty_pages > region->used_pages) {
        size_t end_idx;
        size_t dirty_count;

        start_idx = hm_bitmap_next_clear(region->bits, heap->region_pages, start_idx);
        if (start_idx >= heap->region_pages)
            break;
        end_idx = hm_bitmap_next_set(region->bits, heap->region_pages, start_idx);
        dirty_count = hm_bitmap_count_run(dirty, start_idx, end_idx - start_idx);
        if (dirty_count > 0
            && discard(heap, region->addr + hm_pages_to_bytes(&heap->geom, start_idx),
                       hm_pages_to_bytes(&heap->geom, end_idx - start_idx))
                   == 0) {
            hm_bitmap_clear_run(dirty, start_idx, end_idx - start_idx);
            region->dirty_pages -= (uint32_t)dirty_count;
            given_pages += dirty_count;
        }
        start_idx = end_idx;
    }
    heap->dirty_free_pages -= given_pages;
    return given_pages;
}

/* Search so many regions for free base pages and return them, but not many more than so many. Goes
 * on where the search before ended. */
static size_t
sweep(struct hm_heap *heap, size_t max_regions, size_t max_pages)
{
    size_t given_pages = 0;

    for (size_t i = 0; i < max_regions && given_pages < max_pages; i++) {
        struct hm_region *region = heap->sweep;

        /* It may be gone since. */
        if (region != NULL && region->extent == NULL)
            region = NULL;
        region = hm_pheap_next_region(heap, region);
        heap->sweep = region;
        if (region == NULL)
            break;
        if (region->state == HM_REGION_OPEN && hm_backing_is_base(region->backing))
            given_pages += discard_free_pages(heap, region);
    }
    return given_pages;
}

static size_t
dirty_limit_bytes(const struct hm_heap *heap)
{
    size_t share_bytes = hm_heap_bytes(heap) / DIRTY_SHARE;
    size_t keep_bytes = DIRTY_MIN_BYTES;

    if (keep_bytes < share_bytes)
        keep_bytes = share_bytes;
    return keep_bytes > heap->cutoff.keep_bytes ? keep_bytes : heap->cutoff.keep_bytes;
}

static bool
is_dirty(const struct hm_heap *heap)
{
    return hm_pages_to_bytes(&heap->geom, heap->dirty_free_pages) > DIRTY_MIN_BYTES
           && hm_pages_to_bytes(&heap->geom, heap->dirty_free_pages) > dirty_limit_bytes(heap);
}

/* --- parts of huge pages ---------------------------------------------------------------------- */

/* Break a huge page up and return its free pages. To lower the resident size alone, discarding them
 * would do, but the kernel keeps the huge page whole and has nothing of it until it is short of
 * memory. Marking a part of it as cold splits it first. Returns the number of pages. */
static size_t
split(struct hm_heap *heap, struct hm_region *region)
{
    const struct hm_os *os = heap->os;
    uint32_t free_pages = heap->region_pages - region->used_pages;
    size_t page_idx = hm_bitmap_next_clear(region->bits, heap->region_pages, 0);
    uint64_t *dirty = hm_region_dirty_bits(region, heap->region_pages);

    if (heap->base_regions >= SPLIT_MAX
        || os->advise(os->ctx, region->addr, hm_region_bytes(&heap->geom), HM_ADVICE_BASE) != 0)
        return 0;
    (void)os->advise(os->ctx, region->addr + hm_pages_to_bytes(&heap->geom, page_idx),
                     hm_page_bytes(&heap->geom), HM_ADVICE_COLD);
    /* A page that was never used is resident all the same. */
    hm_bitmap_set_run(dirty, 0, heap->region_pages);
    region->dirty_pages = heap->region_pages;
    region->backing = HM_BACKING_4K;
    heap->base_regions++;
    hm_purge_lower(heap, free_pages);
    heap->dirty_free_pages += free_pages;
    heap->split_count++;
    return discard_free_pages(heap, region);
}

/* Split huge pages of one list, at most so many. Returns false if the kernel refuses. */
static bool
split_list(struct hm_heap *heap, struct hm_region *region, size_t *inout_count, size_t *inout_pages)
{
    for (; region != NULL && *inout_count > 0; region = region->next) {
        size_t given_pages;

        if (region->backing != HM_BACKING_THP)
            continue;
        given_pages = split(heap, region);
        if (given_pages == 0)
            return false;
        *inout_pages += given_pages;
        --*inout_count;
    }
    return true;
}

/* Split huge pages, those with the longest free runs first, at most so many. Returns the number of
 * pages given back. */
static HM_LATER size_t
split_sparse(struct hm_heap *heap, size_t max_count)
{
    size_t min_pages = heap->region_pages / SPLIT_SHARE;
    size_t sum_pages = 0;

    for (size_t fit = heap->region_pages; fit > min_pages; fit--)
        for (unsigned node = 0; node < hm_nodes_count(heap); node++)
            if (!split_list(heap, heap->fits[node].runs[fit], &max_count, &sum_pages))
                return sum_pages;
    return sum_pages;
}

static bool
has_idle(const struct hm_heap *heap, size_t free_pages)
{
    return hm_pages_to_bytes(&heap->geom, free_pages)
           > IDLE_MIN_BYTES + hm_heap_bytes(heap) / IDLE_SHARE + heap->cutoff.keep_bytes / 2;
}

/* An epoch has ended. */
static void
note_idle(struct hm_heap *heap)
{
    if (!has_idle(heap, heap->huge_idle_pages))
        heap->idle_epochs = 0;
    else if (heap->idle_epochs < IDLE_EPOCHS)
        heap->idle_epochs++;
    heap->huge_idle_pages = heap->huge_free_pages;
}

static void
split_idle(struct hm_heap *heap, uint64_t now_ns)
{
    const struct hm_os *os = heap->os;

    if (heap->idle_epochs < IDLE_EPOCHS || now_ns < heap->split_next_ns
        || !has_idle(heap, heap->huge_free_pages))
        return;
    (void)split_sparse(heap, SPLIT_BATCH);
    heap->split_next_ns = now_ns + (os->now_ns(os->ctx) - now_ns) * SPLIT_TIME_SHARE;
}

/* Where no huge page was worth it, the next search waits until as much more is free as one has. */
HM_LATER void
hm_purge_abandoned(struct hm_heap *heap)
{
    size_t free_pages = heap->huge_free_pages;

    if (heap->vain_pages > free_pages + heap->region_pages)
        heap->vain_pages = free_pages + heap->region_pages;
    if (free_pages < heap->vain_pages
        || free_pages <= heap->used_pages + keep_floor(heap) * heap->region_pages
        || free_pages <= heap->used_pages + keep_limit(heap) * heap->region_pages)
        return;
    heap->vain_pages = 0;
    if (split_sparse(heap, SPLIT_BATCH) == 0)
        heap->vain_pages = free_pages + heap->region_pages;
}

/* --- when ------------------------------------------------------------------------------------- */

static uint64_t
epoch_ns(const struct hm_heap *heap)
{
    return (uint64_t)heap->backing.conf->purge_delay_ms * 1000000u;
}

HM_LATER bool
hm_purge_tick(struct hm_heap *heap)
{
    const struct hm_os *os = heap->os;
    uint64_t now_ns = os->now_ns(os->ctx);
    bool has_more;

    if (hm_demand_tick(&heap->demand, now_ns, epoch_ns(heap))) {
        (void)hm_stash_flush(heap);
        note_idle(heap);
        lend_unwanted(heap);
    }
    has_more = close_unwanted(heap);
    split_idle(heap, now_ns);
    if (is_dirty(heap) && heap->dirty_free_pages > hm_demand_swing(&heap->demand)
        && now_ns >= heap->sweep_next_ns) {
        now_ns = os->now_ns(os->ctx);
        (void)sweep(heap, SWEEP_REGIONS, SWEEP_PAGES);
        heap->sweep_next_ns = now_ns + (os->now_ns(os->ctx) - now_ns) * SWEEP_TIME_SHARE;
    }
    return has_more;
}

/* The stash is kept as well. */
static size_t
stash_count(const struct hm_heap *heap)
{
    return hm_pages_to_bytes(&heap->geom, heap->stash.pages) >> heap->geom.region_shift;
}

bool
hm_purge_visit(struct hm_heap *heap)
{
    bool is_idle = has_idle(heap, heap->huge_free_pages);

    heap->stash.limit_pages = 0;
    if (!is_idle)
        heap->idle_epochs = 0;
    if (!is_idle && heap->kept_count + stash_count(heap) <= keep_floor(heap) && !is_dirty(heap))
        return false;
    (void)hm_purge_tick(heap);
    return true;
}

HM_LATER size_t
hm_purge_spare_pages(const struct hm_heap *heap)
{
    size_t keep_count = keep_limit(heap);

    return keep_count > heap->kept_count ? (keep_count - heap->kept_count) * heap->region_pages : 0;
}

void
hm_purge_emptied(struct hm_heap *heap, size_t emptied_count)
{
    size_t keep_count;

    close_base_regions(heap, emptied_count);
    (void)hm_purge_visit(heap);
    if (emptied_count == 0)
        return;
    keep_count = keep_limit(heap);
    if (heap->kept_count + stash_count(heap) >= keep_count)
        (void)hm_stash_flush(heap);
    (void)close_oldest(heap, keep_count);
}

HM_LATER size_t
hm_purge_all(struct hm_heap *heap)
{
    uint64_t before_bytes = heap->discarded_bytes;
    size_t given_bytes;

    (void)hm_stash_flush(heap);
    given_bytes = (size_t)(heap->discarded_bytes - before_bytes);
    heap->sweep = NULL;
    given_bytes += hm_pages_to_bytes(&heap->geom, split_sparse(heap, SIZE_MAX)
                                                      + sweep(heap, SIZE_MAX, SIZE_MAX));
    given_bytes += close_oldest(heap, 0) + hm_giant_close_all(heap);
    (void)hm_extent_trim(heap);
    return given_bytes;
}
