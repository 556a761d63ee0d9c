/* SPDX-License-Identifier: MIT */
/* heal.c - turns regions on base pages into huge pages, a little at a time.
 *
 * Problem     A process starts on base pages so that small ones stay small. When the heap has
 *             grown, its first regions, often the busiest, would stay on base pages for good:
 *             advice does not change pages that are already there. The same holds for a region of
 *             which a part was given back, or that a fork split. But to collapse one copies a huge
 *             page's worth of memory, inside somebody's malloc.
 * Idea        Regions on base pages that are nearly full wait in a list. Whoever takes or gives
 *             pages spends some time on them: a millisecond at most, of a credit of processor time
 *             that grows by a tenth of the time that passes, and by a share of what each huge page
 *             that is opened saves in page faults, so that a program that builds a large heap
 *             quickly gets all of it on huge pages. What the kernel refuses is tried again, later
 *             and later.
 *             What a fork has split is joined out of the same budget, and of what was saved of
 *             it (rejoin.c).
 * State       heap->heal.
 * Locking     heap->lock is held by the caller; is_due may be read without it.
 * Invariants  The list has the open regions on base pages that are full enough and were not refused
 *             for good. is_due is true if there is anything to do.
 */
#include "heap/heal.h"

#include <errno.h>

#include "heap/rejoin.h"

/* Collapses may take this share of the time. */
#define TIME_SHARE 10

/* One visit ends when more would, by what the latest collapses took, exceed this. */
#define VISIT_NS 1000000

/* No more may be spent in one go: what a program may meet after a pause. */
#define CREDIT_MAX_NS 10000000

/* Of what is over, so much is saved for what a fork splits: a snapshot leaves a whole heap to join.
 * It comes at the same rate as the credit, so that both together are twice the share. */
#define SAVED_MAX_NS 500000000

/* Opening a region as a huge page saves many times this in page faults. */
#define OPENED_CREDIT_NS 150000

/* What a collapse takes, before one was measured. */
#define COLLAPSE_NS 500000
#define COLLAPSE_MAX_NS 5000000

/* After a refusal, wait so long; twice as long after each further one. */
#define RETRY_MIN_NS 50000000u
#define RETRY_MAX_NS 10000000000u

void
hm_heal_init(struct hm_heap *heap)
{
    hm_list_init(&heap->heal.candidates);
    heap->heal.cost_ns = COLLAPSE_NS;
    hm_rejoin_init(heap);
    heap->heal.credited_ns = heap->os->now_ns(heap->os->ctx);
}

/* --- candidates ------------------------------------------------------------------------------- */

static bool
is_candidate(const struct hm_heap *heap, const struct hm_region *region)
{
    return region->state == HM_REGION_OPEN && hm_backing_is_base(region->backing)
           && !region->is_refused && region->used_pages >= hm_heal_enough_pages(heap);
}

void
hm_heal_call(struct hm_heap *heap)
{
    if (!heap->backing.has_huge)
        return;
    hm_store(&heap->heal.next_ns, 0);
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
        hm_heal_call(heap);
    } else {
        hm_list_del(&region->heal_link);
    }
}

/* A huge page is opened: the heap is past the ramp, and there is room. */
static void
end_denial(struct hm_heap *heap)
{
    if (!heap->heal.is_denied)
        return;
    heap->heal.is_denied = false;
    heap->heal.retry_ns = 0;
    hm_heal_call(heap);
}

/* Huge pages are opened: there is credit for what they save. */
static void
add_opened(struct hm_heap *heap, size_t count)
{
    heap->heal.credit_ns += (int64_t)count * OPENED_CREDIT_NS;
    end_denial(heap);
    if (!hm_list_is_empty(&heap->heal.candidates) || heap->heal.has_suspects)
        hm_heal_call(heap);
}

