/* SPDX-License-Identifier: MIT */
/* use.cpp - huma.hpp with containers, owners and exceptions, as old as C++11. */
#include <huma.hpp>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

static int failures;

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            std::fprintf(stderr, "use.cpp:%d: %s\n", __LINE__, #cond);                             \
            failures++;                                                                            \
        }                                                                                          \
    } while (0)

static std::uint64_t
live_bytes(const huma::arena &arena)
{
    struct huma_info info = HUMA_INFO_INIT;

    CHECK(huma_arena_info(arena.get(), &info) == 0);
    return info.live_bytes;
}

struct alignas(256) wide {
    char text[256];
};

static void
containers()
{
    using text = std::basic_string<char, std::char_traits<char>, huma::allocator<char>>;
    huma::arena arena;
    huma::arena other;
    {
        std::vector<int, huma::allocator<int>> numbers{huma::allocator<int>(arena)};
        std::map<int, int, std::less<int>, huma::allocator<std::pair<const int, int>>> map{
            huma::allocator<std::pair<const int, int>>(arena)};
        std::unordered_map<int, text, std::hash<int>, std::equal_to<int>,
                           huma::allocator<std::pair<const int, text>>>
            texts(8, std::hash<int>(), std::equal_to<int>(), huma::allocator<int>(arena));
        std::vector<wide, huma::allocator<wide>> wides(3, wide(), huma::allocator<wide>(arena));

        for (int i = 0; i < 10000; i++) {
            numbers.push_back(i);
            map[i] = i;
            texts.emplace(i, text(100, 'x', huma::allocator<char>(arena)));
        }
        CHECK(reinterpret_cast<std::uintptr_t>(wides.data()) % 256 == 0);
        CHECK(huma_arena_owns(arena.get(), numbers.data()));
        CHECK(numbers[9999] == 9999 && map[9999] == 9999 && texts.size() == 10000);
        CHECK(live_bytes(arena) > 10000 * 150);
        CHECK(live_bytes(other) == 0);
        std::vector<int, huma::allocator<int>> moved(std::move(numbers));
        std::vector<int, huma::allocator<int>> copied{huma::allocator<int>(other)};
        CHECK(moved.get_allocator() != copied.get_allocator());
        copied = moved;
        CHECK(moved.get_allocator() == copied.get_allocator() && copied == moved);
    }
    CHECK(live_bytes(arena) == 0);
}

static void
owners()
{
    huma::arena arena;
    huma::arena moved(std::move(arena));
    huma_arena *before = huma_arena_set_current(nullptr);

    CHECK(arena.get() == nullptr && moved.get() != nullptr);
    arena = std::move(moved);
    {
        huma::current current(arena);
        void *block = huma_malloc(100);

        CHECK(huma_arena_owns(arena.get(), block));
        huma_free(block);
    }
    CHECK(huma_arena_set_current(nullptr) == before);
    {
        huma::scope scope(arena);
        huma_mark mark = scope.mark();
        void *block = scope.allocate(100);

        CHECK(reinterpret_cast<std::uintptr_t>(scope.allocate(1, 4096)) % 4096 == 0);
        scope.release(mark);
        CHECK(scope.allocate(100) == block || block != nullptr);
    }
    CHECK(live_bytes(arena) == 0);
}

static void
exceptions()
{
    huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    bool is_thrown = false;

    options.limit_bytes = 1 << 20;
    huma::arena arena(options);
    try {
        std::vector<char, huma::allocator<char>> large(2 << 20, 'x', huma::allocator<char>(arena));
    } catch (const std::bad_alloc &) {
        is_thrown = std::strstr(huma_last_error(), "limit") != nullptr;
    }
    CHECK(is_thrown);
    is_thrown = false;
    try {
        huma::allocator<int>(arena).allocate(SIZE_MAX / 2);
    } catch (const std::bad_array_new_length &) {
        is_thrown = true;
    }
    CHECK(is_thrown);
    is_thrown = false;
    options.backing = "nonsense";
    try {
        huma::arena wrong(options);
    } catch (const std::system_error &error) {
        is_thrown = error.code().value() == EINVAL
                    && std::strstr(error.what(), "backing") != nullptr;
    }
    CHECK(is_thrown);
}

static void
resources()
{
#ifdef HUMA_HAS_MEMORY_RESOURCE
    huma::arena arena;
    huma::memory_resource resource(arena);
    huma::memory_resource same(arena);
    {
        std::pmr::vector<std::pmr::string> texts(&resource);

        for (int i = 0; i < 1000; i++)
            texts.emplace_back(200, 'x');
        CHECK(huma_arena_owns(arena.get(), texts[999].data()));
        CHECK(resource == same && resource != *std::pmr::new_delete_resource());
    }
    CHECK(live_bytes(arena) == 0);
#endif
}

/* What huma_shared.h has, which huma.h includes. */
static void
shared_arenas()
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    struct huma_shared_state state = HUMA_SHARED_STATE_INIT;
    huma_shared *shared;
    std::uint64_t block;

    options.limit_bytes = static_cast<std::size_t>(2) << 20;
    options.backing = "4k";
    shared = huma_shared_create(&options);
    block = huma_shared_alloc_to(shared, huma_shared_root(shared, "use"), 100);
    CHECK(block != 0 && huma_shared_offset(shared, huma_shared_at(shared, block)) == block);
    CHECK(huma_shared_info(shared, &state) == 0 && state.kind == HUMA_SHARED_MEMFD);
    CHECK((state.risks & HUMA_SHARED_MAY_BE_CUT) == 0 && state.published_bytes >= 100);
    huma_shared_detach(shared);
}

int
main()
{
    containers();
    owners();
    exceptions();
    resources();
    shared_arenas();
    return failures;
}
