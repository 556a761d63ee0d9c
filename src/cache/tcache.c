/* SPDX-License-Identifier: MIT */
/* tcache.c - the slow paths of a thread's cache (see tcache.h).
 *
 * Idea        When the current word runs out: the next word of the span, remote frees, another span
 *             with room, a span that a dead thread left behind, a new span - in this order,
 *             cheapest first.
 */
#include "cache/tcache.h"

#include <errno.h>

#include "cache/remote.h"
#include "cache/thread.h"

#define RELEASES_PER_SWEEP 8

static const uint64_t no_slots = 0;

const struct hm_span hm_span_none = { .word = (uint64_t *)(uintptr_t)&no_slots };

#define NONE ((struct hm_span *)(uintptr_t)&hm_span_none)

const struct hm_tcache hm_tcache_empty = {
    .by_size = { [0 ... HM_BY_SIZE_COUNT - 1] = NONE },
    .current = { [0 ... HM_CLASS_COUNT - 1] = NONE },
};

void
hm_tcache_clear(struct hm_tcache *cache)
{
    for (unsigned i = 0; i < HM_BY_SIZE_COUNT; i++)
        cache->by_size[i] = NONE;
    for (unsigned i = 0; i < HM_CLASS_COUNT; i++) {
        cache->current[i] = NONE;
        cache->owned_count[i] = 0;
        cache->is_held[i] = false;
        hm_list_init(&cache->room[i]);
    }
    hm_list_init(&cache->full);
}

static void
set_current(struct hm_tcache *cache, unsigned class_idx, struct hm_span *span)
{
    size_t last = hm_class_bytes(class_idx) / 16;
    size_t first = class_idx == 0 ? 0 : hm_class_bytes(class_idx - 1) / 16 + 1;

    cache->current[class_idx] = span;
    for (size_t i = first; i <= last && i < HM_BY_SIZE_COUNT; i++)
        cache->by_size[i] = span;
}

void
hm_tcache_unhold(struct hm_tcache *cache, unsigned class_idx)
{
    if (cache->is_held[class_idx])
        cache->current[class_idx]->used--;
    cache->is_held[class_idx] = false;
}

/* The current span is used up: it stands back among the full ones. */
static void
retire_current(struct hm_tcache *cache, unsigned class_idx)
{
    struct hm_span *span = cache->current[class_idx];

    if (span == NONE)
        return;
    hm_tcache_unhold(cache, class_idx);
    hm_store(&span->owner, NULL);
    hm_list_add_first(&cache->full, &span->link);
    set_current(cache, class_idx, NONE);
}

static struct hm_span *
next_span(struct hm_tcache *cache, unsigned class_idx)
{
    struct hm_span *span;

    if (!hm_list_is_empty(&cache->room[class_idx])) {
        span = hm_container_of(cache->room[class_idx].next, struct hm_span, link);
        hm_list_del(&span->link);
        return span;
    }
    span = hm_pool_adopt(cache->pool, cache, class_idx);
    if (span == NULL) {
        span = hm_span_create(cache->pool->heap, class_idx, cache->owned_count[class_idx]);
        if (span == NULL)
            return NULL;
        /* release: pairs with the acquire in announce (remote.c) */
        __atomic_store_n(&span->home, cache, __ATOMIC_RELEASE);
    }
    cache->owned_count[class_idx]++;
    return span;
}

void *
hm_tcache_alloc_slow(struct hm_tcache *cache, unsigned class_idx)
{
    struct hm_span *span;

    if (hm_load(&cache->pending) != NULL)
        hm_remote_collect(cache);
    span = cache->current[class_idx];
    /* More than once if an adopted span turns out to be full. */
    while (!hm_span_next_word(span)) {
        retire_current(cache, class_idx);
        span = next_span(cache, class_idx);
        if (span == NULL)
            return NULL;
        span->used++;
        cache->is_held[class_idx] = true;
        hm_store(&span->owner, cache);
        set_current(cache, class_idx, span);
    }
    return hm_span_pop(span, *span->word);
}

static void
release_span(struct hm_tcache *cache, struct hm_span *span)
{
    struct hm_heap *heap = cache->pool->heap;

    if (cache->current[span->class_idx] == span)
        set_current(cache, span->class_idx, NONE);
    hm_list_del(&span->link);
    cache->owned_count[span->class_idx]--;
    hm_lock_take(&heap->lock);
    hm_span_destroy(heap, span);
    hm_lock_give(&heap->lock);
}

/* Release current spans without a block in use, and let the others go when their last block
 * does. */
static void
release_idle(struct hm_tcache *cache)
{
    for (unsigned i = 0; i < HM_CLASS_COUNT; i++) {
        struct hm_span *span = cache->current[i];

        hm_tcache_unhold(cache, i);
        if (span != NONE && span->used == 0)
            release_span(cache, span);
    }
}

/* A current span is held while it is empty, so that a program that takes and frees one block in
 * turn does not come here each time. But a program that frees much would leave an empty span in
 * each class, each perhaps the last in its huge page: after some releases no span is held.
 * The fast path of free() comes here directly, so errno is kept here. */
void
hm_tcache_release(struct hm_tcache *cache, struct hm_span *span)
{
    int saved_errno = errno;

    release_span(cache, span);
    if (++cache->release_count % RELEASES_PER_SWEEP == 0)
        release_idle(cache);
    errno = saved_errno;
}

void
hm_tcache_resort(struct hm_tcache *cache, struct hm_span *span)
{
    if (span->used == 0) {
        release_span(cache, span);
    } else if (span->owner == NULL) {
        hm_store(&span->owner, cache);
        hm_list_del(&span->link);
        hm_list_add_last(&cache->room[span->class_idx], &span->link);
    }
}

void
hm_tcache_free_slow(struct hm_pool *pool, struct hm_tcache *cache, struct hm_span *span,
                    uintptr_t addr)
{
    if (hm_load(&span->home) != cache) {
        hm_remote_free(pool, span, addr);
        return;
    }
    if (!hm_span_push(span, addr))
        hm_span_misuse(span, addr, "free()");
    span->used--;
    hm_tcache_resort(cache, span);
}

void
hm_tcache_trim(struct hm_tcache *cache)
{
    hm_remote_collect(cache);
    release_idle(cache);
}
