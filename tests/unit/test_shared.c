/* SPDX-License-Identifier: MIT */
/* test_shared.c - shared arenas in memory of the test's, with processes that are structs. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "shared/shared.h"

#define PROCESSES 4
#define CHUNKS 8

static struct {
    unsigned char *base;
    struct hm_shared_geom geom;
    uint32_t *rings[PROCESSES];
    struct hm_shared views[PROCESSES];
    bool is_dead[PROCESSES + 1]; /* by seat */
    bool is_full;                /* there is no memory for more chunks */
    unsigned fill_count;
    unsigned punch_count;
} rig;

static int
fill(void *ctx, uint64_t off, uint64_t len_bytes)
{
    (void)ctx;
    cr_assert(off >= rig.geom.blocks_off && off + len_bytes <= rig.geom.end_off);
    if (rig.is_full)
        return -ENOSPC;
    rig.fill_count++;
    return 0;
}

static int
punch(void *ctx, uint64_t off, uint64_t len_bytes)
{
    (void)ctx;
    memset(rig.base + off, 0, len_bytes);
    rig.punch_count++;
    return 0;
}

static bool
hold(void *ctx, unsigned seat)
{
    (void)ctx;
    return rig.is_dead[seat]
           || (hm_load(&hm_shared_seat_of(&rig.views[0], seat)->state) & HM_SEAT_TAKEN) == 0;
}

static void
let_go(void *ctx, unsigned seat)
{
    (void)ctx;
    rig.is_dead[seat] = false;
}

