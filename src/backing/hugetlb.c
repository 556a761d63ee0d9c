/* SPDX-License-Identifier: MIT */
/* hugetlb.c - the backing `hugetlb`: pages of the pool that the administrator reserved.
 *
 * Problem     A pool is small, others take from it, and it may grow later. What it cannot give must
 *             never be found out by a touch.
 * Idea        Regions are mapped and filled at once (os_pool.c), some at a time; if that is too
 *             much, half of it, down to one. So what is there is used to the last page, and the
 *             next backing serves the rest. After a refusal of a single region the pool is left
 *             alone for a while, for longer each time, if another backing serves meanwhile; then it
 *             is asked again. What a refusal means
 *             is looked up in files, once per refusal.
 * State       backing->pools, one for each size in the chain.
 * Locking     The heap's lock.
 */
#include "backing/hugetlb.h"

#include <errno.h>

/* Regions asked for at a time. Under a control group's limit the kernel fills what it can before it
 * refuses, and all that is in vain. */
#define BATCH_REGIONS 16

/* After a refusal; twice as long after each further one. */
#define WAIT_MIN_NS 10000000u
#define WAIT_MAX_NS 1000000000u

/* --- why not ---------------------------------------------------------------------------------- */

/* What was asked for, and what came of it. */
struct refusal {
    struct hm_pool_range range;
    enum hm_pool_step step;
    int rc;
};

static enum hm_reason
why_short(struct hm_backing *backing, const struct refusal *refusal, struct hm_shortage *out_limit)
{
    static const enum hm_reason reasons[] = {
        [HM_SHORTAGE_POOL] = HM_REASON_POOL_EMPTY,
        [HM_SHORTAGE_MAX] = HM_REASON_POOL_MAX,
        [HM_SHORTAGE_RSVD] = HM_REASON_POOL_RSVD,
    };
    const struct hm_os *os = backing->os;
    const struct hm_pool_range *range = &refusal->range;
    bool has_promise = refusal->step == HM_POOL_FILL;
    struct hm_shortage found = { .cause = HM_SHORTAGE_UNKNOWN };

    if (hm_backing_may_open(backing)
        && os->shortage(os->ctx, range->len_bytes, range->page_shift, &found) == 0
        && found.cause != HM_SHORTAGE_UNKNOWN) {
        /* Then it is not the pool as a whole. */
        if (has_promise && found.cause == HM_SHORTAGE_POOL)
            return HM_REASON_POOL_NODE;
        *out_limit = found;
        return reasons[found.cause];
    }
    return has_promise ? HM_REASON_POOL_NODE : HM_REASON_POOL_REFUSED;
}

static enum hm_reason
why(struct hm_backing *backing, const struct refusal *refusal, struct hm_shortage *out_limit)
{
    enum hm_pool_step step = refusal->step;
    int rc = refusal->rc;

    if (step == HM_POOL_KERNEL || (step == HM_POOL_FILL && rc == -EINVAL))
        return HM_REASON_POOL_KERNEL;
    if (step == HM_POOL_RESERVE && rc == -EAGAIN)
        return HM_REASON_POOL_MEMLOCK;
    if (step == HM_POOL_RESERVE && rc == -ENOMEM)
        return why_short(backing, refusal, out_limit);
    if (step == HM_POOL_RESERVE
        && (rc == -EINVAL || rc == -ENODEV || rc == -ENOSYS || rc == -EOPNOTSUPP))
        return HM_REASON_POOL_SIZE;
    if (step == HM_POOL_FILL && rc == -ENOMEM)
        return HM_REASON_POOL_MEMCG;
    if (step == HM_POOL_FILL && rc == -EFAULT)
        return why_short(backing, refusal, out_limit);
    return HM_REASON_POOL_REFUSED;
}

/* What waiting does not change. */
static bool
is_final(enum hm_reason reason)
{
    return reason == HM_REASON_POOL_KERNEL || reason == HM_REASON_POOL_SIZE;
}

static void
refuse(struct hm_backing *backing, struct hm_pool_state *pool, enum hm_reason reason, unsigned node)
{
    uint64_t now_ns = backing->os->now_ns(backing->os->ctx);

    pool->why = (uint8_t)reason;
    if (now_ns >= pool->retry_ns)
        pool->short_nodes = 0;
    pool->short_nodes |= reason == HM_REASON_POOL_NODE ? (uint32_t)1 << node : UINT32_MAX;
    pool->wait_ns = 2 * pool->wait_ns > WAIT_MIN_NS ? 2 * pool->wait_ns : WAIT_MIN_NS;
    if (pool->wait_ns > WAIT_MAX_NS)
        pool->wait_ns = WAIT_MAX_NS;
    pool->retry_ns = is_final(reason) ? UINT64_MAX : now_ns + pool->wait_ns;
}

/* A pool is left alone only where something else serves: what was given back a moment ago must not
 * be refused. */
static bool
may_ask(const struct hm_backing *backing, const struct hm_pool_state *pool, unsigned node,
        bool is_last)
{
    if (is_last)
        return pool->retry_ns != UINT64_MAX;
    return (pool->short_nodes >> node & 1) == 0
           || backing->os->now_ns(backing->os->ctx) >= pool->retry_ns;
}

