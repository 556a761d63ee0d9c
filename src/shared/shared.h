/* SPDX-License-Identifier: MIT */
/* shared.h - a process's view of a shared arena.
 *
 * Problem     A malloc in memory that other processes change at the same time, and that any of them
 *             may leave in the middle of anything.
 * Idea        See layout.h for what is shared. What makes it fast is private: which spans are ours,
 *             which blocks of the current one were free when it was looked at, where to look next.
 *             All of that is hints: the words decide. An allocation is one store to a block's word,
 *             a free is one compare-and-swap of it, whoever frees.
 * State       struct hm_shared, one per process and arena.
 * Locking     hm_shared.lock, for what is private and for the seat; no process waits for another.
 *             Frees take no lock.
 */
#ifndef HM_SHARED_SHARED_H
#define HM_SHARED_SHARED_H

#include "os/os_lock.h"
#include "shared/classes.h"
#include "shared/layout.h"

/* What the memory and the processes are, for the view: the kernel's, or a test's. */
struct hm_shared_env {
    void *ctx;

    /* Make sure that a range of the arena, whole pages, has memory, so that no touch can fail.
     * Returns 0 or a negative errno. May be called for one that has some. */
    int (*fill)(void *ctx, uint64_t off, uint64_t len_bytes);

    /* Give the memory of a range back. Returns 0, or a negative errno if it stays. */
    int (*punch)(void *ctx, uint64_t off, uint64_t len_bytes);

    /* Hold a seat if no living process holds it, for this view alone. Returns whether it did. */
    bool (*hold)(void *ctx, unsigned seat);

    /* ... and no more. */
    void (*let_go)(void *ctx, unsigned seat);
};

#define HM_SHARED_NO_SPAN UINT32_MAX

/* What this process has of a class. */
struct hm_shared_bin {
    uint64_t ready;      /* blocks of the current group that were free: one bit each */
    uint32_t *words;     /* of the group's blocks */
    uint64_t group_off;  /* offset of its first block */
    uint32_t size_bytes; /* of a block; const */
    uint32_t inverse;    /* 2^32 / size_bytes, rounded up; const */
    uint32_t next_group; /* of 64 blocks, in the current span */
    uint32_t current;    /* span; HM_SHARED_NO_SPAN: none */
    uint32_t ring;       /* one of our spans of the class, linked in a ring; or none */
};

struct hm_shared {
    unsigned char *base;        /* where the arena is mapped in this process; const */
    struct hm_shared_geom geom; /* const */
    struct hm_shared_env env;   /* const */
    struct hm_lock lock;        /* ... for what follows */
    unsigned seat;              /* 0: not attached */
    uint64_t mine_spans;        /* this process has, or fewer; counted if there is a limit */
    uint32_t free_hint;         /* no span before it was free when it was looked at; atomic */
    uint32_t *ring_next;        /* [span]: the next of its ring; private memory of the caller's */
    struct hm_shared_bin bins[HM_SHARED_CLASS_COUNT];
};

/* Begin with an arena that is mapped; nothing of it is read yet.
 *   ring_next  geom->span_count numbers */
void hm_shared_init(struct hm_shared *view, void *base, const struct hm_shared_geom *geom,
                    const struct hm_shared_env *env, uint32_t *ring_next);

/* Take a seat, if there is none yet. Returns 0, or -EUSERS if all are held by living processes. */
int hm_shared_attach(struct hm_shared *view);

/* Give the seat up, and all that is private. */
void hm_shared_detach(struct hm_shared *view);

/* Allocate a block that only this process knows of, at a multiple of `align_bytes`, a power of
 * two up to HM_SHARED_CHUNK_BYTES. Returns its offset; 0: there is no memory. */
uint64_t hm_shared_alloc(struct hm_shared *view, uint64_t size_bytes, uint64_t align_bytes);

/* Free a block, whoever allocated it. Returns 0, or -EINVAL if there is no block at the offset, or
 * it is free already. */
int hm_shared_free(struct hm_shared *view, uint64_t block_off);

/* Bytes that may be used of a block; 0: there is none. */
uint64_t hm_shared_room(const struct hm_shared *view, uint64_t block_off);

/* Whether a block is private to this process. */
bool hm_shared_is_mine(const struct hm_shared *view, uint64_t block_off);

/* Put a private block of this process into a cell that holds 0: from then on it is nobody's.
 *   cell_off  a word in a block or a root
 * Returns 0; -EINVAL: no private block of ours, or no cell; -EEXIST: the cell holds another. */
int hm_shared_publish(struct hm_shared *view, uint64_t cell_off, uint64_t block_off);

/* Take the block that a cell holds; the cell holds 0 then. Returns its offset; 0: the cell is
 * empty, or another process is taking the block. */
