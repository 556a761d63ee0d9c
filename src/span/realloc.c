/* SPDX-License-Identifier: MIT */
/* realloc.c - the part of realloc that malloc and arenas share (see realloc.h). */
#include "span/realloc.h"

#include <errno.h>
#include <string.h>

#define MALLOC_ALIGN_BYTES ((size_t)16)

bool
hm_realloc_fits_slot(const struct hm_heap *heap, size_t room_bytes, size_t size_bytes)
{
    return size_bytes <= room_bytes
           && (size_bytes >= room_bytes / 2 || hm_class_of(size_bytes) == hm_class_of(room_bytes)
               || hm_cutoff_is_direct(&heap->cutoff, size_bytes, MALLOC_ALIGN_BYTES));
}

/* A large block that has to remain what it is, direct or not, on new pages. NULL if it cannot grow
 * for want of memory; if it is to shrink, it stays as it is. */
static void *
move(struct hm_heap *heap, struct hm_span *span, void *ptr, size_t new_bytes)
{
    size_t old_bytes = span->slot_bytes;
    size_t step_bytes = new_bytes > old_bytes ? new_bytes - old_bytes : 0;
    void *mem = hm_large_obtain(heap, new_bytes, step_bytes);

    if (mem == NULL)
        return new_bytes <= old_bytes ? ptr : NULL;
    memcpy(mem, ptr, old_bytes < new_bytes ? old_bytes : new_bytes);
    hm_large_replace(heap, span, (uintptr_t)ptr, (uintptr_t)mem, new_bytes);
    return mem;
}

bool
hm_realloc_large(struct hm_heap *heap, struct hm_span *span, void *ptr, size_t size_bytes,
                 void **out_mem)
{
    int saved_errno = errno;
    struct hm_rest rest;
    void *mem = hm_large_resize(heap, span, (uintptr_t)ptr, size_bytes, &rest);
    bool is_done = mem != NULL;

    if (rest.len_bytes > 0) {
        memcpy((void *)rest.to_addr, (const void *)rest.from_addr, rest.len_bytes);
        hm_large_give_rest(heap, &rest);
    }
    if (!is_done && hm_large_must_stay(heap, span, size_bytes)) {
        mem = move(heap, span, ptr, size_bytes);
        is_done = true;
    }
    errno = saved_errno;
    *out_mem = mem;
    return is_done;
}
