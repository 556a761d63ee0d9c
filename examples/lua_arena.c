/* SPDX-License-Identifier: MIT */
/* lua_arena.c - a Lua interpreter whose memory is an arena with a limit.
 *
 * Problem     A script of somebody else's may ask for all the memory of the machine.
 * Idea        Lua gets all its memory by one function, which here allocates in an arena. Where the
 *             arena's limit is met, the script ends with "not enough memory", and the program goes
 *             on. At the end the arena is destroyed: there is no need to close the interpreter,
 *             block by block.
 *
 *     cc lua_arena.c $(pkg-config --cflags --libs huma lua5.4) && ./a.out
 */
#include <huma.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>

/* lua_Alloc: a new size of 0 frees, and never fails. Lua has one thread, and so has the arena. */
static void *
allocate(void *arena, void *ptr, size_t old_bytes, size_t new_bytes)
{
    (void)old_bytes; /* without a block it says what the new one is for */
    if (new_bytes > 0)
        return huma_arena_realloc(arena, ptr, new_bytes);
    huma_arena_free(arena, ptr);
    return NULL;
}

static void
run(lua_State *lua, const char *script)
{
    if (luaL_dostring(lua, script) != LUA_OK) {
        printf("script failed: %s\n", lua_tostring(lua, -1));
        lua_pop(lua, 1);
    }
}

int
main(void)
{
    struct huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    struct huma_info info = HUMA_INFO_INIT;
    huma_arena *arena;
    lua_State *lua;

    options.name = "lua";
    options.limit_bytes = (size_t)16 << 20;
    options.flags = HUMA_ARENA_SINGLE_THREADED;
    arena = huma_arena_create(&options);
    if (arena == NULL) {
        fprintf(stderr, "%s\n", huma_last_error());
        return 1;
    }
    lua = lua_newstate(allocate, arena);
    if (lua == NULL) {
        fprintf(stderr, "no interpreter: %s\n", huma_last_error());
        return 1;
    }
    luaL_openlibs(lua);
    run(lua,
        "local t = {} for i = 1, 100 do t[i] = 'line ' .. i end print(table.concat(t, ' ', 1, 3))");
    run(lua, "local t = {} while true do t[#t + 1] = string.rep('x', 1000) end");
    printf("%s\n", huma_last_error());
    run(lua, "collectgarbage() print('and goes on')");
    if (huma_arena_info(arena, &info) == 0)
        printf("%llu KiB are in use, of %llu\n", (unsigned long long)info.heap_bytes / 1024,
               (unsigned long long)info.limit_bytes / 1024);
    huma_arena_destroy(arena);
    return 0;
}
