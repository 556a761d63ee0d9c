// SPDX-License-Identifier: MIT
// cxx_exhaust.cc - operator new in all its forms when the address space is used up: what throws, what
// returns nothing, and what a new-handler can do about it.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <new>
#include <sys/resource.h>

#define EXPECT(condition)                                                                          \
    ((condition)                                                                                   \
         ? (void)0                                                                                 \
         : (std::fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition), std::exit(1)))

namespace {

const std::align_val_t wide_at = std::align_val_t(256);

// One way to ask for memory, and the right way to give it back.
struct form {
    bool can_throw;
    void *(*take)(std::size_t size);
    void (*give)(void *block, std::size_t size);
};

const form forms[] = {
    { true, [](std::size_t size) { return ::operator new(size); },
      [](void *block, std::size_t size) { ::operator delete(block, size); } },
    { true, [](std::size_t size) { return ::operator new[](size); },
      [](void *block, std::size_t size) { ::operator delete[](block, size); } },
    { false, [](std::size_t size) { return ::operator new(size, std::nothrow); },
      [](void *block, std::size_t) { ::operator delete(block, std::nothrow); } },
    { false, [](std::size_t size) { return ::operator new[](size, std::nothrow); },
      [](void *block, std::size_t) { ::operator delete[](block, std::nothrow); } },
    { true, [](std::size_t size) { return ::operator new(size, wide_at); },
      [](void *block, std::size_t size) { ::operator delete(block, size, wide_at); } },
    { true, [](std::size_t size) { return ::operator new[](size, wide_at); },
      [](void *block, std::size_t size) { ::operator delete[](block, size, wide_at); } },
    { false, [](std::size_t size) { return ::operator new(size, wide_at, std::nothrow); },
      [](void *block, std::size_t) { ::operator delete(block, wide_at, std::nothrow); } },
    { false, [](std::size_t size) { return ::operator new[](size, wide_at, std::nothrow); },
      [](void *block, std::size_t) { ::operator delete[](block, wide_at, std::nothrow); } },
};

// The block, or null however the form says that there is none.
void *
take(const form &form, std::size_t size)
{
    if (!form.can_throw)
        return form.take(size);
    try {
        void *block = form.take(size);
        EXPECT(block != nullptr);
        return block;
    } catch (const std::bad_alloc &) {
        return nullptr;
    }
}

// Blocks in a chain, each holding the next.
struct chain {
    void *first = nullptr;
    std::size_t count = 0;

    void
    push(void *block)
    {
        *static_cast<void **>(block) = first;
        first = block;
        count++;
    }

