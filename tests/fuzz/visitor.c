/* SPDX-License-Identifier: MIT */
#include "fuzz/visitor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static void __attribute__((noreturn)) broken(const char *what)
{
    (void)fprintf(stderr, "visitor: %s: %s; %s\n", what, strerror(errno), huma_last_error());
    exit(99);
}

/* --- a good arena ----------------------------------------------------------------------------- */

static uint64_t
must_alloc(huma_shared *shared, size_t size)
{
    uint64_t block = huma_shared_calloc(shared, 1, size);

    if (block == 0)
        broken("alloc");
    return block;
}

static void
must_publish(huma_shared *shared, uint64_t cell, uint64_t block)
{
    if (huma_shared_publish(shared, cell, block) != 0)
        broken("publish");
}

/* Blocks of several classes, a run of spans, one that was freed, a cell in a block in a cell, a
 * queue, a lock that is held. */
static void
furnish(huma_shared *shared)
{
    uint64_t outer = must_alloc(shared, 100);
    uint64_t gone = must_alloc(shared, 3 * HM_SHARED_SPAN_BYTES);
    uint64_t lock = must_alloc(shared, 8);
    uint64_t ring = huma_shared_ring_create(shared, 8);

    must_publish(shared, huma_shared_root(shared, "outer"), outer);
    must_publish(shared, outer, must_alloc(shared, 30000));
    must_publish(shared, huma_shared_root(shared, "large"), must_alloc(shared, 200000));
    must_publish(shared, huma_shared_root(shared, "small"), must_alloc(shared, 1));
    must_publish(shared, huma_shared_root(shared, "ring"), ring);
    must_publish(shared, huma_shared_root(shared, "lock"), lock);
    (void)must_alloc(shared, 1000);
    (void)must_alloc(shared, 70000);
    for (unsigned i = 0; i < 11; i++)
        if (huma_shared_ring_put(shared, ring, must_alloc(shared, 40), 0) != 0
            || (i < 6 && huma_shared_ring_get(shared, ring, 0) == 0))
            broken("ring");
    if (huma_shared_root(shared, "empty") == 0 || huma_shared_free(shared, gone) != 0
        || huma_shared_lock(shared, lock, 0) != 0)
        broken("furnish");
}

static void
read_all(int fd, uint64_t off, void *buf, size_t len_bytes)
{
    if (pread(fd, buf, len_bytes, (off_t)off) != (ssize_t)len_bytes)
        broken("pread");
}

static void
keep_pages(struct image *image, int fd)
{
    static const unsigned char zeros[IMAGE_PAGE_BYTES];
    uint64_t off = image->geom.data_off;

    image->len_bytes = image->meta_bytes;
    for (; off < image->geom.end_off; off += IMAGE_PAGE_BYTES) {
        unsigned char *page = image->bytes + image->len_bytes;

        read_all(fd, off, page, IMAGE_PAGE_BYTES);
        if (memcmp(page, zeros, IMAGE_PAGE_BYTES) == 0)
            continue;
        image->len_bytes += IMAGE_PAGE_BYTES;
        image->page_offs[image->page_count++] = off;
        if (image->page_count == IMAGE_PAGES_MAX)
            broken("the arena has more pages than expected");
    }
}

void
image_init(struct image *out_image)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    huma_shared *shared;
    int fd;

    options.limit_bytes = 4 * MIB;
    options.backing = "4k";
    options.process_count = 6;
    options.root_count = 8;
    shared = huma_shared_create(&options);
    if (shared == NULL)
        broken("create");
    furnish(shared);
    fd = huma_shared_fd(shared);
    memset(out_image, 0, sizeof(*out_image));
    read_all(fd, 0, &out_image->header, sizeof(out_image->header));
    if (hm_shared_header_fault(&out_image->header) != NULL
        || !hm_shared_geom_init(&out_image->geom, &out_image->header))
        broken("the header of a good arena");
    out_image->meta_bytes = out_image->geom.blocks_off
                            + out_image->geom.span_count * (uint64_t)HM_SHARED_SPAN_UNITS * 4;
    out_image->bytes = malloc(out_image->meta_bytes + (size_t)IMAGE_PAGES_MAX * IMAGE_PAGE_BYTES);
    if (out_image->bytes == NULL)
        broken("malloc");
    read_all(fd, 0, out_image->bytes, out_image->meta_bytes);
    keep_pages(out_image, fd);
    huma_shared_detach(shared);
}