static void
setup(void)
{
    struct hm_shared_header header;
    struct hm_shared_env env = { NULL, fill, punch, hold, let_go };

    memset(&rig, 0, sizeof(rig));
    hm_shared_header_init(&header, CHUNKS * HM_SHARED_CHUNK_BYTES, PROCESSES, 16, 12);
    cr_assert(hm_shared_geom_init(&rig.geom, &header));
    rig.base = mmap(NULL, rig.geom.end_off, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cr_assert_neq(rig.base, MAP_FAILED);
    for (unsigned i = 0; i < PROCESSES; i++) {
        rig.rings[i] = calloc(rig.geom.span_count, sizeof(uint32_t));
        cr_assert_not_null(rig.rings[i]);
        hm_shared_init(&rig.views[i], rig.base, &rig.geom, &env, rig.rings[i]);
    }
    for (unsigned i = 0; i < 2; i++)
        cr_assert_eq(hm_shared_attach(&rig.views[i]), 0);
}

static void
teardown(void)
{
    for (unsigned i = 0; i < PROCESSES; i++)
        free(rig.rings[i]);
    cr_assert_eq(munmap(rig.base, rig.geom.end_off), 0);
}

TestSuite(shared, .init = setup, .fini = teardown);

static struct hm_shared_sums
verify(void)
{
    struct hm_shared_sums sums;
    const char *fault = hm_shared_verify(&rig.views[0], &sums);

    cr_assert_null(fault, "%s", fault);
    return sums;
}

/* The process of a view is no more. */
static void
die(struct hm_shared *view)
{
    rig.is_dead[view->seat] = true;
    view->seat = 0;
}

/* --- sizes ------------------------------------------------------------------------------------ */

Test(shared, classes)
{
    for (uint32_t size_bytes = 0; size_bytes <= HM_SHARED_SMALL_MAX_BYTES; size_bytes++) {
        unsigned class_idx = hm_shared_class_of(size_bytes);

        cr_assert_lt(class_idx, HM_SHARED_CLASS_COUNT);
        cr_assert_geq(hm_shared_class_bytes(class_idx), size_bytes);
        if (class_idx > 0)
            cr_assert_lt(hm_shared_class_bytes(class_idx - 1), size_bytes);
    }
    for (unsigned i = 0; i < HM_SHARED_CLASS_COUNT; i++)
        cr_assert_eq(hm_shared_class_bytes(i) % 16, 0);
}

Test(shared, where_things_are)
{
    struct hm_shared_header header;
    struct hm_shared_geom geom;

    for (unsigned page_shift = 12; page_shift <= 30; page_shift += 9) {
        hm_shared_header_init(&header, 1, 1023, 4096, page_shift);
        cr_assert(hm_shared_geom_init(&geom, &header));
        cr_assert_eq(geom.chunk_count, 1);
        cr_assert_geq(geom.roots_off, geom.seats_off + 1024 * sizeof(struct hm_shared_seat));
        cr_assert_geq(geom.chunks_off, geom.roots_off + 4096 * sizeof(struct hm_shared_root));
        cr_assert_geq(geom.data_off, geom.blocks_off + geom.span_count * 4096);
        cr_assert_eq(geom.data_off % HM_SHARED_CHUNK_BYTES, 0);
        cr_assert_eq(geom.end_off % ((uint64_t)1 << page_shift), 0);
    }
    hm_shared_header_init(&header, HM_SHARED_DATA_MAX_BYTES, 1, 0, 12);
    cr_assert(hm_shared_geom_init(&geom, &header));
    cr_assert_eq(geom.span_count, HM_SHARED_DATA_MAX_BYTES >> HM_SHARED_SPAN_SHIFT);
    header.data_bytes += HM_SHARED_CHUNK_BYTES;
    cr_assert_not(hm_shared_geom_init(&geom, &header));
}

/* Whatever byte is changed. */
Test(shared, damaged_headers)
{
    struct hm_shared_header header;

    hm_shared_header_init(&header, HM_SHARED_CHUNK_BYTES, 8, 8, 12);
    hm_shared_header_seal(&header);
    cr_assert_null(hm_shared_header_fault(&header));
    for (size_t i = 0; i < sizeof(header); i++) {
        struct hm_shared_header other = header;

        ((unsigned char *)&other)[i] ^= 0x10;
        cr_assert_not_null(hm_shared_header_fault(&other), "byte %zu", i);
        hm_shared_header_seal(&other);
        (void)hm_shared_header_fault(&other);
    }
    header.magic = __builtin_bswap64(header.magic);
    cr_assert_not_null(strstr(hm_shared_header_fault(&header), "byte order"));
}

/* --- blocks ----------------------------------------------------------------------------------- */

#define LIVE 600

struct block {
    uint64_t off;
    uint64_t size_bytes;
    unsigned char seed;
};

static void
write_block(struct block *block, unsigned seed)
{
    block->seed = (unsigned char)seed;
    memset(rig.base + block->off, block->seed, block->size_bytes);
}

static void
check_block(const struct block *block)
{
    const unsigned char *start = rig.base + block->off;

    cr_assert_geq(hm_shared_room(&rig.views[0], block->off), block->size_bytes);
    if (block->size_bytes > 0) {
        cr_assert_eq(start[0], block->seed);
        cr_assert_eq(memcmp(start, start + 1, block->size_bytes - 1), 0);
    }
}

static uint64_t
draw_size(unsigned *state)
{
    switch (rand_r(state) % 16) {
    case 0:
        return (uint64_t)rand_r(state) % 300000;
    case 1:
    case 2:
        return (uint64_t)rand_r(state) % 33000;
    default:
        return (uint64_t)rand_r(state) % 1000;
    }
}

/* Two processes in turn; each frees what either has allocated. */
Test(shared, random_blocks)
{
    static struct block blocks[LIVE];
    unsigned state = 1;

    for (unsigned step = 0; step < 40000; step++) {
        struct hm_shared *view = &rig.views[rand_r(&state) % 2];
        struct block *block = &blocks[rand_r(&state) % LIVE];
        uint64_t align_bytes = rand_r(&state) % 8 != 0 ? 16 : (uint64_t)16 << rand_r(&state) % 10;

        if (block->off != 0) {
            check_block(block);
            cr_assert_eq(hm_shared_free(view, block->off), 0);
            cr_assert_eq(hm_shared_free(view, block->off), -EINVAL);
            block->off = 0;
            continue;
        }
        block->size_bytes = draw_size(&state);
        block->off = hm_shared_alloc(view, block->size_bytes, align_bytes);
        if (block->off == 0)
            continue;
        cr_assert_eq((block->off - rig.geom.data_off) % align_bytes, 0);
        write_block(block, step);
        if (step % 1000 == 0)
            (void)verify();
    }
    for (unsigned i = 0; i < LIVE; i++)
        if (blocks[i].off != 0) {
            check_block(&blocks[i]);
            cr_assert_eq(hm_shared_free(&rig.views[i % 2], blocks[i].off), 0);
        }
    cr_assert_eq(verify().private_count, 0);
    for (unsigned i = 0; i < 2; i++)
        hm_shared_detach(&rig.views[i]);
    cr_assert_eq(verify().span_bytes, 0);
}

/* All of the data can be had, in one block or in many, and comes back. */
Test(shared, to_the_last_byte)
{
    struct hm_shared *view = &rig.views[0];
    uint64_t count = 0;

    for (int round = 0; round < 2; round++) {
        uint64_t all = hm_shared_alloc(view, CHUNKS * HM_SHARED_CHUNK_BYTES, 16);

        cr_assert_neq(all, 0);
        cr_assert_eq(hm_shared_alloc(view, 1, 16), 0);
        cr_assert_eq(hm_shared_free(view, all), 0);
    }
    while (hm_shared_alloc(view, 64, 16) != 0)
        count++;
    cr_assert_eq(count, CHUNKS * HM_SHARED_CHUNK_BYTES / 64);
    die(view);
    cr_assert_eq(hm_shared_recover(&rig.views[1]), 1);
    cr_assert_eq(verify().span_bytes, 0);
    cr_assert_eq(hm_shared_alloc(view, CHUNKS * HM_SHARED_CHUNK_BYTES + 1, 16), 0);
    cr_assert_eq(hm_shared_alloc(&rig.views[1], UINT64_MAX, 16), 0);
}

Test(shared, alignments)
{
    struct hm_shared *view = &rig.views[0];

    for (uint64_t align_bytes = 1; align_bytes <= HM_SHARED_CHUNK_BYTES; align_bytes *= 2)
        for (uint64_t size_bytes = 1; size_bytes <= 70000; size_bytes = size_bytes * 3 + 1) {
            uint64_t off = hm_shared_alloc(view, size_bytes, align_bytes);

            cr_assert_neq(off, 0);
            cr_assert_eq(off % align_bytes, 0);
            cr_assert_geq(hm_shared_room(view, off), size_bytes);
            cr_assert_eq(hm_shared_free(view, off), 0);
        }
}

/* Whatever is no block. */
Test(shared, offsets_of_no_block)
{
    struct hm_shared *view = &rig.views[0];
    uint64_t small = hm_shared_alloc(view, 100, 16);
    uint64_t large = hm_shared_alloc(view, 100000, 16);
    const uint64_t wrong[] = { 0,
                               1,
                               4096,
                               rig.geom.data_off - 64,
                               small + 1,
                               small + 16,
                               small + 112,
                               large + 64,
                               large + 65536,
                               rig.geom.end_off - 64,
                               rig.geom.end_off,
                               UINT64_MAX,
                               UINT64_MAX - 65535 };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        cr_assert_eq(hm_shared_free(view, wrong[i]), -EINVAL, "%zu", i);
        cr_assert_eq(hm_shared_room(view, wrong[i]), 0, "%zu", i);
    }
    cr_assert_eq(verify().private_count, 2);
}

