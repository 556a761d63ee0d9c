/* SPDX-License-Identifier: MIT */
/* test_demand.c - what a program that swings will want again. */
#include <criterion/criterion.h>

#include "heap/demand.h"

#define EPOCH_NS ((uint64_t)1000)

static struct hm_demand demand;

static void
setup(void)
{
    demand = (struct hm_demand){ 0 };
}

TestSuite(demand, .init = setup);

/* In steps, as the page heap tells it. */
static void
go(size_t from, size_t to)
{
    while (from != to) {
        from = from < to ? from + 1 : from - 1;
        hm_demand_note(&demand, from);
    }
}

Test(demand, growth_is_no_swing)
{
    go(0, 1000);
    go(1000, 0);
    cr_assert_eq(hm_demand_swing(&demand), 0);
}

Test(demand, one_return_may_be_chance)
{
    go(0, 1000);
    go(1000, 100);
    go(100, 1000);
    go(1000, 0);
    cr_assert_eq(hm_demand_swing(&demand), 0);
}

Test(demand, what_came_back_twice)
{
    go(0, 1000);
    for (int i = 0; i < 3; i++) {
        go(1000, 100);
        go(100, 1000);
    }
    go(1000, 0);
    cr_assert_eq(hm_demand_swing(&demand), 900);
}

/* Only the part that was there before counts. */
Test(demand, a_return_ends_where_growth_begins)
{
    go(0, 100);
    go(100, 40);
    go(40, 1000);
    go(1000, 400);
    go(400, 5000);
    go(5000, 0);
    cr_assert_eq(hm_demand_swing(&demand), 60);
}

/* Small ups and downs on the way do not cut a swing in pieces. */
Test(demand, a_ragged_swing)
{
    size_t level = 1000;

    go(0, level);
    for (int swing = 0; swing < 4; swing++) {
        for (int i = 0; i < 90; i++, level -= 10) {
            go(level, level - 13);
            go(level - 13, level - 10);
        }
        for (int i = 0; i < 90; i++, level += 10) {
            go(level, level + 13);
            go(level + 13, level + 10);
        }
    }
    go(level, 0);
    cr_assert_geq(hm_demand_swing(&demand), 890);
    cr_assert_leq(hm_demand_swing(&demand), 906);
}

/* Most of what a program has may stay, so that no swing takes half of it. */
Test(demand, a_swing_on_top_of_what_stays)
{
    go(0, 1000);
    for (int i = 0; i < 3; i++) {
        go(1000, 900);
        go(900, 1000);
    }
    cr_assert_eq(hm_demand_swing(&demand), 100);
    go(1000, 0);
    cr_assert_eq(hm_demand_swing(&demand), 100);
}

Test(demand, one_step_may_be_long)
{
    for (int i = 0; i < 3; i++) {
        hm_demand_note(&demand, 64);
        hm_demand_note(&demand, 0);
    }
    cr_assert_eq(hm_demand_swing(&demand), 64);
}

Test(demand, is_forgotten_after_two_epochs)
{
    go(0, 1000);
    for (int i = 0; i < 3; i++) {
        go(1000, 100);
        go(100, 1000);
    }
    go(1000, 0);
    cr_assert_not(hm_demand_tick(&demand, EPOCH_NS - 1, EPOCH_NS));
    cr_assert(hm_demand_tick(&demand, EPOCH_NS, EPOCH_NS));
    cr_assert_eq(demand.epoch, 1);
    cr_assert_eq(hm_demand_swing(&demand), 900);
    cr_assert(hm_demand_tick(&demand, 2 * EPOCH_NS, EPOCH_NS));
    cr_assert_eq(hm_demand_swing(&demand), 0);
}

Test(demand, is_forgotten_after_a_silence)
{
    for (int i = 0; i < 3; i++) {
        go(0, 1000);
        go(1000, 0);
    }
    cr_assert_eq(hm_demand_swing(&demand), 1000);
    cr_assert(hm_demand_tick(&demand, 2 * EPOCH_NS, EPOCH_NS));
    cr_assert_eq(demand.epoch, 2);
    cr_assert_eq(hm_demand_swing(&demand), 0);
    go(0, 1000);
    go(1000, 0);
    cr_assert_eq(hm_demand_swing(&demand), 0, "what is older than the silence is growth again");
}

/* A swing as long as an epoch is seen across its border. */
Test(demand, a_slow_swing)
{
    uint64_t now_ns = 0;

    for (int i = 0; i < 6; i++) {
        go(0, 1000);
        now_ns += EPOCH_NS / 2;
        (void)hm_demand_tick(&demand, now_ns, EPOCH_NS);
        go(1000, 0);
        if (i >= 2)
            cr_assert_eq(hm_demand_swing(&demand), 1000);
        now_ns += EPOCH_NS / 2;
        (void)hm_demand_tick(&demand, now_ns, EPOCH_NS);
    }
}

/* With an epoch of no length nothing is remembered. */
Test(demand, no_epoch)
{
    for (int i = 0; i < 3; i++) {
        go(0, 1000);
        go(1000, 0);
        cr_assert(hm_demand_tick(&demand, 7, 0));
        cr_assert_eq(hm_demand_swing(&demand), 0);
    }
}
