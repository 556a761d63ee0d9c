/* SPDX-License-Identifier: MIT */
/* cell.c - blocks go from one process to another through cells (see shared.h).
 *
 * Problem     A block that is in one process's hands, or in a cell for all to find, shall never be
 *             in neither: who dies while he puts it there, or takes it out, must not lose it.
 * Idea        What is to happen is written into the seat before, so that it can be ended, or
 *             undone, by who finds the seat's process dead. A block that is being published may be
 *             taken at once by another process, though its state does not say published yet. One
 *             that is private to another process, though a cell names it, is being taken: the cell
 *             counts as empty, and nobody waits.
 */
#include <errno.h>
#include <string.h>

#include "shared/shared.h"

/* --- cells ------------------------------------------------------------------------------------ */

uint64_t *
hm_shared_find_cell(const struct hm_shared *view, uint64_t cell_off)
{
    const struct hm_shared_geom *geom = &view->geom;
    uint64_t data_off = cell_off - geom->data_off;
    bool is_root = cell_off >= geom->roots_off && cell_off < geom->chunks_off
                   && (cell_off - geom->roots_off) % sizeof(struct hm_shared_root)
                          == offsetof(struct hm_shared_root, block);
    bool is_data
        = cell_off % 8 == 0 && cell_off >= geom->data_off
          && data_off >> HM_SHARED_CHUNK_SHIFT < geom->chunk_count
          && hm_load(hm_shared_chunk_word(view, (uint32_t)(data_off >> HM_SHARED_CHUNK_SHIFT)))
                 == HM_CHUNK_READY;

    return is_root || is_data ? (uint64_t *)(void *)(view->base + cell_off) : NULL;
}

void
hm_shared_intend(struct hm_shared *view, enum hm_shared_op op, uint64_t cell_off,
                 uint64_t block_off)
{
    struct hm_shared_seat *seat = hm_shared_seat_of(view, view->seat);

    hm_store(&seat->cell, cell_off);
    hm_store(&seat->block, block_off);
    __atomic_store_n(&seat->op, op, __ATOMIC_SEQ_CST);
}

void
hm_shared_done(struct hm_shared *view)
{
    __atomic_store_n(&hm_shared_seat_of(view, view->seat)->op, HM_OP_NONE, __ATOMIC_RELEASE);
}

/* --- publish ---------------------------------------------------------------------------------- */

int
hm_shared_offer(struct hm_shared *view, uint32_t *word, uint32_t *out_publishing)
{
    uint32_t was = hm_load(word);

    *out_publishing = hm_block_word(HM_BLOCK_PUBLISHING, view->seat, hm_block_generation(was) + 1);
    if (hm_block_state(was) != HM_BLOCK_PRIVATE || hm_block_owner(was) != view->seat
        || !hm_shared_swap_block(word, &was, *out_publishing))
        return -EINVAL;
    return 0;
}

void
hm_shared_offer_end(const struct hm_shared *view, uint32_t *word, uint32_t publishing,
                    bool is_there)
{
    uint32_t generation = hm_block_generation(publishing);

    /* Unless it was taken already. */
    (void)hm_shared_swap_block(word, &publishing,
                               is_there ? hm_block_word(HM_BLOCK_PUBLISHED, 0, generation)
                                        : hm_block_word(HM_BLOCK_PRIVATE, view->seat, generation));
}

static int
publish(struct hm_shared *view, uint64_t *cell, uint64_t block_off, uint32_t *word)
{
    uint32_t publishing;
    int rc = hm_shared_offer(view, word, &publishing);

    if (rc != 0)
        return rc;
    if (!hm_shared_swap_cell(cell, 0, block_off))
        rc = -EEXIST;
    hm_shared_offer_end(view, word, publishing, rc == 0);
    return rc;
}

int
hm_shared_publish(struct hm_shared *view, uint64_t cell_off, uint64_t block_off)
{
    uint64_t *cell = hm_shared_find_cell(view, cell_off);
    struct hm_shared_place place;
    int rc;

    if (cell == NULL || !hm_shared_find(view, block_off, &place))
        return -EINVAL;
    hm_lock_take(&view->lock);
    hm_shared_intend(view, HM_OP_PUBLISH, cell_off, block_off);
    rc = publish(view, cell, block_off, place.word);
    hm_shared_done(view);
    hm_lock_give(&view->lock);
    return rc;
}

