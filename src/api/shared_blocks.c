/* SPDX-License-Identifier: MIT */
/* shared_blocks.c - the blocks of shared arenas, as programs ask for them.
 *
 * Idea        Offsets, since every process has the arena elsewhere. Each function finds the
 *             handle's struct, sees that this process has a seat (a forked child takes its own at
 *             its first call), and leaves the rest to shared/.
 */
#include <errno.h>
#include <string.h>

#include "api/said.h"
#include "api/shareds.h"
#include "base/fmt.h"

#define ALIGN_MIN_BYTES 16

/* --- handles ---------------------------------------------------------------------------------- */

static HM_COLD struct huma_shared *
not_open(const struct huma_shared *shared, const char *call)
{
    char what[80];
    struct hm_fmt out = hm_fmt_init(what, sizeof(what), -1);

    if (shared == NULL) {
        hm_said(EINVAL, call, "the arena is NULL; pass what huma_shared_create returned");
        return NULL;
    }
    hm_fmt_str(&out, call);
    hm_fmt_str(&out, ": not a shared arena:");
    hm_fail(what, (uintptr_t)shared, "this process has detached it; detach it last");
}

HM_INLINE struct huma_shared *
find(const huma_shared *handle, const char *call)
{
    struct huma_shared *shared = (struct huma_shared *)(uintptr_t)handle;

    if (HM_LIKELY(shared != NULL) && HM_LIKELY(hm_load(&shared->is_open)))
        return shared;
    return not_open(shared, call);
}

struct huma_shared *
hm_shareds_find(const huma_shared *handle, const char *call)
{
    return find(handle, call);
}

static HM_COLD struct huma_shared *
sit(struct huma_shared *shared, const char *call)
{
    int rc = hm_shareds_sit(shared);

    if (rc == 0)
        return shared;
    hm_said(-rc, call,
            "this process could not be attached, as a forked child must be: all of process_count "
            "are, or /proc cannot be read");
    return NULL;
}

/* NULL, and everything said, if nothing can be done in the arena. */
HM_INLINE struct huma_shared *
enter(const huma_shared *handle, const char *call)
{
    struct huma_shared *shared = find(handle, call);

    if (HM_LIKELY(shared != NULL) && HM_UNLIKELY(shared->view.seat == 0))
        return sit(shared, call);
    return shared;
}

/* --- blocks ----------------------------------------------------------------------------------- */

static HM_COLD uint64_t
say_no_memory(const char *call, size_t size)
{
    char why[HM_SAID_BYTES];
    struct hm_fmt out = hm_fmt_init(why, sizeof(why), -1);

    hm_fmt_u64(&out, size);
    hm_fmt_str(&out, " bytes are not free in one piece, and there is no memory for more, or "
                     "limit_bytes is reached; free some, or create the arena with more");
    hm_said(ENOMEM, call, why);
    return 0;
}

HM_INLINE uint64_t
alloc(huma_shared *handle, size_t align_bytes, size_t size, const char *call)
{
    struct huma_shared *shared = enter(handle, call);
    uint64_t block;

    if (HM_UNLIKELY(shared == NULL))
        return 0;
    block = hm_shared_alloc(&shared->view, size, align_bytes);
    if (HM_UNLIKELY(block == 0))
        return say_no_memory(call, size);
    return block;
}

HM_EXPORT uint64_t
huma_shared_alloc(huma_shared *shared, size_t size)
{
    return alloc(shared, ALIGN_MIN_BYTES, size, "huma_shared_alloc()");
}

HM_EXPORT uint64_t
huma_shared_aligned_alloc(huma_shared *shared, size_t alignment, size_t size)
{
    static const char call[] = "huma_shared_aligned_alloc()";

    if (!hm_is_pow2(alignment) || alignment > HM_SHARED_CHUNK_BYTES) {
        hm_said(EINVAL, call, "the alignment is no power of two up to 2 MiB; pass 1, 2, 4, 8, ...");
        return 0;
    }
    return alloc(shared, alignment > ALIGN_MIN_BYTES ? alignment : ALIGN_MIN_BYTES, size, call);
}

