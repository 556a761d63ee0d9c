/* SPDX-License-Identifier: MIT */
/* tcache.c - the slow paths of a thread's cache (see tcache.h).
 *
 * Idea        When no slot is ready: the freed ones of the span, its next page, another span with
 *             room, a full one with a few free slots, a span that a dead thread left behind, a new
 *             one - in this order, cheapest first. A thread's first blocks: cache/mixing.h.
 *             An empty span goes back, unless experience speaks against it: each span that the
 *             thread makes after it gave one of the class back is a mistake that we pay for, and
 *             earns credit; each that falls empty costs some. So a thread that takes and frees the
 *             same in turn soon keeps what it needs, and one that frees all it has keeps nothing.
 */
#include "cache/tcache.h"

#include <errno.h>

#include "cache/mixing.h"
#include "cache/remote.h"
#include "cache/thread.h"
#include "heap/heal.h"

/* Spans that are looked at before a new one is made. */
#define FULL_PER_LOOK 2

/* Spares: how many, what a mistake earns as a multiple of the span, and the most credit. Spares and
 * what falls empty beside them share the credit: they are half of it at most. */
#define SPARE_MAX_COUNT 8
#define MISTAKE_WORTH 4
#define CREDIT_MAX_BYTES (1 * HM_MIB)

/* Spans with room serve in turn; from so many of a class on, the latest first. It is the fullest of
 * them, so that the others empty. */
#define MANY_COUNT 64

/* Of the spans that a reset has emptied, so much goes back for each new one: more than that takes,
 * mostly, so that what is kept follows what is needed. */
#define WAY_PAGES 32

#define NONE ((struct hm_span *)(uintptr_t)&hm_span_none)

const struct hm_span hm_span_none = {
    .freed = (struct hm_slot *)(uintptr_t)&hm_span_none,
    .ready = (struct hm_slot *)(uintptr_t)&hm_span_none,
};

const struct hm_tcache hm_tcache_empty = {
    .by_size = { [0 ... HM_BY_SIZE_COUNT - 1] = NONE },
    .by_class = { [0 ... HM_CLASS_COUNT - 1] = NONE },
    .current = { [0 ... HM_CLASS_COUNT - 1] = NONE },
};

HM_INLINE void
set_current(struct hm_tcache *cache, unsigned class_idx, struct hm_span *span)
{
    size_t idx;
    size_t stop_idx;

    cache->current[class_idx] = span;
    if (class_idx >= cache->open_count)
        return;
    cache->by_class[class_idx] = span;
    if (class_idx >= HM_BY_SIZE_CLASSES)
        return;
    idx = hm_class_bytes(class_idx) / 16;
    stop_idx = class_idx == 0 ? (size_t)-1 : hm_class_bytes(class_idx - 1) / 16;
    for (; idx != stop_idx; idx--)
        cache->by_size[idx] = span;
}

/* Give all spans of a list another owner. */
static void
set_owner(struct hm_list *list, uintptr_t id)
{
    for (struct hm_list *link = list->next; link != list; link = link->next)
        hm_store(&hm_container_of(link, struct hm_span, link)->owner, id);
}

HM_LATER void
hm_tcache_close(struct hm_tcache *cache, unsigned open_count, uintptr_t id)
{
    if (id == 0)
        id = (uintptr_t)cache;
    for (unsigned i = 0; i < HM_CLASS_COUNT; i++) {
        struct hm_span *span = cache->current[i];

        cache->open_count = HM_CLASS_COUNT;
        set_current(cache, i, i < open_count ? span : NONE);
        cache->current[i] = span;
        if (span != NONE)
            hm_store(&span->owner, id);
        set_owner(&cache->room[i], id);
        set_owner(&cache->full[i], id);
    }
    set_owner(&cache->spares, id);
    cache->open_count = open_count;
    cache->id = id;
}

/* Others freed slots of a span while it was held, and told nobody. */
static HM_COLD void
settle_retired(struct hm_tcache *cache, struct hm_span *span)
{
    if (cache->current[span->class_idx] == span)
        set_current(cache, span->class_idx, NONE);
    hm_remote_settle(cache, span);
}

/* A span is used up: it stands back among the full ones, until enough of it is free to be worth the
 * way. */
