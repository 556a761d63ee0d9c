/* SPDX-License-Identifier: MIT */
/* test_remote_orders.c - frees across threads, in every order of their steps.
 *
 * Problem     What goes wrong between two atomic steps shows once in a million when threads run.
 * Idea        The sources of src/cache are compiled into this test with a switch point before each
 *             atomic access and each lock. Coroutines play the threads on one span of two slots.
 *             Every order with up to three switches that nothing forces is run, or two if there are
 *             three threads; at the end of each run no slot may be lost or handed out twice.
 *             Accesses take effect in the order of the program here; what other orders memory may
 *             have is for ThreadSanitizer.
 * Sources     M. Musuvathi, S. Qadeer, "Iterative context bounding for systematic testing of
 *             multithreaded programs", PLDI 2007.
 */
#include "base/compiler.h"

static void step(void);

#undef hm_load
#undef hm_store
#define hm_load(ptr) (step(), __atomic_load_n((ptr), __ATOMIC_RELAXED))
#define hm_store(ptr, value) (step(), __atomic_store_n((ptr), (value), __ATOMIC_RELAXED))
#define __atomic_fetch_add(ptr, value, order) (step(), __atomic_fetch_add(ptr, value, order))
#define __atomic_add_fetch(ptr, value, order) (step(), __atomic_add_fetch(ptr, value, order))
#define __atomic_sub_fetch(ptr, value, order) (step(), __atomic_sub_fetch(ptr, value, order))
#define __atomic_fetch_or(ptr, value, order) (step(), __atomic_fetch_or(ptr, value, order))
#define __atomic_fetch_and(ptr, value, order) (step(), __atomic_fetch_and(ptr, value, order))
#define __atomic_exchange_n(ptr, value, order) (step(), __atomic_exchange_n(ptr, value, order))
#define __atomic_compare_exchange_n(ptr, old, value, weak, yes, no)                                \
    (step(), __atomic_compare_exchange_n(ptr, old, value, weak, yes, no))

#include "os/os_lock.h"

static void play_take(struct hm_lock *lock);
static void play_give(struct hm_lock *lock);
HM_NORETURN static void play_misuse(void);

#define hm_lock_take(lock) play_take(lock)
#define hm_lock_give(lock) play_give(lock)

#include "span/span.h"

#define hm_span_misuse(span, addr, call) play_misuse()

#include "../src/cache/remote.c"
#include "../src/cache/tcache.c"
#undef NONE
#define settle thread_settle /* remote.c has one of its own */
#include "../src/cache/thread.c"
#undef settle

#include <criterion/criterion.h>
#include <stdlib.h>
#include <ucontext.h>

#include "support/rig.h"

#define THREADS_MAX 3
#define SWITCHES_MAX 3
#define STACK_BYTES (64 * HM_KIB)

/* --- coroutines ------------------------------------------------------------------------------- */

struct player {
    ucontext_t context;
    void (*play)(void);
    bool is_done;
};

static struct player players[THREADS_MAX];
static char stacks[THREADS_MAX][STACK_BYTES];
static unsigned player_count;
static unsigned running;
static bool is_playing;
static ucontext_t stage;

static struct hm_lock *held; /* the one lock, or NULL */
static unsigned holder;

/* Switches that nothing forces: before that step, to that player. */
static struct {
    unsigned step;
    unsigned player;
} plan[SWITCHES_MAX];
static unsigned plan_count;
static unsigned plan_idx;
static unsigned step_count;
static bool is_void; /* the plan wants a player that is done */

static void
switch_to(unsigned next)
{
    unsigned before = running;

    if (next == before)
        return;
    running = next;
    swapcontext(&players[before].context, &players[next].context);
}

static void
step(void)
{
    if (!is_playing)
        return;
    step_count++;
    if (plan_idx == plan_count || plan[plan_idx].step != step_count)
        return;
    if (players[plan[plan_idx].player].is_done || plan[plan_idx].player == running)
        is_void = true;
    else
        switch_to(plan[plan_idx++].player);
}

