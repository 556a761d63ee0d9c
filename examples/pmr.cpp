/* SPDX-License-Identifier: MIT */
/* pmr.cpp - containers of the standard library in an arena, and a request's data in a scope.
 *
 * Problem     An index of many small strings shall lie on huge pages, and what is needed to build
 *             it shall be gone at once.
 * Idea        The containers take a std::pmr::memory_resource over an arena; what lives for one
 *             request only comes from a scope, without any free.
 *
 *     c++ -std=c++17 -O2 pmr.cpp $(pkg-config --cflags --libs huma) && ./a.out
 */
#include <huma.hpp>
#include <iostream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

static constexpr std::string_view text = "the cat and the dog and the bird";

using index = std::pmr::map<std::pmr::string, std::pmr::vector<std::size_t>>;

/* Where each word stands. */
static void
add_words(index &words, const huma::arena &arena)
{
    huma::scope request(arena);
    char *copy = static_cast<char *>(request.allocate(text.size()));
    std::size_t start = 0;

    text.copy(copy, text.size());
    while (start < text.size()) {
        std::string_view rest(copy + start, text.size() - start);
        std::string_view word = rest.substr(0, rest.find(' '));

        words[std::pmr::string(word, words.get_allocator())].push_back(start);
        start += word.size() + 1;
    }
}

int
main()
{
    huma_arena_options options = HUMA_ARENA_OPTIONS_INIT;
    huma_info info = HUMA_INFO_INIT;

    options.name = "words";
    try {
        huma::arena arena(options);
        huma::memory_resource memory(arena);
        index words(&memory);

        add_words(words, arena);
        for (const auto &[word, places] : words)
            std::cout << word << ": " << places.size() << '\n';
        if (huma_arena_info(arena.get(), &info) == 0)
            std::cout << (info.live_bytes > 0 ? "all in one arena\n" : "elsewhere\n");
    } catch (const std::exception &error) {
        std::cerr << "pmr: " << error.what() << '\n';
        return 1;
    }
    return 0;
}