/* Memory for chunks is asked for when it is needed, and a refusal is none of an arena's end. */
Test(shared, growth_and_trim)
{
    struct hm_shared *view = &rig.views[0];
    uint64_t first = hm_shared_alloc(view, 100, 16);
    uint64_t large;

    cr_assert_eq(verify().ready_bytes, HM_SHARED_CHUNK_BYTES);
    rig.is_full = true;
    cr_assert_eq(hm_shared_alloc(view, 3 * HM_SHARED_CHUNK_BYTES, 16), 0);
    cr_assert_neq(hm_shared_alloc(view, 3000, 16), 0);
    rig.is_full = false;
    large = hm_shared_alloc(view, 3 * HM_SHARED_CHUNK_BYTES, 16);
    cr_assert_neq(large, 0);
    cr_assert_eq(hm_shared_trim(view), 0);
    cr_assert_eq(hm_shared_free(view, large), 0);
    cr_assert_geq(hm_shared_trim(view), 2 * HM_SHARED_CHUNK_BYTES);
    cr_assert_neq(rig.punch_count, 0);
    cr_assert_neq(hm_shared_room(view, first), 0);
    cr_assert_neq(hm_shared_alloc(view, 3 * HM_SHARED_CHUNK_BYTES, 16), 0);
    (void)verify();
}

