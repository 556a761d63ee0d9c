/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "huma.h"

#define MIB ((size_t)1 << 20)

static huma_shared *
must_create(uint64_t flags)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    huma_shared *shared;

    options.backing = "4k";
    options.limit_bytes = 16 * MIB;
    options.flags = flags;
    shared = huma_shared_create(&options);
    cr_assert_not_null(shared, "%s", huma_last_error());
    return shared;
}

static struct huma_shared_state
info_of(huma_shared *shared)
{
    struct huma_shared_state info = HUMA_SHARED_STATE_INIT;

    cr_assert_eq(huma_shared_info(shared, &info), 0);
    return info;
}

/* Of no bytes, at any alignment; and of more than can be counted. */
Test(huma_edges, sizes)
{
    static const size_t too_large[]
        = { SIZE_MAX, SIZE_MAX - 65534, SIZE_MAX / 2, 16 * MIB + 1, (size_t)1 << 44 };
    huma_shared *shared = must_create(0);

    for (size_t alignment = 1; alignment <= 2 * MIB; alignment *= 2) {
        uint64_t block = huma_shared_aligned_alloc(shared, alignment, 0);

        cr_assert_neq(block, 0, "%zu", alignment);
        cr_assert_eq((uintptr_t)huma_shared_at(shared, block) % alignment, 0);
        cr_assert_eq(huma_shared_free(shared, block), 0);
    }
    for (size_t i = 0; i < sizeof(too_large) / sizeof(*too_large); i++) {
        errno = 0;
        cr_assert_eq(huma_shared_alloc(shared, too_large[i]), 0);
        cr_assert_eq(errno, ENOMEM);
        cr_assert_eq(huma_shared_aligned_alloc(shared, MIB, too_large[i]), 0);
    }
    cr_assert_neq(huma_shared_alloc(shared, 16 * MIB), 0);
    huma_shared_detach(shared);
}

/* Memory that the kernel does not take back counts as there. */
Test(huma_edges, what_cannot_be_given_back)
{
    huma_shared *shared = must_create(HUMA_SHARED_ONE_WRITER);
    uint64_t block = huma_shared_alloc(shared, 5 * MIB);
    uint64_t ready_bytes = info_of(shared).ready_bytes;

    cr_assert_geq(ready_bytes, 5 * MIB);
    cr_assert_eq(huma_shared_free(shared, block), 0);
    cr_assert_eq(huma_shared_trim(shared), 0);
    cr_assert_eq(info_of(shared).ready_bytes, ready_bytes);
    cr_assert_eq(info_of(shared).heap_bytes, 0);
    cr_assert_neq(huma_shared_alloc(shared, 16 * MIB), 0);
    huma_shared_detach(shared);
}

/* A cell whose block was freed though it held it: it is of no use any more, and does no harm. */
Test(huma_edges, a_cell_that_names_what_is_free)
{
    huma_shared *shared = must_create(0);
    uint64_t cell = huma_shared_root(shared, "cell");
    uint64_t block = huma_shared_alloc_to(shared, cell, 1000);
    uint64_t ring = huma_shared_ring_create(shared, 2);
    uint64_t other;

    cr_assert_eq(huma_shared_free(shared, block), 0);
    cr_assert_eq(huma_shared_take(shared, cell), 0);
    cr_assert_eq(errno, ENOENT);
    other = huma_shared_alloc(shared, 50);
    cr_assert_eq(huma_shared_publish(shared, cell, other), -1);
    cr_assert_eq(errno, EEXIST);
    cr_assert_eq(huma_shared_verify(shared), -1);
    cr_assert_eq(errno, EUCLEAN);
    /* A ring goes on behind such a block. */
    for (int i = 0; i < 5; i++) {
        block = huma_shared_alloc(shared, 1000);
        cr_assert_eq(huma_shared_ring_put(shared, ring, block, 0), 0);
        cr_assert_eq(huma_shared_free(shared, block), 0);
        cr_assert_eq(huma_shared_ring_put(shared, ring, other, 0), 0);
        cr_assert_eq(huma_shared_ring_get(shared, ring, 0), other);
    }
    huma_shared_detach(shared);
}
