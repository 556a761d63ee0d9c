// SPDX-License-Identifier: MIT
// cxx.cc - operator new and delete in all their forms, bad_alloc, the new-handler, and some of the
// standard library on top of them.
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <vector>

#define EXPECT(condition)                                                                          \
    ((condition)                                                                                   \
         ? (void)0                                                                                 \
         : (std::fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition), std::exit(1)))

namespace {

// volatile: the compiler must neither see the sizes nor drop the calls.
volatile std::size_t absurd = PTRDIFF_MAX;
volatile std::size_t sizes[] = { 0, 1, 24, 1000, 40000, 3 << 20 };
void *volatile kept;
int handler_calls;

template <class Call>
bool
throws_bad_alloc(Call call)
{
    try {
        call();
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

void
check_forms()
{
    for (std::size_t size : sizes) {
        void *blocks[] = { ::operator new(size),
                           ::operator new[](size),
                           ::operator new(size, std::nothrow),
                           ::operator new[](size, std::nothrow),
                           ::operator new(size),
                           ::operator new[](size) };
        for (void *block : blocks) {
            EXPECT(block != nullptr && (std::uintptr_t)block % 16 == 0);
            std::memset(block, 1, size);
        }
        ::operator delete(blocks[0]);
        ::operator delete[](blocks[1]);
        ::operator delete(blocks[2], std::nothrow);
        ::operator delete[](blocks[3], std::nothrow);
        ::operator delete(blocks[4], size);
        ::operator delete[](blocks[5], size);
    }
    ::operator delete(nullptr);
}

void
check_aligned_forms()
{
    for (std::size_t align = 16; align <= 1 << 21; align *= 8) {
        for (std::size_t size : sizes) {
            auto at = std::align_val_t(align);
            void *blocks[] = { ::operator new(size, at),
                               ::operator new[](size, at),
                               ::operator new(size, at, std::nothrow),
                               ::operator new[](size, at, std::nothrow),
                               ::operator new(size, at),
                               ::operator new[](size, at) };
            for (void *block : blocks) {
                EXPECT(block != nullptr && (std::uintptr_t)block % align == 0);
                std::memset(block, 1, size);
            }
            ::operator delete(blocks[0], at);
            ::operator delete[](blocks[1], at);
            ::operator delete(blocks[2], at, std::nothrow);
            ::operator delete[](blocks[3], at, std::nothrow);
            ::operator delete(blocks[4], size, at);
            ::operator delete[](blocks[5], size, at);
        }
    }
}

void
check_no_memory()
{
    auto at = std::align_val_t(64);
    EXPECT(throws_bad_alloc([] { kept = ::operator new(absurd); }));
    EXPECT(throws_bad_alloc([] { kept = ::operator new[](absurd); }));
    EXPECT(throws_bad_alloc([at] { kept = ::operator new(absurd, at); }));
    EXPECT(throws_bad_alloc([at] { kept = ::operator new[](absurd, at); }));
    EXPECT(throws_bad_alloc([] { kept = new std::uint64_t[absurd]; }));
    EXPECT(::operator new(absurd, std::nothrow) == nullptr);
    EXPECT(::operator new[](absurd, std::nothrow) == nullptr);
    EXPECT(::operator new(absurd, at, std::nothrow) == nullptr);
    EXPECT(::operator new[](absurd, at, std::nothrow) == nullptr);
}

struct own_error {};

// The handler may give up, throw what it likes, or find memory and have the call tried again.
void
check_new_handler()
{
    std::set_new_handler([] {
        if (++handler_calls == 3)
            std::set_new_handler(nullptr);
    });
    EXPECT(throws_bad_alloc([] { kept = ::operator new(absurd); }) && handler_calls == 3);
    std::set_new_handler([] { throw own_error(); });
    bool is_own = false;
    try {
        kept = ::operator new(absurd);
    } catch (const own_error &) {
        is_own = true;
    }
    EXPECT(is_own);
    EXPECT(throws_bad_alloc([] { throw std::bad_alloc(); }));

    rlimit limit;
    EXPECT(getrlimit(RLIMIT_AS, &limit) == 0);
    rlimit tight = { 1 << 28, limit.rlim_max };
    EXPECT(setrlimit(RLIMIT_AS, &tight) == 0);
    handler_calls = 0;
    std::set_new_handler([] {
        rlimit all;
        getrlimit(RLIMIT_AS, &all);
        all.rlim_cur = all.rlim_max;
        setrlimit(RLIMIT_AS, &all);
        handler_calls++;
    });
    char *large = static_cast<char *>(::operator new(std::size_t(1) << 30));
    EXPECT(large != nullptr && handler_calls == 1);
    large[0] = large[(1 << 30) - 1] = 1;
    ::operator delete(large);
    std::set_new_handler(nullptr);
}

struct alignas(256) wide {
    char bytes[256];
};

long
use_library(int seed)
{
    std::map<std::string, std::vector<std::shared_ptr<wide>>> map;
    for (int i = 0; i < 3000; i++) {
        auto item = std::make_shared<wide>();
        EXPECT((std::uintptr_t)item.get() % 256 == 0);
        std::memset(item->bytes, i & 127, sizeof(item->bytes));
        map["a rather long key, number " + std::to_string((i * seed) % 211)].push_back(item);
    }
    long sum = 0;
    for (auto &entry : map) {
        for (auto &item : entry.second)
            sum += item->bytes[seed];
    }
    return sum;
}

} // namespace

int
main()
{
    check_forms();
    check_aligned_forms();
    check_no_memory();
    check_new_handler();
    long sums[4];
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++)
        threads.emplace_back([i, &sums] { sums[i] = use_library(i + 1); });
    for (auto &thread : threads)
        thread.join();
    std::printf("%ld %ld %ld %ld\n", sums[0], sums[1], sums[2], sums[3]);
    return 0;
}
