/* SPDX-License-Identifier: MIT */
/* mixing.c - who holds which mixed span (see mixing.h). */
#include "cache/mixing.h"

#include <errno.h>

#include "heap/nodes.h"

/* Spans without a holder that are looked at before a new one is made. */
#define LEFT_PER_LOOK 2

/* In `mixed_left`. */
#define UNIT_BYTES 16

_Static_assert(HM_MIXED_MAX_BYTES / UNIT_BYTES <= UINT8_MAX, "mixed_left holds it");

void
hm_mixing_clear(struct hm_tcache *cache)
{
    cache->mixed = NULL;
    for (unsigned i = 0; i < HM_MIXED_CLASSES; i++)
        cache->mixed_left[i] = 0;
}

void
hm_mixing_start(struct hm_tcache *cache)
{
    for (unsigned i = 0; i < HM_MIXED_CLASSES; i++)
        cache->mixed_left[i] = HM_MIXED_MAX_BYTES / UNIT_BYTES;
}

static void
leave(struct hm_pool *pool, struct hm_span *span)
{
    /* First this: who frees the last block takes it off the list. */
    hm_list_add_last(&pool->mixed, &span->link);
    if (hm_mixed_unhold(span))
        hm_mixed_destroy(pool->heap, span);
}

/* One of those that were left, if it has room again. The oldest first: there most was freed. */
static struct hm_span *
adopt(struct hm_pool *pool)
{
    for (unsigned i = 0; i < LEFT_PER_LOOK && !hm_list_is_empty(&pool->mixed); i++) {
        struct hm_span *span = hm_container_of(pool->mixed.next, struct hm_span, link);

        hm_list_del(&span->link);
        if (hm_mixed_has_room(span) && hm_nodes_is_near(pool->heap, span->region)
            && hm_mixed_hold(span))
            return span;
        hm_list_add_last(&pool->mixed, &span->link);
    }
    return NULL;
}

/* Another one for the cache, in place of the one that it holds. */
static struct hm_span *
exchange(struct hm_tcache *cache)
{
    struct hm_pool *pool = cache->pool;
    int saved_errno = errno;
    struct hm_span *span;

    hm_lock_take(&pool->heap->lock);
    span = adopt(pool);
    if (span == NULL)
        span = hm_mixed_create(pool->heap);
    if (span != NULL && cache->mixed != NULL)
        leave(pool, cache->mixed);
    if (span != NULL)
        cache->mixed = span;
    hm_lock_give(&pool->heap->lock);
    errno = saved_errno;
    return span;
}

void *
hm_mixing_alloc(struct hm_tcache *cache, unsigned class_idx)
{
    unsigned unit_count = (unsigned)(hm_class_bytes(class_idx) / UNIT_BYTES);
    void *mem = NULL;

    if (class_idx >= HM_MIXED_CLASSES || cache->mixed_left[class_idx] < unit_count
        || cache->owned_count[class_idx] != 0)
        return NULL;
    if (cache->mixed != NULL)
        mem = hm_mixed_alloc(cache->mixed, class_idx);
    if (mem == NULL && exchange(cache) != NULL)
        mem = hm_mixed_alloc(cache->mixed, class_idx);
    if (mem != NULL)
        cache->mixed_left[class_idx] = (uint8_t)(cache->mixed_left[class_idx] - unit_count);
    return mem;
}

void
hm_mixing_free(struct hm_pool *pool, struct hm_span *span, uintptr_t addr)
{
    if (!hm_mixed_free(span, addr))
        return;
    hm_lock_take(&pool->heap->lock);
    hm_mixed_destroy(pool->heap, span);
    hm_lock_give(&pool->heap->lock);
}

void
hm_mixing_retire(struct hm_tcache *cache)
{
    if (cache->mixed != NULL)
        leave(cache->pool, cache->mixed);
    cache->mixed = NULL;
}

HM_LATER void
hm_mixing_trim(struct hm_tcache *cache)
{
    if (cache->mixed == NULL || !hm_mixed_is_idle(cache->mixed))
        return;
    hm_lock_take(&cache->pool->heap->lock);
    hm_mixing_retire(cache);
    hm_lock_give(&cache->pool->heap->lock);
}

/* Threads that the child does not have held it, or were about to take or free a block in it. */
HM_LATER void
hm_mixing_after_fork(struct hm_pool *pool, const struct hm_tcache *self, struct hm_span *span)
{
    bool is_held = self != NULL && self->mixed == span;

    if (hm_mixed_mend(span, is_held)) {
        hm_mixed_destroy(pool->heap, span);
    } else if (!is_held) {
        hm_list_del(&span->link);
        hm_list_add_last(&pool->mixed, &span->link);
    }
}
