/* SPDX-License-Identifier: MIT */
/* remote.c - frees across threads, without a lock and without touching the owner's lists.
 *
 * Problem     A thread frees a block of a span that another thread allocates from at this moment;
 *             the span may become empty and be given back, or change its owner, while the free is
 *             under way. And the owner may sleep: what others free must not wait for it.
 * Idea        The slot is marked as free, then its bit is set in the span's `remote` words: of two
 *             threads that free it at once, one finds it set. Then remote_state counts the free.
 *             While the owner holds the span, it looks at the count itself when it runs short.
 *             Else, when it is worth the way, whoever freed sets PENDING in the same word and puts
 *             the span on the list `pending` of the owner's cache, which the owner takes at its
 *             next slow malloc. Frees in an orphan just count, until it is adopted.
 *             alarm + hidden, the rest, is the number of slots that are live or wait to be merged.
 *             Of a span that nobody holds it only falls; the count never exceeds it. So if they are
 *             found equal, no slot is live, nobody is in the middle of a free, and none will come:
 *             who sees that sets CLAIMED, provided that the word has not changed, and gives the
 *             pages back. The struct stays in the owner's lists until the owner takes it off
 *             `pending`.
 *             Where half of the rest was freed by others, `owner` is cleared. So the owner's next
 *             frees come by here too, and the last one is noticed, whoever does it.
 * Locking     None to free; heap->lock to give a span back. Lists of pending spans are stacks that
 *             many push to and one takes whole, so that no pop can meet a node that came back.
 *             Every step that matters reads and writes remote_state at once, so that there is an
 *             order of them all, and who comes later sees what was written before.
 * Invariants  I1 A span is on at most one list of pending spans: it is put there by who sets
 *             PENDING, which falls only after it was taken off. I2 CLAIMED is set once in a life,
 *             and only in a span that nobody holds or by its owner; from then on only PENDING
 *             changes. I3 A struct is used again only after its last PENDING fell, and has another
 *             turn then: who has an old value of the word cannot change it.
 * Sources     The idea of a second free list for other threads: D. Leijen, B. Zorn, L. de Moura,
 *             "Mimalloc: free list sharding in action", APLAS 2019.
 */
#include "cache/remote.h"

#include "cache/thread.h"
#include "heap/purge.h"

/* --- pending spans ---------------------------------------------------------------------------- */

static void
push_pending(struct hm_tcache *cache, struct hm_span *span)
{
    struct hm_span *head = hm_load(&cache->pending);

    do {
        span->pending_next = head;
        /* The taker sees pending_next; pairs with the exchange in take_pending. Sequentially
         * consistent for the sake of announce(). */
    } while (!__atomic_compare_exchange_n(&cache->pending, &head, span, true, __ATOMIC_SEQ_CST,
                                          __ATOMIC_RELAXED));
}

static struct hm_span *
take_pending(struct hm_tcache *cache)
{
    return __atomic_exchange_n(&cache->pending, NULL, __ATOMIC_SEQ_CST);
}

/* A span was taken off a list, and PENDING is still set: on to the list of its owner. If it has
 * none it is on no list, and a struct that was left over is free. heap->lock is held. */
static void
route(struct hm_pool *pool, struct hm_span *span)
{
    struct hm_tcache *home = hm_load(&span->home);
    uint64_t state;

    if (home != NULL) {
        push_pending(home, span);
        return;
    }
    state = __atomic_fetch_and(&span->remote_state, ~HM_REMOTE_PENDING, __ATOMIC_ACQ_REL);
    /* If the pages are still on their way, who gives them sees to the struct. */
    if ((state & HM_REMOTE_CLAIMED) != 0 && span->kind == HM_SPAN_IDLE)
        hm_span_recycle(pool->heap, span);
}

void
hm_remote_reroute(struct hm_tcache *cache)
{
    struct hm_span *span = take_pending(cache);

    while (span != NULL) {
        struct hm_span *next = span->pending_next;

        route(cache->pool, span);
        span = next;
    }
}

