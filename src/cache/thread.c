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

#include "cache/remote.h"

void
hm_pool_init(struct hm_pool *pool, struct hm_heap *heap)
{
    *pool = (struct hm_pool){ .heap = heap };
    for (unsigned i = 0; i < HM_CLASS_COUNT; i++)
        hm_list_init(&pool->orphans[i]);
}

struct hm_tcache *
hm_tcache_acquire(struct hm_pool *pool)
{
    struct hm_tcache *cache;

    hm_lock_take(&pool->heap->lock);
    cache = pool->idle;
    if (cache != NULL) {
        pool->idle = cache->idle_next;
    } else {
        cache = hm_meta_alloc(&pool->heap->meta, sizeof(*cache), HM_CACHE_LINE_BYTES);
        if (cache != NULL) {
            cache->pool = pool;
            cache->next = pool->caches;
            pool->caches = cache;
            pool->cache_count++;
        }
    }
    if (cache != NULL) {
        hm_tcache_clear(cache);
        hm_store(&cache->is_dead, 0);
    }
    hm_lock_give(&pool->heap->lock);
    return cache;
}

void
hm_pool_drop_orphan(struct hm_pool *pool, struct hm_span *span)
{
    /* In a forked child, a span that was between creation and its first owner is in no list. */
    if (!hm_list_is_empty(&span->link))
        hm_store(&pool->orphan_count, pool->orphan_count - 1);
    hm_list_del(&span->link);
    hm_span_destroy(pool->heap, span);
}

static void
make_orphan(struct hm_pool *pool, struct hm_span *span)
{
    hm_store(&span->owner, NULL);
    /* release: pairs with the acquire in announce (remote.c) */
    __atomic_store_n(&span->home, NULL, __ATOMIC_RELEASE);
    if (span->used == 0) {
        hm_span_destroy(pool->heap, span);
        return;
    }
    hm_list_add_last(&pool->orphans[span->class_idx], &span->link);
    hm_store(&pool->orphan_count, pool->orphan_count + 1);
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

    hm_lock_take(&pool->heap->lock);
    for (unsigned i = 0; i < HM_CLASS_COUNT; i++) {
        struct hm_span *span = cache->current[i];

        hm_tcache_unhold(cache, i);
        if (span != &hm_span_none)
            make_orphan(pool, span);
        orphan_list(pool, &cache->room[i]);
    }
    orphan_list(pool, &cache->full);
    hm_tcache_clear(cache);
    /* Who announces a span from now on sees the mark; what was announced before, reroute finds.
     * Pairs with announce (remote.c). */
    __atomic_store_n(&cache->is_dead, 1, __ATOMIC_SEQ_CST);
    hm_remote_reroute(cache);
    cache->idle_next = pool->idle;
    pool->idle = cache;
    hm_lock_give(&pool->heap->lock);
}

struct hm_span *
hm_pool_adopt(struct hm_pool *pool, struct hm_tcache *cache, unsigned class_idx)
{
    struct hm_span *span = NULL;

    if (hm_load(&pool->orphan_count) == 0)
        return NULL;
    hm_lock_take(&pool->heap->lock);
    if (!hm_list_is_empty(&pool->orphans[class_idx])) {
        span = hm_container_of(pool->orphans[class_idx].next, struct hm_span, link);
        hm_list_del(&span->link);
        hm_store(&pool->orphan_count, pool->orphan_count - 1);
        pool->adopted_count++;
        __atomic_store_n(&span->home, cache, __ATOMIC_RELEASE);
    }
    hm_lock_give(&pool->heap->lock);
    return span;
}

/* Only this thread is left: count what is free from the bits themselves, since a thread that is no
 * more may have been between two steps of anything. */
static void
recount(struct hm_span *span, bool is_current)
{
    uint64_t *remote = hm_span_remote(span);
    uint32_t used;

    for (unsigned i = 0; i < span->word_count; i++) {
        if (remote[i] == 0)
            continue;
        span->bits[i] |= remote[i];
        remote[i] = 0;
    }
    used = hm_span_live_count(span) + is_current;
    if (span->remote_count != 0)
        span->remote_count = 0;
    if (span->used != used)
        span->used = used;
}

/* A span of the child's own thread, which was in the middle of fork() and of nothing else. */
static void
recount_own(struct hm_tcache *self, struct hm_span *span)
{
    bool is_current = self->current[span->class_idx] == span;

    recount(span, is_current);
    if (is_current) {
        self->is_held[span->class_idx] = true;
        return;
    }
    if (span->used == 0) {
        hm_list_del(&span->link);
        self->owned_count[span->class_idx]--;
        hm_span_destroy(self->pool->heap, span);
    } else if (span->owner == NULL && span->used < span->slot_count) {
        hm_list_del(&span->link);
        hm_list_add_last(&self->room[span->class_idx], &span->link);
        span->owner = self;
    }
}

static void
recount_other(struct hm_pool *pool, struct hm_span *span)
{
    recount(span, false);
    if (span->home != NULL) {
        hm_list_init(&span->link);
        make_orphan(pool, span);
    } else if (span->used == 0) {
        hm_pool_drop_orphan(pool, span);
    }
}

void
hm_pool_after_fork(struct hm_pool *pool, struct hm_tcache *self)
{
    struct hm_list *link = pool->heap->spans.next;

    for (struct hm_tcache *cache = pool->caches; cache != NULL; cache = cache->next) {
        cache->pending = NULL;
        if (cache == self || cache->is_dead != 0)
            continue;
        hm_tcache_clear(cache);
        cache->is_dead = 1;
        cache->idle_next = pool->idle;
        pool->idle = cache;
    }
    while (link != &pool->heap->spans) {
        struct hm_span *span = hm_container_of(link, struct hm_span, all_link);

        link = link->next;
        if (span->kind != HM_SPAN_SLOTS)
            continue;
        if (self != NULL && span->home == self)
            recount_own(self, span);
        else
            recount_other(pool, span);
    }
}
