/* SPDX-License-Identifier: MIT */
/* sqlite_arena.c - SQLite with all its memory in an arena.
 *
 * Problem     A database inside a program shares the heap with it: nobody can tell what it uses, or
 *             give it memory of another kind.
 * Idea        SQLITE_CONFIG_MALLOC takes a table of functions. Each is a call of the arena; xSize
 *             is huma_usable_size, so that SQLite uses all of each block.
 *
 *     cc sqlite_arena.c $(pkg-config --cflags --libs huma sqlite3) && ./a.out
 */
#include <huma.h>
#include <sqlite3.h>
#include <stdio.h>

static huma_arena *arena;

static int
arena_init(void *unused)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;

    (void)unused;
    options.name = "sqlite";
    arena = huma_arena_create(&options);
    return arena != NULL ? SQLITE_OK : SQLITE_NOMEM;
}

static void
arena_shutdown(void *unused)
{
    (void)unused;
    huma_arena_destroy(arena);
    arena = NULL;
}

static void *
arena_malloc(int size)
{
    return huma_arena_alloc(arena, (size_t)size);
}

static void
arena_free(void *ptr)
{
    huma_arena_free(arena, ptr);
}

static void *
arena_realloc(void *ptr, int size)
{
    return huma_arena_realloc(arena, ptr, (size_t)size);
}

static int
arena_size(void *ptr)
{
    return (int)huma_usable_size(ptr);
}

static int
round_up(int size)
{
    return (size + 15) & ~15;
}

static sqlite3_mem_methods methods = { arena_malloc, arena_free, arena_realloc,  arena_size,
                                       round_up,     arena_init, arena_shutdown, NULL };

static int
print_row(void *unused, int count, char **values, char **names)
{
    (void)unused;
    for (int i = 0; i < count; i++)
        printf("%s=%s%s", names[i], values[i], i + 1 < count ? " " : "\n");
    return 0;
}

int
main(void)
{
    struct huma_info info = HUMA_INFO_INIT;
    sqlite3 *db = NULL;

    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) != SQLITE_OK
        || sqlite3_initialize() != SQLITE_OK) {
        fprintf(stderr, "sqlite_arena: %s\n", huma_last_error());
        return 1;
    }
    if (sqlite3_open(":memory:", &db) != SQLITE_OK
        || sqlite3_exec(db,
                        "create table word (id integer primary key, text varchar);"
                        "with recursive n(i) as (select 1 union all select i + 1 from n"
                        "  where i < 20000)"
                        "insert into word select i, 'word ' || i from n;"
                        "create index word_text on word (text);"
                        "select count(*) as words, max(length(text)) as longest from word",
                        print_row, NULL, NULL)
               != SQLITE_OK) {
        fprintf(stderr, "sqlite_arena: %s\n", sqlite3_errmsg(db));
        return 1;
    }
    if (huma_arena_info(arena, &info) == 0)
        printf("SQLite has %llu KiB in blocks, %lld KiB by its own count\n",
               (unsigned long long)info.live_bytes / 1024, sqlite3_memory_used() / 1024);
    return sqlite3_close(db) != SQLITE_OK || sqlite3_shutdown() != SQLITE_OK;
}
