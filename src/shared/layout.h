/* SPDX-License-Identifier: MIT */
/* layout.h - the bytes of a shared arena.
 *
 * Problem     Processes that know nothing of each other allocate in the same memory, at different
 *             addresses, and any of them may be killed between two instructions, or be hostile.
 * Idea        Nothing in the memory is a pointer, a list or a lock. All state is in words that say
 *             everything about one thing: a block, a span, a chunk, a process. A change is one
 *             store or one compare-and-swap of such a word, so that whoever dies leaves each of
 *             them in a state that has a meaning. Words name the process that is at work on
 *             something by its seat; what a dead process held is found by looking at all words.
 *             Where things are is computed from a few numbers of the header, which is read once.
 *
 *                 0       header, never changed after the arena is there
 *                 4 KiB   seats: one for each process that may be attached
 *                         roots: cells with a name
 *                         chunks: a word for each 2 MiB of data
 *                         spans: a word for each 64 KiB of data
 *                         blocks: 1024 words for each span, one for each block in it
 *                 2 MiB-aligned: data
 *
 * Invariants  L1 A block word's generation grows each time the block is allocated or published.
 *             L2 A span word's grows each time the span is claimed, or adopted from who left it.
 *             L3 TAIL with the count k belongs to the span k before it, which is CLAIMING, LARGE or
 *             FREEING; if not all of a run are there, the last ones lack. L4 Only the process that
 *             a span names as its owner makes a free block of it a private one. L5 The words of the
 *             blocks of an OWNED, ORPHAN or LARGE span have memory, and what has memory there keeps
 *             it.
 */
#ifndef HM_SHARED_LAYOUT_H
#define HM_SHARED_LAYOUT_H

#include "base/units.h"

#define HM_SHARED_MAGIC 0x004d4853414d5548u /* "HUMASHM" and a 0 in memory, little-endian */
#define HM_SHARED_VERSION 1u

#define HM_SHARED_HEADER_BYTES 4096u
#define HM_SHARED_CHUNK_SHIFT 21
#define HM_SHARED_SPAN_SHIFT 16
#define HM_SHARED_UNIT_SHIFT 6 /* the smallest block */
#define HM_SHARED_CHUNK_SPANS (1u << (HM_SHARED_CHUNK_SHIFT - HM_SHARED_SPAN_SHIFT))
#define HM_SHARED_SPAN_UNITS (1u << (HM_SHARED_SPAN_SHIFT - HM_SHARED_UNIT_SHIFT))
#define HM_SHARED_SPAN_BYTES ((uint64_t)1 << HM_SHARED_SPAN_SHIFT)
#define HM_SHARED_CHUNK_BYTES ((uint64_t)1 << HM_SHARED_CHUNK_SHIFT)

#define HM_SHARED_THP 1u /* of flags: chunks shall be transparent huge pages */

#define HM_SHARED_SEATS_MAX 1023u /* the number 0 stands for nobody */
#define HM_SHARED_ROOTS_MAX 4096u
#define HM_SHARED_DATA_MAX_BYTES ((uint64_t)1 << 43)

struct hm_shared_header {
    uint64_t magic;
    uint32_t version;
    uint32_t header_bytes;
    uint32_t chunk_shift;
    uint32_t span_shift;
    uint32_t unit_shift;
    uint32_t page_shift; /* of the memory; what is given back is a multiple of it */
    uint32_t seat_count; /* seats are numbered from 1 */
    uint32_t root_count;
    uint64_t data_bytes;    /* whole chunks */
    uint64_t address;       /* where every process has it; 0: anywhere */
    uint64_t process_bytes; /* what one may have for its allocations; 0: no limit */
    uint32_t flags;         /* HM_SHARED_* */
    uint32_t crc;           /* CRC-32C of all before */
};

/* A process that is attached. It alone writes here, and who recovers it when it is dead. */
struct hm_shared_seat {
    uint32_t state; /* HM_SEAT_*, and how often the seat was taken */
    uint32_t op;    /* HM_OP_*: what it is at between two words */
    uint64_t cell;  /* of op: offset of the cell; of a ring's, its tag as well */
    uint64_t block; /* of op: offset of the block */
    uint32_t pid;   /* for people: in its own namespace */
    uint32_t reserved[25];
};

struct hm_shared_root {
    uint64_t key;   /* hash of the name; 0: nobody has it yet */
    uint64_t block; /* the cell: offset of a published block, or 0 */
    char name[48];  /* for people; the key decides */
};

_Static_assert(sizeof(struct hm_shared_seat) == 128, "seats do not share cache lines");
_Static_assert(sizeof(struct hm_shared_root) == 64, "roots do not share cache lines");

/* --- seats ------------------------------------------------------------------------------------ */

#define HM_SEAT_TAKEN 1u /* bit 0 of state; above it a count */

enum hm_shared_op {
    HM_OP_NONE,
    HM_OP_PUBLISH, /* the block goes into the cell */
    HM_OP_TAKE,    /* ... or out of it */
    HM_OP_PUT,     /* the block goes into the cell of a ring */
    HM_OP_GET,     /* ... or out of it */
};

/* --- cells ------------------------------------------------------------------------------------ */

