/* SPDX-License-Identifier: MIT */
/* fake_nodes.c - memory nodes of the kernel for tests (see fake_os.h).
 *
 * Problem     Where memory lies on a machine with several nodes must be seen on one that has one.
 * Idea        The test says which nodes there are and where the thread runs; each policy that was
 *             set is noted, and the latest for an address holds.
 */
#include "support/fake_os.h"

int
fake_os_nodes(void *ctx, struct hm_node_mask *out_mask)
{
    struct fake_os *fake = ctx;
    struct fake_call call = { .kind = FAKE_NODES };

    call.rc = fake_os_begin(fake, FAKE_NODES);
    if (call.rc == 0)
        *out_mask = fake->nodes;
    return fake_os_end(fake, call);
}

unsigned
fake_os_here(void *ctx)
{
    struct fake_os *fake = ctx;

    fake->here_count++;
    return fake->here;
}

int
fake_os_place(void *ctx, uintptr_t addr, size_t len_bytes, enum hm_policy policy,
              const struct hm_node_mask *mask)
{
    struct fake_os *fake = ctx;
    struct fake_call call = { .kind = FAKE_PLACE, .addr = addr, .len_bytes = len_bytes };

    call.rc = fake_os_begin(fake, FAKE_PLACE);
    (void)fake_space_find(&fake->space, addr, len_bytes, "place() of what was not reserved");
    if (fake->placed_count == FAKE_PLACED_COUNT)
        fake_space_misuse("test: so many policies were not noted", addr, len_bytes);
    if (call.rc == 0)
        fake->placed[fake->placed_count++] = (struct fake_placed){ addr, len_bytes, policy, *mask };
    return fake_os_end(fake, call);
}

int
fake_os_nearest(void *ctx, unsigned node, const struct hm_node_mask *mask, unsigned *out_node)
{
    struct fake_os *fake = ctx;
    struct fake_call call = { .kind = FAKE_NEAREST, .addr = node };

    call.rc = fake_os_begin(fake, FAKE_NEAREST);
    if (!hm_node_is_in(mask, fake->nearest))
        fake_space_misuse("test: the nearest node is none that may be used", node, 0);
    if (call.rc == 0)
        *out_node = fake->nearest;
    return fake_os_end(fake, call);
}

const struct fake_placed *
fake_os_placed(const struct fake_os *fake, uintptr_t addr)
{
    for (size_t i = fake->placed_count; i-- > 0;)
        if (addr - fake->placed[i].addr < fake->placed[i].len_bytes)
            return &fake->placed[i];
    return NULL;
}
