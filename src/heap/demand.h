/* SPDX-License-Identifier: MIT */
/* demand.h - how much of what a program frees it will soon want again.
 *
 * Problem     Some programs free what they built up and are done. Others swing: they free and take
 *             the same amount over and over, and to give memory back between two swings costs more
 *             than all the rest of malloc. When the memory is freed, both look alike.
 * Idea        Believe only what was seen. Follow the level of what is in use; a rise that only
 *             regains what was lost before is a return, while a rise to new heights is growth. What
 *             may be kept is as much as came back twice lately: one return can be chance.
 * State       struct hm_demand: the turning points of the level, and the largest returns of this
 *             epoch and the one before.
 * Locking     That of the owner.
 * Sources     The thought that recent peaks foretell demand: M. Maas et al., "Adaptive huge-page
 *             subrelease for non-moving memory allocators in warehouse-scale computers", ISMM 2021.
 */
#ifndef HM_HEAP_DEMAND_H
#define HM_HEAP_DEMAND_H

#include "base/compiler.h"
#include "base/units.h"

/* The level's turning points, on one scale. */
struct hm_swing {
    size_t low;           /* where the rise in progress began */
    size_t top;           /* the highest level since then */
    size_t high;          /* the highest before; what is above is growth */
    size_t epoch_high;    /* the highest turning point in this epoch */
    size_t returns[2][2]; /* the two largest of this epoch, larger first, and of the one before */
};

/* All zero to begin with. The unit of levels is the owner's. */
struct hm_demand {
    struct hm_swing large; /* as large as what there is */
    struct hm_swing small; /* on top of what stays in use */
    uint64_t epoch_ns;     /* when this epoch began */
    uint8_t epoch;         /* their number */
};

/* A small swing is at least this share of what there is. */
#define HM_SWING_SHARE 16

/* The level fell by more than half of what it had risen, or below where it rose from; or, on the
 * scale of small swings, by their share. */
void hm_demand_turn(struct hm_swing *swing, size_t level);

/* Tell of every change. */
HM_INLINE void
hm_demand_note(struct hm_demand *demand, size_t level)
{
    struct hm_swing *large = &demand->large;
    struct hm_swing *small = &demand->small;

    if (level >= large->top)
        large->top = level;
    else if (level < large->low || large->top - level > level - large->low)
        hm_demand_turn(large, level);
    if (level >= small->top)
        small->top = level;
    else if (level < small->low || small->top - level > level - small->low
             || small->top - level > small->top / HM_SWING_SHARE)
        hm_demand_turn(small, level);
}

/* Begin a new epoch if this one has lasted for `epoch_len_ns`; after a long silence, two. Returns
 * whether one began. */
bool hm_demand_tick(struct hm_demand *demand, uint64_t now_ns, uint64_t epoch_len_ns);

/* What came back at least twice, in this epoch and the one before. */
size_t hm_demand_swing(const struct hm_demand *demand);

#endif