static void
retire(struct hm_tcache *cache, unsigned class_idx, struct hm_span *span)
{
    uint32_t missing_count = hm_span_worth_count(span) - hm_span_freed_count(span);

    hm_store(&span->hidden, span->alarm - missing_count);
    hm_store(&span->alarm, missing_count);
    hm_list_add_first(&cache->full[class_idx], &span->link);
    if (HM_UNLIKELY(hm_remote_unhold(span) != 0))
        settle_retired(cache, span);
}

/* Others freed slots of a span that shall serve now, or all of them. */
static HM_COLD bool
hold_touched(struct hm_tcache *cache, struct hm_span *span, uint64_t state)
{
    if ((state & HM_REMOTE_CLAIMED) != 0) {
        (void)hm_remote_unhold(span);
        cache->owned_count[span->class_idx]--;
        return false;
    }
    hm_store(&span->owner, cache->id);
    (void)hm_remote_merge(span);
    return true;
}

/* A span, in no list now, shall serve. Returns false if another thread is giving it back. */
HM_INLINE bool
hold(struct hm_tcache *cache, struct hm_span *span)
{
    uint64_t state = hm_remote_hold(span);

    if (HM_LIKELY((state & (HM_REMOTE_CLAIMED | HM_REMOTE_COUNT)) == 0))
        return true;
    return hold_touched(cache, span, state);
}

/* Before the thread gets a new span, it looks again at some that were full, the oldest first. */
static HM_NOINLINE struct hm_span *
find_parked(struct hm_tcache *cache, unsigned class_idx)
{
    struct hm_list *full = &cache->full[class_idx];

    for (unsigned i = 0; i < FULL_PER_LOOK && !hm_list_is_empty(full); i++) {
        struct hm_span *span = hm_container_of(full->prev, struct hm_span, link);

        hm_list_del(&span->link);
        if (span->freed == hm_span_end(span) && hm_remote_count(span) == 0) {
            hm_list_add_first(full, &span->link);
        } else if (hold(cache, span)) {
            hm_span_unhide(span, 0);
            hm_span_swap(span);
            return span;
        }
    }
    return NULL;
}

static void
earn(struct hm_tcache *cache, size_t bytes)
{
    cache->credit_bytes += bytes;
    if (cache->credit_bytes > CREDIT_MAX_BYTES)
        cache->credit_bytes = CREDIT_MAX_BYTES;
}

static void
remove_spare(struct hm_tcache *cache, struct hm_span *span)
{
    hm_list_del(&span->link);
    cache->spare_bytes -= hm_span_bytes(span);
    cache->spare_count--;
}

/* A spare of the class, with its slots ready; NULL if there is none. */
static struct hm_span *
take_spare(struct hm_tcache *cache, unsigned class_idx)
{
    for (struct hm_list *link = cache->spares.next; link != &cache->spares; link = link->next) {
        struct hm_span *span = hm_container_of(link, struct hm_span, link);

        if (span->class_idx != class_idx)
            continue;
        remove_spare(cache, span);
        earn(cache, hm_span_bytes(span));
        (void)hold(cache, span); /* nobody else gives a span back that is empty */
        hm_span_swap(span);
        return span;
    }
    return NULL;
}

/* A span that another thread left behind, or a new one. */
static HM_NOINLINE struct hm_span *
get_span(struct hm_tcache *cache, unsigned class_idx)
{
    int saved_errno = errno;
    struct hm_span *span = hm_pool_adopt(cache->pool, cache, class_idx);

    if (span == NULL) {
        hm_pool_make_way(cache->pool, WAY_PAGES);
        span = hm_span_create(cache->pool->heap, class_idx, cache->owned_count[class_idx]);
        if (span == NULL) {
            errno = ENOMEM;
            return NULL;
        }
        /* release: pairs with the acquire in announce (remote.c) */
        __atomic_store_n(&span->home, cache, __ATOMIC_RELEASE);
        if (cache->missed_count[class_idx] > 0) {
            cache->missed_count[class_idx]--;
            earn(cache, MISTAKE_WORTH * hm_span_bytes(span));
        }
    }
    hm_store(&span->owner, cache->id);
    cache->owned_count[class_idx]++;
    if (hm_remote_count(span) != 0)
        (void)hm_remote_merge(span);
    errno = saved_errno;
    return span;
}

/* Take a slot of a span of which some are ready, unless they are damaged. */
HM_INLINE void *
take_slot(struct hm_span *span)
{
    void *mem = hm_span_pop(span);

    if (HM_UNLIKELY(mem == NULL))
        hm_span_damaged(span, (uintptr_t)span->ready, "malloc()");
    return mem;
}

