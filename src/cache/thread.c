/* SPDX-License-Identifier: MIT */
/* thread.c - caches come and go with threads; spans outlive them (see thread.h).
 *
 * Problem     A thread dies while blocks of its spans live on in other hands. The memory must stay
 *             usable, and ten thousand threads in a row must not leave ten thousand caches.
 * Idea        Cache structs are recycled. Spans with live blocks become orphans, one list per
 *             class, and the next thread that needs a span of the class adopts one before it asks
 *             for new pages.
 * Locking     heap->lock.
 */
#include "cache/thread.h"

#include "cache/mixing.h"
#include "cache/remote.h"
#include "heap/nodes.h"

/* Orphans that are looked at for one of the own node. */
#define ORPHANS_PER_LOOK 16

void
hm_pool_init(struct hm_pool *pool, struct hm_heap *heap)
{
    *pool = (struct hm_pool){ .heap = heap, .open_count = HM_CLASS_COUNT };
    for (unsigned i = 0; i < HM_CLASS_COUNT; i++)
        hm_list_init(&pool->orphans[i]);
    hm_list_init(&pool->mixed);
}

void
hm_tcache_clear(struct hm_tcache *cache)
{
    struct hm_span *none = (struct hm_span *)(uintptr_t)&hm_span_none;

    for (unsigned i = 0; i < HM_BY_SIZE_COUNT; i++)
        cache->by_size[i] = none;
    for (unsigned i = 0; i < HM_CLASS_COUNT; i++) {
        cache->by_class[i] = none;
        cache->current[i] = none;
        cache->owned_count[i] = 0;
        hm_list_init(&cache->room[i]);
        hm_list_init(&cache->full[i]);
        cache->missed_count[i] = 0;
    }
    hm_mixing_clear(cache);
    hm_list_init(&cache->spares);
    cache->spare_bytes = 0;
    cache->spare_count = 0;
    cache->credit_bytes = 0;
}

/* Of a cache that is new, or was idle. heap->lock is held, or nobody else knows of the pool. */
static void
start(struct hm_pool *pool, struct hm_tcache *cache, uintptr_t id)
{
    hm_tcache_clear(cache);
    cache->open_count = pool->open_count;
    cache->id = id != 0 ? id : (uintptr_t)cache;
    hm_store(&cache->is_dead, 0);
}

static void
enlist(struct hm_pool *pool, struct hm_tcache *cache)
{
    cache->pool = pool;
    cache->next = pool->caches;
    pool->caches = cache;
    pool->cache_count++;
}

void
hm_tcache_enter(struct hm_pool *pool, struct hm_tcache *cache, uintptr_t id)
{
    cache->pending = NULL;
    enlist(pool, cache);
    start(pool, cache, id);
}

HM_LATER void
hm_tcache_revive(struct hm_tcache *cache)
{
    struct hm_tcache **link = &cache->pool->idle;

    while (*link != cache)
        link = &(*link)->idle_next;
    *link = cache->idle_next;
    start(cache->pool, cache, cache->id);
}

struct hm_tcache *
hm_tcache_acquire(struct hm_pool *pool, uintptr_t id)
{
    struct hm_tcache *cache;

    hm_lock_take(&pool->heap->lock);
    cache = pool->idle;
    if (cache != NULL) {
        pool->idle = cache->idle_next;
    } else {
        cache = hm_meta_alloc(&pool->heap->meta, sizeof(*cache), HM_CACHE_LINE_BYTES);
        if (cache != NULL)
            enlist(pool, cache);
    }
    if (cache != NULL)
        start(pool, cache, id);
    hm_lock_give(&pool->heap->lock);
    return cache;
}

/* Whether a reset left it so: no other orphan is without a block. */
static bool
is_clean(const struct hm_span *span)
{
    return hm_load(&span->carved) == 0;
}

/* It is on no list of orphans from now on. */
static void
count_off(struct hm_pool *pool, const struct hm_span *span)
{
    hm_store(&pool->orphan_count, pool->orphan_count - 1);
    if (HM_UNLIKELY(is_clean(span)))
        hm_store(&pool->clean_count, pool->clean_count - 1);
}

void
hm_pool_drop_orphan(struct hm_pool *pool, struct hm_span *span)
{
    count_off(pool, span);
    hm_list_del(&span->link);
    hm_span_wipe(span);
    hm_span_destroy(pool->heap, span);
}