    void *
    pop()
    {
        void *block = first;
        first = *static_cast<void **>(block);
        count--;
        return block;
    }
};

chain
take_all(const form &form, std::size_t size)
{
    chain all;
    while (void *block = take(form, size))
        all.push(block);
    return all;
}

void
give_all(const form &form, chain &all, std::size_t size)
{
    while (all.count != 0)
        form.give(all.pop(), size);
}

void
check_exhaustion()
{
    const std::size_t sizes[] = { 64, 5000, 100000, 1 << 20, 20 << 20 };
    for (const form &form : forms) {
        for (std::size_t size : sizes) {
            chain all = take_all(form, size);
            EXPECT(all.count != 0);
            EXPECT(take(form, size) == nullptr);
            give_all(form, all, size);
            void *again = take(form, size);
            EXPECT(again != nullptr);
            form.give(again, size);
        }
        for (std::size_t size : { std::size_t(PTRDIFF_MAX), SIZE_MAX - 4096 })
            EXPECT(take(form, size) == nullptr);
    }
}

// --- handlers ----------------------------------------------------------------------------------

const std::size_t mib = 1 << 20;
chain reserve;
int handler_calls;

void
give_some()
{
    handler_calls++;
    if (reserve.count == 0) {
        std::set_new_handler(nullptr);
        return;
    }
    for (int i = 0; i < 8 && reserve.count != 0; i++)
        forms[0].give(reserve.pop(), mib);
}

void
check_handler_that_frees()
{
    for (const form &form : forms) {
        reserve = take_all(forms[2], mib);
        EXPECT(reserve.count > 8);
        handler_calls = 0;
        std::set_new_handler(give_some);
        void *block = take(form, mib);
        EXPECT(block != nullptr && handler_calls > 0);
        EXPECT(std::get_new_handler() == give_some);
        std::set_new_handler(nullptr);
        form.give(block, mib);
        give_all(forms[0], reserve, mib);
    }
}

struct own_error : std::bad_alloc {};

void
check_handlers_that_give_up()
{
    const std::size_t size = std::size_t(1) << 40;
    for (const form &form : forms) {
        std::set_new_handler([] { throw own_error(); });
        bool is_own = false;
        try {
            EXPECT(form.take(size) == nullptr && !form.can_throw);
        } catch (const own_error &) {
            is_own = true;
        }
        EXPECT(is_own == form.can_throw);
        // one handler sets another, which resets itself
        handler_calls = 0;
        std::set_new_handler([] {
            handler_calls++;
            std::set_new_handler([] {
                handler_calls++;
                std::set_new_handler(nullptr);
            });
        });
        EXPECT(take(form, size) == nullptr && handler_calls == 2);
        EXPECT(std::get_new_handler() == nullptr);
    }
}

// --- expressions -------------------------------------------------------------------------------

volatile std::size_t many = SIZE_MAX / 4;
int constructed_count;

struct alignas(128) picky {
    char bytes[128];
    explicit picky(bool is_fine)
    {
        if (!is_fine)
            throw 1;
        constructed_count++;
    }
    ~picky() { constructed_count--; }
};

void
check_expressions()
{
    // std::bad_array_new_length, or what the compiler makes of it
    const char *what = nullptr;
    try {
        std::uint64_t *volatile block = new std::uint64_t[many];
        delete[] block;
    } catch (const std::bad_alloc &error) {
        what = error.what();
    }
    EXPECT(what != nullptr);
    std::puts(what);

    alignas(128) char room[sizeof(picky)];
    picky *placed = new (room) picky(true);
    EXPECT(static_cast<void *>(placed) == room);
    placed->~picky();

    for (bool is_nothrow : { false, true }) {
        bool is_thrown = false;
        try {
            delete (is_nothrow ? new (std::nothrow) picky(false) : new picky(false));
        } catch (int) {
            is_thrown = true;
        }
        EXPECT(is_thrown);
    }
    picky *three = new picky[3]{ picky(true), picky(true), picky(true) };
    EXPECT(reinterpret_cast<std::uintptr_t>(three) % 128 == 0);
    delete[] three;
    EXPECT(constructed_count == 0);

    void *empty[] = { ::operator new(0), ::operator new[](0), ::operator new(0, std::nothrow),
                      ::operator new(0, wide_at) };
    for (void *block : empty)
        EXPECT(block != nullptr);
    EXPECT(empty[0] != empty[1] && empty[1] != empty[2] && empty[2] != empty[3]);
    ::operator delete(empty[0], std::size_t(0));
    ::operator delete[](empty[1], std::size_t(0));
    ::operator delete(empty[2]);
    ::operator delete(empty[3], wide_at);
}

// What is mapped now and 64 MiB more.
void
limit_memory()
{
    std::FILE *file = std::fopen("/proc/self/statm", "r");
    unsigned long pages = 0;
    EXPECT(file != nullptr && std::fscanf(file, "%lu", &pages) == 1);
    std::fclose(file);
    rlimit limit;
    EXPECT(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = pages * 4096 + (std::size_t(64) << 20);
    EXPECT(setrlimit(RLIMIT_AS, &limit) == 0);
}

} // namespace

int
main()
{
    check_expressions();
    limit_memory();
    check_exhaustion();
    check_handler_that_frees();
    check_handlers_that_give_up();
    std::puts("as it should be");
    return 0;
}
