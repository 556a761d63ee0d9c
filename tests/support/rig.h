/* SPDX-License-Identifier: MIT */
/* rig.h - a whole heap on the fake kernel, for tests of any layer.
 *
 * Problem     Most tests need a kernel, settings, a heap and the threads' pool, and a malloc over
 *             them.
 * Idea        One struct with all of it. rig_alloc and rig_free go the way that malloc and free go,
 *             with the cache of a thread as an argument: one thread can play many.
 */
#ifndef HM_TESTS_RIG_H
#define HM_TESTS_RIG_H

#include "cache/mixing.h"
#include "cache/thread.h"
#include "span/large.h"
#include "support/fake_os.h"

struct rig {
    struct fake_os fake;
    struct hm_conf conf;
    struct hm_pagemap pagemap;
    struct hm_heap heap;
    struct hm_pool pool;
};

/* A heap with default settings on a machine with pages of 4 KiB and huge pages of 2 MiB. */
void rig_init(struct rig *rig);

/* The same with other page sizes. */
void rig_init_on(struct rig *rig, size_t page_bytes, size_t hpage_bytes);
void rig_fini(struct rig *rig);

/* The THP mode as it would have been found when the heap was made. */
void rig_thp_mode(struct rig *rig, enum hm_thp_mode mode);

/* Replace the chain: rig_chain(rig, "thp"). */
void rig_chain(struct rig *rig, const char *backing);

/* The same for a large block of any size. Aborts if what is said to be zero is not. */
uintptr_t rig_alloc_large(struct rig *rig, size_t size_bytes, size_t align_bytes,
                          bool *out_is_zero);

/* A block for the thread that has `cache` (NULL: none could be made), 0 if there is no memory.
 *   align_bytes  power of two; 16 for malloc
 *   out_is_zero  [out] the block's pages need no clearing; may be NULL */
uintptr_t rig_alloc(struct rig *rig, struct hm_tcache *cache, size_t size_bytes, size_t align_bytes,
                    bool *out_is_zero);
void rig_free(struct rig *rig, struct hm_tcache *cache, uintptr_t addr);

/* The block resized, perhaps moved; 0 if there is no memory, and the old block is as it was. */
uintptr_t rig_realloc(struct rig *rig, struct hm_tcache *cache, uintptr_t addr, size_t size_bytes);

/* A large block resized without a copy, but for what hm_large_resize leaves to its caller; 0 if
 * that cannot be. */
uintptr_t rig_resize_large(struct rig *rig, struct hm_span *span, uintptr_t addr,
                           size_t size_bytes);

/* What malloc_usable_size says. */
size_t rig_usable(const struct rig *rig, uintptr_t addr);

/* Prove what must hold of the heap's pages, whoever has them; NULL, or what is broken. */
const char *rig_check_pages(const struct rig *rig);

/* Prove what must hold of a heap at any time between calls; NULL, or what is broken. */
const char *rig_check(const struct rig *rig);

#endif
