/* SPDX-License-Identifier: MIT */
/* fake_space.c - address space with books of our own (see fake_space.h).
 *
 * Problem     A fake that forgives more than the kernel does would hide faults.
 * Idea        Every call first finds its range within one mapping, and checks what os.h demands.
 */
#include "support/fake_space.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "support/fake_real.h"

void
fake_space_misuse(const char *what, uintptr_t addr, size_t len_bytes)
{
    (void)fflush(stdout);
    (void)fprintf(stderr, "fake kernel: %s: %#zx bytes at %#zx\n", what, len_bytes, (size_t)addr);
    abort();
}

void
fake_space_init(struct fake_space *space, const struct hm_geom *geom)
{
    *space = (struct fake_space){
        .geom = *geom,
        .base_addr = fake_real_base(),
        .end_addr = (uintptr_t)1 << 47,
        .gap_bytes = hm_region_bytes(geom),
        .pool_shift = geom->hpage_shift,
    };
}

void
fake_space_fini(struct fake_space *space)
{
    while (space->mapping_count > 0)
        fake_space_unmap(space, space->mappings[0].addr, space->mappings[0].len_bytes);
    free(space->mappings);
    *space = (struct fake_space){ .mappings = NULL };
}

/* A test that has no memory for its own books cannot go on. */
static void *
more(void *mem, size_t count, size_t each_bytes)
{
    mem = realloc(mem, count * each_bytes);
    if (mem == NULL)
        fake_space_misuse("out of memory for the fake kernel's books", 0, count * each_bytes);
    return mem;
}

/* --- pages written ---------------------------------------------------------------------------- */

static uint64_t *
bits_of(fake_cell cell)
{
    return (uint64_t *)(cell & ~(uintptr_t)FAKE_FLAGS);
}

static void
add_bits(const struct fake_space *space, fake_cell *cell)
{
    size_t len_bytes = 2 * HM_BITMAP_WORDS(hm_region_pages(&space->geom)) * sizeof(uint64_t);
    size_t align_bytes = FAKE_FLAGS + 1;
    uint64_t *bits = aligned_alloc(align_bytes, hm_align_up(len_bytes, align_bytes));
    if (bits == NULL)
        fake_space_misuse("out of memory for the fake kernel's books", 0, 0);
    memset(bits, 0, len_bytes);
    *cell |= (uintptr_t)bits;
}

static void
drop_bits(fake_cell *cell)
{
    free(bits_of(*cell));
    *cell &= FAKE_FLAGS;
}

/* --- mappings --------------------------------------------------------------------------------- */

static size_t
cell_count(const struct fake_space *space, size_t len_bytes)
{
    return (len_bytes + hm_region_bytes(&space->geom) - 1) >> space->geom.region_shift;
}

