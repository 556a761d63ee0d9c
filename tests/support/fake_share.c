/* SPDX-License-Identifier: MIT */
/* fake_share.c - pages that a forked child has, too (see fake_space.h).
 *
 * Problem     What fork() does to huge pages shows only in who writes to which page, and when.
 * Idea        A second bit per page: a child has it. A child comes and goes; it never writes.
 */
#include <string.h>

#include "base/bitmap.h"
#include "support/fake_real.h"
#include "support/fake_space.h"

static size_t
word_count(const struct fake_space *space)
{
    return HM_BITMAP_WORDS(hm_region_pages(&space->geom));
}

/* The bits of pages written to, and behind them those of shared pages; NULL: none was written. */
static uint64_t *
written_bits(fake_cell cell)
{
    return (uint64_t *)(cell & ~(uintptr_t)FAKE_FLAGS);
}

static uint64_t *
shared_bits(const struct fake_space *space, fake_cell cell)
{
    return written_bits(cell) + word_count(space);
}

static void
share_cell(const struct fake_space *space, fake_cell cell, bool is_child_here)
{
    size_t page_count = hm_region_pages(&space->geom);
    uint64_t *shared = shared_bits(space, cell);

    if (!is_child_here)
        hm_bitmap_clear_run(shared, 0, page_count);
    else if ((cell & FAKE_IS_HUGE) != 0)
        hm_bitmap_set_run(shared, 0, page_count);
    else
        memcpy(shared, written_bits(cell), word_count(space) * sizeof(*shared));
}

static void
share_all(const struct fake_space *space, bool is_child_here)
{
    size_t region_bytes = hm_region_bytes(&space->geom);

    for (size_t i = 0; i < space->mapping_count; i++) {
        const struct fake_mapping *mapping = &space->mappings[i];
        size_t cell_count = (mapping->len_bytes + region_bytes - 1) >> space->geom.region_shift;

        for (size_t k = 0; k < cell_count; k++)
            if (written_bits(mapping->cells[k]) != NULL)
                share_cell(space, mapping->cells[k], is_child_here);
    }
}

void
fake_space_fork(struct fake_space *space)
{
    share_all(space, true);
}

void
fake_space_join(struct fake_space *space)
{
    share_all(space, false);
}

static fake_cell *
cells_at(const struct fake_space *space, uintptr_t addr, size_t len_bytes)
{
    const struct fake_mapping *mapping
        = fake_space_find(space, addr, len_bytes, "carry() of what was not reserved");

    return mapping->cells + ((addr - mapping->addr) >> space->geom.region_shift);
}

/* A region's pages go along with it, whoever else has them. */
bool
fake_space_carry(struct fake_space *space, uintptr_t addr, size_t len_bytes, size_t align_bytes,
                 uintptr_t *out_addr)
{
    size_t count = len_bytes >> space->geom.region_shift;
    fake_cell *from;
    fake_cell *to;

    if (((addr | len_bytes) & (align_bytes - 1)) != 0)
        fake_space_misuse("carry() of a part of a region", addr, len_bytes);
    if (!fake_space_reserve(space, len_bytes, align_bytes, out_addr))
        return false;
    from = cells_at(space, addr, len_bytes);
    to = cells_at(space, *out_addr, len_bytes);
    for (size_t i = 0; i < count; i++) {
        if ((from[i] & FAKE_COMMITTED) == 0 || (from[i] & FAKE_WANTS) != (from[0] & FAKE_WANTS))
            fake_space_misuse("carry() of more than one VMA", addr, len_bytes);
        to[i] = from[i] & ~(fake_cell)FAKE_HIDDEN;
        from[i] &= FAKE_FLAGS & ~FAKE_IS_HUGE;
    }
    space->committed_bytes += len_bytes;
    fake_real_discard(fake_space_find(space, addr, len_bytes, "")->is_real, addr, len_bytes);
    return true;
}

/* All of a huge page was resident, and stays so. */
void
fake_share_write(const struct fake_space *space, fake_cell *cell, size_t page_idx,
                 size_t page_count)
{
    uint64_t *shared = shared_bits(space, *cell);

    if (hm_bitmap_count_run(shared, page_idx, page_count) == 0)
        return;
    if ((*cell & FAKE_IS_HUGE) != 0)
        hm_bitmap_set_run(written_bits(*cell), 0, hm_region_pages(&space->geom));
    *cell &= ~(uintptr_t)FAKE_IS_HUGE;
    hm_bitmap_clear_run(shared, page_idx, page_count);
}

void
fake_share_drop(const struct fake_space *space, fake_cell cell, size_t page_idx, size_t page_count)
{
    hm_bitmap_clear_run(written_bits(cell), page_idx, page_count);
    hm_bitmap_clear_run(shared_bits(space, cell), page_idx, page_count);
}

size_t
fake_space_shared(const struct fake_space *space, uintptr_t addr, size_t len_bytes,
                  size_t *out_shared_count)
{
    const struct fake_mapping *mapping
        = fake_space_find(space, addr, len_bytes, "sharing() of what was not reserved");
    size_t page_count = hm_region_pages(&space->geom);
    size_t first_idx = (addr - mapping->addr) >> space->geom.region_shift;
    size_t present_count = 0;

    if (((addr | len_bytes) & (hm_region_bytes(&space->geom) - 1)) != 0)
        fake_space_misuse("sharing() of a part of a region", addr, len_bytes);
    *out_shared_count = 0;
    for (size_t i = 0; i < len_bytes >> space->geom.region_shift; i++) {
        fake_cell cell = mapping->cells[first_idx + i];

        if (written_bits(cell) == NULL)
            continue;
        present_count += (cell & FAKE_IS_HUGE) != 0
                             ? page_count
                             : hm_bitmap_count_run(written_bits(cell), 0, page_count);
        *out_shared_count += hm_bitmap_count_run(shared_bits(space, cell), 0, page_count);
    }
    return present_count;
}
