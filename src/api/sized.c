/* SPDX-License-Identifier: MIT */
/* sized.c - is it the right size? (see sized.h)
 *
 * Invariants  room_for() gives what alloc_aligned() of malloc.c takes, where that is a block of
 *             this kind: settings have small blocks served like large ones, and may change.
 */
#include "api/sized.h"

#define ALIGN_MIN_BYTES ((size_t)16)

/* The room of a fresh block of the same kind as that of `span`; 0 if it cannot be of this kind. */
static size_t
room_for(const struct hm_span *span, size_t size_bytes, size_t align_bytes)
{
    const struct hm_geom *geom = &hm_process.heap.geom;
    unsigned class_idx = HM_CLASS_COUNT;

    if (hm_span_is_large(span))
        return hm_pages_to_bytes(geom, hm_bytes_to_pages_up(geom, size_bytes + (size_bytes == 0)));
    if (align_bytes <= hm_page_bytes(geom))
        class_idx = hm_class_of_aligned(size_bytes, align_bytes);
    return class_idx < HM_CLASS_COUNT ? hm_class_bytes(class_idx) : 0;
}

/* libstdc++'s aligned operators, which take over when memory is short, round the size up to the
 * alignment; ours do not. */
static bool
is_right(const struct hm_span *span, size_t room_bytes, size_t size_bytes, size_t align_bytes,
         bool may_be_resized)
{
    if (size_bytes > room_bytes)
        return false;
    if (may_be_resized && size_bytes >= room_bytes / 2)
        return true;
    return room_for(span, size_bytes, align_bytes) == room_bytes
           || room_for(span, hm_align_up(size_bytes, align_bytes), align_bytes) == room_bytes;
}

void
hm_sized_check(const struct hm_span *span, uintptr_t addr, size_t size_bytes, size_t align_bytes,
               bool may_be_resized)
{
    size_t pow2_bytes = ALIGN_MIN_BYTES;

    while (pow2_bytes < align_bytes && pow2_bytes <= SIZE_MAX / 2)
        pow2_bytes *= 2;
    if ((addr & (pow2_bytes - 1)) != 0
        || !is_right(span, hm_span_room(span, addr), size_bytes, pow2_bytes, may_be_resized))
        (void)__atomic_fetch_add(&hm_process.sized_free_mismatch_count, 1, __ATOMIC_RELAXED);
}
