/* SPDX-License-Identifier: MIT */
/* remote.c - frees across threads, without a lock and without touching the owner's lists.
 *
 * Problem     A thread frees a block of a span that another thread allocates from at this moment;
 *             the span may become empty and be given back, or change its owner, while the free is
 *             under way.
 * Idea        The slot is marked as free. Then come two steps. First the slot's bit is set in the
 *             span's `remote` words: of two threads that free it at once, one finds it set. Then
 *             remote_count is raised. Whoever raises it from 0 must announce the span to its owner:
 *             on the list `pending` of the owner's cache, or, for an orphan, by merging it under
 *             the heap's lock. The owner takes the count back to 0 only for spans that it found on
 *             its list.
 *             Since `alarm` falls by the count, and never by a bit alone, a span cannot become
 *             empty between the two steps, nor between the second step and the announcement: until
 *             then it stays what it is, and the thread that frees may rely on it.
 * Locking     None, except heap->lock for orphans. Lists of pending spans are stacks that many push
 *             to and one takes whole, so that no pop can meet a node that came back.
 * Invariants  A span is on at most one list of pending spans: it is put there by the one who raised
 *             remote_count from 0, and that falls to 0 only after it was taken off.
 * Sources     The idea of a second free list for other threads: D. Leijen, B. Zorn, L. de Moura,
 *             "Mimalloc: free list sharding in action", APLAS 2019.
 */
#include "cache/remote.h"

#include "cache/thread.h"

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

void
hm_remote_merge(struct hm_span *span)
{
    /* The count first: every free that it counts has set its bit before. acq_rel, as in
     * hm_remote_free: whoever raises it from 0 again may write pending_next, which was read
     * before. */
    uint32_t count = __atomic_exchange_n(&span->remote_count, 0, __ATOMIC_ACQ_REL);
    for (unsigned i = 0; i < span->word_count; i++) {
        uint64_t word = __atomic_load_n(&span->remote[i], __ATOMIC_ACQUIRE);

        if (word != 0)
            merge_word(span, i, word);
    }
    span->uncounted -= (int32_t)count;
    span->alarm += span->hidden - count;
    span->hidden = 0;
}

/* An orphan has no cache: merge at once, and give it back if that was its last block. heap->lock is
 * held. */
static void
merge_orphan(struct hm_pool *pool, struct hm_span *span)
{
    hm_remote_merge(span);
    if (span->alarm == 0)
        hm_pool_drop_orphan(pool, span);
}

void
hm_remote_reroute(struct hm_tcache *cache)
{
    struct hm_span *span = take_pending(cache);

    while (span != NULL) {
        struct hm_span *next = span->pending_next;
        struct hm_tcache *home = hm_load(&span->home);

        if (home == NULL)
            merge_orphan(cache->pool, span);
        else
            push_pending(home, span);
        span = next;
    }
}

/* Tell the owner that `span` has remote frees. The caller raised remote_count from 0. */
static void
announce(struct hm_pool *pool, struct hm_span *span)
{
    struct hm_tcache *home = __atomic_load_n(&span->home, __ATOMIC_ACQUIRE);

    if (home == NULL) {
        hm_lock_take(&pool->heap->lock);
        home = hm_load(&span->home);
        if (home == NULL)
            merge_orphan(pool, span);
        else
            push_pending(home, span);
        hm_lock_give(&pool->heap->lock);
        return;
    }
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

void
hm_remote_free(struct hm_pool *pool, struct hm_span *span, uintptr_t addr)
{
    struct hm_slot *slot = (struct hm_slot *)addr;
    uint64_t slot_idx = hm_span_slot_idx(span, addr);
    uint64_t bit = (uint64_t)1 << (slot_idx & 63);

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
    if (__atomic_fetch_add(&span->remote_count, 1, __ATOMIC_ACQ_REL) == 0)
        announce(pool, span);
}

void
hm_remote_collect(struct hm_tcache *cache)
{
    struct hm_span *span = take_pending(cache);

    while (span != NULL) {
        struct hm_span *next = span->pending_next;

        if (hm_load(&span->home) == cache) {
            hm_remote_merge(span);
            hm_tcache_resort(cache, span);
        } else {
            /* It changed hands since it was announced here: pass it on. */
            struct hm_pool *pool = cache->pool;

            hm_lock_take(&pool->heap->lock);
            if (hm_load(&span->home) == NULL)
                merge_orphan(pool, span);
            else
                push_pending(hm_load(&span->home), span);
            hm_lock_give(&pool->heap->lock);
        }
        span = next;
    }
}
