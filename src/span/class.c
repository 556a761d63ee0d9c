/* SPDX-License-Identifier: MIT */
/* class.c - the parts of class.h that are off the hot path.
 *
 * Problem     A thread with ten objects must not own 64 KiB for each class, and a thread with a
 *             million should not come to the page heap every few hundred.
 * Idea        Span lengths come in three steps by the number of spans that the thread owns already.
 */
#include "span/class.h"

/* How long a span is: this many slots, but no more than so many bytes, yet at least a few slots. */
static const struct {
    unsigned owned_count; /* from so many spans of the class on */
    size_t slot_count;
    size_t max_bytes;
    size_t min_slot_count;
} span_steps[] = {
    { 6, 4096, 256 * HM_KIB, 8 }, { 3, 1024, 128 * HM_KIB, 4 }, { 2, 512, 64 * HM_KIB, 4 },
    { 1, 256, 32 * HM_KIB, 2 },   { 0, 64, 16 * HM_KIB, 2 },
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

    while (owned_count < span_steps[step].owned_count)
        step++;
    slot_count = span_steps[step].slot_count;
    if (slot_count * slot_bytes > span_steps[step].max_bytes)
        slot_count = span_steps[step].max_bytes / slot_bytes;
    if (slot_count < span_steps[step].min_slot_count)
        slot_count = span_steps[step].min_slot_count;
    return hm_bytes_to_pages_up(geom, slot_count * slot_bytes);
}

uint32_t
hm_class_slots(const struct hm_geom *geom, unsigned class_idx, size_t len_pages)
{
    size_t slot_count = hm_pages_to_bytes(geom, len_pages) / hm_class_bytes(class_idx);

    if (slot_count > HM_SPAN_WORDS_MAX * 64)
        slot_count = HM_SPAN_WORDS_MAX * 64;
    return (uint32_t)slot_count;
}
