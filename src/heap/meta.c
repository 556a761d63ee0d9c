/* SPDX-License-Identifier: MIT */
/* meta.c - the bump allocator of meta.h.
 *
 * Problem     Small processes should map and touch little; large ones should not pay a call per
 *             piece.
 * Idea        The first chunk is small, later ones are larger; big tables get a mapping of their
 *             own. But a table that is there first shares the first chunk's mapping, and lies
 *             before it: one call less, and since the kernel maps downwards, what is touched lies
 *             next to the libraries and shares their page tables. Pages become resident only when
 *             they are written: so tables that are written here and there are taken from the end of
 *             a chunk, and all else from its front.
 */
#include "heap/meta.h"

#include <errno.h>

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

/* A mapping with room for `len_bytes` behind the header, and for `table_bytes`, a multiple of a
 * cache line, before it. Returns what is behind the header; NULL if there is no memory. */
static char *
map_chunk(struct hm_meta *meta, size_t table_bytes, size_t len_bytes)
{
    size_t all_bytes = hm_align_up(table_bytes + len_bytes + HEADER_BYTES, CHUNK_ALIGN_BYTES);
    struct hm_meta_chunk *chunk;
    int saved_errno = errno;
    void *mem = NULL;

    if (meta->os->map_meta(meta->os->ctx, all_bytes, &mem) != 0)
        return NULL;
    meta->os->name(meta->os->ctx, (uintptr_t)mem, all_bytes, "huma meta");
    errno = saved_errno;
    chunk = (struct hm_meta_chunk *)((uintptr_t)mem + table_bytes);
    chunk->next = meta->chunks;
    chunk->addr = (uintptr_t)mem;
    chunk->len_bytes = all_bytes;
    meta->chunks = chunk;
    meta->mapped_bytes += all_bytes;
    return (char *)chunk + HEADER_BYTES;
}

/* Go on in the chunk that was mapped ahead, else in a new one. */
static bool
next_chunk(struct hm_meta *meta, size_t len_bytes)
{
    char *mem = meta->spare;

    if (mem != NULL)
        len_bytes = meta->spare_bytes;
    else
        mem = map_chunk(meta, 0, len_bytes);
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
    meta->spare = map_chunk(meta, 0, len_bytes);
    meta->spare_bytes = len_bytes;
}

/* Memory that was never used is zero. */
static void
touch(char *mem, size_t len_bytes)
{
    for (size_t off = 0; off < len_bytes; off += 4 * HM_KIB)
        *(volatile char *)(mem + off) = 0;
    if (len_bytes > 0)
        *(volatile char *)(mem + len_bytes - 1) = 0;
}

void
hm_meta_touch(struct hm_meta *meta)
{
    touch(meta->next, meta->left_bytes);
    touch(meta->spare, meta->spare != NULL ? meta->spare_bytes : 0);
}

/* A table before the first chunk. */
static void *
first_table(struct hm_meta *meta, size_t table_bytes)
{
    const size_t left_bytes = FIRST_CHUNK_BYTES - HEADER_BYTES;

    table_bytes = hm_align_up(table_bytes, HM_CACHE_LINE_BYTES);
    meta->next = map_chunk(meta, table_bytes, left_bytes);
    if (meta->next == NULL)
        return NULL;
    meta->left_bytes = left_bytes;
    return meta->next - HEADER_BYTES - table_bytes;
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
            return is_first ? first_table(meta, len_bytes) : map_chunk(meta, 0, len_bytes);
        if (!next_chunk(meta, chunk_bytes - HEADER_BYTES))
            return NULL;
        pad_bytes = 0;
    }
    mem = meta->next + pad_bytes;
    meta->next = mem + len_bytes;
    meta->left_bytes -= pad_bytes + len_bytes;
    return mem;
}

void *
hm_meta_alloc_table(struct hm_meta *meta, size_t len_bytes)
{
    len_bytes = hm_align_up(len_bytes, HM_CACHE_LINE_BYTES);
    if (len_bytes > meta->left_bytes)
        return hm_meta_alloc(meta, len_bytes, HM_CACHE_LINE_BYTES);
    meta->left_bytes -= len_bytes;
    return (char *)hm_align_down((uintptr_t)meta->next + meta->left_bytes, HM_CACHE_LINE_BYTES);
}

void
hm_meta_fini(struct hm_meta *meta)
{
    const struct hm_os *os = meta->os;
    struct hm_meta_chunk *chunk = meta->chunks;

    while (chunk != NULL) {
        struct hm_meta_chunk *next = chunk->next;

        os->unmap_meta(os->ctx, (void *)chunk->addr, chunk->len_bytes);
        chunk = next;
    }
}

int
hm_meta_scan(const struct hm_meta *meta, struct hm_residency *inout)
{
    const struct hm_meta_chunk *chunk = meta->chunks;
    int rc = 0;

    for (; chunk != NULL && rc == 0; chunk = chunk->next)
        rc = meta->os->scan(meta->os->ctx, chunk->addr, chunk->len_bytes, inout);
    return rc;
}
