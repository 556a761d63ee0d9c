/* SPDX-License-Identifier: MIT */
/* backing.c - the chain: decide, obtain, fall back, count (see backing.h). */
#include "backing/backing.h"

#include <errno.h>

#include "backing/hugetlb.h"
#include "base/fmt.h"

typedef int (*obtain_fn)(struct hm_backing *backing, struct hm_range *inout_range,
                         enum hm_reason *out_reason);

/* A pool is asked in front of them. */
static const obtain_fn obtain_fns[HM_BACKING_KINDS + 1] = {
    [HM_BACKING_THP] = hm_thp_obtain,
    [HM_BACKING_MTHP] = hm_mthp_obtain,
    [HM_BACKING_4K] = hm_base4k_obtain,
};

/* Tell of the first fallback of each kind that somebody could do something about: when asked to,
 * and always when huge pages are required, since the program is about to run out of memory. */
static void
say_reason(const struct hm_backing *backing, enum hm_reason reason, const struct hm_shortage *limit)
{
    bool is_required = !hm_chain_has(&backing->conf->backing, HM_BACKING_4K);
    char buf[640];
    struct hm_fmt out;

    if (reason == HM_REASON_HEAP_SMALL || !(backing->conf->verbose || is_required))
        return;
    out = hm_fmt_init(buf, sizeof(buf), 2);
    hm_fmt_str(&out, "huma: fell back (");
    hm_fmt_str(&out, hm_reason_code(reason));
    hm_fmt_str(&out, "): ");
    hm_fmt_str(&out, hm_reason_sentence(reason));
    if (limit != NULL && limit->path[0] != '\0') {
        hm_fmt_str(&out, " (");
        hm_fmt_str(&out, limit->path);
        hm_fmt_str(&out, ": ");
        hm_fmt_u64(&out, limit->limit_bytes);
        hm_fmt_str(&out, ")");
    }
    hm_fmt_str(&out, "; cure: ");
    hm_fmt_str(&out, hm_reason_cure(reason));
    hm_fmt_str(&out, "\n");
    hm_fmt_flush(&out);
}

void
hm_backing_count(struct hm_backing *backing, enum hm_reason reason, size_t len_bytes,
                 const struct hm_shortage *limit)
{
    size_t region_bytes = hm_region_bytes(&backing->geom);

    if (reason == HM_REASON_NONE)
        return;
    backing->last_reason = (uint8_t)reason;
    if (backing->reason_count[reason]++ == 0)
        say_reason(backing, reason, limit);
    backing->reason_count[reason] += len_bytes > region_bytes ? len_bytes / region_bytes - 1 : 0;
}

/* --- the memory cgroup ------------------------------------------------------------------------ */

/* What was read is good for so long; where there is no limit, for longer. */
#define ROOM_GOOD_NS ((uint64_t)100 * 1000 * 1000)
#define NO_LIMIT_GOOD_NS ((uint64_t)1000 * 1000 * 1000)

/* ... and until this share of what is left before the limit is near was opened. */
#define ROOM_GOOD_SHARE 4

/* If it cannot be read just now (no descriptor is free), what was known before is still the best
 * guess. */
static void
read_room(struct hm_backing *backing, uint64_t now_ns, size_t heap_bytes)
{
    const struct hm_os *os = backing->os;
    struct hm_room *room = &backing->room;
    uint64_t reserve_bytes;

    if (os->room(os->ctx, room) == 0)
        backing->room_heap_bytes = heap_bytes;
    reserve_bytes = hm_pick_reserve_bytes(&backing->geom, room->limit_bytes);
    backing->room_ns = now_ns;
    backing->room_next_bytes = UINT64_MAX;
    if (room->limit_bytes != 0 && room->left_bytes > reserve_bytes)
        backing->room_next_bytes = (room->left_bytes - reserve_bytes) / ROOM_GOOD_SHARE;
}