/* What others have freed in our spans is used before new ones are. */
Test(shared, one_allocates_the_other_frees)
{
    static uint64_t blocks[10000];

    for (int round = 0; round < 50; round++) {
        for (size_t i = 0; i < 10000; i++) {
            blocks[i] = hm_shared_alloc(&rig.views[0], 100, 16);
            cr_assert_neq(blocks[i], 0);
        }
        for (size_t i = 0; i < 10000; i++)
            cr_assert_eq(hm_shared_free(&rig.views[1], blocks[i]), 0);
    }
    cr_assert_leq(verify().span_bytes, 3 * 10000 * 112);
}

/* --- cells ------------------------------------------------------------------------------------ */

Test(shared, publish_and_take)
{
    struct hm_shared *one = &rig.views[0];
    struct hm_shared *two = &rig.views[1];
    uint64_t root = hm_shared_root(one, "queue");
    uint64_t block = hm_shared_alloc(one, 100, 16);
    uint64_t other = hm_shared_alloc(one, 100, 16);

    cr_assert_neq(root, 0);
    cr_assert_eq(hm_shared_root(two, "queue"), root);
    cr_assert_neq(hm_shared_root(two, "other"), root);
    cr_assert_eq(hm_shared_take(two, root), 0);
    cr_assert_eq(hm_shared_publish(two, root, block), -EINVAL);
    cr_assert_eq(hm_shared_publish(one, root, block), 0);
    cr_assert_eq(hm_shared_publish(one, root, block), -EINVAL);
    cr_assert_eq(hm_shared_publish(one, root, other), -EEXIST);
    cr_assert(hm_shared_is_mine(one, other));
    cr_assert_not(hm_shared_is_mine(one, block));
    cr_assert_eq(hm_shared_take(two, root), block);
    cr_assert(hm_shared_is_mine(two, block));
    cr_assert_eq(hm_shared_take(one, root), 0);
    /* In a block. */
    memset(rig.base + other, 0, 100);
    cr_assert_eq(hm_shared_publish(two, other + 8, block), 0);
    cr_assert_eq(hm_shared_take(one, other + 8), block);
    cr_assert_eq(hm_shared_publish(one, other + 3, block), -EINVAL);
    cr_assert_eq(hm_shared_publish(one, 0, block), -EINVAL);
    cr_assert_eq(hm_shared_publish(one, root + 8, block), -EINVAL);
    cr_assert_eq(hm_shared_publish(one, rig.geom.end_off, block), -EINVAL);
}

Test(shared, as_many_roots_as_there_are)
{
    char name[] = "root?";
    uint64_t roots[16];

    for (int i = 0; i < 16; i++) {
        name[4] = (char)('a' + i);
        roots[i] = hm_shared_root(&rig.views[0], name);
        cr_assert_neq(roots[i], 0);
        for (int k = 0; k < i; k++)
            cr_assert_neq(roots[k], roots[i]);
    }
    cr_assert_eq(hm_shared_root(&rig.views[0], "one more"), 0);
    cr_assert_eq(hm_shared_root(&rig.views[1], "rootc"), roots[2]);
}

