/* SPDX-License-Identifier: MIT */
/* meta.c - the bump allocator of meta.h.
 *
 * Problem     Small processes should map and touch little; large ones should not pay a call per
 *             piece.
 * Idea        The first chunk is small, later ones are larger; big tables get a mapping of their
 *             own. But a table that is there first shares the first chunk's mapping, and lies at
 *             its end: one call less, and no page for the header of a chunk. Pages become resident
 *             only when they are written.
 */
#include "heap/meta.h"

#define FIRST_CHUNK_BYTES (128 * HM_KIB)
#define CHUNK_BYTES HM_MIB
#define CHUNK_ALIGN_BYTES (64 * HM_KIB)

/* Keeps what follows the header aligned to a cache line. */
#define HEADER_BYTES HM_CACHE_LINE_BYTES

void
hm_meta_init(struct hm_meta *meta, const struct hm_os *os)
{
    *meta = (struct hm_meta){ .os = os };
}

/* A chunk with room for `len_bytes` behind its header; NULL if there is no memory. */
static char *
map_chunk(struct hm_meta *meta, size_t len_bytes)
{
    struct hm_meta_chunk *chunk;
    void *mem = NULL;

    len_bytes = hm_align_up(len_bytes + HEADER_BYTES, CHUNK_ALIGN_BYTES);
    if (meta->os->map_meta(meta->os->ctx, len_bytes, &mem) != 0)
        return NULL;
    meta->os->name(meta->os->ctx, (uintptr_t)mem, len_bytes, "huma meta");
    chunk = mem;
    chunk->next = meta->chunks;
    chunk->len_bytes = len_bytes;
    meta->chunks = chunk;
    meta->mapped_bytes += len_bytes;
    return (char *)mem + HEADER_BYTES;
}

/* Go on in the chunk that was mapped ahead, else in a new one. */
static bool
next_chunk(struct hm_meta *meta, size_t len_bytes)
{
    char *mem = meta->spare;

    if (mem != NULL)
        len_bytes = meta->spare_bytes;
    else
        mem = map_chunk(meta, len_bytes);
    if (mem == NULL)
        return false;
    meta->spare = NULL;
    meta->next = mem;
    meta->left_bytes = len_bytes;
    return true;
}

void
hm_meta_prepare(struct hm_meta *meta, size_t len_bytes)
{
    if (meta->spare != NULL || meta->left_bytes >= len_bytes)
        return;
    if (len_bytes < CHUNK_BYTES - HEADER_BYTES)
        len_bytes = CHUNK_BYTES - HEADER_BYTES;
    meta->spare = map_chunk(meta, len_bytes);
    meta->spare_bytes = len_bytes;
}

/* A table at the end of the first chunk, which is made so that it has room for more. */
static void *
first_table(struct hm_meta *meta, size_t len_bytes)
{
    len_bytes = hm_align_up(len_bytes, HM_CACHE_LINE_BYTES);
    if (!next_chunk(meta, FIRST_CHUNK_BYTES - HEADER_BYTES + len_bytes))
        return NULL;
    meta->left_bytes -= len_bytes;
    return meta->next + meta->left_bytes;
}

void *
hm_meta_alloc(struct hm_meta *meta, size_t len_bytes, size_t align_bytes)
{
    uintptr_t next = (uintptr_t)meta->next;
    size_t pad_bytes = hm_align_up(next, align_bytes) - next;
    char *mem;

    if (pad_bytes + len_bytes > meta->left_bytes) {
        bool is_first = meta->mapped_bytes == 0;
        size_t chunk_bytes = is_first ? FIRST_CHUNK_BYTES : CHUNK_BYTES;

        if (len_bytes > chunk_bytes / 4)
            return is_first ? first_table(meta, len_bytes) : map_chunk(meta, len_bytes);
        if (!next_chunk(meta, chunk_bytes - HEADER_BYTES))
            return NULL;
        pad_bytes = 0;
    }
    mem = meta->next + pad_bytes;
    meta->next = mem + len_bytes;
    meta->left_bytes -= pad_bytes + len_bytes;
    return mem;
}

int
hm_meta_scan(const struct hm_meta *meta, struct hm_residency *inout)
{
    const struct hm_meta_chunk *chunk = meta->chunks;
    int rc = 0;

    for (; chunk != NULL && rc == 0; chunk = chunk->next)
        rc = meta->os->scan(meta->os->ctx, (uintptr_t)chunk, chunk->len_bytes, inout);
    return rc;
}
