/* SPDX-License-Identifier: MIT */
/* said.c - sentences about failures, for people (see said.h). */
#include "api/said.h"

#include <errno.h>

#include "base/fmt.h"

/* Every block has as much. */
#define MALLOC_ALIGN_BYTES 16

void
hm_said(int error, const char *call, const char *why)
{
    struct hm_thread *thread = hm_arenas_thread();

    if (thread != NULL) {
        struct hm_fmt out = hm_fmt_init(thread->said, sizeof(thread->said), -1);

        hm_fmt_str(&out, call);
        hm_fmt_str(&out, ": ");
        hm_fmt_str(&out, why);
    }
    errno = error;
}

/* The limit that the caller set. */
static void
tell_limit(const struct hm_heap *heap, struct hm_fmt *out)
{
    hm_fmt_str(out, " would exceed the limit of ");
    hm_fmt_u64(out, heap->backing.conf->limit_bytes);
    hm_fmt_str(out, ", of which ");
    hm_fmt_u64(out, hm_heap_bytes(heap));
    hm_fmt_str(out, " are in use; free some, or create the arena with more limit_bytes");
}

/* Reasons that numbers of the pool or its limits explain. */
static bool
is_of_pool(enum hm_reason reason)
{
    return reason == HM_REASON_POOL_EMPTY || reason == HM_REASON_POOL_MAX
           || reason == HM_REASON_POOL_RSVD;
}

/* All that there will be is in use, or in pieces. */
static void
tell_fixed(const struct hm_heap *heap, struct hm_fmt *out)
{
    hm_fmt_str(out, " are not free in one piece of its memory, of which ");
    hm_fmt_u64(out, hm_heap_bytes(heap));
    hm_fmt_str(out, " are in use, and there will be no more; free some, or create it with more");
}

/* Whether the latest reason is why there is no memory: where base pages would do, others are not
 * missed. */
static bool
is_to_blame(const struct hm_heap *heap, enum hm_reason reason)
{
    if (reason == HM_REASON_LOCK_LIMIT)
        return true;
    return reason != HM_REASON_NONE && !hm_chain_has(&heap->backing.conf->backing, HM_BACKING_4K);
}

/* Why the last backing of the chain could not be had, if that is known. */
static void
tell_backing(struct hm_heap *heap, size_t size_bytes, struct hm_fmt *out)
{
    enum hm_reason reason = heap->backing.last_reason;

    hm_fmt_str(out, ": there is no memory");
    if (!is_to_blame(heap, reason)) {
        hm_fmt_str(out, "; see ulimit -v, vm.overcommit_memory and vm.max_map_count");
        return;
    }
    hm_fmt_str(out, " (");
    hm_fmt_str(out, hm_reason_code(reason));
    hm_fmt_str(out, "): ");
    hm_fmt_str(out, hm_reason_sentence(reason));
    if (!is_of_pool(reason) || !hm_said_pool(heap, size_bytes, out)) {
        hm_fmt_str(out, "; cure: ");
        hm_fmt_str(out, hm_reason_cure(reason));
    }
}

void *
hm_said_no_memory(struct huma_arena *arena, const char *call, size_t size_bytes, size_t align_bytes)
{
    char why[HM_SAID_BYTES];
    struct hm_fmt out = hm_fmt_init(why, sizeof(why), -1);
    struct hm_heap *heap;

    if (arena == NULL) {
        hm_said(EINVAL, call, "the arena is NULL; pass what huma_arena_create returned");
        return NULL;
    }
    heap = &arena->core.heap;
    hm_fmt_str(&out, "arena ");
    hm_fmt_str(&out, hm_arenas_name(arena));
    hm_fmt_str(&out, ": ");
    hm_fmt_u64(&out, size_bytes);
    hm_fmt_str(&out, " bytes");
    if (align_bytes > MALLOC_ALIGN_BYTES) {
        hm_fmt_str(&out, " at a multiple of ");
        hm_fmt_u64(&out, align_bytes);
    }
    hm_lock_take(&heap->lock);
    if (size_bytes > PTRDIFF_MAX)
        hm_fmt_str(&out, " are more than any block can have");
    else if (hm_heap_left_bytes(heap)
             < hm_pages_to_bytes(&heap->geom, hm_bytes_to_pages_up(&heap->geom, size_bytes)))
        tell_limit(heap, &out);
    else if (arena->is_fixed || heap->supply_bytes != 0)
        tell_fixed(heap, &out);
    else
        tell_backing(heap, size_bytes, &out);
    hm_lock_give(&heap->lock);
    hm_said(ENOMEM, call, why);
    return NULL;
}

struct huma_arena *
hm_said_find(const huma_arena *handle, const char *call)
{
    struct huma_arena *arena = hm_arenas_find(handle, call);

    if (arena == NULL)
        (void)hm_said_no_memory(NULL, call, 0, 1);
    return arena;
}

HM_EXPORT const char *
huma_last_error(void)
{
    return hm_arena_tls.thread != NULL ? hm_arena_tls.thread->said : "";
}
