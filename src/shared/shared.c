/* SPDX-License-Identifier: MIT */
/* shared.c - come and go, allocate and free in a shared arena (see shared.h). */
#include "shared/shared.h"

#include <errno.h>
#include <string.h>

/* --- finding ---------------------------------------------------------------------------------- */

static bool
find_large(const struct hm_shared *view, uint32_t in_off, struct hm_shared_place *place)
{
    uint32_t count = place->was.count;

    if (place->was.state != HM_SHSPAN_LARGE || in_off != 0 || count == 0
        || count > view->geom.span_count - place->span)
        return false;
    place->word = hm_shared_block_words(view, place->span);
    place->size_bytes = (uint64_t)count << HM_SHARED_SPAN_SHIFT;
    return true;
}

HM_INLINE bool
find(const struct hm_shared *view, uint64_t block_off, struct hm_shared_place *out_place)
{
    uint64_t data_off = block_off - view->geom.data_off;
    uint32_t in_off = (uint32_t)(data_off & (HM_SHARED_SPAN_BYTES - 1));
    const struct hm_shared_bin *bin;
    uint32_t idx;

    if (HM_UNLIKELY(data_off >> HM_SHARED_SPAN_SHIFT >= view->geom.span_count))
        return false;
    out_place->span = (uint32_t)(data_off >> HM_SHARED_SPAN_SHIFT);
    out_place->was = hm_shared_read_span(view, out_place->span);
    if (HM_UNLIKELY(out_place->was.state != HM_SHSPAN_OWNED
                    && out_place->was.state != HM_SHSPAN_ORPHAN))
        return find_large(view, in_off, out_place);
    if (HM_UNLIKELY(out_place->was.class_idx >= HM_SHARED_CLASS_COUNT))
        return false;
    bin = &view->bins[out_place->was.class_idx];
    idx = (uint32_t)((uint64_t)in_off * bin->inverse >> 32);
    out_place->word = hm_shared_block_words(view, out_place->span) + idx;
    out_place->size_bytes = bin->size_bytes;
    /* What is left over at the end of a span is no block. */
    return in_off == idx * bin->size_bytes && in_off + bin->size_bytes <= HM_SHARED_SPAN_BYTES;
}

bool
hm_shared_find(const struct hm_shared *view, uint64_t block_off, struct hm_shared_place *out_place)
{
    return find(view, block_off, out_place);
}

uint64_t
hm_shared_room(const struct hm_shared *view, uint64_t block_off)
{
    struct hm_shared_place place;

    if (!hm_shared_find(view, block_off, &place)
        || hm_block_state(hm_load(place.word)) == HM_BLOCK_FREE)
        return 0;
    return place.size_bytes;
}

bool
hm_shared_is_mine(const struct hm_shared *view, uint64_t block_off)
{
    struct hm_shared_place place;
    uint32_t word;

    if (!hm_shared_find(view, block_off, &place))
        return false;
    word = hm_load(place.word);
    return hm_block_state(word) == HM_BLOCK_PRIVATE && hm_block_owner(word) == view->seat;
}

/* --- spans ------------------------------------------------------------------------------------ */

bool
hm_shared_claim(struct hm_shared *view, uint32_t span, struct hm_shspan to)
{
    struct hm_shspan was = hm_shared_read_span(view, span);

    to.generation = was.generation + 1;
    return was.state == HM_SHSPAN_FREE && hm_shared_swap_span(view, span, was, to);
}

/* Spans that this process allocates in, and those of its large blocks that are private. */
static uint64_t
count_mine(const struct hm_shared *view)
{
    uint64_t count = 0;

    for (uint32_t span = 0; span < view->geom.span_count; span++) {
        struct hm_shspan was = hm_shared_read_span(view, span);
        uint32_t word = 0;

        if (was.state == HM_SHSPAN_LARGE && hm_shared_is_ready(view, span))
            word = hm_load(hm_shared_block_words(view, span));
        if (hm_block_is_held(word) && hm_block_owner(word) == view->seat)
            count += was.count;
        else if (was.state == HM_SHSPAN_OWNED && was.owner == view->seat)
            count++;
    }
    return count;
}

bool
hm_shared_may_have(struct hm_shared *view, uint64_t span_count)
{
    if (HM_LIKELY(view->geom.process_spans == 0))
        return true;
    if (view->mine_spans + span_count > view->geom.process_spans)
        view->mine_spans = count_mine(view);
    if (view->mine_spans + span_count > view->geom.process_spans)
        return false;
    view->mine_spans += span_count;
    return true;
}