/* The current span, `span`, is used up, and no other is known to have room. */
static HM_NOINLINE void *
take_from_new(struct hm_tcache *cache, unsigned class_idx, struct hm_span *span)
{
    hm_heal_poll(cache->pool->heap);
    /* More than once if an adopted span turns out to be full. */
    do {
        if (span != NONE)
            retire(cache, class_idx, span);
        span = find_parked(cache, class_idx);
        if (span == NULL)
            span = take_spare(cache, class_idx);
        if (span == NULL)
            span = get_span(cache, class_idx);
    } while (span != NULL && span->ready == hm_span_end(span)
             && !hm_span_refill(span, cache->pool->heap));
    set_current(cache, class_idx, span != NULL ? span : NONE);
    return span != NULL ? take_slot(span) : NULL;
}

/* The class has no span, as far as is known. */
static void *
take_first(struct hm_tcache *cache, unsigned class_idx)
{
    void *mem = hm_mixing_alloc(cache, class_idx);

    return mem != NULL ? mem : take_from_new(cache, class_idx, NONE);
}

/* Take from another span than the current one, `span`, which has few freed slots or none, and no
 * page that was never used. */
static HM_NOINLINE void *
take_from_next(struct hm_tcache *cache, unsigned class_idx, struct hm_span *span)
{
    struct hm_list *room = &cache->room[class_idx];
    struct hm_list *link = room->next;

    /* Few freed slots are better than none elsewhere. */
    if (HM_UNLIKELY(link == room) && span->freed != hm_span_end(span)) {
        hm_span_swap(span);
        return take_slot(span);
    }
    /* More than once if a span with room turns out to be full. */
    while (HM_LIKELY(link != room)) {
        if (HM_LIKELY(span != NONE))
            retire(cache, class_idx, span);
        span = hm_container_of(link, struct hm_span, link);
        hm_list_del(link); /* a current span is in no list, and its node must know */
        link = room->next;
        if (HM_UNLIKELY(!hold(cache, span))) {
            span = NONE;
            continue;
        }
        set_current(cache, class_idx, span);
        if (HM_LIKELY(hm_span_refill(span, cache->pool->heap)))
            return take_slot(span);
    }
    return span == NONE ? take_first(cache, class_idx) : take_from_new(cache, class_idx, span);
}

static HM_NOINLINE void *
take_carved(struct hm_tcache *cache, struct hm_span *span)
{
    hm_span_carve(span, cache->pool->heap);
    return take_slot(span);
}

/* No slot of the current span, `span`, is ready. Each way on is a function of its own and called
 * last, so that none saves registers for another. */
HM_INLINE void *
take_refilled(struct hm_tcache *cache, unsigned class_idx, struct hm_span *span)
{
    if (hm_span_freed_count(span) < hm_span_worth_count(span))
        return span->carved == span->slot_count ? take_from_next(cache, class_idx, span)
                                                : take_carved(cache, span);
    hm_span_swap(span);
    return take_slot(span);
}

/* Others freed slots of the current span. */
static HM_NOINLINE void *
take_merged(struct hm_tcache *cache, unsigned class_idx, struct hm_span *span)
{
    (void)hm_remote_merge(span);
    return take_refilled(cache, class_idx, span);
}

HM_INLINE void *
take_local(struct hm_tcache *cache, unsigned class_idx)
{
    struct hm_span *span = cache->current[class_idx];

    /* Some slot is ready if the class is closed, or if it is damaged. */
    if (HM_UNLIKELY(span->ready != hm_span_end(span)))
        return take_slot(span);
    if (HM_UNLIKELY(hm_remote_count(span) != 0))
        return take_merged(cache, class_idx, span);
    return take_refilled(cache, class_idx, span);
}

static HM_NOINLINE void *
take_collected(struct hm_tcache *cache, unsigned class_idx)
{
    hm_remote_collect(cache);
    return take_local(cache, class_idx);
}

void *
hm_tcache_alloc_slow(struct hm_tcache *cache, unsigned class_idx)
{
    if (HM_UNLIKELY(hm_load(&cache->pending) != NULL))
        return take_collected(cache, class_idx);
    return take_local(cache, class_idx);
}

