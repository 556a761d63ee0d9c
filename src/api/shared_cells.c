/* SPDX-License-Identifier: MIT */
/* shared_cells.c - cells, rings and locks of shared arenas, as programs ask for them.
 *
 * Idea        As shared_blocks.c: the handle's struct is found, and the rest left to shared/.
 */
#include <errno.h>
#include <string.h>

#include "api/said.h"
#include "api/shareds.h"

#define ALIGN_MIN_BYTES 16

/* --- cells ------------------------------------------------------------------------------------ */

HM_EXPORT uint64_t
huma_shared_root(huma_shared *shared, const char *name)
{
    static const char call[] = "huma_shared_root()";
    struct huma_shared *found = hm_shareds_find(shared, call);
    uint64_t cell;

    if (found == NULL)
        return 0;
    if (name == NULL || name[0] == '\0') {
        hm_said(EINVAL, call, "a root has a name; pass one");
        return 0;
    }
    cell = hm_shared_find_root(&found->view, name);
    if (cell != 0)
        return cell;
    if (found->is_read_only) {
        hm_said(ENOENT, call, "no process has asked for this root yet");
        return 0;
    }
    if (hm_shareds_enter(shared, call) == NULL)
        return 0;
    cell = hm_shared_root(&found->view, name);
    if (cell == 0)
        hm_said(ENOSPC, call, "all of root_count have names; create the arena with more");
    return cell;
}