/* A filter of system calls that was added since the start may end the process for it. */
bool
hm_backing_may_open(struct hm_backing *backing)
{
    const struct hm_os *os = backing->os;

    if (backing->filters != HM_FILTERS_OPEN && os->filters(os->ctx) == backing->filters)
        return true;
    backing->filters = HM_FILTERS_OPEN;
    return false;
}

/* Read anew what may have changed. */
static HM_LATER void
refresh_room(struct hm_backing *backing, size_t heap_bytes)
{
    const struct hm_os *os = backing->os;
    uint64_t now_ns = os->now_ns(os->ctx);
    uint64_t good_ns = backing->room.limit_bytes != 0 ? ROOM_GOOD_NS : NO_LIMIT_GOOD_NS;

    if (backing->room_ns != 0 && now_ns - backing->room_ns < good_ns
        && backing->room_next_bytes > 0)
        return;
    if (hm_backing_may_open(backing))
        read_room(backing, now_ns, heap_bytes);
}

static void
spend_room(struct hm_backing *backing, size_t len_bytes)
{
    backing->room_next_bytes
        -= len_bytes < backing->room_next_bytes ? len_bytes : backing->room_next_bytes;
}

/* A mount option, which does not change. */
bool
hm_backing_is_pool_charged(struct hm_backing *backing, size_t heap_bytes)
{
    const struct hm_os *os = backing->os;

    refresh_room(backing, heap_bytes);
    if (backing->room.limit_bytes == 0)
        return false;
    if (!backing->is_charge_known && hm_backing_may_open(backing))
        backing->is_charge_known = os->pool_charged(os->ctx, &backing->is_pool_charged) == 0;
    return backing->is_pool_charged;
}

/* Once, when huge pages are first wanted: small processes never come here. */
static void
read_mode(struct hm_backing *backing)
{
    if (backing->thp_mode == HM_THP_UNKNOWN && hm_backing_may_open(backing))
        backing->thp_mode = backing->os->thp_mode(backing->os->ctx);
}

/* The same for smaller ones, which are asked for where there are no larger ones. */
static enum hm_mthp_mode
read_mthp(struct hm_backing *backing)
{
    if (!hm_backing_may_open(backing))
        return HM_MTHP_OFF;
    backing->mthp_mode = backing->os->has_mthp(backing->os->ctx) ? HM_MTHP_ON : HM_MTHP_OFF;
    return backing->mthp_mode;
}

uint64_t
hm_backing_room_bytes(const struct hm_backing *backing, size_t heap_bytes)
{
    uint64_t left_bytes = backing->room.left_bytes;
    uint64_t grown_bytes = heap_bytes - backing->room_heap_bytes;

    if (backing->room.limit_bytes == 0)
        return UINT64_MAX;
    if (heap_bytes < backing->room_heap_bytes)
        return left_bytes + (backing->room_heap_bytes - heap_bytes);
    return left_bytes > grown_bytes ? left_bytes - grown_bytes : 0;
}

void
hm_backing_init(struct hm_backing *backing, const struct hm_os *os, const struct hm_conf *conf,
                const struct hm_geom *geom)
{
    *backing = (struct hm_backing){ .os = os, .conf = conf, .geom = *geom };
    backing->thp_mode = HM_THP_UNKNOWN;
    backing->filters = os->filters(os->ctx);
    /* Now or never: whether this is still allowed later cannot be told. If the program runs
     * already, it is later. */
    if (backing->filters == HM_FILTERS_OPEN && !conf->is_late) {
        backing->thp_mode = os->thp_mode(os->ctx);
        if (hm_chain_has(&conf->backing, HM_BACKING_MTHP))
            backing->mthp_mode = os->has_mthp(os->ctx) ? HM_MTHP_ON : HM_MTHP_OFF;
        read_room(backing, os->now_ns(os->ctx), 0);
    }
}

/* --- the decision ----------------------------------------------------------------------------- */