/* --- the dead --------------------------------------------------------------------------------- */

Test(shared, what_the_dead_had)
{
    struct hm_shared *one = &rig.views[0];
    struct hm_shared *two = &rig.views[1];
    uint64_t root = hm_shared_root(one, "kept");
    uint64_t kept = hm_shared_alloc(two, 1000, 16);
    uint64_t kept_large = hm_shared_alloc(two, 200000, 16);

    cr_assert_eq(hm_shared_publish(two, root, kept), 0);
    cr_assert_eq(hm_shared_publish(two, hm_shared_root(one, "large"), kept_large), 0);
    for (int i = 0; i < 1000; i++)
        cr_assert_neq(hm_shared_alloc(two, (uint64_t)i * 7, 16), 0);
    cr_assert_neq(hm_shared_alloc(two, 3000000, 16), 0);
    die(two);
    cr_assert_eq(hm_shared_recover(one), 1);
    cr_assert_eq(hm_shared_recover(one), 0);
    cr_assert_eq(verify().private_count, 0);
    cr_assert_eq(verify().published_count, 2);
    cr_assert_eq(verify().seat_count, 1);
    cr_assert_eq(hm_shared_take(one, root), kept);
    cr_assert_eq(hm_shared_free(one, kept), 0);
    cr_assert_eq(hm_shared_free(one, kept_large), 0);
}

/* Who runs short has what the dead had, and who comes has their seats. */
Test(shared, the_dead_make_room)
{
    struct hm_shared *one = &rig.views[0];
    struct hm_shared *two = &rig.views[1];

    cr_assert_neq(hm_shared_alloc(two, CHUNKS * HM_SHARED_CHUNK_BYTES, 16), 0);
    cr_assert_eq(hm_shared_alloc(one, 100, 16), 0);
    die(two);
    cr_assert_neq(hm_shared_alloc(one, 100, 16), 0);
    for (unsigned i = 1; i < PROCESSES; i++)
        cr_assert_eq(hm_shared_attach(&rig.views[i]), 0);
    die(&rig.views[2]);
    cr_assert_eq(hm_shared_attach(&rig.views[2]), 0);
    cr_assert_eq(hm_shared_attach(
                     &(struct hm_shared){ .geom = rig.geom, .base = rig.base, .env = one->env }),
                 -EUSERS);
}

/* --- the hostile ------------------------------------------------------------------------------ */

/* Metadata may hold anything: nothing leads outside of the arena, and all comes to an end. */
Test(shared, any_words)
{
    unsigned state = 7;

    for (int round = 0; round < 300; round++) {
        struct hm_shared_sums sums;

        for (int i = 0; i < 2000; i++) {
            uint64_t at = (uint64_t)rand_r(&state) * 4 % (rig.geom.data_off - 8);
            uint64_t value = (uint64_t)rand_r(&state) << 33 ^ (uint64_t)rand_r(&state) << 11
                             ^ (uint64_t)rand_r(&state);

            if (i % 2 == 0)
                at = rig.geom.spans_off + (uint64_t)rand_r(&state) % rig.geom.span_count * 8;
            memcpy(rig.base + at, &value, 8);
        }
        (void)hm_shared_verify(&rig.views[0], &sums);
        for (int i = 0; i < 100; i++) {
            uint64_t off = hm_shared_alloc(&rig.views[0], draw_size(&state), 16);

            cr_assert(off == 0 || (off >= rig.geom.data_off && off < rig.geom.end_off));
            (void)hm_shared_free(&rig.views[1], off);
            (void)hm_shared_take(&rig.views[1], hm_shared_root(&rig.views[1], "any"));
        }
        (void)hm_shared_trim(&rig.views[0]);
        hm_shared_recover_seat(&rig.views[0], 1 + (unsigned)round % PROCESSES);
        rig.views[0].seat = 1;
        rig.views[1].seat = 2;
    }
}