/* Index of the first mapping that ends behind `addr`. */
static size_t
idx_of(const struct fake_space *space, uintptr_t addr)
{
    size_t low = 0;
    size_t high = space->mapping_count;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (space->mappings[mid].addr + space->mappings[mid].len_bytes > addr)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

bool
fake_space_has(const struct fake_space *space, uintptr_t addr)
{
    size_t idx = idx_of(space, addr);

    return idx < space->mapping_count && space->mappings[idx].addr <= addr;
}

struct fake_mapping *
fake_space_find(const struct fake_space *space, uintptr_t addr, size_t len_bytes, const char *what)
{
    size_t page_bytes = hm_page_bytes(&space->geom);
    struct fake_mapping *mapping = space->mappings + idx_of(space, addr);

    if (len_bytes == 0 || ((addr | len_bytes) & (page_bytes - 1)) != 0
        || !fake_space_has(space, addr) || len_bytes > mapping->addr + mapping->len_bytes - addr)
        fake_space_misuse(what, addr, len_bytes);
    return mapping;
}

static void
insert(struct fake_space *space, size_t idx, uintptr_t addr, size_t len_bytes)
{
    fake_cell *cells = calloc(cell_count(space, len_bytes), sizeof(*cells));

    if (cells == NULL)
        fake_space_misuse("out of memory for the fake kernel's books", addr, len_bytes);
    if (space->mapping_count == space->mapping_cap) {
        space->mapping_cap = 2 * space->mapping_cap + 16;
        space->mappings = more(space->mappings, space->mapping_cap, sizeof(space->mappings[0]));
    }
    memmove(space->mappings + idx + 1, space->mappings + idx,
            (space->mapping_count - idx) * sizeof(space->mappings[0]));
    space->mappings[idx]
        = (struct fake_mapping){ addr, len_bytes, cells, fake_real_map(addr, len_bytes) };
    space->mapping_count++;
    space->reserved_bytes += len_bytes;
}

bool
fake_space_reserve(struct fake_space *space, size_t len_bytes, size_t align_bytes,
                   uintptr_t *out_addr)
{
    size_t region_bytes = hm_region_bytes(&space->geom);
    uintptr_t addr;
    size_t idx = 0;

    if (len_bytes == 0 || ((len_bytes | align_bytes) & (hm_page_bytes(&space->geom) - 1)) != 0
        || !hm_is_pow2(align_bytes))
        fake_space_misuse("reserve() of an impossible length or alignment", align_bytes, len_bytes);
    if (align_bytes < region_bytes)
        align_bytes = region_bytes;
    if (len_bytes > space->end_addr || align_bytes > space->end_addr)
        return false;
    addr = hm_align_up(space->base_addr, align_bytes);
    for (; idx < space->mapping_count; idx++) {
        const struct fake_mapping *mapping = &space->mappings[idx];

        if (mapping->addr + mapping->len_bytes + space->gap_bytes <= addr)
            continue;
        if (addr + len_bytes + space->gap_bytes <= mapping->addr)
            break;
        addr = hm_align_up(mapping->addr + mapping->len_bytes + space->gap_bytes, align_bytes);
    }
    if (addr > space->end_addr || len_bytes > space->end_addr - addr)
        return false;
    insert(space, idx, addr, len_bytes);
    *out_addr = addr;
    return true;
}

static size_t
cell_bytes(const struct fake_space *space, const struct fake_mapping *mapping, size_t cell_idx)
{
    size_t region_bytes = hm_region_bytes(&space->geom);
    size_t left_bytes = mapping->len_bytes - (cell_idx << space->geom.region_shift);

    return left_bytes < region_bytes ? left_bytes : region_bytes;
}

/* Forget the cells from cell_idx on. */
static void
drop_cells(struct fake_space *space, struct fake_mapping *mapping, size_t cell_idx)
{
    for (; cell_idx < cell_count(space, mapping->len_bytes); cell_idx++) {
        if ((mapping->cells[cell_idx] & FAKE_COMMITTED) != 0)
            space->committed_bytes -= cell_bytes(space, mapping, cell_idx);
        fake_pool_drop(space, mapping->cells[cell_idx]);
        drop_bits(&mapping->cells[cell_idx]);
    }
}

static void
erase(struct fake_space *space, struct fake_mapping *mapping)
{
    size_t idx = (size_t)(mapping - space->mappings);

    space->reserved_bytes -= mapping->len_bytes;
    fake_real_unmap(mapping->is_real, mapping->addr, mapping->len_bytes);
    free(mapping->cells);
    memmove(mapping, mapping + 1, (space->mapping_count - idx - 1) * sizeof(*mapping));
    space->mapping_count--;
}

void
fake_space_unmap(struct fake_space *space, uintptr_t addr, size_t len_bytes)
{
    struct fake_mapping *mapping
        = fake_space_find(space, addr, len_bytes, "unmap() of what was not reserved");
    size_t left_bytes = addr - mapping->addr;

    if (left_bytes + len_bytes != mapping->len_bytes
        || hm_align_down(left_bytes, hm_region_bytes(&space->geom)) != left_bytes)
        fake_space_misuse("unmap() of what is not the last regions of a mapping", addr, len_bytes);
    drop_cells(space, mapping, left_bytes >> space->geom.region_shift);
    fake_real_unmap(mapping->is_real, addr, len_bytes);
    space->reserved_bytes -= len_bytes;
    mapping->len_bytes = left_bytes;
    if (left_bytes == 0)
        erase(space, mapping);
}

/* --- regions ---------------------------------------------------------------------------------- */

/* The part of [addr, addr + len_bytes) in the cell at its start. */
struct part {
    fake_cell *cell;
    size_t page_idx;   /* in the cell */
    size_t page_count; /* in the cell */
    bool is_whole;     /* all pages that the mapping has in this cell */
};

static struct part
part_at(const struct fake_space *space, const struct fake_mapping *mapping, uintptr_t addr,
        size_t len_bytes)
{
    size_t region_bytes = hm_region_bytes(&space->geom);
    size_t cell_idx = (addr - mapping->addr) >> space->geom.region_shift;
    size_t off_bytes = addr & (region_bytes - 1);
    size_t room_bytes = cell_bytes(space, mapping, cell_idx) - off_bytes;
    struct part part = { .cell = &mapping->cells[cell_idx] };

    if (len_bytes > room_bytes)
        len_bytes = room_bytes;
    part.page_idx = off_bytes >> space->geom.page_shift;
    part.page_count = len_bytes >> space->geom.page_shift;
    part.is_whole = off_bytes == 0 && len_bytes == room_bytes;
    return part;
}

void
fake_space_set(struct fake_space *space, uintptr_t addr, size_t len_bytes, uintptr_t clear,
               uintptr_t set, const char *what)
{
    const struct fake_mapping *mapping = fake_space_find(space, addr, len_bytes, what);

    while (len_bytes > 0) {
        struct part part = part_at(space, mapping, addr, len_bytes);
        size_t part_bytes = part.page_count << space->geom.page_shift;

        if (!part.is_whole)
            fake_space_misuse(what, addr, len_bytes);
        if ((set & ~*part.cell & FAKE_COMMITTED) != 0)
            space->committed_bytes += part_bytes;
        /* Only a whole huge page can be one. */
        if (part.page_count < hm_region_pages(&space->geom))
            set &= ~(uintptr_t)FAKE_IS_HUGE;
        *part.cell = (*part.cell & ~clear) | set;
        addr += part_bytes;
        len_bytes -= part_bytes;
    }
}

void
fake_space_discard(struct fake_space *space, uintptr_t addr, size_t len_bytes)
{
    const char *what = "discard of what was not committed";
    const struct fake_mapping *mapping = fake_space_find(space, addr, len_bytes, what);

    fake_real_discard(mapping->is_real, addr, len_bytes);
    while (len_bytes > 0) {
        struct part part = part_at(space, mapping, addr, len_bytes);
        size_t part_bytes = part.page_count << space->geom.page_shift;

        if ((*part.cell & FAKE_COMMITTED) == 0)
            fake_space_misuse(what, addr, len_bytes);
        if (!part.is_whole && (*part.cell & FAKE_IS_HUGE) != 0)
            fake_space_misuse("discard of a part of a huge page", addr, len_bytes);
        if (part.is_whole)
            drop_bits(part.cell);
        else if (bits_of(*part.cell) != NULL)
            fake_share_drop(space, *part.cell, part.page_idx, part.page_count);
        *part.cell &= ~(uintptr_t)FAKE_IS_HUGE;
        addr += part_bytes;
        len_bytes -= part_bytes;
    }
}

/* --- resizing --------------------------------------------------------------------------------- */

/* mremap takes one VMA: all of it asked for alike. */
static struct fake_mapping *
find_one_vma(struct fake_space *space, uintptr_t addr, size_t len_bytes)
{
    struct fake_mapping *mapping
        = fake_space_find(space, addr, len_bytes, "remap() of what was not reserved");
    uintptr_t first = mapping->cells[0] & (FAKE_WANTS | FAKE_COMMITTED);

    if (mapping->addr != addr || mapping->len_bytes != len_bytes)
        fake_space_misuse("remap() of a part of a mapping", addr, len_bytes);
    for (size_t i = 0; i < cell_count(space, len_bytes); i++)
        if ((mapping->cells[i] & (FAKE_WANTS | FAKE_COMMITTED)) != first)
            fake_space_misuse("remap() of more than one VMA", addr, len_bytes);
    if ((first & FAKE_COMMITTED) == 0)
        fake_space_misuse("remap() of what was not committed", addr, len_bytes);
    return mapping;
}

/* Pages beyond the new end of the last cell are gone; a huge page that is cut is split. */
static void
cut_last(struct fake_space *space, struct fake_mapping *mapping, size_t new_bytes)
{
    size_t page_idx = (new_bytes >> space->geom.page_shift) % hm_region_pages(&space->geom);
    fake_cell *cell = &mapping->cells[new_bytes >> space->geom.region_shift];

    if (page_idx == 0)
        return;
    *cell &= ~(uintptr_t)FAKE_IS_HUGE;
    if (bits_of(*cell) != NULL)
        hm_bitmap_clear_run(bits_of(*cell), page_idx, hm_region_pages(&space->geom) - page_idx);
}

/* Contents are lost: nobody keeps any in large blocks. */
static void
resize(struct fake_space *space, struct fake_mapping *mapping, size_t new_bytes)
{
    size_t old_count = cell_count(space, mapping->len_bytes);
    size_t new_count = cell_count(space, new_bytes);
    size_t committed_bytes = space->committed_bytes + new_bytes - mapping->len_bytes;
    uintptr_t flags = mapping->cells[0] & (FAKE_WANTS | FAKE_COMMITTED);

    if (new_bytes < mapping->len_bytes) {
        drop_cells(space, mapping, new_count);
        cut_last(space, mapping, new_bytes);
    }
    space->committed_bytes = committed_bytes;
    mapping->cells = more(mapping->cells, new_count, sizeof(mapping->cells[0]));
    for (size_t i = old_count; i < new_count; i++)
        mapping->cells[i] = flags;
    space->reserved_bytes += new_bytes - mapping->len_bytes;
    fake_real_unmap(mapping->is_real, mapping->addr, mapping->len_bytes);
    mapping->len_bytes = new_bytes;
    mapping->is_real = fake_real_map(mapping->addr, new_bytes);
}

bool
fake_space_grow(struct fake_space *space, uintptr_t addr, size_t old_bytes, size_t new_bytes)
{
    struct fake_mapping *mapping = find_one_vma(space, addr, old_bytes);
    size_t idx = (size_t)(mapping - space->mappings);
    bool is_last = idx + 1 == space->mapping_count;
    uintptr_t limit = is_last ? space->end_addr : space->mappings[idx + 1].addr;

    if (new_bytes > limit - addr)
        return false;
    resize(space, mapping, new_bytes);
    return true;
}

void
fake_space_move(struct fake_space *space, uintptr_t addr, size_t old_bytes, uintptr_t to_addr,
                size_t new_bytes)
{
    struct fake_mapping *from = find_one_vma(space, addr, old_bytes);
    struct fake_mapping *to
        = fake_space_find(space, to_addr, new_bytes, "remap() to what was not reserved");

    fake_cell *cells = &to->cells[(to_addr - to->addr) >> space->geom.region_shift];

    for (size_t i = 0; i < cell_count(space, new_bytes); i++)
        if (bits_of(cells[i]) != NULL || (cells[i] & FAKE_POOL) != 0)
            fake_space_misuse("remap() over memory in use", to_addr, new_bytes);
    resize(space, from, new_bytes);
    memcpy(cells, from->cells, cell_count(space, new_bytes) * sizeof(*cells));
    erase(space, from);
}

/* --- what tests ask and do -------------------------------------------------------------------- */

void
fake_space_touch(struct fake_space *space, uintptr_t addr, size_t len_bytes)
{
    uintptr_t end = hm_align_up(addr + len_bytes, hm_page_bytes(&space->geom));
    const char *what = "a program would crash: access to memory that is not there";
    const struct fake_mapping *mapping;

    addr = hm_align_down(addr, hm_page_bytes(&space->geom));
    mapping = fake_space_find(space, addr, end - addr, what);
    while (addr < end) {
        struct part part = part_at(space, mapping, addr, end - addr);
        bool has_room
            = cell_bytes(space, mapping, (addr - mapping->addr) >> space->geom.region_shift)
              == hm_region_bytes(&space->geom);

        if ((*part.cell & FAKE_COMMITTED) == 0)
            fake_space_misuse(what, addr, end - addr);
        if (bits_of(*part.cell) == NULL) {
            add_bits(space, part.cell);
            if ((*part.cell & FAKE_WANTS_HUGE) != 0 && has_room
                && space->geom.hpage_shift == space->geom.region_shift && !space->is_pmd_off)
                *part.cell |= FAKE_IS_HUGE;
        }
        fake_share_write(space, part.cell, part.page_idx, part.page_count);
        hm_bitmap_set_run(bits_of(*part.cell), part.page_idx, part.page_count);
        addr += part.page_count << space->geom.page_shift;
    }
}

uintptr_t
fake_space_flags(const struct fake_space *space, uintptr_t addr)
{
    size_t page_bytes = hm_page_bytes(&space->geom);
    uintptr_t page = hm_align_down(addr, page_bytes);
    const struct fake_mapping *mapping
        = fake_space_find(space, page, page_bytes, "test: flags of what was not reserved");

    return mapping->cells[(page - mapping->addr) >> space->geom.region_shift] & FAKE_FLAGS;
}

bool
fake_space_is_zero(const struct fake_space *space, uintptr_t addr, size_t len_bytes)
{
    const struct fake_mapping *mapping
        = fake_space_find(space, addr, len_bytes, "test: contents of what was not reserved");

    while (len_bytes > 0) {
        struct part part = part_at(space, mapping, addr, len_bytes);

        if (bits_of(*part.cell) != NULL
            && hm_bitmap_count_run(bits_of(*part.cell), part.page_idx, part.page_count) != 0)
            return false;
        addr += part.page_count << space->geom.page_shift;
        len_bytes -= part.page_count << space->geom.page_shift;
    }
    return true;
}

size_t
fake_space_resident(const struct fake_space *space, uintptr_t addr, size_t len_bytes,
                    size_t *out_huge_bytes)
{
    const struct fake_mapping *mapping
        = fake_space_find(space, addr, len_bytes, "scan() of what was not reserved");
    size_t resident_bytes = 0;

    *out_huge_bytes = 0;
    while (len_bytes > 0) {
        struct part part = part_at(space, mapping, addr, len_bytes);
        size_t part_bytes = part.page_count << space->geom.page_shift;

        if ((*part.cell & FAKE_IS_HUGE) != 0) {
            resident_bytes += part_bytes;
            *out_huge_bytes += part_bytes;
        } else if (bits_of(*part.cell) != NULL) {
            resident_bytes
                += hm_bitmap_count_run(bits_of(*part.cell), part.page_idx, part.page_count)
                   << space->geom.page_shift;
        }
        addr += part_bytes;
        len_bytes -= part_bytes;
    }
    return resident_bytes;
}

size_t
fake_space_vmas(const struct fake_space *space)
{
    size_t vma_count = 0;

    for (size_t i = 0; i < space->mapping_count; i++) {
        const struct fake_mapping *mapping = &space->mappings[i];
        uintptr_t before = UINTPTR_MAX;

        for (size_t k = 0; k < cell_count(space, mapping->len_bytes); k++) {
            uintptr_t flags = mapping->cells[k] & (FAKE_WANTS | FAKE_COMMITTED | FAKE_HIDDEN);
            vma_count += flags != before;
            before = flags;
        }
    }
    return vma_count;
}
