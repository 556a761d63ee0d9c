/* SPDX-License-Identifier: MIT */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shared/stage.h"

#define WORDS_BYTES (HM_SHARED_SPAN_UNITS * sizeof(uint32_t))

/* As hm_shared_ring_bytes() has it; its cells come last. */
#define RING_BYTES (320 + STAGE_RING_SLOTS * sizeof(uint64_t))

struct stage stage;

/* --- the environment -------------------------------------------------------------------------- */

static int
fill(void *ctx, uint64_t off, uint64_t len_bytes)
{
    (void)ctx;
    (void)off;
    (void)len_bytes;
    return 0;
}

static int
punch(void *ctx, uint64_t off, uint64_t len_bytes)
{
    (void)ctx;
    (void)off;
    (void)len_bytes;
    return 0;
}

static bool
hold(void *ctx, unsigned seat)
{
    (void)ctx;
    return seat != STAGE_BYSTANDER
           || (((struct hm_shared_seat *)(void *)(stage.base + stage.geom.seats_off))[seat].state
               & HM_SEAT_TAKEN)
                  == 0;
}

static void
let_go(void *ctx, unsigned seat)
{
    (void)ctx;
    (void)seat;
}

void
stage_view(struct hm_shared *view, unsigned char *base)
{
    struct hm_shared_env env = { NULL, fill, punch, hold, let_go };
    uint32_t *ring_next = calloc(STAGE_SPANS, sizeof(*ring_next));

    if (ring_next == NULL)
        exit(99);
    hm_shared_init(view, base, &stage.geom, &env, ring_next);
}

/* --- memory ----------------------------------------------------------------------------------- */

static void
on_segv(int number)
{
    static const char text[] = "memory was touched that a chunk need not have\n";

    (void)number;
    (void)!write(STDOUT_FILENO, text, sizeof(text) - 1);
    _exit(1);
}

static void *
map(size_t len_bytes, int flags)
{
    void *mem = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_NORESERVE | flags,
                     -1, 0);

    if (mem == MAP_FAILED) {
        perror("mmap");
        exit(99);
    }
    return mem;
}

void
stage_init(void)
{
    struct hm_shared_header header;

    hm_shared_header_init(&header, STAGE_CHUNKS * HM_SHARED_CHUNK_BYTES, STAGE_SEATS, STAGE_ROOTS,
                          12);
    if (!hm_shared_geom_init(&stage.geom, &header))
        exit(99);
    stage.base = map(stage.geom.end_off, MAP_SHARED);
    stage.copy = map(stage.geom.end_off, MAP_PRIVATE);
    stage.notes = map(sizeof(*stage.notes), MAP_SHARED);
    (void)signal(SIGSEGV, on_segv);
}

static bool
is_ready(const unsigned char *base, uint32_t chunk)
{
    const void *words = base + stage.geom.chunks_off;

    return ((const uint32_t *)words)[chunk] == HM_CHUNK_READY;
}

void
stage_shield(unsigned char *base, bool *is_shielded)
{
    for (uint32_t chunk = 0; chunk < STAGE_CHUNKS; chunk++) {
        bool is_hole = !is_ready(base, chunk);
        int protection = is_hole ? PROT_NONE : PROT_READ | PROT_WRITE;
        size_t words_bytes = HM_SHARED_CHUNK_SPANS * WORDS_BYTES;

        if (is_shielded[chunk] == is_hole)
            continue;
        if (mprotect(base + stage.geom.blocks_off + chunk * words_bytes, words_bytes, protection)
                != 0
            || mprotect(base + stage.geom.data_off + chunk * HM_SHARED_CHUNK_BYTES,
                        HM_SHARED_CHUNK_BYTES, protection)
                   != 0)
            exit(99);
        is_shielded[chunk] = is_hole;
    }
}

/* --- copies ----------------------------------------------------------------------------------- */

static void
watch(uint64_t off, size_t len_bytes)
{
    stage.watched[stage.watched_count].off = off;
    stage.watched[stage.watched_count++].len_bytes = len_bytes;
}

static void
watch_words(const struct hm_shared *view, uint32_t span)
{
    struct hm_shspan was = hm_shared_read_span(view, span);
    uint32_t count = 1;

    if (was.state == HM_SHSPAN_FREE || was.state == HM_SHSPAN_TAIL)
        return;
    if (was.state == HM_SHSPAN_OWNED || was.state == HM_SHSPAN_ORPHAN)
        count = hm_shared_class_blocks(was.class_idx);
    watch(stage.geom.blocks_off + span * WORDS_BYTES, count * sizeof(uint32_t));
}