/* `span` is in no list. */
static void
make_orphan(struct hm_pool *pool, struct hm_span *span)
{
    uint64_t state;

    hm_store(&span->owner, HM_NOBODY);
    /* release: pairs with the acquire in announce (remote.c) */
    __atomic_store_n(&span->home, NULL, __ATOMIC_RELEASE);
    hm_span_unhide(span, 0);
    state = __atomic_fetch_and(&span->remote_state, ~HM_REMOTE_HELD, __ATOMIC_ACQ_REL);
    if ((state & HM_REMOTE_CLAIMED) != 0)
        return; /* who gives it back, or finds it pending, sees to the struct */
    if (span->alarm == 0) {
        hm_span_wipe(span);
        hm_span_destroy(pool->heap, span);
        return;
    }
    hm_list_add_last(&pool->orphans[span->class_idx], &span->link);
    hm_store(&pool->orphan_count, pool->orphan_count + 1);
    if ((state & HM_REMOTE_COUNT) != 0)
        hm_remote_reclaim(pool, span);
}

/* Make orphans of all spans in a list of the cache. */
static void
orphan_list(struct hm_pool *pool, struct hm_list *list)
{
    while (!hm_list_is_empty(list)) {
        struct hm_span *span = hm_container_of(list->next, struct hm_span, link);

        hm_list_del(&span->link);
        make_orphan(pool, span);
    }
}

void
hm_tcache_retire(struct hm_tcache *cache)
{
    struct hm_pool *pool = cache->pool;

    /* Before the lock: it may find damage and abort, and a handler of SIGABRT may allocate. */
    for (unsigned i = 0; i < HM_CLASS_COUNT; i++)
        if (cache->current[i] != &hm_span_none)
            hm_span_unready(cache->current[i]);
    hm_lock_take(&pool->heap->lock);
    for (unsigned i = 0; i < HM_CLASS_COUNT; i++) {
        if (cache->current[i] != &hm_span_none)
            make_orphan(pool, cache->current[i]);
        orphan_list(pool, &cache->room[i]);
        orphan_list(pool, &cache->full[i]);
    }
    orphan_list(pool, &cache->spares);
    hm_mixing_retire(cache);
    hm_tcache_clear(cache);
    /* Who announces a span from now on sees the mark; what was announced before, reroute finds.
     * Pairs with announce (remote.c). */
    __atomic_store_n(&cache->is_dead, 1, __ATOMIC_SEQ_CST);
    hm_remote_reroute(cache);
    cache->idle_next = pool->idle;
    pool->idle = cache;
    hm_lock_give(&pool->heap->lock);
}

/* An orphan whose memory is of the thread's own node, if there is one among the oldest. What was
 * looked at in vain is the next thread's last choice. */
static struct hm_span *
find_orphan(struct hm_pool *pool, unsigned class_idx)
{
    struct hm_list *orphans = &pool->orphans[class_idx];

    for (unsigned i = 0; i < ORPHANS_PER_LOOK && !hm_list_is_empty(orphans); i++) {
        struct hm_span *span = hm_container_of(orphans->next, struct hm_span, link);

        if (hm_nodes_is_near(pool->heap, span->region))
            return span;
        hm_list_del(&span->link);
        hm_list_add_last(orphans, &span->link);
    }
    return NULL;
}

static struct hm_span *
adopt_locked(struct hm_pool *pool, struct hm_tcache *cache, unsigned class_idx)
{
    struct hm_span *span;

    while ((span = find_orphan(pool, class_idx)) != NULL) {
        hm_list_del(&span->link);
        count_off(pool, span);
        if (is_clean(span)) {
            hm_list_unlink(&span->all_link);
            hm_list_add_first(&pool->heap->spans, &span->all_link);
        }
        if ((hm_remote_hold(span) & HM_REMOTE_CLAIMED) != 0) {
            (void)hm_remote_unhold(span); /* who gives it back waits for the lock */
            continue;
        }
        hm_span_mend(span, pool->heap);
        pool->adopted_count++;
        /* release: pairs with the acquire in announce (remote.c) */
        __atomic_store_n(&span->home, cache, __ATOMIC_RELEASE);
        return span;
    }
    return NULL;
}

