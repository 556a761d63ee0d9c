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
#define RESERVE_MIN_HPAGES 8
#define RESERVE_SHARE 16
#define RESERVE_MAX_BYTES HM_GIB

uint64_t
hm_pick_reserve_bytes(const struct hm_geom *geom, uint64_t limit_bytes)
{
    uint64_t min_bytes = (uint64_t)RESERVE_MIN_HPAGES << geom->hpage_shift;
    uint64_t reserve_bytes = limit_bytes / RESERVE_SHARE;

    if (reserve_bytes > RESERVE_MAX_BYTES)
        reserve_bytes = RESERVE_MAX_BYTES;
    return reserve_bytes > min_bytes ? reserve_bytes : min_bytes;
}

static bool
is_room_small(const struct hm_pick_in *in)
{
    if (in->room.limit_bytes == 0)
        return false;
    return in->room.left_bytes
           < hm_pick_reserve_bytes(in->geom, in->room.limit_bytes) + in->len_bytes;
}

static enum hm_reason
why_not_thp(const struct hm_pick_in *in)
{
    /* A THP fills a whole PMD; a region that is not one could only ever hold a part of it. */
    if (in->geom->hpage_shift == 0 || in->geom->hpage_shift != in->geom->region_shift)
        return HM_REASON_THP_ABSENT;
    /* A heap this small gains nothing and would grow by megabytes. A chain without base pages says
     * that huge pages are required, so there it is not asked. */
    if (in->heap_bytes < in->huge_start_bytes && hm_chain_has(in->chain, HM_BACKING_4K))
        return HM_REASON_HEAP_SMALL;
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

    if (!hm_chain_has(in->chain, HM_BACKING_THP) && !hm_chain_has(in->chain, HM_BACKING_HUGETLB))
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
        reason = why_not_thp(in);
        if (reason == HM_REASON_NONE)
            return pick;
        pick.reason = reason;
        pick.kind = HM_BACKING_KINDS;
    }
    return pick;
}