/* How much of a request the memory cgroup has room for, if it counts hugetlb pages: something must
 * be left for base pages, as beside THP. Where hugetlb is required, for those outside the heap. */
static size_t
affordable_bytes(struct hm_backing *backing, size_t len_bytes, size_t heap_bytes)
{
    uint64_t left_bytes;
    uint64_t reserve_bytes;

    if (!hm_backing_is_pool_charged(backing, heap_bytes))
        return len_bytes;
    left_bytes = hm_backing_room_bytes(backing, heap_bytes);
    reserve_bytes = hm_pick_reserve_bytes(&backing->geom, backing->room.limit_bytes);
    if (left_bytes < reserve_bytes)
        return 0;
    left_bytes = hm_align_down(left_bytes - reserve_bytes, hm_region_bytes(&backing->geom));
    return left_bytes < len_bytes ? left_bytes : len_bytes;
}

/* log2 of the size of pages that this place of the chain stands for; 0: there is none. */
static unsigned
page_shift_of(const struct hm_backing *backing, unsigned idx)
{
    unsigned page_shift = backing->conf->backing.page_shift[idx];

    return page_shift != 0 ? page_shift : backing->geom.hpage_shift;
}

/* --- the recipe ------------------------------------------------------------------------------- */

/* From one pool. */
static int
take(struct hm_backing *backing, struct hm_pool_state *pool, struct hm_range *inout_range,
     unsigned page_shift, struct hm_shortage *out_limit)
{
    const struct hm_os *os = backing->os;
    size_t unit_bytes = hm_region_bytes(&backing->geom);
    struct refusal refusal = { .step = HM_POOL_KERNEL };
    struct hm_pool_range *range = &refusal.range;

    *range = (struct hm_pool_range){ .addr = inout_range->addr,
                                     .len_bytes = inout_range->len_bytes,
                                     .page_shift = page_shift,
                                     .is_placed = inout_range->is_placed };
    if (page_shift > backing->geom.region_shift)
        unit_bytes = (size_t)1 << page_shift;
    else if (range->len_bytes > BATCH_REGIONS * unit_bytes)
        range->len_bytes = BATCH_REGIONS * unit_bytes;
    for (;;) {
        refusal.rc = os->pool_map(os->ctx, range, &refusal.step);
        if (refusal.rc == 0 || range->len_bytes == unit_bytes || refusal.step == HM_POOL_KERNEL)
            break;
        range->len_bytes = hm_align_down(range->len_bytes / 2, unit_bytes);
    }
    if (refusal.rc == 0) {
        inout_range->len_bytes = range->len_bytes;
        pool->wait_ns = 0;
    } else {
        refuse(backing, pool, why(backing, &refusal, out_limit), inout_range->node);
    }
    return refusal.rc;
}

/* From one place of the chain. Returns HM_REASON_NONE if regions were served. */
static enum hm_reason
ask(struct hm_backing *backing, unsigned idx, struct hm_range *inout_range, bool is_last,
    struct hm_shortage *out_limit)
{
    struct hm_pool_state *pool = &backing->pools[idx];
    unsigned page_shift = page_shift_of(backing, idx);

    if (!inout_range->is_regions)
        return HM_REASON_POOL_ALIGN;
    if (page_shift == 0)
        return HM_REASON_POOL_SIZE;
    /* Such pages were asked for before, if the heap is large enough. */
    if (page_shift > backing->geom.region_shift)
        return pool->wait_ns != 0 ? (enum hm_reason)pool->why : HM_REASON_POOL_LARGE;
    if (may_ask(backing, pool, inout_range->node, is_last)
        && take(backing, pool, inout_range, page_shift, out_limit) == 0)
        return HM_REASON_NONE;
    return (enum hm_reason)pool->why;
}

/* The rest of a request, which another pool served in part, comes again. */
static void
uncount(struct hm_backing *backing, const uint8_t *reasons, unsigned reason_count,
        size_t rest_bytes)
{
    for (unsigned i = 0; i < reason_count; i++)
        backing->reason_count[reasons[i]] -= rest_bytes >> backing->geom.region_shift;
}

int
hm_hugetlb_obtain(struct hm_backing *backing, struct hm_range *inout_range, size_t heap_bytes,
                  struct hm_places places)
{
    const struct hm_chain *chain = &backing->conf->backing;
    bool is_last = places.end == chain->kind_count;
    size_t asked_bytes = inout_range->len_bytes;
    struct hm_range range = *inout_range;
    uint8_t reasons[HM_CHAIN_MAX];
    unsigned reason_count = 0;

    range.len_bytes = affordable_bytes(backing, range.len_bytes, heap_bytes);
    for (unsigned i = places.first; i < places.end; i++) {
        struct hm_shortage limit = { .cause = HM_SHORTAGE_UNKNOWN };
        enum hm_reason reason = HM_REASON_POOL_MEMCG;

        if (chain->kind[i] != HM_BACKING_HUGETLB)
            continue;
        if (range.len_bytes > 0)
            reason = ask(backing, i, &range, is_last, &limit);
        if (reason == HM_REASON_NONE) {
            *inout_range = range;
            uncount(backing, reasons, reason_count, asked_bytes - range.len_bytes);
            return 0;
        }
        reasons[reason_count++] = (uint8_t)reason;
        hm_backing_count(backing, reason, asked_bytes, &limit);
    }
    return -ENOMEM;
}

