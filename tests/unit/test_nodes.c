/* SPDX-License-Identifier: MIT */
/* test_nodes.c - whose memory a thread gets on a machine with several memory nodes. */
#include <criterion/criterion.h>
#include <errno.h>

#include "heap/direct.h"
#include "heap/nodes.h"
#include "heap/purge.h"
#include "support/rig.h"

#define REGION (2 * HM_MIB)

static struct rig rig;

static void
setup(void)
{
    rig_init(&rig);
}

static void
teardown(void)
{
    const char *broken = hm_pheap_check(&rig.heap);

    cr_assert_null(broken, "broken: %s", broken);
    rig_fini(&rig);
}

TestSuite(nodes, .init = setup, .fini = teardown);

/* A machine with the nodes 0, 2, 5 and 70. */
static void
have_four(void)
{
    static const unsigned ids[] = { 2, 5, 70 };

    for (int i = 0; i < 3; i++)
        hm_node_add(&rig.fake.nodes, ids[i]);
}

/* The kernel's number of the node that `addr` gets memory from. */
static unsigned
node_at(uintptr_t addr)
{
    const struct fake_placed *placed = fake_os_placed(&rig.fake, addr);
    unsigned node = 0;

    cr_assert_not_null(placed);
    cr_assert_eq(placed->policy, HM_POLICY_PREFER);
    while (!hm_node_is_in(&placed->mask, node))
        node++;
    return node;
}

static struct hm_run
take_on(unsigned node, size_t len_pages)
{
    struct hm_run run = { 0 };

    rig.fake.here = node;
    cr_assert_eq(hm_pheap_take(&rig.heap, len_pages, 1, &run), 0);
    return run;
}

Test(nodes, one_node_costs_one_question)
{
    struct hm_run run = take_on(0, 1);

    for (int i = 0; i < 100; i++)
        (void)take_on(0, 100);
    cr_assert_eq(rig.fake.call_count[FAKE_NODES], 1);
    cr_assert_eq(rig.fake.here_count, 0);
    cr_assert_eq(rig.fake.placed_count, 0);
    cr_assert_null(rig.heap.nodes);
    hm_pheap_give(&rig.heap, run.region, run.addr, 1);
}

/* The first question of all may come from any node. */
Test(nodes, the_first_thread_may_be_anywhere)
{
    struct hm_tcache *cache;

    have_four();
    rig.fake.here = 70;
    cache = hm_tcache_acquire(&rig.pool, 0);
    cr_assert_eq(node_at(rig_alloc(&rig, cache, 100, 16, NULL)), 70);
    hm_tcache_retire(cache);
}

Test(nodes, each_thread_gets_memory_of_its_own_node)
{
    static const unsigned ids[] = { 0, 2, 5, 70 };

    have_four();
    for (int i = 0; i < 400; i++)
        cr_assert_eq(node_at(take_on(ids[i % 4], 1 + (size_t)i % 700).addr), ids[i % 4]);
    cr_assert_eq(rig.heap.nodes->count, 4);
}

/* What was freed is used again on its own node, from any thread. */
Test(nodes, free_runs_go_home)
{
    struct hm_run runs[64];

    have_four();
    for (int i = 0; i < 64; i++)
        runs[i] = take_on(i % 2 == 0 ? 2 : 5, 100);
    rig.fake.here = 70;
    for (int i = 0; i < 64; i++)
        hm_pheap_give(&rig.heap, runs[i].region, runs[i].addr, 100);
    cr_assert_eq(node_at(take_on(70, 100).addr), 70);
    for (int i = 0; i < 64; i++)
        cr_assert_eq(node_at(take_on(i % 2 == 0 ? 2 : 5, 100).addr), i % 2 == 0 ? 2 : 5);
}

