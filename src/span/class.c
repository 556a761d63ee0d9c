/* SPDX-License-Identifier: MIT */
/* class.c - the parts of class.h that are off the hot path.
 *
 * Problem     A thread with ten objects must not own 64 KiB for each class, and a thread with a
 *             million should not come to the page heap every few hundred.
 * Idea        Span lengths come in steps by the number of spans that the thread owns already: about
 *             as much as it has of the class. They stop where a span has slots enough, since what
 *             lies behind the last slot in use is lost, in each class.
 */
#include "span/class.h"

#define MIN_SLOT_COUNT 2

/* A span may be shorter than it should by this factor, if that fills a gap. */
#define SHORTEST_SHARE 4

/* How long a span is: so many bytes, but at least a few slots. */
static const struct {
    unsigned owned_count; /* from so many spans of the class on */
    unsigned min_slot_count;
    size_t max_bytes;
} span_steps[] = {
    { 10, 16, 128 * HM_KIB },
    { 3, 8, 64 * HM_KIB },
    { 1, 4, 32 * HM_KIB },
    { 0, MIN_SLOT_COUNT, 4 * HM_KIB },
};

unsigned
hm_class_of_aligned(size_t size_bytes, size_t align_bytes)
{
    size_t want_bytes = hm_align_up(size_bytes, align_bytes);
    unsigned class_idx;

    if (size_bytes > HM_SMALL_MAX_BYTES || want_bytes > HM_SMALL_MAX_BYTES)
        return HM_CLASS_COUNT;
    for (class_idx = hm_class_of(want_bytes); class_idx < HM_CLASS_COUNT; class_idx++)
        if ((hm_class_bytes(class_idx) & (align_bytes - 1)) == 0)
            break;
    return class_idx;
}

size_t
hm_class_span_pages(const struct hm_geom *geom, unsigned class_idx, unsigned owned_count)
{
    size_t slot_bytes = hm_class_bytes(class_idx);
    unsigned step = 0;
    size_t slot_count;
    size_t whole_count;

    while (owned_count < span_steps[step].owned_count)
        step++;
    slot_count = span_steps[step].max_bytes / slot_bytes;
    if (slot_count > HM_SPAN_SLOTS_MAX)
        slot_count = HM_SPAN_SLOTS_MAX;
    if (slot_count < span_steps[step].min_slot_count)
        slot_count = span_steps[step].min_slot_count;
    /* So many slots fill pages without a rest. */
    whole_count = hm_page_bytes(geom) / (slot_bytes & -slot_bytes);
    if (whole_count > 0 && slot_count > whole_count)
        slot_count -= slot_count % whole_count;
    return hm_bytes_to_pages_up(geom, slot_count * slot_bytes);
}

size_t
hm_class_min_pages(const struct hm_geom *geom, unsigned class_idx, size_t wish_pages)
{
    size_t slots_pages = hm_bytes_to_pages_up(geom, MIN_SLOT_COUNT * hm_class_bytes(class_idx));
    size_t share_pages = (wish_pages + SHORTEST_SHARE - 1) / SHORTEST_SHARE;

    return share_pages > slots_pages ? share_pages : slots_pages;
}

uint32_t
hm_class_slots(const struct hm_geom *geom, unsigned class_idx, size_t len_pages)
{
    size_t slot_count = hm_pages_to_bytes(geom, len_pages) / hm_class_bytes(class_idx);

    if (slot_count > HM_SPAN_SLOTS_MAX)
        slot_count = HM_SPAN_SLOTS_MAX;
    return (uint32_t)slot_count;
}
