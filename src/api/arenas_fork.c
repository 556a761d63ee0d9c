/* SPDX-License-Identifier: MIT */
/* arenas_fork.c - arenas when the process forks (see fork.h).
 *
 * Idea        A child has all arenas, as it has malloc's blocks, but for those that are to be left
 *             out: they are destroyed there, so that whoever uses one is told so.
 */
#include "api/shareds.h"

static bool
has_pool(void)
{
    return hm_load(&hm_arenas.pool_count) > 0 && hm_arenas.conf.fork == HM_FORK_SAFE;
}

static void
hold(void)
{
    hm_lock_take_for_fork(&hm_arenas.lock);
}

static bool
next(struct hm_fork_heap *inout)
{
    const struct huma_arena *before = inout->owner;
    struct hm_list *link = before != NULL ? before->link.next : hm_arenas.live.next;
    struct huma_arena *arena;

    if (link == &hm_arenas.live)
        return false;
    arena = hm_container_of(link, struct huma_arena, link);
    *inout = (struct hm_fork_heap){ &arena->core.heap, arena, arena->is_left_out };
    return true;
}

static struct huma_arena *
arena_of(const struct hm_fork_heap *at)
{
    return hm_container_of(at->heap, struct huma_arena, core.heap);
}

/* A fork needs the kernel, also where nobody else may call it. */
static void
enter(const struct hm_fork_heap *at)
{
    struct huma_arena *arena = arena_of(at);

    if (arena->is_fixed)
        hm_arena_reopen(&arena->core);
    if (arena->is_left_out)
        hm_arena_advise_fork(&arena->core, HM_ADVICE_NO_FORK);
}

static void
leave(const struct hm_fork_heap *at)
{
    struct huma_arena *arena = arena_of(at);

    if (arena->is_left_out)
        hm_arena_advise_fork(&arena->core, HM_ADVICE_FORK);
    if (arena->is_fixed)
        hm_arena_close(&arena->core);
}

/* Which thread used an arena for one thread last, nobody knows. */
static void
settle(const struct hm_fork_heap *at)
{
    struct huma_arena *arena = arena_of(at);

    hm_arena_after_fork(&arena->core, arena->is_single ? NULL : hm_arenas_own_cache(arena));
}

static HM_LATER void
destroy_left_out(void)
{
    struct hm_list *link = hm_arenas.live.next;

    while (link != &hm_arenas.live) {
        struct huma_arena *arena = hm_container_of(link, struct huma_arena, link);

        link = link->next;
        if (!arena->is_left_out)
            continue;
        hm_arenas_leave_locked(arena);
        hm_arena_fini(&arena->core, false);
    }
}

static void
release(bool is_child, bool is_interrupted)
{
    (void)is_interrupted;
    if (!is_child) {
        hm_lock_give_after_fork(&hm_arenas.lock);
        return;
    }
    hm_arenas_forget_threads();
    destroy_left_out();
    hm_shareds_after_fork();
    hm_lock_reset(&hm_arenas.lock);
}

const struct hm_fork_ops hm_arenas_fork_ops = {
    .has_pool = has_pool,
    .hold = hold,
    .next = next,
    .enter = enter,
    .exit = leave,
    .settle = settle,
    .release = release,
};