static void
play_take(struct hm_lock *lock)
{
    step();
    while (is_playing && held != NULL)
        switch_to(holder);
    held = lock;
    holder = running;
}

static void
play_give(struct hm_lock *lock)
{
    cr_assert_eq(held, lock);
    held = NULL;
    step();
}

/* The next one that is not done, or back to who started them. */
HM_NORETURN static void
leave(void)
{
    players[running].is_done = true;
    if (held != NULL && holder == running)
        held = NULL;
    for (unsigned i = 0; i < player_count; i++)
        if (!players[i].is_done) {
            running = i;
            setcontext(&players[i].context);
        }
    setcontext(&stage);
    abort();
}

static void
enter(void)
{
    players[running].play();
    leave();
}

static void
play_all(void)
{
    for (unsigned i = 0; i < player_count; i++) {
        players[i].is_done = false;
        (void)getcontext(&players[i].context);
        players[i].context.uc_stack.ss_sp = stacks[i];
        players[i].context.uc_stack.ss_size = STACK_BYTES;
        players[i].context.uc_link = NULL;
        makecontext(&players[i].context, enter, 0);
    }
    plan_idx = 0;
    step_count = 0;
    is_void = false;
    running = 0;
    held = NULL;
    is_playing = true;
    swapcontext(&stage, &players[0].context);
    is_playing = false;
}

/* --- the play --------------------------------------------------------------------------------- */

#define SIZE_BYTES ((size_t)8000) /* two slots in the first span of a thread */
#define SMALL_BYTES ((size_t)1024)
#define BLOCKS_MAX 8

/* What a thread without a cache has. */
#define EMPTY ((struct hm_tcache *)(uintptr_t)&hm_tcache_empty)

static struct rig rig;
static struct hm_tcache *owner;
static struct hm_tcache *other;
static uintptr_t a;
static uintptr_t b;
static uintptr_t taken[BLOCKS_MAX]; /* live blocks that the players got */
static unsigned taken_count;
static unsigned misuse_count;
static bool is_a_live;
static bool is_b_live;

static void
play_misuse(void)
{
    if (!is_playing)
        abort();
    misuse_count++;
    leave();
}

static void
take(struct hm_tcache *cache)
{
    uintptr_t addr = rig_alloc(&rig, cache, SIZE_BYTES, 16, NULL);

    cr_assert_neq(addr, 0);
    cr_assert(!(is_a_live && addr == a) && !(is_b_live && addr == b),
              "a live block was handed out");
    for (unsigned i = 0; i < taken_count; i++)
        cr_assert_neq(addr, taken[i], "a block was handed out twice");
    taken[taken_count++] = addr;
    memset((void *)addr, 0x5a, SIZE_BYTES);
}

static void
put(struct hm_tcache *cache, uintptr_t addr)
{
    struct hm_span *span = hm_pagemap_get(rig.heap.pagemap, addr);

    *(addr == a ? &is_a_live : &is_b_live) = false;
    cr_assert_not_null(span);
    /* As free() does, with a switch point behind the look at the owner. */
    if (cache != EMPTY && hm_load(&span->owner) == cache->id && hm_tcache_free(span, addr))
        return;
    hm_tcache_free_slow(&rig.pool, cache, span, addr);
}

static void
set_up(void)
{
    rig_init(&rig);
    owner = hm_tcache_acquire(&rig.pool, 0);
    other = hm_tcache_acquire(&rig.pool, 0);
    a = rig_alloc(&rig, owner, SIZE_BYTES, 16, NULL);
    b = rig_alloc(&rig, owner, SIZE_BYTES, 16, NULL);
    cr_assert_eq(hm_pagemap_get(rig.heap.pagemap, a), hm_pagemap_get(rig.heap.pagemap, b));
    is_a_live = true;
    is_b_live = true;
    taken_count = 0;
    misuse_count = 0;
}