HM_INLINE void
enter_room(struct hm_tcache *cache, struct hm_span *span)
{
    struct hm_list *room = &cache->room[span->class_idx];

    hm_list_unlink(&span->link);
    hm_list_add_after(cache->owned_count[span->class_idx] < MANY_COUNT ? room->prev : room,
                      &span->link);
}

static void
release_span(struct hm_tcache *cache, struct hm_span *span)
{
    struct hm_heap *heap = cache->pool->heap;

    hm_span_wipe(span);
    hm_list_del(&span->link);
    cache->owned_count[span->class_idx]--;
    if (cache->missed_count[span->class_idx] < UINT8_MAX)
        cache->missed_count[span->class_idx]++;
    hm_lock_take(&heap->lock);
    hm_span_destroy(heap, span);
    hm_lock_give(&heap->lock);
}

void
hm_tcache_let_go(struct hm_tcache *cache, unsigned class_idx)
{
    struct hm_span *span = cache->current[class_idx];

    if (span == NONE)
        return;
    set_current(cache, class_idx, NONE);
    hm_span_unready(span);
    if (span->alarm == 0) {
        release_span(cache, span);
        return;
    }
    hm_list_add_first(&cache->room[class_idx], &span->link);
    if (hm_remote_unhold(span) != 0)
        hm_remote_settle(cache, span);
}

/* A current span stays when its last block goes, lest one block taken and freed in turn lead here
 * each time. But who frees much would leave an empty span in each class, each perhaps the last in
 * its huge page: with each span that is released, some classes let their current span go. */
static void
sweep(struct hm_tcache *cache)
{
    for (unsigned i = 0; i < 8; i++) {
        hm_tcache_let_go(cache, cache->sweep_idx);
        cache->sweep_idx = (cache->sweep_idx + 1) % HM_CLASS_COUNT;
    }
    hm_mixing_trim(cache);
}

static void
release_oldest_spare(struct hm_tcache *cache)
{
    struct hm_span *span = hm_container_of(cache->spares.prev, struct hm_span, link);

    remove_spare(cache, span);
    release_span(cache, span);
}

/* No block of the span is in use any more. */
static HM_NOINLINE void
release_empty(struct hm_tcache *cache, struct hm_span *span)
{
    int saved_errno = errno;
    size_t len_bytes = hm_span_bytes(span);

    cache->credit_bytes -= len_bytes < cache->credit_bytes ? len_bytes : cache->credit_bytes;
    hm_list_unlink(&span->link);
    hm_list_add_first(&cache->spares, &span->link);
    cache->spare_bytes += len_bytes;
    cache->spare_count++;
    while (cache->spare_bytes > cache->credit_bytes || cache->spare_count > SPARE_MAX_COUNT) {
        release_oldest_spare(cache);
        sweep(cache);
    }
    errno = saved_errno;
}

void
hm_tcache_resort(struct hm_tcache *cache, struct hm_span *span)
{
    if (cache->current[span->class_idx] == span)
        return;
    if (hm_load(&span->alarm) == 0)
        release_empty(cache, span);
    else
        enter_room(cache, span);
}

/* Every carved slot of a current span is free when its alarm goes off, or some would be ready: they
 * become so, and it stays. */
void
hm_tcache_alarm(struct hm_span *span)
{
    struct hm_tcache *cache = hm_load(&span->home);

    if (HM_LIKELY(span->hidden != 0)) {
        hm_span_unhide(span, 0);
        enter_room(cache, span);
        if (HM_UNLIKELY(hm_remote_recount(span) != 0))
            hm_remote_settle(cache, span);
    } else if (cache->current[span->class_idx] == span) {
        hm_span_swap(span);
        hm_heal_poll(cache->pool->heap);
    } else {
        release_empty(cache, span);
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
    if (!hm_span_is_live(span, addr))
        hm_span_misuse(span, addr, "free()");
    hm_span_put(span, (struct hm_slot *)addr);
    if (hm_count_down(&span->alarm))
        hm_tcache_alarm(span);
    else if (hm_load(&span->owner) == HM_NOBODY)
        hm_remote_watch(cache, span);
}

HM_LATER void
hm_tcache_trim(struct hm_tcache *cache)
{
    hm_mixing_trim(cache);
    hm_remote_collect(cache);
    for (unsigned i = 0; i < HM_CLASS_COUNT; i++)
        hm_tcache_let_go(cache, i);
    while (!hm_list_is_empty(&cache->spares))
        release_oldest_spare(cache);
}