uint64_t hm_shared_take(struct hm_shared *view, uint64_t cell_off);

/* The block that a cell names, or 0. */
uint64_t hm_shared_peek(const struct hm_shared *view, uint64_t cell_off);

/* Offset of the cell of a root, which is made if nobody has asked for the name yet; 0: there are no
 * more. find_root: 0 if nobody has asked. */
uint64_t hm_shared_root(struct hm_shared *view, const char *name);
uint64_t hm_shared_find_root(const struct hm_shared *view, const char *name);

/* Set up a ring in a private block of this process of hm_shared_ring_bytes; 0: that is too many. */
#define HM_SHARED_RING_SLOTS_MAX ((size_t)1 << 20)
uint64_t hm_shared_ring_bytes(size_t slot_count);
void hm_shared_ring_init(struct hm_shared *view, uint64_t ring_off, size_t slot_count);

/* Put a private block of this process into a ring, and get the oldest one.
 *   timeout_ms  0: do not wait; negative: for ever
 * Return 0; -EAGAIN: the ring is full, or empty, and the time is up; -EINVAL: no ring, or no
 * private block of ours. */
int hm_shared_ring_put(struct hm_shared *view, uint64_t ring_off, uint64_t block_off,
                       int timeout_ms);
int hm_shared_ring_get(struct hm_shared *view, uint64_t ring_off, uint64_t *out_block_off,
                       int timeout_ms);

/* Lock and unlock a word of the program's (latch.c). Return 0; latch: 1, who held it is dead, and
 * it is ours; -EAGAIN: the time is up; -EINVAL: there can be none there; unlatch: -EPERM. */
int hm_shared_latch(struct hm_shared *view, uint64_t word_off, int timeout_ms);
int hm_shared_unlatch(struct hm_shared *view, uint64_t word_off);

/* Free what processes that are dead had to themselves. Returns how many there were. */
unsigned hm_shared_recover(struct hm_shared *view);

/* The same for one seat, whose process is dead, or is this one. view->env holds it. */
void hm_shared_recover_seat(struct hm_shared *view, unsigned seat);

/* Give back the memory of chunks without a block. Returns its length in bytes. */
uint64_t hm_shared_trim(struct hm_shared *view);

/* What an arena holds. */
struct hm_shared_sums {
    uint64_t private_count; /* blocks */
    uint64_t private_bytes;
    uint64_t published_count;
    uint64_t published_bytes;
    uint64_t span_bytes;  /* of spans that are not free */
    uint64_t ready_bytes; /* of chunks that have memory */
    unsigned seat_count;  /* taken */
};

/* Look at every word, with bounds, whatever they are. While other processes are at work, sums are
 * of no one moment. Returns NULL, or what is wrong, which cannot be by any process's death. */
const char *hm_shared_verify(const struct hm_shared *view, struct hm_shared_sums *out_sums);

/* --- for the files of this folder ------------------------------------------------------------- */

HM_INLINE uint32_t *
hm_shared_chunk_word(const struct hm_shared *view, uint32_t chunk)
{
    return (uint32_t *)(void *)(view->base + view->geom.chunks_off) + chunk;
}

HM_INLINE uint64_t *
hm_shared_span_word(const struct hm_shared *view, uint32_t span)
{
    return (uint64_t *)(void *)(view->base + view->geom.spans_off) + span;
}

HM_INLINE uint32_t *
hm_shared_block_words(const struct hm_shared *view, uint32_t span)
{
    return (uint32_t *)(void *)(view->base + view->geom.blocks_off)
           + (size_t)span * HM_SHARED_SPAN_UNITS;
}

HM_INLINE struct hm_shared_seat *
hm_shared_seat_of(const struct hm_shared *view, unsigned seat)
{
    return (struct hm_shared_seat *)(void *)(view->base + view->geom.seats_off) + seat;
}

HM_INLINE struct hm_shared_root *
hm_shared_root_of(const struct hm_shared *view, unsigned root)
{
    return (struct hm_shared_root *)(void *)(view->base + view->geom.roots_off) + root;
}

HM_INLINE uint64_t
hm_shared_span_off(const struct hm_shared *view, uint32_t span)
{
    return view->geom.data_off + ((uint64_t)span << HM_SHARED_SPAN_SHIFT);
}

HM_INLINE struct hm_shspan
hm_shared_read_span(const struct hm_shared *view, uint32_t span)
{
    return hm_shspan_unpack(__atomic_load_n(hm_shared_span_word(view, span), __ATOMIC_ACQUIRE));
}

/* Whether a span's chunk has memory. It has for as long as somebody has a block in it: a span may
 * be claimed before, and whoever does not know that must not touch its blocks' words. */