/* What is on a list is there by its PENDING, and once. */
static void
check_pending(const struct hm_tcache *cache)
{
    unsigned count = 0;

    for (struct hm_span *span = cache->pending; span != NULL; span = span->pending_next) {
        cr_assert_neq(span->remote_state & HM_REMOTE_PENDING, 0, "a struct on a list serves again");
        cr_assert_lt(++count, 100, "the list has an end");
    }
}

/* All must be found again: after what the owner does next, no slot is in use. */
static void
check_all_back(void)
{
    const char *broken = rig_check(&rig);

    cr_assert_null(broken, "broken: %s", broken);
    while (taken_count > 0)
        rig_free(&rig, owner, taken[--taken_count]);
    hm_lock_take(&rig.heap.lock);
    hm_pool_reclaim(&rig.pool);
    hm_lock_give(&rig.heap.lock);
    if (hm_load(&owner->is_dead) == 0)
        hm_tcache_trim(owner);
    hm_tcache_trim(other);
    cr_assert_eq(rig.heap.span_count, 0, "%zu spans are left", rig.heap.span_count);
    cr_assert_eq(rig.heap.used_pages, 0);
    cr_assert_eq(rig.pool.orphan_count, 0);
    broken = rig_check(&rig);
    cr_assert_null(broken, "broken: %s", broken);
}

static void
run_once(void (*prepare)(void), void (*check)(void))
{
    set_up();
    prepare();
    play_all();
    if (!is_void) {
        check_pending(owner);
        check_pending(other);
        check();
    }
    rig_fini(&rig);
}

/* All orders that begin with the plan; returns their number. */
static unsigned
explore(void (*prepare)(void), void (*check)(void))
{
    unsigned first_step = plan_count > 0 ? plan[plan_count - 1].step + 1 : 1;
    unsigned run_count = 1;
    unsigned end_step;

    run_once(prepare, check);
    if (is_void || plan_count + player_count == SWITCHES_MAX + 2)
        return run_count;
    end_step = step_count;
    for (unsigned at = first_step; at <= end_step; at++)
        for (unsigned i = 0; i < player_count; i++) {
            plan[plan_count].step = at;
            plan[plan_count++].player = i;
            run_count += explore(prepare, check);
            plan_count--;
        }
    return run_count;
}

static void
play(unsigned count, void (*const plays[])(void), void (*prepare)(void), void (*check)(void))
{
    player_count = count;
    for (unsigned i = 0; i < count; i++)
        players[i].play = plays[i];
    plan_count = 0;
    cr_assert_gt(explore(prepare, check), 200, "there are orders to be tried");
}

/* --- who does what ---------------------------------------------------------------------------- */

static void
other_frees_a(void)
{
    put(EMPTY, a);
}

static void
other_frees_b(void)
{
    put(EMPTY, b);
}

static void
owner_frees_b(void)
{
    put(owner, b);
}

static void
owner_takes_two(void)
{
    take(owner);
    take(owner);
}

static void
owner_dies(void)
{
    hm_tcache_retire(owner);
}

static void
other_takes_two(void)
{
    take(other);
    take(other);
}

static void
trim(void)
{
    hm_lock_take(&rig.heap.lock);
    hm_pool_reclaim(&rig.pool);
    hm_lock_give(&rig.heap.lock);
}

static void
prepare_nothing(void)
{
}

/* The span is full, and not current. */
static void
prepare_full(void)
{
    take(owner);
}

/* The span has room, or would have, and is not current. */
static void
prepare_room(void)
{
    hm_tcache_let_go(owner, hm_class_of(SIZE_BYTES));
}