static void
write_all(int fd, uint64_t off, const void *buf, uint64_t len_bytes, uint64_t end_off)
{
    if (off >= end_off)
        return;
    if (len_bytes > end_off - off)
        len_bytes = end_off - off;
    if (pwrite(fd, buf, len_bytes, (off_t)off) != (ssize_t)len_bytes)
        broken("pwrite");
}

int
image_file(const struct image *image, const unsigned char *bytes, uint64_t len_bytes)
{
    int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, (off_t)len_bytes) != 0)
        broken("memfd");
    write_all(fd, 0, bytes, image->meta_bytes, len_bytes);
    for (unsigned i = 0; i < image->page_count; i++)
        write_all(fd, image->page_offs[i], bytes + image->meta_bytes + (size_t)i * IMAGE_PAGE_BYTES,
                  IMAGE_PAGE_BYTES, len_bytes);
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) != 0)
        broken("seals");
    return fd;
}

uint64_t
image_file_off(const struct image *image, size_t off)
{
    size_t data = off - image->meta_bytes;

    if (off < image->meta_bytes)
        return off;
    return image->page_offs[data / IMAGE_PAGE_BYTES] + data % IMAGE_PAGE_BYTES;
}

/* --- damage ----------------------------------------------------------------------------------- */

enum { PART_SEATS, PART_ROOTS, PART_CHUNKS, PART_SPANS, PART_BLOCKS, PART_DATA, PARTS };

/* Half of the words are near to what could be there. */
static uint64_t
strange_number(const struct image *image, struct choice *choice)
{
    static const uint64_t edges[] = { 0,          1,
                                      2,          63,
                                      64,         INT32_MAX,
                                      UINT32_MAX, (uint64_t)UINT32_MAX + 1,
                                      INT64_MAX,  UINT64_MAX - 1,
                                      UINT64_MAX };
    uint64_t number = 0;

    switch (choice_below(choice, 4)) {
    case 0:
        return edges[choice_below(choice, sizeof(edges) / sizeof(edges[0]))];
    case 1:
        number = choice_below(choice, 256) * (image->geom.end_off / 256);
        return number + choice_below(choice, 256) - 128;
    case 2:
        return (uint64_t)1 << choice_below(choice, 64);
    default:
        for (unsigned i = 0; i < 8; i++)
            number = number << 8 | choice_below(choice, 256);
        return number;
    }
}

static void
damage_header(const struct image *image, unsigned char *bytes, struct choice *choice)
{
    struct hm_shared_header header;
    uint64_t number = strange_number(image, choice);
    size_t off = choice_below(choice, offsetof(struct hm_shared_header, crc) / 4) * 4;

    memcpy(&header, bytes, sizeof(header));
    memcpy((unsigned char *)&header + off, &number, choice_one_in(choice, 2) ? 4 : 1);
    hm_shared_header_seal(&header);
    memcpy(bytes, &header, sizeof(header));
}

/* Any state, an owner who is there or not, a class or lengths up to twice the arena's. */
static uint64_t
likely_span(const struct image *image, struct choice *choice)
{
    struct hm_shspan span
        = { .state = (enum hm_shspan_state)choice_below(choice, 8),
            .owner = (unsigned)choice_below(choice, image->geom.seat_count + 2),
            .count = (uint32_t)choice_below(choice, 2 * (size_t)image->geom.span_count),
            .generation = (uint32_t)choice_below(choice, 3) };

    return hm_shspan_pack(span);
}

