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

/* --- blocks ----------------------------------------------------------------------------------- */

static HM_COLD uint64_t
say_no_memory(const char *call, size_t size)
{
    char why[HM_SAID_BYTES];
    struct hm_fmt out = hm_fmt_init(why, sizeof(why), -1);

    hm_fmt_u64(&out, size);
    hm_fmt_str(&out, " bytes are not free in one piece, and there is no memory for more, or "
                     "limit_bytes or process_bytes is reached; free some, or create the arena with "
                     "more");
    hm_said(ENOMEM, call, why);
    return 0;
}

HM_INLINE uint64_t
alloc(huma_shared *handle, size_t align_bytes, size_t size, const char *call)
{
    struct huma_shared *shared = hm_shareds_enter(handle, call);
    uint64_t block;

    if (HM_UNLIKELY(shared == NULL))
        return 0;
    block = hm_shared_alloc(&shared->view, size, align_bytes);
    if (HM_UNLIKELY(block == 0))
        return say_no_memory(call, size);
    return block;
}

uint64_t
hm_shareds_alloc(huma_shared *handle, size_t align_bytes, size_t size, const char *call)
{
    return alloc(handle, align_bytes, size, call);
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
    struct huma_shared *found = hm_shareds_enter(shared, call);

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
    const struct huma_shared *found = hm_shareds_find(shared, "huma_shared_usable_size()");

    return found != NULL ? hm_shared_room(&found->view, block) : 0;
}

HM_EXPORT uint64_t
huma_shared_realloc(huma_shared *shared, uint64_t block, size_t size)
{
    static const char call[] = "huma_shared_realloc()";
    const struct huma_shared *found = hm_shareds_enter(shared, call);
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

/* Whether a range lies in the arena's data; all is said if not. */
static bool
is_inside(const struct huma_shared *shared, uint64_t off, size_t size, const char *call)
{
    const struct hm_shared_geom *geom = &shared->view.geom;

    if (off >= geom->data_off && off <= geom->end_off && size <= geom->end_off - off)
        return true;
    hm_said(EINVAL, call, "the range lies outside of the arena's data");
    return false;
}

static int
copied(int rc, const char *call)
{
    if (rc == 0)
        return 0;
    hm_said(-rc, call,
            "the memory cannot be accessed: another process has cut the arena's file short or "
            "taken memory away, or buf is wrong");
    return -1;
}

HM_EXPORT int
huma_shared_read(huma_shared *shared, uint64_t off, void *buf, size_t size)
{
    static const char call[] = "huma_shared_read()";
    const struct huma_shared *found = hm_shareds_find(shared, call);

    if (found == NULL || !is_inside(found, off, size, call))
        return -1;
    return copied(hm_os_shared_copy(buf, (char *)found->base + off, size), call);
}

HM_EXPORT int
huma_shared_write(huma_shared *shared, uint64_t off, const void *buf, size_t size)
{
    static const char call[] = "huma_shared_write()";
    const struct huma_shared *found = hm_shareds_enter(shared, call);

    if (found == NULL || !is_inside(found, off, size, call))
        return -1;
    return copied(hm_os_shared_copy((char *)found->base + off, buf, size), call);
}

HM_EXPORT int
huma_shared_sync(huma_shared *shared, uint64_t off, size_t size)
{
    static const char call[] = "huma_shared_sync()";
    const struct huma_shared *found = hm_shareds_find(shared, call);
    size_t page_bytes = hm_page_bytes(&hm_arenas.geom);
    uintptr_t from;
    int rc;

    if (found == NULL)
        return -1;
    if (size == 0) {
        off = 0;
        size = found->view.geom.end_off;
    } else if (!is_inside(found, off, size, call)) {
        return -1;
    }
    if (found->kind != HUMA_SHARED_FILE)
        return 0;
    from = hm_align_down((uintptr_t)found->base + off, page_bytes);
    rc = hm_os_shared_sync(from, (uintptr_t)found->base + off + size - from);
    if (rc == 0)
        return 0;
    hm_said(-rc, call, "the file could not be written; see the kernel's log and df");
    return -1;
}