bool
stage_has_changed(void)
{
    bool has_changed = stage.watched_count == 0;

    for (unsigned i = 0; i < stage.watched_count && !has_changed; i++)
        has_changed = memcmp(stage.base + stage.watched[i].off, stage.copy + stage.watched[i].off,
                             stage.watched[i].len_bytes)
                      != 0;
    return has_changed;
}

void
stage_copy(void)
{
    struct hm_shared view = { .base = stage.base, .geom = stage.geom };
    uint64_t cell_off = stage.notes->cell_off;
    uint64_t ring_off = stage.notes->ring_off;
    size_t words_bytes = HM_SHARED_CHUNK_SPANS * WORDS_BYTES;

    memcpy(stage.copy, stage.base, stage.geom.blocks_off);
    stage_shield(stage.copy, stage.is_shielded);
    stage.watched_count = 0;
    watch(stage.geom.seats_off, stage.geom.blocks_off - stage.geom.seats_off);
    for (uint32_t chunk = 0; chunk < STAGE_CHUNKS; chunk++) {
        uint64_t off = stage.geom.blocks_off + chunk * words_bytes;

        if (!is_ready(stage.base, chunk))
            continue;
        memcpy(stage.copy + off, stage.base + off, words_bytes);
        for (uint32_t i = 0; i < HM_SHARED_CHUNK_SPANS; i++)
            watch_words(&view, chunk * HM_SHARED_CHUNK_SPANS + i);
    }
    if (cell_off != 0) {
        memcpy(stage.copy + cell_off, stage.base + cell_off, sizeof(uint64_t));
        watch(cell_off, sizeof(uint64_t));
    }
    if (ring_off != 0) {
        memcpy(stage.copy + ring_off, stage.base + ring_off, RING_BYTES);
        watch(ring_off, RING_BYTES);
    }
}

struct saved {
    struct stage_notes notes;
    uint64_t cell;
    unsigned char ring[RING_BYTES];
    unsigned char meta[];
};

/* Everything before the data: 300 KiB, most of which is never touched. */
void *
stage_save(void)
{
    struct saved *saved
        = map(sizeof(*saved) + stage.geom.blocks_off + STAGE_SPANS * WORDS_BYTES, MAP_PRIVATE);
    uint64_t off = stage.geom.blocks_off;

    saved->notes = *stage.notes;
    if (saved->notes.cell_off != 0)
        memcpy(&saved->cell, stage.base + saved->notes.cell_off, sizeof(uint64_t));
    if (saved->notes.ring_off != 0)
        memcpy(saved->ring, stage.base + saved->notes.ring_off, RING_BYTES);
    memcpy(saved->meta, stage.base, off);
    for (; off < stage.geom.blocks_off + STAGE_SPANS * WORDS_BYTES; off += WORDS_BYTES) {
        static const unsigned char zeros[WORDS_BYTES];

        if (memcmp(stage.base + off, zeros, WORDS_BYTES) != 0)
            memcpy(saved->meta + off, stage.base + off, WORDS_BYTES);
    }
    return saved;
}

void
stage_restore(const void *mem)
{
    const struct saved *saved = mem;

    *stage.notes = saved->notes;
    memcpy(stage.base, saved->meta, stage.geom.blocks_off + STAGE_SPANS * WORDS_BYTES);
    if (saved->notes.cell_off != 0)
        memcpy(stage.base + saved->notes.cell_off, &saved->cell, sizeof(uint64_t));
    if (saved->notes.ring_off != 0)
        memcpy(stage.base + saved->notes.ring_off, saved->ring, RING_BYTES);
}

/* --- checks ----------------------------------------------------------------------------------- */

/* Blocks that are everybody's, and those that cells name: both must be the same. */
struct tally {
    uint64_t published[STAGE_BLOCKS_MAX];
    uint64_t named[STAGE_BLOCKS_MAX];
    unsigned published_count;
    unsigned named_count;
    unsigned private_count; /* the bystander's */
};

static const char *
check_block(struct tally *tally, uint32_t word, uint64_t block_off)
{
    if (hm_block_is_held(word)) {
        if (hm_block_owner(word) != STAGE_BYSTANDER || hm_block_state(word) != HM_BLOCK_PRIVATE)
            return "a block is left with the dead";
        tally->private_count++;
    } else if (hm_block_state(word) == HM_BLOCK_PUBLISHED) {
        if (tally->published_count == STAGE_BLOCKS_MAX)
            return "more blocks are published than there ever were";
        tally->published[tally->published_count++] = block_off;
    }
    return NULL;
}

