/* SPDX-License-Identifier: MIT */
/* rejoin.c - joins the huge pages that were split, or were never whole.
 *
 * Problem     After fork(), the first write to a page that both have splits the huge page around
 *             it, and the kernel never joins it again. And a mapping that began below the start of
 *             huge pages keeps the base pages that it had.
 * Idea        Each region and each mapping knows at which fork it was last ours alone. Those of an
 *             older fork are looked at, one huge page at a time, until they are whole: split ones
 *             are joined as soon as no page is shared any more. heal.c pays for it.
 * State       heap->heal, its part "suspects".
 * Locking     heap->lock is held by the caller. A signal handler may fork in the middle of it.
 * Invariants  While has_suspects is false, all that is not of the latest fork is closed, kept, on
 *             base pages, or without pages that can be joined.
 */
#include "heap/rejoin.h"

#include <errno.h>

#include "heap/mapped.h"
#include "heap/pheap.h"

/* After a fork, wait so long before the first look: most children soon call exec or exit. If the
 * last healing was split again before it had lasted for WORTH_SHARE times what it took, wait twice
 * the time between the forks: whoever forks all the time is left alone. */
#define FORK_WAIT_MIN_NS 10000000u
#define FORK_WAIT_MAX_NS 4000000000u
#define WORTH_SHARE 10

/* While others have the pages, look again after so long, and at so many regions. */
#define LOOK_MIN_NS 10000000u
#define LOOK_MAX_NS 500000000u
#define SHARED_PER_LOOK 8

/* Structs of regions that are passed over before the clock is read again. */
#define STEPS_PER_LOOK 256

void
hm_rejoin_init(struct hm_heap *heap)
{
    heap->heal.fork_wait_ns = FORK_WAIT_MIN_NS;
}

/* --- whom to look at -------------------------------------------------------------------------- */

/* If a pass is under way, it may be beyond it. */
void
hm_rejoin_suspect(struct hm_heap *heap)
{
    struct hm_heal *heal = &heap->heal;

    if (heal->has_suspects) {
        heal->has_shared = true;
        return;
    }
    heal->has_suspects = true;
    heal->look_ns = 0;
    heal->look_wait_ns = 0;
    hm_heal_call(heap);
}

void
hm_rejoin_promoted(struct hm_heap *heap, struct hm_mapped *note)
{
    heap->backing.has_huge = true;
    hm_mapped_doubt(heap, note);
    hm_rejoin_suspect(heap);
}

/* A handler may fork in the middle of anything here: only words are set. */
HM_LATER void
hm_rejoin_forking(struct hm_heap *heap)
{
    struct hm_heal *heal = &heap->heal;
    uint64_t now_ns;

    heal->fork_gen++;
    if (!heap->backing.has_huge)
        return;
    now_ns = heap->os->now_ns(heap->os->ctx);
    if (heal->healing_ns != 0) {
        if (now_ns - heal->healed_ns >= WORTH_SHARE * heal->healing_ns)
            heal->fork_wait_ns = FORK_WAIT_MIN_NS;
        else
            heal->fork_wait_ns = 2 * (now_ns - heal->forked_ns);
        if (heal->fork_wait_ns > FORK_WAIT_MAX_NS)
            heal->fork_wait_ns = FORK_WAIT_MAX_NS;
        heal->healing_ns = 0;
    }
    heal->forked_ns = now_ns;
    heal->look_ns = now_ns + heal->fork_wait_ns;
    heal->look_wait_ns = 0;
    heal->cursor = NULL;
    hm_mapped_rewind(heap);
    heal->has_suspects = true;
    hm_heal_call(heap);
}

static bool
is_suspect(const struct hm_heap *heap, const struct hm_region *region)
{
    return region->state == HM_REGION_OPEN && region->backing == HM_BACKING_THP
           && region->fork_gen != heap->heal.fork_gen;
}