HM_INLINE bool
hm_shared_is_ready(const struct hm_shared *view, uint32_t span)
{
    return __atomic_load_n(hm_shared_chunk_word(view, span / HM_SHARED_CHUNK_SPANS),
                           __ATOMIC_ACQUIRE)
           == HM_CHUNK_READY;
}

/* Change a span's word if it still is what it was. */
HM_INLINE bool
hm_shared_swap_span(const struct hm_shared *view, uint32_t span, struct hm_shspan from,
                    struct hm_shspan to)
{
    uint64_t expected = hm_shspan_pack(from);

    return __atomic_compare_exchange_n(hm_shared_span_word(view, span), &expected,
                                       hm_shspan_pack(to), false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

/* The same for a block's word, which is read anew if it is not. */
HM_INLINE bool
hm_shared_swap_block(uint32_t *word, uint32_t *inout_from, uint32_t to)
{
    return __atomic_compare_exchange_n(word, inout_from, to, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

/* What the span is for from now on: of its word only the generation stays. */
HM_INLINE struct hm_shspan
hm_shspan_as(struct hm_shspan span, enum hm_shspan_state state, unsigned owner)
{
    span.state = state;
    span.owner = owner;
    return span;
}

HM_INLINE struct hm_shspan
hm_shspan_free(struct hm_shspan span)
{
    return (struct hm_shspan){ .state = HM_SHSPAN_FREE, .generation = span.generation };
}

/* A span is free; who says so need not hold the lock, and it does not matter if it gets lost. */
HM_INLINE void
hm_shared_hint(struct hm_shared *view, uint32_t span)
{
    if (hm_load(&view->free_hint) > span)
        hm_store(&view->free_hint, span);
}

/* Where a block is. */
struct hm_shared_place {
    uint32_t *word;
    uint64_t size_bytes; /* its room */
    uint32_t span;
    struct hm_shspan was; /* the span's word then */
};

/* Free spans that their owners left, and that have no blocks any more. */
void hm_shared_sweep(struct hm_shared *view);

/* Find the block at an offset, which may be anything. Returns false if none can start there now. */
bool hm_shared_find(const struct hm_shared *view, uint64_t block_off,
                    struct hm_shared_place *out_place);

/* The cell at an offset, which may be anything: in a root, or in data that has memory. NULL: there
 * is none. */
uint64_t *hm_shared_find_cell(const struct hm_shared *view, uint64_t cell_off);

/* Change a cell if it still is what it was. */
HM_INLINE bool
hm_shared_swap_cell(uint64_t *cell, uint64_t from, uint64_t to)
{
    return __atomic_compare_exchange_n(cell, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* What this process is about to do with a cell and a block, for who finds it dead; and that it is
 * done. view->lock is held. */
void hm_shared_intend(struct hm_shared *view, enum hm_shared_op op, uint64_t cell_off,
                      uint64_t block_off);
void hm_shared_done(struct hm_shared *view);

/* A private block of this process is about to be put into a cell. Returns 0 or -EINVAL.
 *   out_publishing  its word, for offer_end: whether it is in the cell */
int hm_shared_offer(struct hm_shared *view, uint32_t *word, uint32_t *out_publishing);
void hm_shared_offer_end(const struct hm_shared *view, uint32_t *word, uint32_t publishing,
                         bool is_there);

/* Make the block private to this process that a cell names, which was `seen` to hold it. Returns
 * false if it does no more, or another process has it. */
bool hm_shared_seize(struct hm_shared *view, const uint64_t *cell, uint64_t seen);

/* Whether this process may have so many spans more; it counts them. view->lock is held. */
bool hm_shared_may_have(struct hm_shared *view, uint64_t span_count);

/* Have memory for spans that this process has claimed. Returns 0 or a negative errno. */
int hm_shared_fill(struct hm_shared *view, uint32_t span, uint32_t count);

/* A span from FREE to `to`. Returns whether it was free. */
bool hm_shared_claim(struct hm_shared *view, uint32_t span, struct hm_shspan to);

/* large.c: blocks of whole spans. finish_free: the block of a LARGE or CLAIMING span is free, and
 * so shall be its spans; any process may call it, and only one does it. Until it is done it is the
 * business of `owner`: of this process, or of one whose seat it holds. */
uint64_t hm_shared_large_alloc(struct hm_shared *view, uint64_t size_bytes, uint64_t align_bytes);
void hm_shared_finish_free(struct hm_shared *view, uint32_t span, struct hm_shspan head,
                           unsigned owner);

/* small.c: forget what is private; give up spans of ours without a block; have ready what is free
 * of a class. */
void hm_shared_forget(struct hm_shared *view);
void hm_shared_flush(struct hm_shared *view);
bool hm_shared_small_refill(struct hm_shared *view, unsigned class_idx);

#endif
