/* SPDX-License-Identifier: MIT */
/* bump.c - the least an allocator can do: blocks side by side on hugetlb pages, none comes back.
 *
 * A limit for bench/run to compare with, not an allocator for programs: look-ups cannot be faster
 * than in memory without gaps on huge pages that were reserved. Blocks are multiples of 16 bytes,
 * free() does nothing. The pool must have the pages: BUMP_MIB, a multiple of the huge page size.
 *
 *     gcc -O2 -fno-builtin -shared -fPIC -o bump.so bench/bump.c
 *     bench/run --workloads index --scale 0.5 huma 'bump=bump.so;BUMP_MIB=2040'
 *
 * Small programs that bench/run starts under it have no BUMP_MIB; they are served from base pages.
 * One thread only: nothing here is locked.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGN_BYTES = 16, SMALL_MIB = 64 };

static uintptr_t at, end;

static int
begin(void)
{
    const char *wanted_mib = getenv("BUMP_MIB");
    size_t len_bytes = (size_t)(wanted_mib != NULL ? atol(wanted_mib) : SMALL_MIB) << 20;
    int huge = wanted_mib != NULL ? MAP_HUGETLB : MAP_NORESERVE;
    void *map
        = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | huge, -1, 0);

    if (map == MAP_FAILED)
        return -1;
    at = (uintptr_t)map;
    end = at + len_bytes;
    return 0;
}

static void *
take(size_t align_bytes, size_t len_bytes)
{
    uintptr_t block;

    if (align_bytes < ALIGN_BYTES)
        align_bytes = ALIGN_BYTES;
    if (at == 0 && begin() != 0)
        return NULL;
    block = (at + align_bytes - 1) & ~(uintptr_t)(align_bytes - 1);
    if (block > end || len_bytes > end - block) {
        errno = ENOMEM;
        return NULL;
    }
    at = block + len_bytes;
    return (void *)block;
}

void *
malloc(size_t len_bytes)
{
    return take(ALIGN_BYTES, len_bytes);
}

void
free(void *block)
{
    (void)block;
}

/* Memory of the kernel is zero, and no block is handed out twice. */
void *
calloc(size_t count, size_t len_bytes)
{
    return take(ALIGN_BYTES, count * len_bytes);
}

/* The length of the old block is not known; what lies behind it is read instead, up to the end. */
void *
realloc(void *old, size_t len_bytes)
{
    void *block = take(ALIGN_BYTES, len_bytes);

    if (old != NULL && block != NULL)
        memmove(block, old, len_bytes < end - (uintptr_t)old ? len_bytes : end - (uintptr_t)old);
    return block;
}

void *
memalign(size_t align_bytes, size_t len_bytes)
{
    return take(align_bytes, len_bytes);
}

void *
aligned_alloc(size_t align_bytes, size_t len_bytes)
{
    return take(align_bytes, len_bytes);
}

int
posix_memalign(void **out_block, size_t align_bytes, size_t len_bytes)
{
    *out_block = take(align_bytes, len_bytes);
    return *out_block == NULL ? ENOMEM : 0;
}