/* Of chunks without memory, one after the other. */
static int
fill_chunks(struct hm_shared *view, uint32_t first, uint32_t count)
{
    uint64_t words_bytes = HM_SHARED_CHUNK_SPANS * HM_SHARED_SPAN_UNITS * sizeof(uint32_t);
    int rc = view->env.fill(view->env.ctx, view->geom.blocks_off + first * words_bytes,
                            count * words_bytes);

    if (rc == 0)
        rc = view->env.fill(view->env.ctx, hm_shared_span_off(view, first * HM_SHARED_CHUNK_SPANS),
                            count * HM_SHARED_CHUNK_BYTES);
    for (uint32_t i = 0; i < count && rc == 0; i++)
        __atomic_store_n(hm_shared_chunk_word(view, first + i), HM_CHUNK_READY, __ATOMIC_RELEASE);
    return rc;
}

static uint32_t
count_holes(const struct hm_shared *view, uint32_t chunk, uint32_t end)
{
    uint32_t count = 0;

    while (chunk + count < end
           && __atomic_load_n(hm_shared_chunk_word(view, chunk + count), __ATOMIC_ACQUIRE)
                  != HM_CHUNK_READY)
        count++;
    return count;
}

int
hm_shared_fill(struct hm_shared *view, uint32_t span, uint32_t count)
{
    uint32_t chunk = span / HM_SHARED_CHUNK_SPANS;
    uint32_t end = (span + count - 1) / HM_SHARED_CHUNK_SPANS + 1;
    int rc = 0;

    while (chunk < end && rc == 0) {
        uint32_t hole_count = count_holes(view, chunk, end);

        if (hole_count > 0)
            rc = fill_chunks(view, chunk, hole_count);
        chunk += hole_count > 0 ? hole_count : 1;
    }
    return rc;
}

/* --- alloc and free --------------------------------------------------------------------------- */

HM_INLINE uint64_t
alloc_small(struct hm_shared *view, unsigned class_idx)
{
    struct hm_shared_bin *bin = &view->bins[class_idx];

    for (;;) {
        unsigned idx;
        uint32_t was;

        if (HM_UNLIKELY(bin->ready == 0) && !hm_shared_small_refill(view, class_idx))
            return 0;
        idx = (unsigned)__builtin_ctzll(bin->ready);
        bin->ready &= bin->ready - 1;
        /* acquire: who freed the block is through with its bytes */
        was = __atomic_load_n(&bin->words[idx], __ATOMIC_ACQUIRE);
        if (HM_UNLIKELY(hm_block_state(was) != HM_BLOCK_FREE))
            continue; /* only where somebody is hostile */
        /* release: who recovers us sees the span's word */
        __atomic_store_n(&bin->words[idx],
                         hm_block_word(HM_BLOCK_PRIVATE, view->seat, hm_block_generation(was) + 1),
                         __ATOMIC_RELEASE);
        return bin->group_off + (uint64_t)idx * bin->size_bytes;
    }
}

/* A size of which blocks are aligned: those of a power of two are to it. */
static uint64_t
align_size(uint64_t size_bytes, uint64_t align_bytes)
{
    if (size_bytes <= align_bytes || size_bytes > HM_SHARED_SMALL_MAX_BYTES)
        return size_bytes > align_bytes ? size_bytes : align_bytes;
    return (uint64_t)1 << (64 - __builtin_clzll(size_bytes - 1));
}

HM_INLINE uint64_t
alloc(struct hm_shared *view, uint64_t size_bytes, uint64_t align_bytes)
{
    if (HM_UNLIKELY(align_bytes > 16) && align_bytes <= HM_SHARED_SMALL_MAX_BYTES)
        size_bytes = align_size(size_bytes, align_bytes);
    if (size_bytes <= HM_SHARED_SMALL_MAX_BYTES && align_bytes <= HM_SHARED_SMALL_MAX_BYTES)
        return alloc_small(view, hm_shared_class_of((uint32_t)size_bytes));
    return hm_shared_large_alloc(view, size_bytes, align_bytes);
}

uint64_t
hm_shared_alloc(struct hm_shared *view, uint64_t size_bytes, uint64_t align_bytes)
{
    bool is_threaded = hm_is_threaded();
    uint64_t block_off;

    if (is_threaded)
        hm_lock_take(&view->lock);
    block_off = alloc(view, size_bytes, align_bytes);
    /* What the dead have, or left, may be what is lacking, or what we have for other sizes. */
    if (HM_UNLIKELY(block_off == 0)
        && size_bytes <= (uint64_t)view->geom.span_count << HM_SHARED_SPAN_SHIFT) {
        (void)hm_shared_recover(view);
        hm_shared_sweep(view);
        hm_shared_flush(view);
        block_off = alloc(view, size_bytes, align_bytes);
    }
    if (is_threaded)
        hm_lock_give(&view->lock);
    return block_off;
}

