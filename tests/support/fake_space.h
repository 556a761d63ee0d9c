/* SPDX-License-Identifier: MIT */
/* fake_space.h - address space with books of our own about the memory behind it.
 *
 * Problem     The heap must be tried with terabytes, with huge pages of 2 and of 32 MiB, and with a
 *             kernel that forgets nothing, on a machine that has none of these.
 * Idea        Of the memory that it hands out, the core touches free slots only. So a huge page is
 *             one word here; once a test has pretended to write to it, one bit per base page is
 *             added. Behind that lies memory of the real kernel, where it has room for it: it
 *             holds what the core links its free slots with, and nobody asks about it. Whatever a
 *             correct core would never do (discard what is not its own, unmap half, advise a part
 *             of a huge page) ends the test with one line on stderr and abort().
 * State       struct fake_space; mappings sorted by address.
 */
#ifndef HM_TESTS_FAKE_SPACE_H
#define HM_TESTS_FAKE_SPACE_H

#include "base/units.h"

enum {
    FAKE_COMMITTED = 1,  /* readable and writable */
    FAKE_WANTS_HUGE = 2, /* advised: huge pages from the next touch on */
    FAKE_WANTS_BASE = 4, /* advised: no huge pages */
    FAKE_IS_HUGE = 8,    /* resident as one huge page */
    FAKE_HIDDEN = 16,    /* not in core dumps */
    FAKE_POOL = 32,      /* pages of the hugetlb pool */
    FAKE_BASE_PAGE = 64, /* advised: the first page of all is to be a base page */
    FAKE_WANTS = FAKE_WANTS_HUGE | FAKE_WANTS_BASE | FAKE_BASE_PAGE,
    FAKE_FLAGS = 127,
};

/* One region, which is a huge page where the geometry has them: the flags in the lowest bits, and
 * above them the address of one bit per page written to, and one per page that a child has, too;
 * or nothing if none was written to. */
typedef uintptr_t fake_cell;

/* What one call of reserve() or remap() made; it starts on a region's boundary. */
struct fake_mapping {
    uintptr_t addr;
    size_t len_bytes;
    fake_cell *cells;
    bool is_real; /* there is memory */
};

struct fake_space {
    struct hm_geom geom;
    struct fake_mapping *mappings;
    size_t mapping_count;
    size_t mapping_cap;
    size_t reserved_bytes;  /* in all mappings */
    size_t committed_bytes; /* of these, readable */
    size_t pool_bytes;      /* free hugetlb pages */
    size_t pool_used_bytes; /* hugetlb pages that are mapped */

    /* settable */
    uintptr_t base_addr; /* the lowest address handed out */
    uintptr_t end_addr;  /* where address space ends */
    unsigned pool_shift; /* log2 of the only size of hugetlb pages */
    bool is_pmd_off;     /* huge pages of PMD size come by a collapse only */
    size_t gap_bytes;    /* left free behind each mapping; a multiple of a region */
};

void fake_space_init(struct fake_space *space, const struct hm_geom *geom);
void fake_space_fini(struct fake_space *space);

/* One line on stderr, then abort(). */
void fake_space_misuse(const char *what, uintptr_t addr, size_t len_bytes)
    __attribute__((noreturn));

/* Places a mapping at the lowest free address. Returns false if there is none. */
bool fake_space_reserve(struct fake_space *space, size_t len_bytes, size_t align_bytes,
                        uintptr_t *out_addr);
/* All of a mapping, or its last regions. */
void fake_space_unmap(struct fake_space *space, uintptr_t addr, size_t len_bytes);

/* The mapping with the whole range in it; a range outside of all mappings is misuse, told as
 * `what`. */
struct fake_mapping *fake_space_find(const struct fake_space *space, uintptr_t addr,
                                     size_t len_bytes, const char *what);
bool fake_space_has(const struct fake_space *space, uintptr_t addr);

/* Set and clear flags of whole regions; a part of a region is misuse, told as `what`. */
void fake_space_set(struct fake_space *space, uintptr_t addr, size_t len_bytes, uintptr_t clear,
                    uintptr_t set, const char *what);
/* Advice that base pages are wanted, in whole regions or in the first page of one. */
void fake_space_base(struct fake_space *space, uintptr_t addr, size_t len_bytes, const char *what);
void fake_space_discard(struct fake_space *space, uintptr_t addr, size_t len_bytes);
bool fake_space_grow(struct fake_space *space, uintptr_t addr, size_t old_bytes, size_t new_bytes);
/* Move the pages of regions to a new mapping; what they leave is empty. Returns false if there is
 * no room. Contents of real memory are lost. */
bool fake_space_carry(struct fake_space *space, uintptr_t addr, size_t len_bytes,
                      size_t align_bytes, uintptr_t *out_addr);

void fake_space_move(struct fake_space *space, uintptr_t addr, size_t old_bytes, uintptr_t to_addr,
                     size_t new_bytes);

/* Whether the kernel could put a huge page of the geometry around `addr`. */
bool fake_space_fits_huge(const struct fake_space *space, uintptr_t addr);

/* What a program does: write to its memory. The first write to an advised region makes it huge. */
void fake_space_touch(struct fake_space *space, uintptr_t addr, size_t len_bytes);

/* A child that has all memory, and what it leaves when it goes. The first write to a page that it
 * has splits the huge page around it; what is written to is not shared any more. */
void fake_space_fork(struct fake_space *space);
void fake_space_join(struct fake_space *space);

/* Pages of a cell are written to, or discarded. */
void fake_share_write(const struct fake_space *space, fake_cell *cell, size_t page_idx,
                      size_t page_count);
void fake_share_drop(const struct fake_space *space, fake_cell cell, size_t page_idx,
                     size_t page_count);

/* Whole regions of one mapping: pages that are resident, and of these those that a child has. */
size_t fake_space_shared(const struct fake_space *space, uintptr_t addr, size_t len_bytes,
                         size_t *out_shared_count);

/* A region goes: if it was a hugetlb page, that is free again. */
void fake_pool_drop(struct fake_space *space, fake_cell cell);

/* Flags of the region at `addr`; whether no page of the range was written since it was last
 * discarded. */
uintptr_t fake_space_flags(const struct fake_space *space, uintptr_t addr);
bool fake_space_is_zero(const struct fake_space *space, uintptr_t addr, size_t len_bytes);

/* Bytes of a range that are resident, and of these the bytes on huge pages. */
size_t fake_space_resident(const struct fake_space *space, uintptr_t addr, size_t len_bytes,
                           size_t *out_huge_bytes);

/* How many VMAs the kernel would keep: neighbouring regions asked for alike are one. */
size_t fake_space_vmas(const struct fake_space *space);

#endif
