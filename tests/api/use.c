/* SPDX-License-Identifier: MIT */
/* use.c - the arena API from plain C, as old as C99. */
#include <huma.h>
#include <stdio.h>
#include <string.h>

/* What huma_shared.h has, which huma.h includes. */
static int
share(void)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    struct huma_shared_state state = HUMA_SHARED_STATE_INIT;
    huma_shared *shared;
    uint64_t cell;
    uint64_t block;

    options.limit_bytes = (size_t)2 << 20;
    options.backing = "4k";
    shared = huma_shared_create(&options);
    cell = huma_shared_root(shared, "use");
    block = huma_shared_alloc_to(shared, cell, 100);
    if (block == 0 || huma_shared_info(shared, &state) != 0) {
        fprintf(stderr, "%s\n", huma_last_error());
        return -1;
    }
    strcpy(huma_shared_at(shared, block), "shared");
    if (state.kind != HUMA_SHARED_MEMFD || huma_shared_take(shared, cell) != block)
        return -1;
    puts(huma_shared_at(shared, block));
    huma_shared_detach(shared);
    return 0;
}

int
main(void)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    struct huma_info info = HUMA_INFO_INIT;
    struct huma_scope scope;
    huma_arena *arena;
    char *block;
    char *text;

    options.name = "use";
    options.limit_bytes = (size_t)64 << 20;
    arena = huma_arena_create(&options);
    if (arena == NULL) {
        fprintf(stderr, "%s\n", huma_last_error());
        return 1;
    }
    block = huma_arena_alloc(arena, 100);
    text = huma_arena_calloc(arena, 3, 1000);
    if (block == NULL || text == NULL || huma_scope_begin(&scope, arena) != 0)
        return 2;
    strcpy(block, "found");
    if (huma_scope_alloc(&scope, 10) == NULL || huma_arena_info(arena, &info) != 0)
        return 3;
    if (info.live_bytes < 3100 || huma_arena_alloc(arena, (size_t)1 << 30) != NULL)
        return 4;
    huma_scope_end(&scope);
    huma_arena_free(arena, text);
    puts(block);
    huma_arena_destroy(arena);
    return share() == 0 ? 0 : 5;
}
