/* SPDX-License-Identifier: MIT */
/* comparator.c - the test of images.c on an allocator that is not made for it.
 *
 * Problem     A test of kills that finds nothing may be blind.
 * Idea        A malloc as programs keep it in shared memory everywhere: headers with sizes, a
 *             doubly linked list of free blocks, a lock that is known to be robust, whose next
 *             owner goes on with what is there. It is killed after each instruction as in images.c,
 *             and the lock is given to another. Most of what it leaves must be broken, or have lost
 *             memory: else the test fails.
 *             Blocks that the dead had allocated are not held against it, though nobody would
 *             free them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/compiler.h"
#include "shared/step.h"

enum { POOL_BYTES = 16384, FIRST = 64, KEPT = 8, LEAST_PERCENT = 50 };

/* Before each block. `prev` and `next` are offsets, of free blocks only, by address. */
struct header {
    uint64_t size_bytes; /* with the header; bit 0: in use */
    uint64_t prev;
    uint64_t next;
    uint64_t unused;
};

struct pool {
    uint64_t lock_word; /* 0: free; else its owner */
    uint64_t first_free;
};

static unsigned char *shared;
static unsigned char *base; /* shared, or a copy */
static unsigned char seen[POOL_BYTES] __attribute__((aligned(64)));
static uint64_t kept[KEPT];
static long image_count;
static long corrupt_count;
static long lost_count;

/* --- the allocator ---------------------------------------------------------------------------- */

static struct pool *
pool(void)
{
    return (void *)base;
}

static struct header *
at(uint64_t off)
{
    return (void *)(base + off);
}

static void
lock(void)
{
    uint64_t free_word = 0;

    while (!__atomic_compare_exchange_n(&pool()->lock_word, &free_word, 1, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED))
        free_word = 0;
}

static void
unlock(void)
{
    __atomic_store_n(&pool()->lock_word, 0, __ATOMIC_RELEASE);
}

static void
set_size(uint64_t off, uint64_t size_bytes, bool is_used)
{
    at(off)->size_bytes = size_bytes | is_used;
}

static void
unlink_block(uint64_t off)
{
    struct header *block = at(off);

    if (block->prev != 0)
        at(block->prev)->next = block->next;
    else
        pool()->first_free = block->next;
    if (block->next != 0)
        at(block->next)->prev = block->prev;
}

/* Between two free blocks, or at an end. */
static void
link_block(uint64_t off, uint64_t prev, uint64_t next)
{
    at(off)->prev = prev;
    at(off)->next = next;
    if (prev != 0)
        at(prev)->next = off;
    else
        pool()->first_free = off;
    if (next != 0)
        at(next)->prev = off;
}

static uint64_t
pool_alloc(uint64_t size_bytes)
{
    uint64_t whole = (size_bytes + sizeof(struct header) + 31) / 32 * 32;
    uint64_t off;

    lock();
    off = pool()->first_free;
    while (off != 0 && at(off)->size_bytes < whole)
        off = at(off)->next;
    if (off != 0) {
        uint64_t rest = at(off)->size_bytes - whole;

        if (rest > sizeof(struct header)) {
            set_size(off + whole, rest, false);
            set_size(off, whole, false);
            link_block(off + whole, off, at(off)->next);
        }
        unlink_block(off);
        set_size(off, at(off)->size_bytes, true);
    }
    unlock();
    return off;
}

static void
join(uint64_t off, uint64_t next)
{
    if (off == 0 || next == 0 || off + at(off)->size_bytes != next)
        return;
    unlink_block(next);
    set_size(off, at(off)->size_bytes + at(next)->size_bytes, false);
}

static void
pool_free(uint64_t off)
{
    uint64_t prev = 0;
    uint64_t next;

    lock();
    next = pool()->first_free;
    while (next != 0 && next < off) {
        prev = next;
        next = at(next)->next;
    }
    set_size(off, at(off)->size_bytes & ~(uint64_t)1, false);
    link_block(off, prev, next);
    join(off, next);
    join(prev, off);
    unlock();
}

/* --- the story -------------------------------------------------------------------------------- */

static void
prepare(void)
{
    pool()->first_free = FIRST;
    set_size(FIRST, POOL_BYTES - FIRST, false);
    for (unsigned i = 0; i < KEPT; i++)
        kept[i] = pool_alloc(200 + 40 * i);
    for (unsigned i = 1; i < KEPT; i += 3)
        pool_free(kept[i]);
}

static void
work(void)
{
    uint64_t one = pool_alloc(64);
    uint64_t other = pool_alloc(150);
    uint64_t large = pool_alloc(3000);

    if (one == 0 || other == 0 || large == 0)
        abort();
    pool_free(other);
    pool_free(one);
    other = pool_alloc(500);
    pool_free(large);
    pool_free(kept[0]);
    pool_free(other);
}

/* --- the check -------------------------------------------------------------------------------- */

/* Blocks that lie one after another up to the end. Returns false if they do not. */
static bool
count_blocks(uint64_t *out_free_count)
{
    uint64_t off = FIRST;

    for (*out_free_count = 0; off < POOL_BYTES;) {
        uint64_t size_bytes = at(off)->size_bytes & ~(uint64_t)1;

        if (size_bytes < sizeof(struct header) || size_bytes % 32 != 0
            || size_bytes > POOL_BYTES - off)
            return false;
        *out_free_count += (at(off)->size_bytes & 1) == 0;
        off += size_bytes;
    }
    return true;
}

/* The list goes upward, both ways the same, through free blocks. */
static bool
count_list(uint64_t *out_list_count)
{
    uint64_t prev = 0;

    *out_list_count = 0;
    for (uint64_t off = pool()->first_free; off != 0; off = at(off)->next) {
        if (off <= prev || off < FIRST || off % 32 != 0 || off > POOL_BYTES - sizeof(struct header)
            || at(off)->prev != prev || (at(off)->size_bytes & 1) != 0)
            return false;
        ++*out_list_count;
        prev = off;
    }
    return true;
}

static void
look(void)
{
    uint64_t free_count;
    uint64_t list_count;

    /* That the lock is taken or not makes no other image: its next owner has it either way. */
    if (memcmp(seen + sizeof(uint64_t), shared + sizeof(uint64_t), POOL_BYTES - sizeof(uint64_t))
        == 0)
        return;
    memcpy(seen, shared, POOL_BYTES);
    image_count++;
    base = seen;
    if (!count_blocks(&free_count) || !count_list(&list_count))
        corrupt_count++;
    else
        lost_count += free_count != list_count;
    base = shared;
}

int
main(void)
{
    long step_count;
    long bad_percent;

    shared = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 99;
    base = shared;
    prepare();
    step_count = step_through(work, look);
    bad_percent = (corrupt_count + lost_count) * 100 / image_count;
    printf("linked list and robust lock: %ld instructions, %ld images, %ld corrupt, %ld have lost "
           "a block: %ld %%\n",
           step_count, image_count, corrupt_count, lost_count, bad_percent);
    return bad_percent < LEAST_PERCENT;
}
