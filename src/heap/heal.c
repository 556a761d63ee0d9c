/* SPDX-License-Identifier: MIT */
/* heal.c - turns regions on base pages into huge pages, a little at a time.
 *
 * Problem     A process starts on base pages so that small ones stay small. When the heap has
 *             grown, its first regions, often the busiest, would stay on base pages for good:
 *             advice does not change pages that are already there. The same holds for a region of
 *             which a part was given back. But to collapse one copies a huge page's worth of
 *             memory, inside somebody's malloc.
 * Idea        Regions on base pages that are nearly full wait in a list. Whoever takes or gives
 *             pages spends some time on them: a millisecond at most, of a credit that grows by a
 *             tenth of the time that passes, and by a share of what each huge page that is opened
 *             saves in page faults, so that a program that builds a large heap quickly gets all of
 *             it on huge pages. What the kernel refuses is tried again, later and later.
 * State       heap->heal.
 * Locking     heap->lock is held by the caller; is_due may be read without it.
 * Invariants  The list has the open regions on base pages that are full enough and were not refused
 *             for good. is_due is true if there is anything to do.
 */
#include "heap/heal.h"

#include <errno.h>

/* Collapses may take this share of the time. */
#define TIME_SHARE 10

/* One visit ends when more would, by what the latest collapses took, exceed this. */
#define VISIT_NS 1000000

/* No more is saved up: what a program may meet in one go after a pause. */
#define CREDIT_MAX_NS 10000000

/* Opening a region as a huge page saves many times this in page faults. */
#define OPENED_CREDIT_NS 50000

/* What a collapse takes, before one was measured. */
#define COLLAPSE_NS 500000
#define COLLAPSE_MAX_NS 5000000

/* After a refusal, wait so long; twice as long after each further one. */
#define RETRY_MIN_NS 50000000u
#define RETRY_MAX_NS 10000000000u

/* A region is full enough when no more than this share of it is free. */
#define FREE_SHARE 8

void
hm_heal_init(struct hm_heap *heap)
{
    hm_list_init(&heap->heal.candidates);
    heap->heal.cost_ns = COLLAPSE_NS;
    heap->heal.credited_ns = heap->os->now_ns(heap->os->ctx);
}

/* --- candidates ------------------------------------------------------------------------------- */

static bool
is_candidate(const struct hm_heap *heap, const struct hm_region *region)
{
    return region->state == HM_REGION_OPEN && region->backing == HM_BACKING_4K
           && !region->is_refused
           && region->used_pages >= heap->region_pages - heap->region_pages / FREE_SHARE;
}

/* Before the first huge page of a heap there is nothing to do. */
static void
call_if_past_ramp(struct hm_heap *heap)
{
    if (heap->backing.has_huge)
        hm_store(&heap->heal.is_due, true);
}

void
hm_heal_note(struct hm_heap *heap, struct hm_region *region)
{
    bool is_wanted = is_candidate(heap, region);

    if (is_wanted == !hm_list_is_empty(&region->heal_link))
        return;
    if (is_wanted) {
        hm_list_add_last(&heap->heal.candidates, &region->heal_link);
        call_if_past_ramp(heap);
    } else {
        hm_list_del(&region->heal_link);
    }
}

void
hm_heal_opened(struct hm_heap *heap, struct hm_region *region)
{
    hm_list_init(&region->heal_link);
    if (region->backing != HM_BACKING_THP)
        return;
    heap->heal.credit_ns += OPENED_CREDIT_NS;
    if (!hm_list_is_empty(&heap->heal.candidates))
        call_if_past_ramp(heap);
}

/* --- collapses -------------------------------------------------------------------------------- */

/* Note what a collapse took: the next is expected to take as long. */
static void
learn_cost(struct hm_heal *heal, uint64_t took_ns)
{
    heal->collapse_ns += took_ns;
    heal->cost_ns = (3 * heal->cost_ns + took_ns) / 4;
    if (heal->cost_ns > COLLAPSE_MAX_NS)
        heal->cost_ns = COLLAPSE_MAX_NS;
}

static void
wait_longer(uint64_t *wait_ns)
{
    *wait_ns = *wait_ns != 0 ? 2 * *wait_ns : RETRY_MIN_NS;
    if (*wait_ns > RETRY_MAX_NS)
        *wait_ns = RETRY_MAX_NS;
}

/* Collapse the first candidate. Returns the time afterwards. */
static uint64_t
collapse_candidate(struct hm_heap *heap, uint64_t now_ns)
{
    const struct hm_os *os = heap->os;
    struct hm_heal *heal = &heap->heal;
    struct hm_region *region = hm_container_of(heal->candidates.next, struct hm_region, heal_link);
    int rc = hm_backing_collapse(&heap->backing, region->addr, hm_region_bytes(&heap->geom));
    uint64_t end_ns = os->now_ns(os->ctx);

    learn_cost(heal, end_ns - now_ns);
    hm_list_del(&region->heal_link);
    if (rc == 0) {
        region->backing = HM_BACKING_THP;
        heap->base_regions--;
        heap->dirty_free_pages -= region->dirty_pages - region->used_pages;
        heap->huge_free_pages += heap->region_pages - region->used_pages;
        heal->collapse_count++;
        heal->retry_wait_ns = 0;
    } else if (rc == -EINVAL) {
        region->is_refused = true;
    } else {
        hm_list_add_last(&heal->candidates, &region->heal_link);
        wait_longer(&heal->retry_wait_ns);
        heal->retry_ns = end_ns + heal->retry_wait_ns;
    }
    return end_ns;
}

/* --- the budget ------------------------------------------------------------------------------- */

static void
add_credit(struct hm_heal *heal, uint64_t now_ns)
{
    heal->credit_ns += (int64_t)((now_ns - heal->credited_ns) / TIME_SHARE);
    if (heal->credit_ns > CREDIT_MAX_NS)
        heal->credit_ns = CREDIT_MAX_NS;
    heal->credited_ns = now_ns;
}

/* When there is something to do, and it is affordable; UINT64_MAX: never. */
static uint64_t
next_ns(const struct hm_heal *heal, uint64_t now_ns)
{
    uint64_t when_ns = now_ns;
    int64_t lacking_ns = (int64_t)heal->cost_ns - heal->credit_ns;

    if (hm_list_is_empty(&heal->candidates))
        return UINT64_MAX;
    if (lacking_ns > 0)
        when_ns += (uint64_t)lacking_ns * TIME_SHARE;
    return when_ns > heal->retry_ns ? when_ns : heal->retry_ns;
}

void
hm_heal_visit_slow(struct hm_heap *heap)
{
    struct hm_heal *heal = &heap->heal;
    uint64_t begin_ns = heap->os->now_ns(heap->os->ctx);
    uint64_t now_ns = begin_ns;

    add_credit(heal, now_ns);
    if (next_ns(heal, now_ns) == now_ns
        && !hm_backing_wants_huge(&heap->backing, hm_heap_bytes(heap))) {
        wait_longer(&heal->retry_wait_ns);
        heal->retry_ns = now_ns + heal->retry_wait_ns;
    }
    while (next_ns(heal, now_ns) == now_ns) {
        uint64_t before_ns = now_ns;

        now_ns = collapse_candidate(heap, before_ns);
        heal->credit_ns -= (int64_t)(now_ns - before_ns);
        if (now_ns - begin_ns + heal->cost_ns > VISIT_NS)
            break;
    }
    hm_store(&heal->is_due, next_ns(heal, now_ns) != UINT64_MAX);
}