struct hm_span *
hm_pool_adopt(struct hm_pool *pool, struct hm_tcache *cache, unsigned class_idx)
{
    struct hm_span *span;

    if (hm_load(&pool->orphan_count) == 0)
        return NULL;
    hm_lock_take(&pool->heap->lock);
    span = adopt_locked(pool, cache, class_idx);
    hm_lock_give(&pool->heap->lock);
    return span;
}

/* Make the remote frees of a span count that other threads of the parent were in the middle of.
 * Returns whether there were any. */
static bool
settle(struct hm_span *span)
{
    uint64_t bits = 0;

    hm_store(&span->remote_state, hm_load(&span->remote_state) & ~HM_REMOTE_PENDING);
    for (unsigned i = 0; i < span->word_count; i++) {
        bits |= span->remote[i];
        hm_span_mark(span, i, span->remote[i]);
    }
    if (bits == 0 && hm_remote_count(span) == 0 && span->uncounted == 0)
        return false;
    hm_remote_merge_all(span);
    return true;
}

/* A span of the child's own thread, which was in the middle of fork() and of nothing else. */
static void
settle_own(struct hm_tcache *self, struct hm_span *span)
{
    bool is_changed = settle(span);

    hm_store(&span->owner, self->id);
    if (!is_changed || self->current[span->class_idx] == span)
        return;
    hm_list_del(&span->link);
    if (span->alarm == 0) {
        self->owned_count[span->class_idx]--;
        hm_span_wipe(span);
        hm_span_destroy(self->pool->heap, span);
    } else {
        hm_list_add_last(&self->room[span->class_idx], &span->link);
    }
}

/* What was copied before the fork (heap/shadow.c) is older than the struct of its span: a slot that
 * bears the mark may have been handed out since, and nobody can tell. */
static void
unmark_all(struct hm_span *span)
{
    for (uint32_t i = 1; i <= span->carved; i++) {
        struct hm_slot *slot = (struct hm_slot *)hm_span_slot_addr(span, span->slot_count - i);

        if (slot->mark == span)
            slot->mark = NULL;
    }
}

/* A span of a thread that the child does not have. That may have been in the middle of anything,
 * and the kernel copied the page of this struct and those of the slots at different moments: the
 * lists cannot be followed. The marks tell which slots are free, as soon as somebody wants to know
 * (hm_span_mend). */
static void
tear(struct hm_pool *pool, struct hm_span *span)
{
    uint64_t turn = hm_load(&span->remote_state) / HM_REMOTE_TURN;

    span->is_torn = true;
    span->freed = hm_span_end(span);
    span->ready = hm_span_end(span);
    hm_store(&span->alarm, span->carved);
    hm_store(&span->hidden, 0);
    span->uncounted = 0;
    hm_store(&span->remote_state, (turn + 1) * HM_REMOTE_TURN);
    for (unsigned i = 0; i < span->word_count; i++)
        span->remote[i] = 0;
    if (span->region->shadow_addr != 0)
        unmark_all(span);
    hm_list_init(&span->link);
    make_orphan(pool, span);
}

/* Orphans change under heap->lock only, which was held. A span that was between creation and its
 * first owner is nobody's either, but in no list. */
static void
settle_other(struct hm_pool *pool, struct hm_span *span)
{
    if (span->home != NULL || hm_list_is_empty(&span->link))
        tear(pool, span);
    else if (settle(span) && span->alarm == 0)
        hm_pool_drop_orphan(pool, span);
}

/* Another thread of the parent was giving the span back. */
static void
finish_claimed(struct hm_pool *pool, struct hm_tcache *self, struct hm_span *span)
{
    if (span->home == NULL && !hm_list_is_empty(&span->link))
        count_off(pool, span);
    if (span->home == NULL || span->home == self) {
        if (self != NULL && span->home == self && !hm_list_is_empty(&span->link))
            self->owned_count[span->class_idx]--;
        hm_list_del(&span->link);
    }
    hm_span_wipe_rest(span);
    hm_span_vacate(pool->heap, span);
    hm_span_recycle(pool->heap, span);
}

/* What other threads gave back of the child's own thread, which has not taken note of it yet. */
static void
forget_given(struct hm_tcache *self, struct hm_list *list)
{
    struct hm_list *link = list->next;

    while (link != list) {
        struct hm_span *span = hm_container_of(link, struct hm_span, link);

        link = link->next;
        if (span->kind != HM_SPAN_IDLE)
            continue;
        hm_list_del(&span->link);
        self->owned_count[span->class_idx]--;
        hm_span_recycle(self->pool->heap, span);
    }
}