/* The next region that may be split; NULL: none was met for now. */
static struct hm_region *
next_suspect(struct hm_heap *heap, bool *out_is_end)
{
    *out_is_end = false;
    for (unsigned i = 0; i < STEPS_PER_LOOK; i++) {
        struct hm_region *region = hm_pheap_next_region(heap, heap->heal.cursor);

        if (region == NULL) {
            *out_is_end = true;
            return NULL;
        }
        heap->heal.cursor = region;
        if (is_suspect(heap, region))
            return region;
    }
    return NULL;
}

/* Nothing tells when the others have gone: look again, less and less often. */
static void
look_later(struct hm_heal *heal, uint64_t now_ns)
{
    hm_heal_wait_longer(&heal->look_wait_ns, LOOK_MIN_NS, LOOK_MAX_NS);
    heal->look_ns = now_ns + heal->look_wait_ns;
    heal->shared_row = 0;
}

/* A handler may fork in here. */
static void
end_pass(struct hm_heal *heal, uint64_t now_ns)
{
    uint32_t fork_gen = hm_load(&heal->fork_gen);

    heal->cursor = NULL;
    if (heal->has_shared)
        look_later(heal, now_ns);
    else
        hm_store(&heal->has_suspects, false);
    heal->has_shared = false;
    if (hm_load(&heal->fork_gen) != fork_gen)
        hm_store(&heal->has_suspects, true);
}

/* Look at a huge page that may be split, and join it if it is. One of which others still have a
 * page waits: to join it would cost the memory of a copy. */
static enum hm_heal_outcome
join(struct hm_heap *heap, uintptr_t addr, uint64_t now_ns)
{
    struct hm_heal *heal = &heap->heal;
    size_t region_bytes = hm_region_bytes(&heap->geom);
    enum hm_heal_outcome outcome = HM_HEAL_SETTLED;
    struct hm_sharing pages;
    int rc = heap->os->sharing(heap->os->ctx, addr, region_bytes, &pages);

    if (rc != 0 || pages.shared_pages > 0) {
        heal->has_shared = true;
        if (rc != 0 || ++heal->shared_row >= SHARED_PER_LOOK)
            look_later(heal, now_ns);
        return HM_HEAL_WAITS;
    }
    heal->shared_row = 0;
    if (!pages.is_huge && pages.present_pages >= hm_heal_enough_pages(heap)) {
        rc = hm_backing_join(&heap->backing, addr, region_bytes);
        outcome = HM_HEAL_COPIED;
        heal->healed_count += rc == 0;
    }
    if (rc != 0 && rc != -EINVAL) {
        heal->has_shared = true;
        look_later(heal, now_ns);
        return HM_HEAL_REFUSED;
    }
    heal->look_wait_ns = 0;
    return outcome;
}

HM_LATER enum hm_heal_outcome
hm_rejoin_next(struct hm_heap *heap, uint64_t now_ns)
{
    struct hm_heal *heal = &heap->heal;
    enum hm_heal_outcome outcome = HM_HEAL_WAITS;
    struct hm_region *region;
    uintptr_t addr = 0;
    bool is_end = false;

    if (heap->backing.thp_mode == HM_THP_UNKNOWN || !hm_backing_may_open(&heap->backing)) {
        heal->has_suspects = false;
        return HM_HEAL_WAITS;
    }
    region = next_suspect(heap, &is_end);
    if (region != NULL) {
        outcome = join(heap, region->addr, now_ns);
        if (hm_heal_is_final(outcome))
            region->fork_gen = heal->fork_gen;
        return outcome;
    }
    if (is_end)
        addr = hm_mapped_next(heap);
    if (addr != 0) {
        outcome = join(heap, addr, now_ns);
        if (!hm_heal_is_final(outcome))
            hm_mapped_wait(heap);
    } else if (is_end) {
        end_pass(heal, now_ns);
    }
    return outcome;
}