/* Another block of the span was freed by others, so that the owner looks at each of its frees. */
static void
prepare_watched(void)
{
    uintptr_t addr = rig_alloc(&rig, owner, SMALL_BYTES, 16, NULL);
    struct hm_span *span = hm_pagemap_get(rig.heap.pagemap, addr);

    cr_assert_not_null(span);
    a = rig_alloc(&rig, owner, SMALL_BYTES, 16, NULL);
    b = rig_alloc(&rig, owner, SMALL_BYTES, 16, NULL);
    cr_assert_eq(hm_pagemap_get(rig.heap.pagemap, a), span);
    cr_assert_eq(hm_pagemap_get(rig.heap.pagemap, b), span);
    hm_tcache_let_go(owner, hm_class_of(SMALL_BYTES));
    rig_free(&rig, other, addr);
    cr_assert_eq(span->owner, HM_NOBODY);
}

static void
owner_frees_b_and_takes_small(void)
{
    put(owner, b);
    (void)rig_alloc(&rig, owner, SMALL_BYTES, 16, NULL);
    (void)rig_alloc(&rig, owner, SMALL_BYTES, 16, NULL);
}

static void
check_structs(void)
{
    const char *broken = rig_check(&rig);

    cr_assert_null(broken, "broken: %s", broken);
    cr_assert_eq(owner->owned_count[hm_class_of(SMALL_BYTES)], 1);
}

static void
prepare_orphan(void)
{
    hm_tcache_retire(owner);
}

static void
check_one_misuse(void)
{
    cr_assert_eq(misuse_count, 1, "%u were told", misuse_count);
}

TestSuite(orders, .timeout = 120);

/* In these, all is free at the end, so that nobody needs to look again: the span is gone. */
static void
check_gone(void)
{
    cr_assert_eq(rig.heap.span_count, taken_count, "who frees last gives it back");
    check_all_back();
}

Test(orders, two_free_and_the_owner_sleeps)
{
    play(2, (void (*const[])(void)){ other_frees_a, other_frees_b }, prepare_full, check_gone);
    play(2, (void (*const[])(void)){ other_frees_a, other_frees_b }, prepare_room, check_gone);
    play(2, (void (*const[])(void)){ other_frees_a, other_frees_b }, prepare_orphan, check_gone);
}

Test(orders, two_free_and_the_owner_takes)
{
    play(3, (void (*const[])(void)){ other_frees_a, other_frees_b, owner_takes_two },
         prepare_nothing, check_all_back);
    play(3, (void (*const[])(void)){ other_frees_a, other_frees_b, owner_takes_two }, prepare_full,
         check_all_back);
    play(3, (void (*const[])(void)){ other_frees_a, other_frees_b, owner_takes_two }, prepare_room,
         check_all_back);
}

Test(orders, owner_and_another_free)
{
    play(2, (void (*const[])(void)){ other_frees_a, owner_frees_b }, prepare_full, check_all_back);
    play(2, (void (*const[])(void)){ other_frees_a, owner_frees_b }, prepare_room, check_all_back);
    play(3, (void (*const[])(void)){ other_frees_a, owner_frees_b, trim }, prepare_room,
         check_all_back);
}

/* The owner meets the span again that was given back behind its back. */
Test(orders, owner_and_another_free_and_the_owner_takes)
{
    play(2, (void (*const[])(void)){ other_frees_a, owner_frees_b_and_takes_small },
         prepare_watched, check_structs);
}

Test(orders, two_free_and_the_owner_dies)
{
    play(3, (void (*const[])(void)){ other_frees_a, other_frees_b, owner_dies }, prepare_nothing,
         check_gone);
    play(3, (void (*const[])(void)){ other_frees_a, other_frees_b, owner_dies }, prepare_room,
         check_gone);
}

Test(orders, two_free_and_an_orphan_is_adopted)
{
    play(3, (void (*const[])(void)){ other_frees_a, other_frees_b, other_takes_two },
         prepare_orphan, check_all_back);
}

Test(orders, of_two_frees_of_one_block_one_is_told)
{
    play(2, (void (*const[])(void)){ other_frees_a, other_frees_a }, prepare_nothing,
         check_one_misuse);
}
