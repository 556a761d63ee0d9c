/* SPDX-License-Identifier: MIT */
/* classes.h - sizes of the blocks in a span of a shared arena.
 *
 * Problem     A block must be found from its offset, in any process, without a look at anything
 *             but its span's word.
 * Idea        A span has blocks of one size, from its beginning on. Four sizes for each doubling,
 *             multiples of 16, so that no more than a fifth of a block is lost; the last ones fit
 *             three and two times. A power of two is aligned to itself.
 */
#ifndef HM_SHARED_CLASSES_H
#define HM_SHARED_CLASSES_H

#include "shared/layout.h"

#define HM_SHARED_CLASS_COUNT 35u
#define HM_SHARED_SMALL_MAX_BYTES 32768u

/* Size of the blocks of a class. */
HM_INLINE uint32_t
hm_shared_class_bytes(unsigned class_idx)
{
    if (class_idx >= HM_SHARED_CLASS_COUNT - 2)
        return class_idx == HM_SHARED_CLASS_COUNT - 2 ? 21840u : HM_SHARED_SMALL_MAX_BYTES;
    return (4u + class_idx % 4) << (class_idx / 4 + 4);
}

/* The smallest class for a size up to HM_SHARED_SMALL_MAX_BYTES. */
HM_INLINE unsigned
hm_shared_class_of(uint32_t size_bytes)
{
    unsigned shift;

    if (size_bytes <= 64)
        return 0;
    if (size_bytes > 16384)
        return size_bytes <= 21840 ? HM_SHARED_CLASS_COUNT - 2 : HM_SHARED_CLASS_COUNT - 1;
    /* 4 to 7 quarters of a power of two */
    shift = 29u - (unsigned)__builtin_clz(size_bytes - 1);
    return 4 * (shift - 4) + (((size_bytes - 1) >> shift) + 1 - 4);
}

HM_INLINE uint32_t
hm_shared_class_blocks(unsigned class_idx)
{
    return (uint32_t)HM_SHARED_SPAN_BYTES / hm_shared_class_bytes(class_idx);
}

#endif