HM_EXPORT uint64_t
huma_shared_calloc(huma_shared *shared, size_t nmemb, size_t size)
{
    size_t size_bytes;
    uint64_t block;

    if (__builtin_mul_overflow(nmemb, size, &size_bytes))
        size_bytes = SIZE_MAX;
    block = alloc(shared, ALIGN_MIN_BYTES, size_bytes, "huma_shared_calloc()");
    if (block != 0)
        memset((char *)shared->base + block, 0, size_bytes);
    return block;
}

HM_EXPORT int
huma_shared_free(huma_shared *shared, uint64_t block)
{
    static const char call[] = "huma_shared_free()";
    struct huma_shared *found = enter(shared, call);

    if (found == NULL)
        return -1;
    if (block == 0 || hm_shared_free(&found->view, block) == 0)
        return 0;
    hm_said(EINVAL, call,
            "there is no block at this offset: it was freed before, or is none that was returned, "
            "or is being published");
    return -1;
}

HM_EXPORT size_t
huma_shared_usable_size(huma_shared *shared, uint64_t block)
{
    const struct huma_shared *found = enter(shared, "huma_shared_usable_size()");

    return found != NULL ? hm_shared_room(&found->view, block) : 0;
}

HM_EXPORT uint64_t
huma_shared_realloc(huma_shared *shared, uint64_t block, size_t size)
{
    static const char call[] = "huma_shared_realloc()";
    const struct huma_shared *found = enter(shared, call);
    uint64_t room_bytes;
    uint64_t moved;

    if (found == NULL)
        return 0;
    if (block == 0)
        return alloc(shared, ALIGN_MIN_BYTES, size, call);
    room_bytes = hm_shared_room(&found->view, block);
    if (!hm_shared_is_mine(&found->view, block)) {
        hm_said(EINVAL, call,
                "there is no block of this process at the offset; take what was published before");
        return 0;
    }
    if (size <= room_bytes && size >= room_bytes / 2)
        return block;
    moved = alloc(shared, ALIGN_MIN_BYTES, size, call);
    if (moved == 0)
        return size <= room_bytes ? block : 0;
    memcpy((char *)found->base + moved, (char *)found->base + block,
           size < room_bytes ? size : room_bytes);
    (void)huma_shared_free(shared, block);
    return moved;
}

/* --- addresses -------------------------------------------------------------------------------- */

HM_EXPORT void *
huma_shared_at(huma_shared *shared, uint64_t off)
{
    static const char call[] = "huma_shared_at()";
    const struct huma_shared *found = hm_shareds_find(shared, call);

    if (found == NULL)
        return NULL;
    if (off >= found->view.geom.data_off && off < found->view.geom.end_off)
        return (char *)found->base + off;
    hm_said(EINVAL, call, "the offset lies outside of the arena's data");
    return NULL;
}

HM_EXPORT uint64_t
huma_shared_offset(huma_shared *shared, const void *ptr)
{
    static const char call[] = "huma_shared_offset()";
    const struct huma_shared *found = hm_shareds_find(shared, call);
    uint64_t off;

    if (found == NULL)
        return 0;
    off = (uint64_t)((uintptr_t)ptr - (uintptr_t)found->base);
    if (off >= found->view.geom.data_off && off < found->view.geom.end_off)
        return off;
    hm_said(EINVAL, call, "the pointer lies outside of the arena's data");
    return 0;
}

HM_EXPORT int
huma_shared_fd(huma_shared *shared)
{
    const struct huma_shared *found = hm_shareds_find(shared, "huma_shared_fd()");

    return found != NULL ? found->fd : -1;
}

/* --- cells ------------------------------------------------------------------------------------ */

HM_EXPORT uint64_t
huma_shared_root(huma_shared *shared, const char *name)
{
    static const char call[] = "huma_shared_root()";
    struct huma_shared *found = enter(shared, call);
    uint64_t cell;

    if (found == NULL)
        return 0;
    if (name == NULL || name[0] == '\0') {
        hm_said(EINVAL, call, "a root has a name; pass one");
        return 0;
    }
    cell = hm_shared_root(&found->view, name);
    if (cell == 0)
        hm_said(ENOSPC, call, "all of root_count have names; create the arena with more");
    return cell;
}