int
hm_shareds_publish_block(huma_shared *shared, uint64_t cell, uint64_t block, const char *call)
{
    struct huma_shared *found = hm_shareds_enter(shared, call);
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

HM_EXPORT int
huma_shared_publish(huma_shared *shared, uint64_t cell, uint64_t block)
{
    return hm_shareds_publish_block(shared, cell, block, "huma_shared_publish()");
}

/* Why there is no block. */
static void
say_empty(const struct huma_shared *shared, uint64_t cell, const char *call)
{
    if (hm_shared_find_cell(&shared->view, cell) != NULL)
        errno = ENOENT;
    else
        hm_said(EINVAL, call,
                "there is no cell at the offset; pass a root's, or 8 bytes in a block");
}

HM_EXPORT uint64_t
huma_shared_take(huma_shared *shared, uint64_t cell)
{
    static const char call[] = "huma_shared_take()";
    struct huma_shared *found = hm_shareds_enter(shared, call);
    uint64_t block;

    if (found == NULL)
        return 0;
    block = hm_shared_take(&found->view, cell);
    if (block == 0)
        say_empty(found, cell, call);
    return block;
}

HM_EXPORT uint64_t
huma_shared_peek(huma_shared *shared, uint64_t cell)
{
    static const char call[] = "huma_shared_peek()";
    const struct huma_shared *found = hm_shareds_find(shared, call);
    uint64_t block;

    if (found == NULL)
        return 0;
    block = hm_shared_peek(&found->view, cell);
    if (block == 0)
        say_empty(found, cell, call);
    return block;
}

HM_EXPORT uint64_t
huma_shared_alloc_to(huma_shared *shared, uint64_t cell, size_t size)
{
    static const char call[] = "huma_shared_alloc_to()";
    const struct huma_shared *found = hm_shareds_enter(shared, call);
    uint64_t block;
    int error;

    if (found == NULL)
        return 0;
    /* Also where there is no memory. */
    if (hm_shared_peek(&found->view, cell) != 0) {
        hm_said(EEXIST, call, "the cell holds a block; take that before, or use another cell");
        return 0;
    }
    block = hm_shareds_alloc(shared, ALIGN_MIN_BYTES, size, call);
    if (block == 0)
        return 0;
    memset((char *)found->base + block, 0, size);
    if (hm_shareds_publish_block(shared, cell, block, call) == 0)
        return block;
    error = errno;
    (void)huma_shared_free(shared, block);
    errno = error;
    return 0;
}

/* --- rings ------------------------------------------------------------------------------------ */

HM_EXPORT uint64_t
huma_shared_ring_create(huma_shared *shared, size_t slot_count)
{
    static const char call[] = "huma_shared_ring_create()";
    struct huma_shared *found = hm_shareds_enter(shared, call);
    uint64_t size_bytes = hm_shared_ring_bytes(slot_count);
    uint64_t ring;

    if (found == NULL)
        return 0;
    if (size_bytes == 0) {
        hm_said(EINVAL, call, "slot_count is 0, or more than 2^20; pass how many blocks it holds");
        return 0;
    }
    ring = hm_shareds_alloc(shared, HM_CACHE_LINE_BYTES, size_bytes, call);
    if (ring != 0)
        hm_shared_ring_init(&found->view, ring, slot_count);
    return ring;
}

static void
say_ring(int rc, int timeout_ms, const char *call)
{
    if (rc == -EAGAIN && timeout_ms == 0)
        errno = EAGAIN;
    else if (rc == -EAGAIN)
        errno = ETIMEDOUT;
    else
        hm_said(EINVAL, call,
                "there is no ring at the offset, or no block of this process; pass what "
                "huma_shared_ring_create returned, and a block that was not published");
}

HM_EXPORT int
huma_shared_ring_put(huma_shared *shared, uint64_t ring, uint64_t block, int timeout_ms)
{
    static const char call[] = "huma_shared_ring_put()";
    struct huma_shared *found = hm_shareds_enter(shared, call);
    int rc;

    if (found == NULL)
        return -1;
    rc = hm_shared_ring_put(&found->view, ring, block, timeout_ms);
    if (HM_LIKELY(rc == 0))
        return 0;
    say_ring(rc, timeout_ms, call);
    return -1;
}

HM_EXPORT uint64_t
huma_shared_ring_get(huma_shared *shared, uint64_t ring, int timeout_ms)
{
    static const char call[] = "huma_shared_ring_get()";
    struct huma_shared *found = hm_shareds_enter(shared, call);
    uint64_t block;
    int rc;

    if (found == NULL)
        return 0;
    rc = hm_shared_ring_get(&found->view, ring, &block, timeout_ms);
    if (HM_LIKELY(rc == 0))
        return block;
    say_ring(rc, timeout_ms, call);
    return 0;
}

HM_EXPORT int
huma_shared_ring_destroy(huma_shared *shared, uint64_t ring)
{
    static const char call[] = "huma_shared_ring_destroy()";
    struct huma_shared *found = hm_shareds_enter(shared, call);
    uint64_t block;
    int rc;

    if (found == NULL)
        return -1;
    while ((rc = hm_shared_ring_get(&found->view, ring, &block, 0)) == 0)
        (void)hm_shared_free(&found->view, block);
    if (rc == -EAGAIN && hm_shared_free(&found->view, ring) == 0)
        return 0;
    say_ring(-EINVAL, 0, call);
    return -1;
}

/* --- locks ------------------------------------------------------------------------------------ */

HM_EXPORT int
huma_shared_lock(huma_shared *shared, uint64_t word, int timeout_ms)
{
    static const char call[] = "huma_shared_lock()";
    struct huma_shared *found = hm_shareds_enter(shared, call);
    int rc;

    if (found == NULL)
        return -1;
    rc = hm_shared_latch(&found->view, word, timeout_ms);
    if (HM_LIKELY(rc >= 0))
        return rc;
    if (rc == -EAGAIN)
        errno = timeout_ms == 0 ? EAGAIN : ETIMEDOUT;
    else
        hm_said(EINVAL, call, "there is no lock at the offset; pass that of 8 bytes in a block");
    return -1;
}

HM_EXPORT int
huma_shared_unlock(huma_shared *shared, uint64_t word)
{
    static const char call[] = "huma_shared_unlock()";
    struct huma_shared *found = hm_shareds_enter(shared, call);
    int rc;

    if (found == NULL)
        return -1;
    rc = hm_shared_unlatch(&found->view, word);
    if (HM_LIKELY(rc == 0))
        return 0;
    hm_said(-rc, call,
            rc == -EPERM ? "this process does not hold the lock"
                         : "there is no lock at the offset; pass that of 8 bytes in a block");
    return -1;
}
