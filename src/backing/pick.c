/* SPDX-License-Identifier: MIT */
/* pick.c - the decision of pick.h, as early returns with the reason beside each.
 *
 * Problem     See pick.h.
 * Idea        Walk the chain; each kind has one function that says why it cannot serve, or that it
 *             can.
 */
#include "backing/pick.h"

/* Arrays, not pointers: these would be written to by the loader in every process. */
static const struct {
    char code[24];
    char sentence[112];
    char cure[112];
} reason_texts[HM_REASON_COUNT] = {
    { "none", "served by the first backing of the chain", "nothing to do" },
#define HM_REASON(id, code, sentence, detected, cure) { code, sentence, cure },
#include "backing/reasons.def"
#undef HM_REASON
};

const char *
hm_reason_code(enum hm_reason reason)
{
    return reason_texts[reason].code;
}

const char *
hm_reason_sentence(enum hm_reason reason)
{
    return reason_texts[reason].sentence;
}

const char *
hm_reason_cure(enum hm_reason reason)
{
    return reason_texts[reason].cure;
}

/* Spans of all size classes, each partly in use, come to some megabytes: so much must be left for
 * the last of them to be on base pages, and it grows with the number of threads, of which the limit
 * is a hint. See docs/decisions/0012. */
#define RESERVE_MIN_REGIONS 8
#define RESERVE_SHARE 16
#define RESERVE_MAX_BYTES HM_GIB

uint64_t
hm_pick_reserve_bytes(const struct hm_geom *geom, uint64_t limit_bytes)
{
    uint64_t min_bytes = (uint64_t)RESERVE_MIN_REGIONS << geom->region_shift;
    uint64_t reserve_bytes = limit_bytes / RESERVE_SHARE;

    if (reserve_bytes > RESERVE_MAX_BYTES)
        reserve_bytes = RESERVE_MAX_BYTES;
    return reserve_bytes > min_bytes ? reserve_bytes : min_bytes;
}

/* Where a huge page is larger than a region, heaps of so many huge pages ask for them: in smaller
 * ones the last, which is partly used, would be too large a share. See docs/decisions/0043. */
#define LARGE_START_HPAGES 32

static bool
is_room_small(const struct hm_pick_in *in)
{
    size_t hpage_bytes = (size_t)1 << in->geom->hpage_shift;
    size_t len_bytes = in->len_bytes > hpage_bytes ? in->len_bytes : hpage_bytes;

    if (in->room.limit_bytes == 0)
        return false;
    return in->room.left_bytes < hm_pick_reserve_bytes(in->geom, in->room.limit_bytes) + len_bytes;
}

/* A heap this small gains nothing and would grow by megabytes. A chain without base pages says that
 * huge pages are required, so there it is not asked. */
static bool
is_heap_small(const struct hm_pick_in *in)
{
    return in->heap_bytes < in->huge_start_bytes && hm_chain_has(in->chain, HM_BACKING_4K);
}

/* The same for huge pages that are larger than a region. */
static bool
is_heap_too_small_for(const struct hm_pick_in *in, uint32_t hpage_shift)
{
    return hpage_shift > in->geom->region_shift
           && in->heap_bytes >> hpage_shift < LARGE_START_HPAGES
           && (hm_chain_has(in->chain, HM_BACKING_4K) || hm_chain_has(in->chain, HM_BACKING_MTHP));
}

static enum hm_reason
why_not_thp(const struct hm_pick_in *in)
{
    if (in->geom->hpage_shift == 0)
        return HM_REASON_THP_ABSENT;
    if (is_heap_small(in))
        return HM_REASON_HEAP_SMALL;
    if (is_heap_too_small_for(in, in->geom->hpage_shift))
        return HM_REASON_THP_LARGE;
    if (in->thp_mode == HM_THP_ABSENT)
        return HM_REASON_THP_ABSENT;
    if (in->thp_mode == HM_THP_NEVER)
        return HM_REASON_THP_NEVER;
    if (in->thp_mode == HM_THP_PRCTL_OFF)
        return HM_REASON_THP_PRCTL;
    if (is_room_small(in) && hm_chain_has(in->chain, HM_BACKING_4K))
        return HM_REASON_CGROUP_ROOM;
    return HM_REASON_NONE;
}

static enum hm_reason
why_not_mthp(const struct hm_pick_in *in)
{
    if (is_heap_small(in))
        return HM_REASON_HEAP_SMALL;
    /* The same advice brings both, and the kernel takes the larger, unless that is too large for
     * regions; a mapping would have to be taken apart for it (mthp.c). */
    if (in->geom->hpage_shift == in->geom->region_shift || in->is_mapping) {
        if (in->thp_mode == HM_THP_MADVISE || in->thp_mode == HM_THP_ALWAYS)
            return HM_REASON_MTHP_PMD;
    }
    if (in->thp_mode == HM_THP_PRCTL_OFF)
        return HM_REASON_THP_PRCTL;
    if (in->thp_mode == HM_THP_ABSENT || in->mthp_mode == HM_MTHP_OFF)
        return HM_REASON_MTHP_OFF;
    if (is_room_small(in) && hm_chain_has(in->chain, HM_BACKING_4K))
        return HM_REASON_CGROUP_ROOM;
    return HM_REASON_NONE;
}

/* The chain has no huge pages. To be passed over is worth a word only where it makes a
 * difference. */
static enum hm_reason
why_not_asked(const struct hm_pick_in *in)
{
    if (!in->is_passed_over)
        return HM_REASON_NOT_IN_CHAIN;
    return in->heap_bytes < in->huge_start_bytes ? HM_REASON_HEAP_SMALL : HM_REASON_NOT_SELECTED;
}

struct hm_pick
hm_pick_backing(const struct hm_pick_in *in)
{
    struct hm_pick pick = { .kind = HM_BACKING_KINDS, .reason = HM_REASON_NONE };

    if (!hm_chain_has(in->chain, HM_BACKING_THP) && !hm_chain_has(in->chain, HM_BACKING_MTHP)
        && !hm_chain_has(in->chain, HM_BACKING_HUGETLB))
        pick.reason = why_not_asked(in);
    for (unsigned i = 0; i < in->chain->kind_count; i++) {
        enum hm_reason reason;

        pick.kind = (enum hm_backing_kind)in->chain->kind[i];
        if (pick.kind == HM_BACKING_4K)
            return pick;
        /* Whether the pool serves is only known by asking it (hugetlb.c). */
        if (pick.kind == HM_BACKING_HUGETLB) {
            pick.kind = HM_BACKING_KINDS;
            continue;
        }
        reason = pick.kind == HM_BACKING_THP ? why_not_thp(in) : why_not_mthp(in);
        if (reason == HM_REASON_NONE)
            return pick;
        if (pick.reason == HM_REASON_NONE)
            pick.reason = reason;
        pick.kind = HM_BACKING_KINDS;
    }
    return pick;
}