/* A cell names a block by its offset, or none. In the upper bits that of a ring has a tag: the
 * ring's round that the cell is in. Others have 0 there. */
#define HM_CELL_OFF_BITS 44
#define HM_CELL_OFF_MASK (((uint64_t)1 << HM_CELL_OFF_BITS) - 1)

HM_INLINE uint64_t
hm_cell_block(uint64_t cell)
{
    return cell & HM_CELL_OFF_MASK;
}

/* --- blocks ----------------------------------------------------------------------------------- */

enum hm_block_state {
    HM_BLOCK_FREE,
    HM_BLOCK_PRIVATE,    /* only its owner knows of it, and it goes with him */
    HM_BLOCK_PUBLISHED,  /* a cell names it; nobody's */
    HM_BLOCK_PUBLISHING, /* its owner is about to put it into a cell, or just has */
};

/* state: 2 bits, owner: 10, generation: 20 */
HM_INLINE uint32_t
hm_block_word(enum hm_block_state state, unsigned owner, uint32_t generation)
{
    return (uint32_t)state | owner << 2 | generation << 12;
}

HM_INLINE enum hm_block_state
hm_block_state(uint32_t word)
{
    return (enum hm_block_state)(word & 3);
}

HM_INLINE unsigned
hm_block_owner(uint32_t word)
{
    return word >> 2 & HM_SHARED_SEATS_MAX;
}

HM_INLINE uint32_t
hm_block_generation(uint32_t word)
{
    return word >> 12;
}

/* Whether it is in its owner's hands, perhaps on its way into a cell. */
HM_INLINE bool
hm_block_is_held(uint32_t word)
{
    return (word & 1) != 0;
}

/* --- spans ------------------------------------------------------------------------------------ */

enum hm_shspan_state {
    HM_SHSPAN_FREE,
    HM_SHSPAN_OWNED,    /* blocks of a class; its owner allocates in it */
    HM_SHSPAN_ORPHAN,   /* the same without an owner */
    HM_SHSPAN_CLAIMING, /* the first of `count`: its owner is taking the others */
    HM_SHSPAN_LARGE,    /* the first of `count` with one block in them */
    HM_SHSPAN_FREEING,  /* the first of `count`: its owner is giving up the others */
    HM_SHSPAN_TAIL,     /* the count-th after one of these three */
    HM_SHSPAN_HELD,     /* its owner is having memory for it, or giving that of its chunk back */
};

struct hm_shspan {
    enum hm_shspan_state state;
    unsigned owner;
    union {
        uint32_t class_idx; /* of OWNED and ORPHAN */
        uint32_t count;     /* of all others */
    };
    uint32_t generation;
};

/* state: 3 bits, owner: 10, class or count: 28, generation: 23 */
HM_INLINE uint64_t
hm_shspan_pack(struct hm_shspan span)
{
    return (uint64_t)span.state | (uint64_t)span.owner << 3 | (uint64_t)span.count << 13
           | (uint64_t)span.generation << 41;
}

HM_INLINE struct hm_shspan
hm_shspan_unpack(uint64_t word)
{
    return (struct hm_shspan){ .state = (enum hm_shspan_state)(word & 7),
                               .owner = word >> 3 & HM_SHARED_SEATS_MAX,
                               .count = word >> 13 & 0xfffffff,
                               .generation = (uint32_t)(word >> 41) };
}

/* --- chunks ----------------------------------------------------------------------------------- */

#define HM_CHUNK_HOLE 0u  /* may have no memory */
#define HM_CHUNK_READY 1u /* has memory for its data and its words */

/* --- where things are ------------------------------------------------------------------------- */

struct hm_shared_geom {
    uint32_t seat_count;
    uint32_t root_count;
    uint32_t chunk_count;
    uint32_t span_count;
    uint32_t page_shift;
    uint64_t seats_off;
    uint64_t roots_off;
    uint64_t chunks_off;
    uint64_t spans_off;
    uint64_t blocks_off; /* all before has memory from the beginning */
    uint64_t data_off;
    uint64_t end_off;
    uint64_t process_spans; /* a process may have for its allocations; 0: no limit */
};

/* What a header needs. Returns false if its numbers are none that this version can have made. */
bool hm_shared_geom_init(struct hm_shared_geom *out_geom, const struct hm_shared_header *header);

/* The length of data of an arena that is `len_bytes` long with all, in whole chunks; 0: it is too
 * short for any. */
uint64_t hm_shared_data_bytes(uint64_t len_bytes, unsigned seat_count, unsigned root_count,
                              unsigned page_shift);

/* Fill in a header.
 *   data_bytes  rounded up to whole chunks; at most HM_SHARED_DATA_MAX_BYTES */
void hm_shared_header_init(struct hm_shared_header *out_header, uint64_t data_bytes,
                           unsigned seat_count, unsigned root_count, unsigned page_shift);

/* Enter the checksum, when all else is there. */
void hm_shared_header_seal(struct hm_shared_header *header);

/* Why a header is none of an arena that this version can use, for people; NULL: it is one. */
const char *hm_shared_header_fault(const struct hm_shared_header *header);

#endif