HM_EXPORT int
huma_shared_publish(huma_shared *shared, uint64_t cell, uint64_t block)
{
    static const char call[] = "huma_shared_publish()";
    struct huma_shared *found = enter(shared, call);
    int rc;

    if (found == NULL)
        return -1;
    rc = hm_shared_publish(&found->view, cell, block);
    if (rc == 0)
        return 0;
    hm_said(-rc, call,
            rc == -EEXIST ? "the cell holds a block; take that before, or use another cell"
                          : "there is no block of this process at the offset, or no cell");
    return -1;
}

HM_EXPORT uint64_t
huma_shared_take(huma_shared *shared, uint64_t cell)
{
    static const char call[] = "huma_shared_take()";
    struct huma_shared *found = enter(shared, call);
    uint64_t block;

    if (found == NULL)
        return 0;
    block = hm_shared_take(&found->view, cell);
    if (block == 0)
        errno = ENOENT;
    return block;
}

/* --- the whole -------------------------------------------------------------------------------- */

HM_EXPORT int
huma_shared_recover(huma_shared *shared)
{
    struct huma_shared *found = enter(shared, "huma_shared_recover()");
    unsigned count;

    if (found == NULL)
        return -1;
    hm_lock_take(&found->view.lock);
    count = hm_shared_recover(&found->view);
    hm_lock_give(&found->view.lock);
    return (int)count;
}

HM_EXPORT size_t
huma_shared_trim(huma_shared *shared)
{
    struct huma_shared *found = enter(shared, "huma_shared_trim()");

    return found != NULL ? hm_shared_trim(&found->view) : 0;
}

#define INFO_MIN_BYTES (offsetof(struct huma_shared_state, process_count) + sizeof(uint64_t))

static void
fill_info(const struct huma_shared *shared, const struct hm_shared_sums *sums,
          struct huma_shared_state *out_info)
{
    const struct hm_shared_geom *geom = &shared->view.geom;
    struct hm_residency residency = { 0 };

    out_info->private_bytes = sums->private_bytes;
    out_info->published_bytes = sums->published_bytes;
    out_info->heap_bytes = sums->span_bytes;
    out_info->ready_bytes = sums->ready_bytes;
    out_info->limit_bytes = (uint64_t)geom->span_count << HM_SHARED_SPAN_SHIFT;
    out_info->page_bytes = (uint64_t)1 << geom->page_shift;
    out_info->process_count = sums->seat_count;
    if (hm_os_scan(NULL, (uintptr_t)shared->base, geom->end_off, &residency) == 0) {
        out_info->resident_bytes = residency.resident_bytes;
        out_info->huge_bytes = residency.huge_bytes;
    }
}

HM_EXPORT int
huma_shared_info(huma_shared *shared, struct huma_shared_state *info)
{
    static const char call[] = "huma_shared_info()";
    const struct huma_shared *found = hm_shareds_find(shared, call);
    struct hm_shared_sums sums;
    int saved_errno = errno;

    if (found == NULL)
        return -1;
    if (info == NULL || info->struct_size < INFO_MIN_BYTES) {
        hm_said(EINVAL, call,
                "info is NULL, or its struct_size wrong; begin with "
                "HUMA_SHARED_STATE_INIT");
        return -1;
    }
    (void)hm_shared_verify(&found->view, &sums);
    fill_info(found, &sums, info);
    errno = saved_errno;
    return 0;
}

HM_EXPORT int
huma_shared_verify(huma_shared *shared)
{
    static const char call[] = "huma_shared_verify()";
    const struct huma_shared *found = hm_shareds_find(shared, call);
    struct hm_shared_sums sums;
    const char *fault;

    if (found == NULL)
        return -1;
    fault = hm_shared_verify(&found->view, &sums);
    if (fault == NULL)
        return 0;
    hm_said(EUCLEAN, call, fault);
    return -1;
}
