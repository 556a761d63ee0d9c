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
latest_return(const struct hm_swing *swing)
{
    size_t regained = swing->top < swing->high ? swing->top : swing->high;

    return regained > swing->low ? regained - swing->low : 0;
}

void
hm_demand_turn(struct hm_swing *swing, size_t level)
{
    enter(swing->returns[0], latest_return(swing));
    if (swing->high < swing->top)
        swing->high = swing->top;
    if (swing->epoch_high < swing->top)
        swing->epoch_high = swing->top;
    swing->low = level;
    swing->top = level;
}

static void
begin_epoch(struct hm_swing *swing, bool is_next)
{
    for (int i = 0; i < 2; i++) {
        swing->returns[1][i] = is_next ? swing->returns[0][i] : 0;
        swing->returns[0][i] = 0;
    }
    swing->high = is_next && swing->epoch_high > swing->top ? swing->epoch_high : swing->top;
    swing->epoch_high = swing->top;
}

bool
hm_demand_tick(struct hm_demand *demand, uint64_t now_ns, uint64_t epoch_len_ns)
{
    uint64_t elapsed_ns = now_ns - demand->epoch_ns;
    bool is_next = elapsed_ns / 2 < epoch_len_ns;

    if (elapsed_ns < epoch_len_ns)
        return false;
    begin_epoch(&demand->large, is_next);
    begin_epoch(&demand->small, is_next);
    demand->epoch = (uint8_t)(demand->epoch + (is_next ? 1 : 2));
    demand->epoch_ns = now_ns;
    return true;
}

static size_t
second_return(const struct hm_swing *swing)
{
    size_t largest[2] = { swing->returns[0][0], swing->returns[0][1] };

    enter(largest, swing->returns[1][0]);
    enter(largest, swing->returns[1][1]);
    enter(largest, latest_return(swing));
    return largest[1];
}

size_t
hm_demand_swing(const struct hm_demand *demand)
{
    size_t large = second_return(&demand->large);
    size_t small = second_return(&demand->small);

    return large > small ? large : small;
}
