/* SPDX-License-Identifier: MIT */
/* said.h - why functions of the arena API fail: what huma_last_error returns. */
#ifndef HM_API_SAID_H
#define HM_API_SAID_H

#include "api/arenas.h"
#include "base/fmt.h"

/* Set errno, and what huma_last_error of this thread says: "CALL: WHY". */
void hm_said(int error, const char *call, const char *why);

/* The arena that a handle stands for, as hm_arenas_find; NULL, and everything said, if there is
 * none. */
struct huma_arena *hm_said_find(const huma_arena *handle, const char *call);

/* As hm_said, for an allocation that failed for lack of memory: EINVAL if there is
 * no arena. Returns NULL. */
void *hm_said_no_memory(struct huma_arena *arena, const char *call, size_t size_bytes,
                        size_t align_bytes);

/* Append what the hugetlb pool, or a limit on it, lacks for so many bytes, and the cure. Returns
 * false, and nothing done, if that cannot be told any more. heap->lock is held. */
bool hm_said_pool(struct hm_heap *heap, size_t size_bytes, struct hm_fmt *out);

/* The same for so many pages of a size, wherever they are for. */
bool hm_said_pages(const struct hm_os *os, unsigned page_shift, uint64_t wanted_count,
                   struct hm_fmt *out);

#endif