void
hm_heal_opened(struct hm_heap *heap, struct hm_region *region)
{
    hm_list_init(&region->heal_link);
    region->fork_gen = heap->heal.fork_gen;
    if (region->backing == HM_BACKING_THP)
        add_opened(heap, 1);
}

void
hm_heal_mapped(struct hm_heap *heap, size_t more_bytes)
{
    add_opened(heap, more_bytes >> heap->geom.region_shift);
}

void
hm_heal_reopened(struct hm_heap *heap, struct hm_region *region)
{
    struct hm_heal *heal = &heap->heal;

    region->is_refused = false;
    if (region->backing == HM_BACKING_THP)
        end_denial(heap);
    if (region->fork_gen != heal->fork_gen && region->backing == HM_BACKING_THP)
        hm_rejoin_suspect(heap);
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

void
hm_heal_wait_longer(uint64_t *inout_wait_ns, uint64_t min_ns, uint64_t max_ns)
{
    *inout_wait_ns = 2 * *inout_wait_ns > min_ns ? 2 * *inout_wait_ns : min_ns;
    if (*inout_wait_ns > max_ns)
        *inout_wait_ns = max_ns;
}

static void
try_later(struct hm_heal *heal, struct hm_region *region, uint64_t now_ns)
{
    hm_list_del(&region->heal_link);
    hm_list_add_last(&heal->candidates, &region->heal_link);
    hm_heal_wait_longer(&heal->retry_wait_ns, RETRY_MIN_NS, RETRY_MAX_NS);
    heal->retry_ns = now_ns + heal->retry_wait_ns;
}

/* Whether nobody else has a page of the region since a fork, as far as can be told. */
static bool
is_ours(struct hm_heap *heap, const struct hm_region *region)
{
    struct hm_sharing pages;

    return region->fork_gen == heap->heal.fork_gen
           || (hm_backing_may_open(&heap->backing)
               && heap->os->sharing(heap->os->ctx, region->addr, hm_region_bytes(&heap->geom),
                                    &pages)
                      == 0
               && pages.shared_pages == 0);
}

/* Collapse the first candidate. */
static enum hm_heal_outcome
collapse_candidate(struct hm_heap *heap, uint64_t now_ns)
{
    struct hm_heal *heal = &heap->heal;
    struct hm_region *region = hm_container_of(heal->candidates.next, struct hm_region, heal_link);
    int rc;

    if (!is_ours(heap, region)) {
        try_later(heal, region, now_ns);
        return HM_HEAL_WAITS;
    }
    rc = hm_backing_collapse(&heap->backing, region->addr, hm_region_bytes(&heap->geom));
    if (rc == 0) {
        hm_list_del(&region->heal_link);
        region->backing = HM_BACKING_THP;
        region->fork_gen = heal->fork_gen;
        heap->base_regions--;
        heap->dirty_free_pages -= region->dirty_pages - region->used_pages;
        heap->huge_free_pages += heap->region_pages - region->used_pages;
        heal->collapse_count++;
        heal->retry_wait_ns = 0;
    } else if (rc == -EINVAL) {
        hm_list_del(&region->heal_link);
        region->is_refused = true;
    } else {
        try_later(heal, region, now_ns);
        return HM_HEAL_REFUSED;
    }
    return HM_HEAL_COPIED;
}

/* --- the budget ------------------------------------------------------------------------------- */

static void
add_credit(struct hm_heal *heal, uint64_t now_ns)
{
    int64_t more_ns = (int64_t)((now_ns - heal->credited_ns) / TIME_SHARE);
    int64_t again_ns = more_ns < heal->saved_ns ? more_ns : heal->saved_ns;

    if (heal->has_suspects) {
        heal->saved_ns -= again_ns;
        more_ns += again_ns;
    }
    heal->credit_ns += more_ns;
    if (heal->credit_ns > CREDIT_MAX_NS) {
        heal->saved_ns += heal->credit_ns - CREDIT_MAX_NS;
        if (heal->saved_ns > SAVED_MAX_NS)
            heal->saved_ns = SAVED_MAX_NS;
        heal->credit_ns = CREDIT_MAX_NS;
    }
    heal->credited_ns = now_ns;
}

static bool
has_candidate(const struct hm_heal *heal, uint64_t now_ns)
{
    return !hm_list_is_empty(&heal->candidates) && heal->retry_ns <= now_ns;
}

/* When there is something to do, and it is affordable; UINT64_MAX: never. */
static uint64_t
next_ns(const struct hm_heal *heal, uint64_t now_ns)
{
    int64_t lacking_ns = (int64_t)heal->cost_ns - heal->credit_ns;
    uint64_t when_ns = UINT64_MAX;

    if (!hm_list_is_empty(&heal->candidates))
        when_ns = heal->retry_ns;
    if (heal->has_suspects && heal->look_ns < when_ns)
        when_ns = heal->look_ns;
    if (when_ns == UINT64_MAX)
        return UINT64_MAX;
    if (lacking_ns > 0)
        now_ns += (uint64_t)lacking_ns * TIME_SHARE
                  / (heal->has_suspects && heal->saved_ns >= lacking_ns ? 2 : 1);
    return when_ns > now_ns ? when_ns : now_ns;
}

/* The administrator's word, and the room in the memory cgroup. */
static bool
is_allowed(struct hm_heap *heap, uint64_t now_ns)
{
    struct hm_heal *heal = &heap->heal;

    if (hm_backing_wants_huge(&heap->backing, hm_heap_bytes(heap)))
        return true;
    heal->is_denied = true;
    heal->retry_ns = now_ns + RETRY_MIN_NS;
    if (heal->look_ns < heal->retry_ns)
        heal->look_ns = heal->retry_ns;
    return false;
}

/* One attempt. */
static void
attempt(struct hm_heap *heap, uint64_t now_ns)
{
    struct hm_heal *heal = &heap->heal;
    uint64_t begin_ns = heap->os->cpu_ns(heap->os->ctx);
    bool is_join = !has_candidate(heal, now_ns);
    enum hm_heal_outcome outcome
        = is_join ? hm_rejoin_next(heap, now_ns) : collapse_candidate(heap, now_ns);
    uint64_t took_ns = heap->os->cpu_ns(heap->os->ctx) - begin_ns;

    heal->credit_ns -= (int64_t)took_ns;
    if (outcome == HM_HEAL_COPIED || outcome == HM_HEAL_REFUSED)
        learn_cost(heal, took_ns);
    if (is_join && hm_heal_is_final(outcome)) {
        heal->healing_ns += took_ns;
        heal->healed_ns = now_ns;
    }
}

HM_LATER void
hm_heal_visit_slow(struct hm_heap *heap)
{
    const struct hm_os *os = heap->os;
    struct hm_heal *heal = &heap->heal;
    uint64_t begin_ns = os->now_ns(os->ctx);
    uint64_t now_ns = begin_ns;

    if (begin_ns < heal->next_ns)
        return;
    add_credit(heal, now_ns);
    if (next_ns(heal, now_ns) == now_ns && is_allowed(heap, now_ns)) {
        do {
            attempt(heap, now_ns);
            now_ns = os->now_ns(os->ctx);
        } while (next_ns(heal, now_ns) == now_ns && now_ns - begin_ns + heal->cost_ns <= VISIT_NS);
    }
    hm_store(&heal->next_ns, next_ns(heal, now_ns));
    hm_store(&heal->is_due, heal->next_ns != UINT64_MAX);
}

HM_LATER void
hm_heal_poll_slow(struct hm_heap *heap)
{
    int saved_errno = errno;

    if (heap->os->now_ns(heap->os->ctx) >= hm_load(&heap->heal.next_ns)) {
        hm_lock_take(&heap->lock);
        hm_heal_visit(heap);
        hm_lock_give(&heap->lock);
    }
    errno = saved_errno;
}