/* The owner, who was to recycle spans that others gave back, will not be told of them any more. */
static void
recycle_given(struct hm_tcache *cache)
{
    struct hm_span *span = cache->pending;

    cache->pending = NULL;
    while (span != NULL) {
        struct hm_span *next = span->pending_next;

        if (span->kind == HM_SPAN_IDLE)
            hm_span_recycle(cache->pool->heap, span);
        span = next;
    }
}

HM_LATER void
hm_pool_reset(struct hm_pool *pool)
{
    struct hm_list *link = pool->heap->spans.next;

    for (; link != &pool->heap->spans; link = link->next) {
        struct hm_span *span = hm_container_of(link, struct hm_span, all_link);

        if (hm_pool_is_at_rest(span))
            break;
        if (span->kind != HM_SPAN_SLOTS)
            continue;
        /* From a list of a cache, which forgets it, or of other orphans. */
        hm_list_unlink(&span->link);
        hm_span_reset(pool->heap, span);
        hm_list_add_first(&pool->orphans[span->class_idx], &span->link);
        hm_store(&pool->clean_count, pool->clean_count + 1);
    }
    hm_store(&pool->orphan_count, pool->clean_count);
    for (struct hm_tcache *cache = pool->caches; cache != NULL; cache = cache->next) {
        hm_tcache_clear(cache);
        recycle_given(cache);
    }
}

HM_LATER void
hm_pool_make_way(struct hm_pool *pool, size_t len_pages)
{
    if (hm_load(&pool->clean_count) == 0)
        return;
    hm_lock_take(&pool->heap->lock);
    for (unsigned i = 0; i < HM_CLASS_COUNT && len_pages > 0; i++) {
        struct hm_list *orphans = &pool->orphans[i];

        while (len_pages > 0 && !hm_list_is_empty(orphans)) {
            struct hm_span *span = hm_container_of(orphans->prev, struct hm_span, link);

            if (!is_clean(span))
                break;
            len_pages -= span->len_pages < len_pages ? span->len_pages : len_pages;
            hm_pool_drop_orphan(pool, span);
        }
    }
    hm_lock_give(&pool->heap->lock);
}

HM_LATER void
hm_pool_mend(struct hm_pool *pool)
{
    for (unsigned i = 0; i < HM_CLASS_COUNT; i++) {
        struct hm_list *link = pool->orphans[i].next;

        while (link != &pool->orphans[i]) {
            struct hm_span *span = hm_container_of(link, struct hm_span, link);

            link = link->next;
            hm_span_mend(span, pool->heap);
            if (span->alarm == 0)
                hm_pool_drop_orphan(pool, span);
        }
    }
}

HM_LATER void
hm_pool_reclaim(struct hm_pool *pool)
{
    struct hm_list *link = pool->heap->spans.next;

    while (link != &pool->heap->spans) {
        struct hm_span *span = hm_container_of(link, struct hm_span, all_link);

        link = link->next;
        if (span->kind == HM_SPAN_SLOTS)
            hm_remote_reclaim(pool, span);
    }
}

HM_LATER void
hm_pool_after_fork(struct hm_pool *pool, struct hm_tcache *self)
{
    struct hm_list *link = pool->heap->spans.next;

    for (struct hm_tcache *cache = pool->caches; cache != NULL; cache = cache->next) {
        /* Structs that were to be recycled are lost: the list may be torn. */
        cache->pending = NULL;
        if (cache == self || cache->is_dead != 0)
            continue;
        hm_tcache_clear(cache);
        cache->is_dead = 1;
        cache->idle_next = pool->idle;
        pool->idle = cache;
    }
    for (unsigned i = 0; self != NULL && i < HM_CLASS_COUNT; i++) {
        forget_given(self, &self->room[i]);
        forget_given(self, &self->full[i]);
    }
    while (link != &pool->heap->spans) {
        struct hm_span *span = hm_container_of(link, struct hm_span, all_link);

        link = link->next;
        if (span->kind == HM_SPAN_MIXED)
            hm_mixing_after_fork(pool, self, span);
        if (span->kind != HM_SPAN_SLOTS)
            continue;
        if ((hm_load(&span->remote_state) & HM_REMOTE_CLAIMED) != 0)
            finish_claimed(pool, self, span);
        else if (self != NULL && span->home == self)
            settle_own(self, span);
        else
            settle_other(pool, span);
    }
}
