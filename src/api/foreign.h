/* SPDX-License-Identifier: MIT */
/* foreign.h - blocks that glibc's own malloc made, in the hands of ours. */
#ifndef HM_API_FOREIGN_H
#define HM_API_FOREIGN_H

#include "heap/heap.h"

struct hm_foreign {
    bool is_asked;             /* what follows is valid; atomic */
    void (*libc_free)(void *); /* glibc's; NULL if it was not found */
    uintptr_t libc_data;       /* its variables: [libc_data, libc_data_end); */
    uintptr_t libc_data_end;   /* or 0 both */
    uintptr_t brk_start;       /* no chunk on the brk heap lies below; atomic */
    bool is_base;              /* we are in the namespace of the program, which has the brk heap */
    bool is_brk_asked;         /* brk_start is the kernel's word; atomic */
    uint64_t free_count;       /* foreign blocks that were freed; atomic */
    uint64_t realloc_count;    /* that realloc() moved to our heap; atomic */
    uint64_t leak_count;       /* of both, those that nobody could be asked to free; atomic */
};

struct hm_foreign_block {
    uintptr_t addr;
    size_t room_bytes; /* what its user may write */
    bool is_leaked;    /* whose it is cannot be told, or it belongs to another copy of libc */
};

/* Find glibc's free(). Takes the loader's locks: call it before the program can hold any. */
void hm_foreign_init(struct hm_foreign *foreign);

/* Is there, at an address that lies in no span of ours, a live block of glibc's? Never faults. Does
 * not allocate, nor take a lock but heap->lock. errno is not preserved. */
bool hm_foreign_find(struct hm_foreign *foreign, struct hm_heap *heap, uintptr_t addr,
                     struct hm_foreign_block *out_block);

/* Hand a block that was found to glibc's free(), or leave it where it is. errno is not
 * preserved. */
void hm_foreign_release(struct hm_foreign *foreign, const struct hm_foreign_block *block);

#endif