static const char *
check_blocks(const struct hm_shared *view, struct tally *tally, uint32_t span, uint32_t count,
             uint32_t size_bytes)
{
    const uint32_t *words = hm_shared_block_words(view, span);
    const char *fault = NULL;
    uint32_t used_count = 0;

    for (uint32_t i = 0; i < HM_SHARED_SPAN_UNITS && fault == NULL; i++) {
        if (hm_block_state(words[i]) == HM_BLOCK_FREE)
            continue;
        used_count++;
        fault = i >= count ? "a block is in use where there is none"
                           : check_block(tally, words[i],
                                         hm_shared_span_off(view, span) + (uint64_t)i * size_bytes);
    }
    if (fault == NULL && used_count == 0 && count > 0
        && hm_shared_read_span(view, span).owner != STAGE_BYSTANDER)
        fault = "a span is not free though it has no block";
    return fault;
}

static const char *
check_span(const struct hm_shared *view, struct tally *tally, uint32_t span)
{
    struct hm_shspan was = hm_shared_read_span(view, span);

    switch (was.state) {
    case HM_SHSPAN_FREE:
        return is_ready(view->base, span / HM_SHARED_CHUNK_SPANS)
                   ? check_blocks(view, tally, span, 0, 0)
                   : NULL;
    case HM_SHSPAN_TAIL:
        return NULL; /* hm_shared_verify() has seen its head */
    case HM_SHSPAN_LARGE:
        return check_blocks(view, tally, span, 1, 0);
    case HM_SHSPAN_OWNED:
        if (was.owner != STAGE_BYSTANDER)
            return "a span is left with the dead";
        break;
    case HM_SHSPAN_ORPHAN:
        break;
    case HM_SHSPAN_CLAIMING:
    case HM_SHSPAN_FREEING:
    case HM_SHSPAN_HELD:
        return "a span is left in between";
    }
    return check_blocks(view, tally, span, hm_shared_class_blocks(was.class_idx),
                        hm_shared_class_bytes(was.class_idx));
}

static void
count_cell(struct tally *tally, uint64_t block_off)
{
    if (block_off != 0)
        tally->named[tally->named_count++] = block_off;
}

static void
count_ring(struct tally *tally, const struct hm_shared *view, uint64_t ring_off)
{
    const uint64_t *cells = (const uint64_t *)(const void *)(view->base + ring_off + RING_BYTES);

    for (unsigned i = 1; i <= STAGE_RING_SLOTS; i++)
        count_cell(tally, hm_cell_block(cells[-(int)i]));
}

static int
compare_offsets(const void *one, const void *other)
{
    uint64_t a = *(const uint64_t *)one;
    uint64_t b = *(const uint64_t *)other;

    return (a > b) - (a < b);
}

static const char *
compare_tally(struct tally *tally)
{
    if (tally->private_count != stage.notes->private_count
        && tally->private_count != stage.notes->private_count - stage.notes->stolen_count)
        return "a block of a living process is gone";
    qsort(tally->published, tally->published_count, sizeof(uint64_t), compare_offsets);
    qsort(tally->named, tally->named_count, sizeof(uint64_t), compare_offsets);
    for (unsigned i = 0; i < tally->published_count && i < tally->named_count; i++)
        if (tally->published[i] != tally->named[i])
            return tally->published[i] < tally->named[i] ? "leak: a published block is in no cell"
                                                         : "a cell names what is not published";
    if (tally->published_count != tally->named_count)
        return tally->published_count > tally->named_count ? "leak: a published block is in no cell"
                                                           : "a cell names what is not published";
    return NULL;
}

const char *
stage_check(const struct hm_shared *view, uint64_t cell_off)
{
    static struct tally tally;
    struct hm_shared_sums sums;
    const char *fault = hm_shared_verify(view, &sums);

    memset(&tally, 0, sizeof(tally));
    for (uint32_t span = 0; span < STAGE_SPANS && fault == NULL; span++)
        fault = check_span(view, &tally, span);
    for (uint32_t i = 0; i < STAGE_ROOTS; i++)
        count_cell(&tally, hm_shared_root_of(view, i)->block);
    if (cell_off != 0)
        count_cell(&tally, *(const uint64_t *)(const void *)(view->base + cell_off));
    if (stage.notes->ring_off != 0)
        count_ring(&tally, view, stage.notes->ring_off);
    if (fault == NULL && sums.seat_count != 1)
        fault = "a seat is not free again";
    return fault != NULL ? fault : compare_tally(&tally);
}

const char *
stage_recover_copy(void)
{
    static struct hm_shared view;

    if (view.base == NULL)
        stage_view(&view, stage.copy);
    (void)hm_shared_recover(&view);
    return stage_check(&view, stage.notes->cell_off);
}