static struct hm_pick
pick_for(struct hm_backing *backing, size_t len_bytes, bool is_mapping, size_t heap_bytes)
{
    struct hm_pick_in in = {
        .chain = &backing->conf->backing,
        .is_passed_over = backing->conf->is_passed_over,
        .geom = &backing->geom,
        .thp_mode = backing->thp_mode,
        .mthp_mode = backing->mthp_mode,
        .heap_bytes = heap_bytes,
        .huge_start_bytes = backing->conf->huge_start_bytes,
        .len_bytes = len_bytes,
        .is_mapping = is_mapping,
    };
    struct hm_pick pick = hm_pick_backing(&in);

    /* Small processes never come to read the files. */
    if (pick.kind != HM_BACKING_THP && pick.kind != HM_BACKING_MTHP)
        return pick;
    read_mode(backing);
    in.thp_mode = backing->thp_mode;
    if (hm_chain_has(in.chain, HM_BACKING_4K)) {
        refresh_room(backing, heap_bytes);
        in.room.limit_bytes = backing->room.limit_bytes;
        in.room.left_bytes = hm_backing_room_bytes(backing, heap_bytes);
    }
    pick = hm_pick_backing(&in);
    if (pick.kind != HM_BACKING_MTHP || in.mthp_mode != HM_MTHP_UNKNOWN)
        return pick;
    in.mthp_mode = read_mthp(backing);
    return hm_pick_backing(&in);
}

/* Whether huge pages are what regions are. */
static bool
has_huge_regions(const struct hm_backing *backing)
{
    return backing->geom.hpage_shift == backing->geom.region_shift;
}

int
hm_backing_advise(struct hm_backing *backing, struct hm_range *inout_range,
                  enum hm_backing_kind kind)
{
    const struct hm_os *os = backing->os;
    int rc;

    if (inout_range->advised == kind)
        return 0;
    rc = os->advise(os->ctx, inout_range->addr, inout_range->len_bytes + inout_range->rest_bytes,
                    kind == HM_BACKING_4K ? HM_ADVICE_BASE : HM_ADVICE_HUGE);
    inout_range->advised = rc == 0 ? kind : HM_BACKING_KINDS;
    return rc;
}

int
hm_backing_commit(struct hm_backing *backing, const struct hm_range *range)
{
    const struct hm_os *os = backing->os;
    int rc = os->commit(os->ctx, range->addr, range->len_bytes);

    if (rc == -ENOMEM && range->rest_bytes > 0) {
        rc = os->commit(os->ctx, range->addr, range->len_bytes + range->rest_bytes);
        backing->is_crowded |= rc == 0;
    }
    return rc;
}

/* Where the chain has a kind; its end if it has not. */
static unsigned
place_of(const struct hm_backing *backing, enum hm_backing_kind kind)
{
    const struct hm_chain *chain = &backing->conf->backing;
    unsigned i = 0;

    while (i < chain->kind_count && chain->kind[i] != kind)
        i++;
    return i;
}

/* From a pool, if there is one at these places of the chain. */
static bool
obtain_pool(struct hm_backing *backing, struct hm_range *inout_range, size_t heap_bytes,
            struct hm_places places)
{
    return hm_backing_has_pool(backing)
           && hm_hugetlb_obtain(backing, inout_range, heap_bytes, places) == 0;
}

/* As picked, or what stands behind that if it cannot be had. Returns the kind, or HM_BACKING_KINDS
 * if there is none. */
static enum hm_backing_kind
obtain_picked(struct hm_backing *backing, struct hm_range *inout_range, size_t heap_bytes,
              enum hm_backing_kind kind)
{
    struct hm_places behind = { place_of(backing, kind) + 1, place_of(backing, HM_BACKING_4K) };
    enum hm_reason reason = HM_REASON_NONE;
    bool is_on_pool;

    if (obtain_fns[kind] == NULL)
        return HM_BACKING_KINDS;
    if (obtain_fns[kind](backing, inout_range, &reason) == 0)
        return kind;
    if (kind == HM_BACKING_4K)
        return HM_BACKING_KINDS;
    is_on_pool = obtain_pool(backing, inout_range, heap_bytes, behind);
    hm_backing_count(backing, reason, inout_range->len_bytes, NULL);
    if (is_on_pool)
        return HM_BACKING_HUGETLB;
    if (hm_chain_has(&backing->conf->backing, HM_BACKING_4K)
        && hm_base4k_obtain(backing, inout_range, &reason) == 0)
        return HM_BACKING_4K;
    return HM_BACKING_KINDS;
}

