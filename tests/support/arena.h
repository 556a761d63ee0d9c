/* SPDX-License-Identifier: MIT */
/* arena.h - arenas for tests of huma.h. */
#ifndef TESTS_SUPPORT_ARENA_H
#define TESTS_SUPPORT_ARENA_H

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "huma.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* For many threads, and for one. */
static const uint64_t kinds[] = { 0, HUMA_ARENA_SINGLE_THREADED };

static inline huma_arena *
create_with(const struct huma_arena_options *options)
{
    huma_arena *arena = huma_arena_create(options);

    cr_assert_not_null(arena, "%s", huma_last_error());
    return arena;
}

/* Without pages of a pool, whose number is not the tests'. */
static inline huma_arena *
create(uint64_t flags)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;

    options.backing = "thp,4k";
    options.flags = flags;
    return create_with(&options);
}

/* errno and a part of the sentence. */
static inline void
expect_refusal(const struct huma_arena_options *options, int error, const char *text)
{
    errno = 0;
    cr_assert_null(huma_arena_create(options));
    cr_assert_eq(errno, error, "errno is %d", errno);
    cr_assert_not_null(strstr(huma_last_error(), text), "%s", huma_last_error());
}

#endif