static uint64_t
likely_block(const struct image *image, struct choice *choice)
{
    uint32_t word
        = hm_block_word((enum hm_block_state)choice_below(choice, 4),
                        (unsigned)choice_below(choice, image->geom.seat_count + 2), 0xfffff);

    return (uint64_t)word << 32 | word;
}

/* The begin and the length of a part of a copy. Of the blocks' words, those of the first spans:
 * others have none. */
static size_t
find_part(const struct image *image, size_t part, size_t *out_bytes)
{
    const struct hm_shared_geom *geom = &image->geom;
    const size_t begins[] = { geom->seats_off, geom->roots_off,  geom->chunks_off,
                              geom->spans_off, geom->blocks_off, image->meta_bytes };

    if (part == PART_DATA)
        *out_bytes = image->len_bytes - image->meta_bytes;
    else if (part == PART_BLOCKS)
        *out_bytes = 8 * (size_t)HM_SHARED_SPAN_UNITS * 4;
    else
        *out_bytes = begins[part + 1] - begins[part];
    return begins[part];
}

size_t
image_damage(const struct image *image, unsigned char *bytes, struct choice *choice)
{
    size_t part = choice_below(choice, PARTS);
    uint64_t number = strange_number(image, choice);
    bool is_likely = choice_one_in(choice, 2);
    size_t room;
    size_t off;

    if (choice_one_in(choice, 48)) {
        damage_header(image, bytes, choice);
        return 0;
    }
    off = find_part(image, part, &room);
    off += choice_below(choice, room / 8) * 8;
    if (is_likely && part == PART_SPANS)
        number = likely_span(image, choice);
    else if (is_likely && part == PART_BLOCKS)
        number = likely_block(image, choice);
    memcpy(bytes + off, &number, choice_one_in(choice, 2) ? 8 : 4);
    return off;
}

/* --- the visitor ------------------------------------------------------------------------------ */

static bool may_write;

/* As a program does that trusts what it got. */
static void
touch(huma_shared *shared, uint64_t block)
{
    size_t size = huma_shared_usable_size(shared, block);
    volatile char *start = size > 0 ? huma_shared_at(shared, block) : NULL;

    if (start == NULL)
        return;
    if (may_write)
        start[0] = 1;
    if (may_write)
        start[size - 1] = 1;
    (void)start[0];
    (void)start[size - 1];
}

static void
use_blocks(huma_shared *shared)
{
    static const size_t sizes[] = { 1, 64, 100, 1000, 3000, 30000, 70000, 3 * MIB };
    enum { COUNT = sizeof(sizes) / sizeof(sizes[0]) };
    uint64_t blocks[COUNT];

    for (unsigned i = 0; i < COUNT; i++) {
        blocks[i] = i % 2 == 0 ? huma_shared_alloc(shared, sizes[i])
                               : huma_shared_calloc(shared, 1, sizes[i]);
        touch(shared, blocks[i]);
    }
    touch(shared, huma_shared_aligned_alloc(shared, HM_SHARED_SPAN_BYTES, 100));
    blocks[2] = huma_shared_realloc(shared, blocks[2], sizes[6]);
    touch(shared, blocks[2]);
    for (unsigned i = 0; i < COUNT; i += 2)
        (void)huma_shared_free(shared, blocks[i]);
}

static void
use_cells(huma_shared *shared)
{
    static const char *const names[] = { "outer", "large", "small", "lock", "empty", "another" };

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        uint64_t cell = huma_shared_root(shared, names[i]);
        uint64_t block = huma_shared_peek(shared, cell);

        (void)huma_shared_usable_size(shared, block);
        (void)huma_shared_peek(shared, block);
        (void)huma_shared_take(shared, block);
        block = huma_shared_take(shared, cell);
        touch(shared, block);
        (void)huma_shared_publish(shared, cell, block);
        if (i % 2 == 0)
            (void)huma_shared_free(shared, huma_shared_take(shared, cell));
        (void)huma_shared_publish(shared, cell, huma_shared_alloc(shared, 500));
        (void)huma_shared_alloc_to(shared, cell, 70);
    }
}

