/* SPDX-License-Identifier: MIT */
/* compat.c - what else glibc exports around malloc: further names, and questions about the heap.
 *
 * Problem     An entry point that we do not export would run on glibc's idle heap, and answer for
 *             that, or be handed our pointers.
 * Idea        Names are one call each. Figures come from one walk (stats/stats.c); where glibc's
 *             notion has no counterpart here the field is 0.
 * Sources     mallinfo(3), malloc_info(3), malloc_stats(3), malloc_trim(3), mallopt(3).
 */
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/names.h"
#include "api/sized.h"
#include "heap/purge.h"
#include "stats/print.h"

/* --- more names for the family ---------------------------------------------------------------- */

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

/* An alias, since a call of the deprecated function would be warned of. */
HM_EXPORT struct mallinfo __libc_mallinfo(void) __attribute__((alias("mallinfo")));

/* --- settings --------------------------------------------------------------------------------- */

/* Parameters of glibc that mean nothing here are accepted without effect, as glibc accepts unknown
 * ones. Those that would move the cutoff or the trim threshold, which are fixed, are refused: 0,
 * not a false 1. */
HM_EXPORT int
mallopt(int param, int val)
{
    if (param == M_PERTURB)
        hm_process_set_perturb(val);
    return param != M_MMAP_THRESHOLD && param != M_MMAP_MAX && param != M_TRIM_THRESHOLD
           && param != M_TOP_PAD;
}

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
    given_bytes = hm_purge_all(&hm_process.heap);
    hm_lock_give(&hm_process.heap.lock);
    errno = saved_errno;
    return given_bytes > 0;
}

/* --- questions -------------------------------------------------------------------------------- */

static bool
read_stats(bool ask_kernel, struct hm_stats *out_stats)
{
    if (!hm_process_start())
        return false;
    hm_process_stats(ask_kernel, out_stats);
    return true;
}

HM_EXPORT struct mallinfo2
mallinfo2(void)
{
    struct mallinfo2 info = { 0 };
    struct hm_stats stats;

    if (!read_stats(false, &stats))
        return info;
    info.hblks = stats.direct_count;
    info.hblkhd = stats.direct_bytes;
    info.arena = stats.heap_bytes - stats.direct_bytes;
    info.uordblks = stats.live_bytes - stats.direct_bytes;
    info.fordblks = info.arena - info.uordblks;
    return info;
}

/* The fields are int, and wrap as they do in glibc. */
HM_EXPORT struct mallinfo
mallinfo(void)
{
    struct mallinfo2 wide = mallinfo2();
    struct mallinfo info = { 0 };

    info.arena = (int)wide.arena;
    info.hblks = (int)wide.hblks;
    info.hblkhd = (int)wide.hblkhd;
    info.uordblks = (int)wide.uordblks;
    info.fordblks = (int)wide.fordblks;
    return info;
}

HM_EXPORT void
malloc_stats(void)
{
    struct hm_stats stats;
    char buf[256];
    struct hm_fmt out = hm_fmt_init(buf, sizeof(buf), STDERR_FILENO);

    if (read_stats(true, &stats))
        hm_stats_print_text(&stats, &out);
}

static void
put_element(struct hm_fmt *out, const char *type, uint64_t count, uint64_t size_bytes)
{
    hm_fmt_str(out, "<total type=\"");
    hm_fmt_str(out, type);
    hm_fmt_str(out, "\" count=\"");
    hm_fmt_u64(out, count);
    hm_fmt_str(out, "\" size=\"");
    hm_fmt_u64(out, size_bytes);
    hm_fmt_str(out, "\"/>\n");
}

/* glibc's outline, with the elements that have a meaning here. */
HM_EXPORT int
malloc_info(int options, FILE *fp)
{
    struct hm_stats stats;
    char buf[512];
    struct hm_fmt out = hm_fmt_init(buf, sizeof(buf), -1);

    if (options != 0)
        return EINVAL;
    if (!read_stats(true, &stats))
        return ENOMEM;
    hm_fmt_str(&out, "<malloc version=\"1\">\n");
    put_element(&out, "rest", stats.span_count[HM_SPAN_SLOTS] + stats.span_count[HM_SPAN_RUN],
                stats.heap_bytes - stats.live_bytes);
    put_element(&out, "mmap", stats.direct_count, stats.direct_bytes);
    hm_fmt_str(&out, "<system type=\"current\" size=\"");
    hm_fmt_u64(&out, stats.heap_bytes);
    hm_fmt_str(&out, "\"/>\n<huma resident=\"");
    hm_fmt_u64(&out, stats.kernel.resident_bytes);
    hm_fmt_str(&out, "\" huge=\"");
    hm_fmt_u64(&out, stats.kernel.huge_bytes);
    hm_fmt_str(&out, "\"/>\n</malloc>\n");
    return fputs(buf, fp) < 0 ? errno : 0;
}