/* A heap that is still small is on base pages, unless the pool stands first: its pages are there to
 * be used. See docs/decisions/0041. */
static bool
is_pool_early(const struct hm_backing *backing, enum hm_reason reason)
{
    return reason != HM_REASON_HEAP_SMALL || backing->conf->backing.kind[0] == HM_BACKING_HUGETLB;
}

/* Hugetlb pages stay by themselves. Nothing was touched yet. */
static bool
lock(struct hm_backing *backing, const struct hm_range *range, enum hm_backing_kind kind)
{
    const struct hm_os *os = backing->os;

    if (!backing->conf->is_locked || kind == HM_BACKING_HUGETLB
        || os->advise(os->ctx, range->addr, range->len_bytes, HM_ADVICE_LOCK) == 0)
        return true;
    hm_backing_count(backing, HM_REASON_LOCK_LIMIT, range->len_bytes, NULL);
    return false;
}

int
hm_backing_obtain(struct hm_backing *backing, struct hm_range *inout_range, size_t heap_bytes,
                  enum hm_backing_kind *out_kind)
{
    struct hm_pick pick
        = pick_for(backing, inout_range->len_bytes, !inout_range->is_regions, heap_bytes);
    struct hm_places before = { 0, place_of(backing, pick.kind) };

    if (is_pool_early(backing, pick.reason)
        && obtain_pool(backing, inout_range, heap_bytes, before)) {
        *out_kind = HM_BACKING_HUGETLB;
    } else {
        hm_backing_count(backing, pick.reason, inout_range->len_bytes, NULL);
        *out_kind = obtain_picked(backing, inout_range, heap_bytes, pick.kind);
    }
    if (*out_kind == HM_BACKING_KINDS || !lock(backing, inout_range, *out_kind))
        return -ENOMEM;
    spend_room(backing, inout_range->len_bytes);
    backing->has_huge |= *out_kind == HM_BACKING_THP && has_huge_regions(backing);
    return 0;
}

bool
hm_backing_wants_huge(struct hm_backing *backing, size_t heap_bytes)
{
    /* Small processes ask again and again, and the answer is always the same. */
    if (heap_bytes < backing->conf->huge_start_bytes
        && hm_chain_has(&backing->conf->backing, HM_BACKING_4K))
        return false;
    return has_huge_regions(backing)
           && pick_for(backing, hm_region_bytes(&backing->geom), false, heap_bytes).kind
                  == HM_BACKING_THP;
}

int
hm_backing_join(struct hm_backing *backing, uintptr_t addr, size_t len_bytes)
{
    const struct hm_os *os = backing->os;
    int rc = os->advise(os->ctx, addr, len_bytes, HM_ADVICE_COLLAPSE);

    if (rc != 0)
        hm_backing_count(backing, HM_REASON_COLLAPSE_FAILED, len_bytes, NULL);
    return rc;
}

HM_LATER int
hm_backing_collapse(struct hm_backing *backing, uintptr_t addr, size_t len_bytes)
{
    const struct hm_os *os = backing->os;
    int rc;

    /* A collapse does not ask the administrator. */
    read_mode(backing);
    if (backing->thp_mode == HM_THP_UNKNOWN)
        return -EAGAIN;
    rc = os->advise(os->ctx, addr, len_bytes, HM_ADVICE_HUGE);
    if (rc == 0)
        rc = os->advise(os->ctx, addr, len_bytes, HM_ADVICE_COLLAPSE);
    if (rc == 0)
        return 0;
    (void)os->advise(os->ctx, addr, len_bytes, HM_ADVICE_BASE);
    hm_backing_count(backing, HM_REASON_COLLAPSE_FAILED, len_bytes, NULL);
    return rc;
}