int
hm_shared_free(struct hm_shared *view, uint64_t block_off)
{
    struct hm_shared_place place;
    uint32_t was;

    if (!find(view, block_off, &place))
        return -EINVAL;
    was = hm_load(place.word);
    do {
        if (hm_block_state(was) != HM_BLOCK_PRIVATE && hm_block_state(was) != HM_BLOCK_PUBLISHED)
            return -EINVAL;
    } while (!hm_shared_swap_block(place.word, &was,
                                   hm_block_word(HM_BLOCK_FREE, 0, hm_block_generation(was))));
    /* As it was before the block was free: another process may have given the spans up since. */
    if (HM_UNLIKELY(place.was.state == HM_SHSPAN_LARGE))
        hm_shared_finish_free(view, place.span, place.was, view->seat);
    return 0;
}

/* --- seats ------------------------------------------------------------------------------------ */

void
hm_shared_init(struct hm_shared *view, void *base, const struct hm_shared_geom *geom,
               const struct hm_shared_env *env, uint32_t *ring_next)
{
    *view = (struct hm_shared){ .base = base, .geom = *geom, .env = *env, .ring_next = ring_next };
    for (unsigned i = 0; i < HM_SHARED_CLASS_COUNT; i++) {
        view->bins[i].size_bytes = hm_shared_class_bytes(i);
        view->bins[i].inverse = UINT32_MAX / view->bins[i].size_bytes + 1;
    }
    hm_shared_forget(view);
}

/* A free seat, if there is one. */
static unsigned
take_seat(struct hm_shared *view)
{
    for (unsigned seat = 1; seat <= view->geom.seat_count; seat++) {
        uint32_t *state = &hm_shared_seat_of(view, seat)->state;
        uint32_t was = hm_load(state);

        if ((was & HM_SEAT_TAKEN) != 0 || !view->env.hold(view->env.ctx, seat))
            continue;
        if (__atomic_compare_exchange_n(state, &was, (was + 2) | HM_SEAT_TAKEN, false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            return seat;
        view->env.let_go(view->env.ctx, seat);
    }
    return 0;
}

int
hm_shared_attach(struct hm_shared *view)
{
    unsigned seat;

    hm_lock_take(&view->lock);
    seat = view->seat;
    /* Unless another thread was faster. */
    if (seat == 0) {
        hm_shared_forget(view);
        seat = take_seat(view);
        if (seat == 0 && hm_shared_recover(view) > 0)
            seat = take_seat(view);
        view->seat = seat;
    }
    hm_lock_give(&view->lock);
    return seat != 0 ? 0 : -EUSERS;
}

void
hm_shared_detach(struct hm_shared *view)
{
    unsigned seat;

    hm_lock_take(&view->lock);
    seat = view->seat;
    hm_shared_recover_seat(view, seat);
    view->seat = 0;
    hm_shared_forget(view);
    hm_lock_give(&view->lock);
    view->env.let_go(view->env.ctx, seat);
}

/* --- giving back ------------------------------------------------------------------------------ */

/* Hold all spans of a chunk. Returns how many are held. */
static uint32_t
hold_spans(struct hm_shared *view, uint32_t first)
{
    uint32_t i = 0;

    while (i < HM_SHARED_CHUNK_SPANS
           && hm_shared_claim(view, first + i,
                              (struct hm_shspan){ .state = HM_SHSPAN_HELD, .owner = view->seat }))
        i++;
    return i;
}

/* Give back the memory of a chunk all of whose spans are held. Returns whether it went. Who dies in
 * between leaves one that counts as having none. */
static bool
empty_chunk(struct hm_shared *view, uint32_t chunk)
{
    uint32_t *word = hm_shared_chunk_word(view, chunk);
    uint64_t off = hm_shared_span_off(view, chunk * HM_SHARED_CHUNK_SPANS);

    __atomic_store_n(word, HM_CHUNK_HOLE, __ATOMIC_SEQ_CST);
    if (view->env.punch(view->env.ctx, off, HM_SHARED_CHUNK_BYTES) == 0)
        return true;
    __atomic_store_n(word, HM_CHUNK_READY, __ATOMIC_SEQ_CST);
    return false;
}

uint64_t
hm_shared_trim(struct hm_shared *view)
{
    uint64_t given_bytes = 0;

    hm_lock_take(&view->lock);
    hm_shared_sweep(view);
    hm_shared_flush(view);
    for (uint32_t chunk = 0; chunk < view->geom.chunk_count; chunk++) {
        uint32_t first = chunk * HM_SHARED_CHUNK_SPANS;
        uint32_t count;

        if (hm_load(hm_shared_chunk_word(view, chunk)) != HM_CHUNK_READY)
            continue;
        count = hold_spans(view, first);
        if (count == HM_SHARED_CHUNK_SPANS && empty_chunk(view, chunk))
            given_bytes += HM_SHARED_CHUNK_BYTES;
        while (count-- > 0) {
            struct hm_shspan held = hm_shared_read_span(view, first + count);

            (void)hm_shared_swap_span(view, first + count, held, hm_shspan_free(held));
        }
    }
    hm_lock_give(&view->lock);
    return given_bytes;
}