/* --- take ------------------------------------------------------------------------------------- */

/* Make the block that the cell names this process's. At any time others may take it, publish it
 * elsewhere, or free it, so that a span of other blocks is there: that it is in this cell, and that
 * its word is this one, must be known after the word was read. Then the word says whether that
 * still is so: its generation grows whenever the block is allocated or published. */
bool
hm_shared_seize(struct hm_shared *view, const uint64_t *cell, uint64_t seen)
{
    uint64_t block_off = hm_cell_block(seen);
    struct hm_shared_place place;
    struct hm_shared_place again;
    uint32_t was;

    do {
        if (!hm_shared_find(view, block_off, &place))
            return false;
        was = __atomic_load_n(place.word, __ATOMIC_ACQUIRE);
        /* bit 1: published, or on the way */
        if ((was & HM_BLOCK_PUBLISHED) == 0 || __atomic_load_n(cell, __ATOMIC_SEQ_CST) != seen
            || !hm_shared_find(view, block_off, &again) || again.word != place.word)
            return false;
    } while (!hm_shared_swap_block(
        place.word, &was, hm_block_word(HM_BLOCK_PRIVATE, view->seat, hm_block_generation(was))));
    return true;
}

uint64_t
hm_shared_take(struct hm_shared *view, uint64_t cell_off)
{
    uint64_t *cell = hm_shared_find_cell(view, cell_off);
    uint64_t block_off = cell != NULL ? __atomic_load_n(cell, __ATOMIC_ACQUIRE) : 0;

    if (block_off == 0)
        return 0;
    hm_lock_take(&view->lock);
    hm_shared_intend(view, HM_OP_TAKE, cell_off, block_off);
    if (hm_shared_seize(view, cell, block_off))
        (void)hm_shared_swap_cell(cell, block_off, 0);
    else
        block_off = 0;
    hm_shared_done(view);
    hm_lock_give(&view->lock);
    return block_off;
}

uint64_t
hm_shared_peek(const struct hm_shared *view, uint64_t cell_off)
{
    const uint64_t *cell = hm_shared_find_cell(view, cell_off);
    uint64_t block_off = cell != NULL ? hm_cell_block(__atomic_load_n(cell, __ATOMIC_ACQUIRE)) : 0;
    struct hm_shared_place place;

    /* bit 1: one that is private is being taken */
    return block_off != 0 && hm_shared_find(view, block_off, &place)
                   && (hm_load(place.word) & HM_BLOCK_PUBLISHED) != 0
               ? block_off
               : 0;
}

/* --- roots ------------------------------------------------------------------------------------ */

/* FNV-1a, 64 bits (G. Fowler, L. C. Noll, P. Vo); never 0. */
static uint64_t
hash_of(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return hash != 0 ? hash : 1;
}

static uint64_t
root_off(const struct hm_shared *view, unsigned idx)
{
    return view->geom.roots_off + idx * sizeof(struct hm_shared_root)
           + offsetof(struct hm_shared_root, block);
}

uint64_t
hm_shared_find_root(const struct hm_shared *view, const char *name)
{
    uint64_t key = hash_of(name);

    for (uint32_t i = 0; i < view->geom.root_count; i++) {
        unsigned idx = (unsigned)((key + i) % view->geom.root_count);
        uint64_t was = __atomic_load_n(&hm_shared_root_of(view, idx)->key, __ATOMIC_ACQUIRE);

        if (was == key)
            return root_off(view, idx);
        if (was == 0)
            break;
    }
    return 0;
}

uint64_t
hm_shared_root(struct hm_shared *view, const char *name)
{
    uint64_t key = hash_of(name);

    for (uint32_t i = 0; i < view->geom.root_count; i++) {
        unsigned idx = (unsigned)((key + i) % view->geom.root_count);
        struct hm_shared_root *root = hm_shared_root_of(view, idx);
        uint64_t was = 0;

        if (__atomic_compare_exchange_n(&root->key, &was, key, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST)) {
            (void)strncpy(root->name, name, sizeof(root->name) - 1);
            was = key;
        }
        if (was == key)
            return root_off(view, idx);
    }
    return 0;
}
