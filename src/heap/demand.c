/* SPDX-License-Identifier: MIT */
/* demand.c - the turning points of a level (see demand.h). */
#include "heap/demand.h"

static void
enter(size_t largest[2], size_t amount)
{
    if (amount > largest[0]) {
        largest[1] = largest[0];
        largest[0] = amount;
    } else if (amount > largest[1]) {
        largest[1] = amount;
    }
}

/* How much of the latest rise was there before. */
static size_t
latest_return(const struct hm_demand *demand)
{
    size_t regained = demand->top < demand->high ? demand->top : demand->high;

    return regained > demand->low ? regained - demand->low : 0;
}

void
hm_demand_turn(struct hm_demand *demand, size_t level)
{
    enter(demand->returns[0], latest_return(demand));
    if (demand->high < demand->top)
        demand->high = demand->top;
    if (demand->epoch_high < demand->top)
        demand->epoch_high = demand->top;
    demand->low = level;
    demand->top = level;
}

bool
hm_demand_tick(struct hm_demand *demand, uint64_t now_ns, uint64_t epoch_len_ns)
{
    uint64_t elapsed_ns = now_ns - demand->epoch_ns;
    bool is_next = elapsed_ns / 2 < epoch_len_ns;

    if (elapsed_ns < epoch_len_ns)
        return false;
    for (int i = 0; i < 2; i++) {
        demand->returns[1][i] = is_next ? demand->returns[0][i] : 0;
        demand->returns[0][i] = 0;
    }
    demand->high = is_next && demand->epoch_high > demand->top ? demand->epoch_high : demand->top;
    demand->epoch_high = demand->top;
    demand->epoch = (uint8_t)(demand->epoch + (is_next ? 1 : 2));
    demand->epoch_ns = now_ns;
    return true;
}

size_t
hm_demand_swing(const struct hm_demand *demand)
{
    size_t largest[2] = { demand->returns[0][0], demand->returns[0][1] };

    enter(largest, demand->returns[1][0]);
    enter(largest, demand->returns[1][1]);
    enter(largest, latest_return(demand));
    return largest[1];
}
