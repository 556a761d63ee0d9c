/* SPDX-License-Identifier: MIT */
/* contents.h - what blocks of a test hold: bytes that a seed gives.
 *
 * Problem     Any byte that changes should be seen, and huge blocks should still be cheap.
 * Idea        Small blocks are written whole; of larger ones head, tail, and words between at
 *             places that the seed picks.
 */
#ifndef HM_TESTS_CONTENTS_H
#define HM_TESTS_CONTENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CONTENTS_DENSE_BYTES = 1024, /* blocks up to this are written whole */
    CONTENTS_EDGE_BYTES = 64,    /* of larger ones: head, tail ... */
    CONTENTS_SPOTS = 16,         /* ... and so many words between */
};

/* Write bytes [from, to), or look whether they are as they were written. */
static inline bool
contents_range(unsigned char *start, uint64_t seed, size_t from, size_t to, bool write)
{
    for (size_t off = from; off < to; off++) {
        unsigned char byte = (unsigned char)(((off + seed) * 0x9e3779b97f4a7c15u) >> 56);

        if (write)
            start[off] = byte;
        else if (start[off] != byte)
            return false;
    }
    return true;
}

/* All places of a block of size_bytes that lie in its first kept_bytes. */
static inline bool
contents_walk(unsigned char *start, size_t size_bytes, uint64_t seed, size_t kept_bytes, bool write)
{
    size_t head_bytes = kept_bytes < CONTENTS_EDGE_BYTES ? kept_bytes : CONTENTS_EDGE_BYTES;

    if (size_bytes <= CONTENTS_DENSE_BYTES)
        return contents_range(start, seed, 0, kept_bytes, write);
    if (!contents_range(start, seed, 0, head_bytes, write))
        return false;
    if (kept_bytes == size_bytes
        && !contents_range(start, seed, size_bytes - CONTENTS_EDGE_BYTES, size_bytes, write))
        return false;
    for (unsigned i = 0; i < CONTENTS_SPOTS; i++) {
        uint64_t hash = (seed + i) * 0xd1342543de82ef95u;
        size_t off = (size_t)((hash >> 17) % (size_bytes - sizeof(uint64_t)));

        if (off + sizeof(uint64_t) <= kept_bytes
            && !contents_range(start, seed, off, off + sizeof(uint64_t), write))
            return false;
    }
    return true;
}

#endif