/* --- pages that hold several regions ---------------------------------------------------------- */

unsigned
hm_hugetlb_places(const struct hm_backing *backing)
{
    const struct hm_chain *chain = &backing->conf->backing;
    unsigned count = 0;

    while (count < chain->kind_count && chain->kind[count] == HM_BACKING_HUGETLB)
        count++;
    return count;
}

static bool
is_giant(const struct hm_backing *backing, unsigned place)
{
    return page_shift_of(backing, place) > backing->geom.region_shift;
}

bool
hm_hugetlb_needs_giants(const struct hm_backing *backing)
{
    const struct hm_chain *chain = &backing->conf->backing;

    for (unsigned i = 0; i < chain->kind_count; i++)
        if (chain->kind[i] != HM_BACKING_HUGETLB || !is_giant(backing, i))
            return false;
    return true;
}

unsigned
hm_hugetlb_giant_shift(const struct hm_backing *backing, unsigned place, size_t heap_bytes)
{
    unsigned page_shift = page_shift_of(backing, place);

    if (!is_giant(backing, place))
        return 0;
    if (heap_bytes >> page_shift == 0 && backing->conf->huge_start_bytes != 0
        && !hm_hugetlb_needs_giants(backing))
        return 0;
    return page_shift;
}

int
hm_hugetlb_obtain_page(struct hm_backing *backing, struct hm_range *range, size_t heap_bytes,
                       unsigned place)
{
    struct hm_pool_state *pool = &backing->pools[place];
    struct hm_shortage limit = { .cause = HM_SHORTAGE_UNKNOWN };

    if (affordable_bytes(backing, range->len_bytes, heap_bytes) < range->len_bytes
        || !may_ask(backing, pool, range->node, hm_hugetlb_needs_giants(backing)))
        return -ENOMEM;
    return take(backing, pool, range, page_shift_of(backing, place), &limit) == 0 ? 0 : -ENOMEM;
}

int
hm_hugetlb_release(struct hm_backing *backing, uintptr_t addr, size_t len_bytes)
{
    const struct hm_os *os = backing->os;
    int rc = os->pool_unmap(os->ctx, addr, len_bytes);

    /* One of the names of the heap's address space: it joins its neighbours. */
    if (rc == 0)
        os->name(os->ctx, addr, len_bytes, backing->conf->name);
    return rc;
}

/* --- for reports ------------------------------------------------------------------------------ */

uint64_t
hm_backing_surplus_bytes(struct hm_backing *backing)
{
    const struct hm_os *os = backing->os;
    const struct hm_chain *chain = &backing->conf->backing;
    uint64_t sum_bytes = 0;

    for (unsigned i = 0; i < chain->kind_count; i++) {
        unsigned page_shift = page_shift_of(backing, i);
        uint64_t count = 0;

        if (chain->kind[i] == HM_BACKING_HUGETLB && page_shift != 0 && hm_backing_may_open(backing)
            && os->surplus(os->ctx, page_shift, &count) == 0)
            sum_bytes += count << page_shift;
    }
    return sum_bytes;
}

/* --- for the child of a fork ------------------------------------------------------------------ */

/* To write to more than there is would end the process. What cannot be read is no limit. */
static bool
is_there_room(struct hm_backing *backing, size_t len_bytes)
{
    const struct hm_os *os = backing->os;
    struct hm_room room = { 0 };
    uint64_t free_bytes = UINT64_MAX;

    if (!hm_backing_may_open(backing))
        return true;
    (void)os->available(os->ctx, &free_bytes);
    if (free_bytes < hm_pick_reserve_bytes(&backing->geom, 0)
        || free_bytes - hm_pick_reserve_bytes(&backing->geom, 0) < len_bytes)
        return false;
    if (os->room(os->ctx, &room) != 0 || room.limit_bytes == 0)
        return true;
    return room.left_bytes >= len_bytes + hm_pick_reserve_bytes(&backing->geom, room.limit_bytes);
}

int
hm_backing_obtain_copy(struct hm_backing *backing, size_t len_bytes, enum hm_backing_kind kind,
                       uintptr_t *out_addr)
{
    const struct hm_os *os = backing->os;
    struct hm_range range = { .len_bytes = len_bytes, .advised = HM_BACKING_KINDS };

    if (!is_there_room(backing, len_bytes)
        || os->reserve(os->ctx, len_bytes, hm_region_bytes(&backing->geom), &range.addr) != 0)
        return -ENOMEM;
    (void)hm_backing_advise(backing, &range, kind);
    if (hm_backing_commit(backing, &range) != 0) {
        (void)os->unmap(os->ctx, range.addr, len_bytes);
        return -ENOMEM;
    }
    *out_addr = range.addr;
    return 0;
}
