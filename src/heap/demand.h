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

/* All zero to begin with. The unit of levels is the owner's. */
struct hm_demand {
    size_t low;           /* where the rise in progress began */
    size_t top;           /* the highest level since then */
    size_t high;          /* the highest before; what is above is growth */
    size_t epoch_high;    /* the highest turning point in this epoch */
    size_t returns[2][2]; /* the two largest of this epoch, larger first, and of the one before */
    uint64_t epoch_ns;    /* when this epoch began */
    uint8_t epoch;        /* their number */
};

/* The level fell by more than half of what it had risen, or below where it rose from. */
void hm_demand_turn(struct hm_demand *demand, size_t level);

/* Tell of every change. */
HM_INLINE void
hm_demand_note(struct hm_demand *demand, size_t level)
{
    if (level >= demand->top)
        demand->top = level;
    else if (level < demand->low || demand->top - level > level - demand->low)
        hm_demand_turn(demand, level);
}

/* Begin a new epoch if this one has lasted for `epoch_len_ns`; after a long silence, two. Returns
 * whether one began. */
bool hm_demand_tick(struct hm_demand *demand, uint64_t now_ns, uint64_t epoch_len_ns);

/* What came back at least twice, in this epoch and the one before. */
size_t hm_demand_swing(const struct hm_demand *demand);

#endif