/* Tell the owner that `span` has remote frees. `state` is the word after the caller's. */
static void
announce(struct hm_pool *pool, struct hm_span *span, uint64_t state)
{
    /* An adopter sets home before it takes the count: who counts later than that sees home. */
    struct hm_tcache *home = __atomic_load_n(&span->home, __ATOMIC_ACQUIRE);
    uint64_t turn = state / HM_REMOTE_TURN;

    if (home == NULL)
        return;
    while (!__atomic_compare_exchange_n(&span->remote_state, &state, state | HM_REMOTE_PENDING,
                                        true, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        if ((state & (HM_REMOTE_PENDING | HM_REMOTE_CLAIMED)) != 0
            || state / HM_REMOTE_TURN != turn)
            return;
    push_pending(home, span);
    /* The owner may have died in between. Push and look, here; mark and take, in hm_tcache_retire:
     * all four sequentially consistent, so that either it sees the push or we see the mark. */
    if (__atomic_load_n(&home->is_dead, __ATOMIC_SEQ_CST) != 0) {
        hm_lock_take(&pool->heap->lock);
        if (hm_load(&home->is_dead) != 0)
            hm_remote_reroute(home);
        hm_lock_give(&pool->heap->lock);
    }
}

/* --- spans that others emptied ---------------------------------------------------------------- */

/* If no slot is live, the span is the caller's to give back. `state` was read from it. */
static bool
claim(struct hm_span *span, uint64_t state)
{
    uint64_t turn = state / HM_REMOTE_TURN;

    do {
        uint32_t count = (uint32_t)(state & HM_REMOTE_COUNT);

        if ((state & (HM_REMOTE_HELD | HM_REMOTE_CLAIMED)) != 0 || state / HM_REMOTE_TURN != turn
            || count == 0 || count != hm_span_rest(span))
            return false;
        /* acquire: all that was written to the slots. Strong: this is the last free. */
    } while (!__atomic_compare_exchange_n(&span->remote_state, &state, state | HM_REMOTE_CLAIMED,
                                          false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    return true;
}

/* The pages of a span that the caller claimed and wiped go back. heap->lock is held. */
static void
give(struct hm_pool *pool, struct hm_span *span)
{
    struct hm_tcache *home = hm_load(&span->home);
    uint64_t state = hm_load(&span->remote_state);

    if (home == NULL && !hm_list_is_empty(&span->link)) {
        hm_list_del(&span->link);
        hm_store(&pool->orphan_count, pool->orphan_count - 1);
    }
    /* `alarm` is not touched: the owner may be about to look whether that is 0. */
    hm_span_vacate(pool->heap, span);
    if (home != NULL) {
        hm_purge_abandoned(pool->heap);
        /* Only the owner can take it out of its lists. Nobody else announces it any more. */
        state = __atomic_fetch_or(&span->remote_state, HM_REMOTE_PENDING, __ATOMIC_ACQ_REL);
        if ((state & HM_REMOTE_PENDING) == 0)
            push_pending(home, span);
    } else if ((state & HM_REMOTE_PENDING) == 0) {
        hm_span_recycle(pool->heap, span);
    }
}

void
hm_remote_reclaim(struct hm_pool *pool, struct hm_span *span)
{
    if (!claim(span, __atomic_load_n(&span->remote_state, __ATOMIC_ACQUIRE)))
        return;
    hm_span_wipe(span);
    give(pool, span);
}

/* A free was counted in a span that nobody holds: `state` is the word after it. Others may have
 * freed the rest meanwhile, and the struct may serve again: claim and announce find another turn
 * then, and an `owner` that was cleared in vain is set at that thread's next free. */
static HM_NOINLINE void
tell(struct hm_pool *pool, struct hm_span *span, uint64_t state)
{
    uint32_t count = (uint32_t)(state & HM_REMOTE_COUNT);
    uint32_t hidden = hm_load(&span->hidden);
    uint32_t rest = hm_span_rest(span);

    if (count == rest && claim(span, state)) {
        hm_span_wipe(span);
        hm_lock_take(&pool->heap->lock);
        give(pool, span);
        hm_lock_give(&pool->heap->lock);
        return;
    }
    /* The owner shall know of half of them at least: see hm_remote_watch. */
    if ((count & (count - 1)) == 0 && hm_load(&span->owner) != HM_NOBODY)
        hm_store(&span->owner, HM_NOBODY);
    if ((state & HM_REMOTE_PENDING) == 0 && (hidden == 0 || count >= hm_span_worth_count(span)))
        announce(pool, span, state);
}

/* --- freeing ---------------------------------------------------------------------------------- */

void
hm_remote_free(struct hm_pool *pool, struct hm_span *span, uintptr_t addr)
{
    struct hm_slot *slot = (struct hm_slot *)addr;
    uint64_t slot_idx = hm_span_slot_idx(span, addr);
    uint64_t bit = (uint64_t)1 << (slot_idx & 63);
    uint64_t state;

    if (HM_UNLIKELY(__atomic_load_n(&span->is_torn, __ATOMIC_ACQUIRE))) {
        hm_lock_take(&pool->heap->lock);
        hm_span_mend(span, pool->heap);
        hm_lock_give(&pool->heap->lock);
    }
    if (slot_idx >= span->slot_count
        || (HM_UNLIKELY(hm_load(&slot->mark) == span) && !hm_span_is_live(span, addr)))
        hm_span_misuse(span, addr, "free()");
    hm_store(&slot->mark, span);
    /* acq_rel: what this thread wrote to the block comes before its next use. */
    if ((__atomic_fetch_or(&span->remote[slot_idx >> 6], bit, __ATOMIC_ACQ_REL) & bit) != 0)
        hm_span_misuse(span, addr, "free()");
    state = __atomic_add_fetch(&span->remote_state, 1, __ATOMIC_ACQ_REL);
    if ((state & HM_REMOTE_HELD) == 0)
        tell(pool, span, state);
}

/* --- the owner -------------------------------------------------------------------------------- */

/* Put the slots of a word of remote bits on the list of freed ones. */
static void
merge_word(struct hm_span *span, unsigned word_idx, uint64_t word)
{
    for (uint64_t left = word; left != 0; left &= left - 1) {
        uint64_t slot_idx = word_idx * 64 + (unsigned)__builtin_ctzll(left);

        hm_span_put(span, (struct hm_slot *)hm_span_slot_addr(span, slot_idx));
    }
    span->uncounted += __builtin_popcountll(word);
    /* The slot stays marked, so that a second free is found; the bit can go. */
    (void)__atomic_fetch_and(&span->remote[word_idx], ~word, __ATOMIC_RELEASE);
}

/* Move all slots that have a remote bit, and count `count` of them. */
static void
merge_words(struct hm_span *span, uint32_t count)
{
    for (unsigned i = 0; i < span->word_count; i++) {
        uint64_t word = __atomic_load_n(&span->remote[i], __ATOMIC_ACQUIRE);

        if (word != 0)
            merge_word(span, i, word);
    }
    span->uncounted -= (int32_t)count;
    hm_span_unhide(span, 0 - count);
}

/* Merge, and take the flags `off` off the word. */
static bool
merge(struct hm_span *span, uint64_t off)
{
    /* The count first: every free that it counts has set its bit before. */
    uint64_t state
        = __atomic_fetch_and(&span->remote_state, ~(off | HM_REMOTE_COUNT), __ATOMIC_ACQ_REL);

    if ((state & HM_REMOTE_CLAIMED) != 0)
        return false;
    if ((state & HM_REMOTE_COUNT) != 0)
        merge_words(span, (uint32_t)(state & HM_REMOTE_COUNT));
    return true;
}

void
hm_remote_merge_all(struct hm_span *span)
{
    uint32_t count = hm_remote_count(span);

    hm_store(&span->remote_state, hm_load(&span->remote_state) & ~HM_REMOTE_COUNT);
    merge_words(span, count);
    hm_store(&span->alarm, span->alarm - (uint32_t)span->uncounted);
    span->uncounted = 0;
}

bool
hm_remote_merge(struct hm_span *span)
{
    return merge(span, 0);
}

static bool
settle(struct hm_tcache *cache, struct hm_span *span, uint64_t off)
{
    bool is_spare = span->alarm + span->hidden == 0;

    if (!merge(span, off))
        return false;
    if (is_spare)
        return true; /* it was found empty before the announcement was */
    hm_store(&span->owner, cache->id);
    while (hm_remote_recount(span) != 0)
        if (!merge(span, 0))
            return true; /* it will be found on the list again */
    hm_tcache_resort(cache, span);
    return true;
}

void
hm_remote_settle(struct hm_tcache *cache, struct hm_span *span)
{
    (void)settle(cache, span, 0);
}

/* The alarm shall go off before no more is awaited than others freed. */
void
hm_remote_watch(struct hm_tcache *cache, struct hm_span *span)
{
    uint32_t count;
    uint32_t rest;

    /* First this: who counts later than hold finds it, and clears it again. */
    hm_store(&span->owner, cache->id);
    if ((hm_load(&span->remote_state) & HM_REMOTE_HELD) != 0)
        return;
    do {
        if ((hm_remote_hold(span) & HM_REMOTE_CLAIMED) != 0) {
            (void)hm_remote_unhold(span);
            return;
        }
        count = hm_remote_count(span);
        rest = span->alarm + span->hidden;
        if (count * 2 < rest && span->alarm > rest - count * 2) {
            hm_store(&span->alarm, rest - count * 2);
            hm_store(&span->hidden, count * 2);
        }
        (void)hm_remote_unhold(span);
        if (count * 2 >= rest) {
            hm_remote_settle(cache, span);
            return;
        }
        /* Who counted meanwhile found the span held, and told nobody. */
    } while (hm_remote_count(span) != count);
}

/* Another thread gave the span back, or is about to. It was on the list of `cache`, its owner. */
static void
bury(struct hm_tcache *cache, struct hm_span *span)
{
    struct hm_heap *heap = cache->pool->heap;

    if (!hm_list_is_empty(&span->link)) {
        hm_list_del(&span->link);
        cache->owned_count[span->class_idx]--;
    }
    hm_lock_take(&heap->lock);
    hm_store(&span->home, NULL);
    /* PENDING fell when it was taken off the list. Who gives it back may have set it again since,
     * and sent it here once more; or comes later, and finds no home. */
    if (span->kind == HM_SPAN_IDLE && (hm_load(&span->remote_state) & HM_REMOTE_PENDING) == 0)
        hm_span_recycle(heap, span);
    hm_lock_give(&heap->lock);
}

void
hm_remote_collect(struct hm_tcache *cache)
{
    struct hm_span *span = take_pending(cache);

    while (span != NULL) {
        struct hm_span *next = span->pending_next;

        if (hm_load(&span->home) != cache) {
            /* It changed hands since it was announced here. */
            hm_lock_take(&cache->pool->heap->lock);
            route(cache->pool, span);
            hm_lock_give(&cache->pool->heap->lock);
        } else if (!settle(cache, span, HM_REMOTE_PENDING)) {
            bury(cache, span);
        }
        span = next;
    }
}