/* Kept regions, holes across two regions, and runs of several regions are a node's own, too. */
Test(nodes, nothing_crosses)
{
    struct hm_run runs[30];

    have_four();
    for (int i = 0; i < 30; i++)
        runs[i] = take_on(5, 538);
    for (int i = 0; i < 30; i += 2)
        hm_pheap_give(&rig.heap, runs[i].region, runs[i].addr, 538);
    cr_assert_eq(node_at(take_on(2, 538).addr), 2);
    cr_assert_eq(node_at(take_on(2, 500).addr), 2);
    for (int i = 1; i < 30; i += 2)
        hm_pheap_give(&rig.heap, runs[i].region, runs[i].addr, 538);
    cr_assert_gt(rig.heap.kept_count, 0);
    cr_assert_eq(node_at(take_on(2, 512).addr), 2);
    cr_assert_eq(node_at(take_on(2, 2000).addr), 2);
    cr_assert_eq(node_at(take_on(5, 512).addr), 5);
}

/* A processor on a node without memory, or one that the cpuset forbids: asked once. */
Test(nodes, other_nodes_are_served_by_the_nearest)
{
    have_four();
    rig.fake.nearest = 5;
    for (int i = 0; i < 10; i++)
        cr_assert_eq(node_at(take_on(3, 600).addr), 5);
    cr_assert_eq(rig.fake.call_count[FAKE_NEAREST], 1);
    fake_os_fail(&rig.fake, FAKE_NEAREST, 1, EACCES, true);
    cr_assert_eq(node_at(take_on(6, 600).addr), 0, "it cannot be told: the first");
    cr_assert_eq(node_at(take_on(HM_NODE_IDS + 7, 600).addr), 0);
}

/* Nor do runs that wait for the next block of their length. */
Test(nodes, a_block_of_the_same_length_elsewhere)
{
    uintptr_t addr;

    have_four();
    rig.fake.here = 2;
    for (int i = 0; i < 3; i++) {
        addr = rig_alloc(&rig, NULL, 100000, 16, NULL);
        rig_free(&rig, NULL, addr);
    }
    cr_assert_gt(rig.heap.stash.pages, 0);
    cr_assert_eq(rig_alloc(&rig, NULL, 100000, 16, NULL), addr);
    rig_free(&rig, NULL, addr);
    rig.fake.here = 5;
    cr_assert_eq(node_at(rig_alloc(&rig, NULL, 100000, 16, NULL)), 5);
}

Test(nodes, mappings)
{
    struct hm_mapping map;

    have_four();
    rig.fake.here = 5;
    cr_assert_eq(hm_direct_map(&rig.heap, 300 * HM_MIB, 16, &map), 0);
    cr_assert_eq(node_at(map.addr), 5);
    cr_assert_eq(node_at(map.addr + map.len_bytes - 1), 5);
    hm_direct_unmap(&rig.heap, &map);
}

/* Where the kernel cannot be asked, or may not be, memory comes as it does without us. */
Test(nodes, without_the_system_calls)
{
    static const int errors[] = { ENOSYS, EPERM };

    for (int i = 0; i < 3; i++) {
        rig_fini(&rig);
        rig_init(&rig);
        have_four();
        if (i < 2)
            fake_os_fail(&rig.fake, FAKE_NODES, 1, errors[i], true);
        else
            rig.fake.filters = HM_FILTERS_OPEN;
        (void)take_on(5, 600);
        cr_assert_eq(rig.fake.placed_count, 0);
        cr_assert_null(rig.heap.nodes);
    }
}

/* A policy that is refused is no reason to fail. */
Test(nodes, a_refused_policy)
{
    have_four();
    fake_os_fail(&rig.fake, FAKE_PLACE, 1, ENOMEM, true);
    (void)take_on(5, 600);
    fake_os_heal(&rig.fake);
    rig.fake.filters = HM_FILTERS_OPEN;
    (void)take_on(2, 600);
    cr_assert_eq(rig.fake.placed_count, 0);
    cr_assert_eq(rig.fake.call_count[FAKE_PLACE], 1);
}

/* Without address space for more, what another node has is better than nothing. */
Test(nodes, the_last_memory_may_be_far)
{
    struct hm_run run;

    have_four();
    (void)take_on(2, 1);
    fake_os_fail(&rig.fake, FAKE_RESERVE, 1, ENOMEM, true);
    run = take_on(5, 600);
    cr_assert_eq(node_at(run.addr), 2);
}