/* Of a queue and of a lock, though these may be anything. */
static void
use_ring(huma_shared *shared)
{
    uint64_t ring = huma_shared_peek(shared, huma_shared_root(shared, "ring"));
    uint64_t lock = huma_shared_peek(shared, huma_shared_root(shared, "lock"));

    for (unsigned i = 0; i < 10; i++)
        touch(shared, huma_shared_ring_get(shared, ring, 0));
    for (unsigned i = 0; i < 12; i++)
        (void)huma_shared_ring_put(shared, ring, huma_shared_alloc(shared, 30), 0);
    for (unsigned i = 0; i < 3; i++)
        (void)huma_shared_free(shared, huma_shared_ring_get(shared, ring, 1));
    (void)huma_shared_ring_get(shared, lock, 0);
    (void)huma_shared_lock(shared, lock, 0);
    (void)huma_shared_lock(shared, ring, 1);
    (void)huma_shared_unlock(shared, ring);
    (void)huma_shared_unlock(shared, lock);
}

static void
end_ring(huma_shared *shared)
{
    uint64_t ring = huma_shared_take(shared, huma_shared_root(shared, "ring"));

    (void)huma_shared_ring_destroy(shared, ring);
    ring = huma_shared_ring_create(shared, 100);
    (void)huma_shared_ring_put(shared, ring, huma_shared_alloc(shared, 30), 0);
    (void)huma_shared_ring_destroy(shared, ring);
}

/* What no call has returned. */
static void
use_offsets(huma_shared *shared, uint64_t end_off)
{
    char buf[64] = { 0 };
    const uint64_t offs[]
        = { 1,           4096,    4096 + 128,     end_off / 2,      end_off / 2 + 8,
            end_off - 1, end_off, UINT64_MAX - 7, (uint64_t)1 << 44 };

    for (unsigned i = 0; i < sizeof(offs) / sizeof(offs[0]); i++) {
        (void)huma_shared_read(shared, offs[i], buf, sizeof(buf));
        (void)huma_shared_write(shared, offs[i], buf, sizeof(buf));
        (void)huma_shared_sync(shared, offs[i], SIZE_MAX - 100);
        (void)huma_shared_ring_put(shared, offs[i], offs[i], 0);
        (void)huma_shared_ring_destroy(shared, offs[i]);
        (void)huma_shared_lock(shared, offs[i], 0);
        (void)huma_shared_unlock(shared, offs[i]);
        (void)huma_shared_at(shared, offs[i]);
        (void)huma_shared_usable_size(shared, offs[i]);
        (void)huma_shared_peek(shared, offs[i]);
        (void)huma_shared_take(shared, offs[i]);
        (void)huma_shared_publish(shared, offs[i], offs[i]);
        touch(shared, huma_shared_realloc(shared, offs[i], 10));
        (void)huma_shared_free(shared, offs[i]);
    }
}

static void
look(huma_shared *shared)
{
    struct huma_shared_state info = HUMA_SHARED_STATE_INIT;

    if (huma_shared_verify(shared) != 0 && (errno != EUCLEAN || huma_last_error()[0] == '\0'))
        abort();
    if (huma_shared_info(shared, &info) != 0)
        abort();
}

bool
visit(int fd, uint64_t flags)
{
    static const char prefix[] = "huma_shared_attach(): ";
    huma_shared *shared = huma_shared_attach(fd, flags);

    if (shared == NULL) {
        if (errno == 0 || strncmp(huma_last_error(), prefix, sizeof(prefix) - 1) != 0
            || strlen(huma_last_error()) < sizeof(prefix))
            abort();
        return false;
    }
    may_write = (flags & HUMA_SHARED_READ_ONLY) == 0;
    look(shared);
    use_ring(shared);
    use_cells(shared);
    use_blocks(shared);
    use_offsets(shared, (uint64_t)6 * MIB);
    (void)huma_shared_recover(shared);
    (void)huma_shared_trim(shared);
    use_blocks(shared);
    use_cells(shared);
    end_ring(shared);
    look(shared);
    huma_shared_detach(shared);
    return true;
}
