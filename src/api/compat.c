/* SPDX-License-Identifier: MIT */
/* compat.c - what else glibc exports around malloc: further names, and malloc_trim.
 *
 * Problem     An entry point that we do not export would run on glibc's idle heap, and answer for
 *             that, or be handed our pointers.
 * Idea        Names are one call each.
 * Sources     malloc_trim(3).
 */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#include "api/names.h"
#include "api/sized.h"
#include "heap/purge.h"

/* --- more names for the family ---------------------------------------------------------------- */

HM_EXPORT void *
valloc(size_t size)
{
    if (!hm_process_start()) {
        errno = ENOMEM;
        return NULL;
    }
    return memalign(hm_page_bytes(&hm_process.heap.geom), size);
}

HM_EXPORT void *
pvalloc(size_t size)
{
    size_t page_bytes;

    if (!hm_process_start() || size > PTRDIFF_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    page_bytes = hm_page_bytes(&hm_process.heap.geom);
    return memalign(page_bytes, hm_align_up(size, page_bytes));
}

HM_EXPORT void
cfree(void *ptr)
{
    free(ptr);
}

/* The block may have been through realloc(); one of aligned_alloc() may not. */
HM_EXPORT void
free_sized(void *ptr, size_t size)
{
    hm_sized_look(ptr, size, 1, true);
    free(ptr);
}

HM_EXPORT void
free_aligned_sized(void *ptr, size_t alignment, size_t size)
{
    hm_sized_look(ptr, size, alignment, false);
    free(ptr);
}

HM_EXPORT void *
__libc_malloc(size_t size)
{
    return malloc(size);
}

HM_EXPORT void
__libc_free(void *ptr)
{
    free(ptr);
}

HM_EXPORT void *
__libc_calloc(size_t count, size_t size)
{
    return calloc(count, size);
}

HM_EXPORT void *
__libc_realloc(void *ptr, size_t size)
{
    return realloc(ptr, size);
}

HM_EXPORT void *
__libc_memalign(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

HM_EXPORT void *
__libc_valloc(size_t size)
{
    return valloc(size);
}

HM_EXPORT void *
__libc_pvalloc(size_t size)
{
    return pvalloc(size);
}

HM_EXPORT int
__posix_memalign(void **out_ptr, size_t alignment, size_t size)
{
    return posix_memalign(out_ptr, alignment, size);
}

HM_EXPORT int
__libc_mallopt(int param, int val)
{
    return mallopt(param, val);
}

/* --- memory back ------------------------------------------------------------------------------ */

/* Returns 1 if memory went back, as glibc does. How much to keep at the top (`pad`) has no meaning
 * here. */
HM_EXPORT int
malloc_trim(size_t pad)
{
    int saved_errno = errno;
    struct hm_tcache *cache = hm_thread_cache;
    size_t given_bytes;

    (void)pad;
    if (!hm_process_start())
        return 0;
    if (cache != &hm_tcache_empty)
        hm_tcache_trim(cache);
    hm_lock_take(&hm_process.heap.lock);
    hm_pool_mend(&hm_process.pool);
    hm_pool_reclaim(&hm_process.pool);
    given_bytes = hm_purge_all(&hm_process.heap);
    hm_lock_give(&hm_process.heap.lock);
    errno = saved_errno;
    return given_bytes > 0;
}