Test(nodes, interleaved)
{
    struct hm_run run;
    const struct fake_placed *placed;

    have_four();
    rig.conf.numa = HM_NUMA_INTERLEAVE;
    run = take_on(5, 600);
    placed = fake_os_placed(&rig.fake, run.addr);
    cr_assert_not_null(placed);
    cr_assert_eq(placed->policy, HM_POLICY_INTERLEAVE);
    cr_assert_arr_eq(&placed->mask, &rig.fake.nodes, sizeof(placed->mask));
    cr_assert_eq(take_on(2, 10).region, hm_extent_region(run.region->extent, 1));
    cr_assert_eq(rig.fake.here_count, 0);
}

/* Only some of the nodes, whoever allocates. */
static void
expect_all_on_70(enum hm_numa numa, enum hm_policy policy)
{
    const struct fake_placed *placed;

    have_four();
    rig.conf.numa = numa;
    hm_node_add(&rig.conf.nodes, 70);
    placed = fake_os_placed(&rig.fake, take_on(5, 600).addr);
    cr_assert_not_null(placed);
    cr_expect_eq(placed->policy, policy);
    cr_expect_arr_eq(&placed->mask, &rig.conf.nodes, sizeof(placed->mask));
    cr_expect_eq(rig.fake.here_count, 0);
}

Test(nodes, bound)
{
    expect_all_on_70(HM_NUMA_BIND, HM_POLICY_BIND);
}

Test(nodes, preferred)
{
    expect_all_on_70(HM_NUMA_PREFER, HM_POLICY_PREFER);
}

Test(nodes, interleaved_over_some)
{
    expect_all_on_70(HM_NUMA_INTERLEAVE, HM_POLICY_INTERLEAVE);
}

Test(nodes, off)
{
    have_four();
    rig.conf.numa = HM_NUMA_OFF;
    (void)take_on(5, 600);
    cr_assert_eq(rig.fake.call_count[FAKE_NODES], 0);
    cr_assert_eq(rig.fake.placed_count, 0);
}

/* More nodes than there are lists: the others are served by the nearest of these. */
Test(nodes, very_many)
{
    for (unsigned id = 0; id < 200; id++)
        hm_node_add(&rig.fake.nodes, id);
    rig.fake.nearest = 31;
    cr_assert_eq(node_at(take_on(31, 1).addr), 31);
    cr_assert_eq(node_at(take_on(199, 1).addr), 31);
    cr_assert_eq(rig.heap.nodes->count, HM_NODES_MAX);
}

/* Each node's huge pages are split when all is to go back. */
Test(nodes, trimmed_on_all)
{
    struct hm_run runs[2][512];

    rig.conf.huge_start_bytes = 0;
    have_four();
    for (int i = 0; i < 1024; i++)
        runs[i % 2][i / 2] = take_on(i % 2 == 0 ? 2 : 70, 1);
    for (int i = 0; i < 1024; i++)
        if (i / 2 != 100)
            hm_pheap_give(&rig.heap, runs[i % 2][i / 2].region, runs[i % 2][i / 2].addr, 1);
    (void)hm_purge_all(&rig.heap);
    cr_assert_eq(rig.heap.split_count, 2);
}

/* What a dead thread left is adopted on its own node only. */
Test(nodes, orphans_stay_at_home)
{
    struct hm_tcache *first;
    struct hm_tcache *second;
    uintptr_t addr;

    have_four();
    rig.fake.here = 2;
    first = hm_tcache_acquire(&rig.pool, 0);
    addr = rig_alloc(&rig, first, 100, 16, NULL);
    hm_tcache_retire(first);
    cr_assert_eq(rig.pool.orphan_count, 1);
    rig.fake.here = 5;
    second = hm_tcache_acquire(&rig.pool, 0);
    cr_assert_eq(node_at(rig_alloc(&rig, second, 100, 16, NULL)), 5);
    cr_assert_eq(rig.pool.orphan_count, 1);
    hm_tcache_retire(second);
    rig.fake.here = 2;
    second = hm_tcache_acquire(&rig.pool, 0);
    cr_assert_eq(node_at(rig_alloc(&rig, second, 100, 16, NULL)), 2);
    cr_assert_eq(rig.pool.orphan_count, 1, "node 5's");
    rig_free(&rig, second, addr);
    hm_tcache_retire(second);
}
