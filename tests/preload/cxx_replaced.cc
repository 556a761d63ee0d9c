// SPDX-License-Identifier: MIT
// cxx_replaced.cc - a program that replaces some operators: the others must use these, as the
// standard says. Prints how often each of its own was called.
//
// REPLACE: 1 new and delete, with a header before each block; 2 new only, with malloc; 3 the array
// forms, with a header; 4 the aligned forms, with malloc's family; 5 sized delete.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

static int new_count, delete_count;

[[maybe_unused]] static void *
with_header(std::size_t size)
{
    char *block = static_cast<char *>(std::malloc(size + 16));
    if (block == nullptr)
        throw std::bad_alloc();
    new_count++;
    return block + 16;
}

[[maybe_unused]] static void
free_with_header(void *ptr)
{
    if (ptr == nullptr)
        return;
    delete_count++;
    std::free(static_cast<char *>(ptr) - 16);
}

#if REPLACE == 1
void *
operator new(std::size_t size)
{
    return with_header(size);
}

void
operator delete(void *ptr) noexcept
{
    free_with_header(ptr);
}
#elif REPLACE == 2
void *
operator new(std::size_t size)
{
    new_count++;
    if (void *block = std::malloc(size))
        return block;
    throw std::bad_alloc();
}
#elif REPLACE == 3
void *
operator new[](std::size_t size)
{
    return with_header(size);
}

void
operator delete[](void *ptr) noexcept
{
    free_with_header(ptr);
}
#elif REPLACE == 4
void *
operator new(std::size_t size, std::align_val_t align)
{
    new_count++;
    void *block = nullptr;
    if (posix_memalign(&block, std::size_t(align), size) != 0)
        throw std::bad_alloc();
    return block;
}

void
operator delete(void *ptr, std::align_val_t) noexcept
{
    delete_count++;
    std::free(ptr);
}
#else
void
operator delete(void *ptr, std::size_t) noexcept
{
    delete_count++;
    std::free(ptr);
}
#endif

struct small {
    char bytes[40];
};

struct alignas(64) wide {
    char bytes[192];
};

// Out of the compiler's sight, which may leave out a pair of new and delete.
template <class Type>
static Type *
hidden(Type *ptr)
{
    Type *volatile out = ptr;
    return out;
}

int
main()
{
    for (int i = 0; i < 10; i++) {
        delete hidden(new small);
        delete[] hidden(new small[3]);
        delete hidden(new (std::nothrow) small);
        delete[] hidden(new (std::nothrow) small[1000]);
        delete hidden(new wide);
        delete[] hidden(new wide[5]);
        delete hidden(new (std::nothrow) wide);
        ::operator delete(hidden(new small), std::nothrow);
        ::operator delete[](hidden(::operator new[](100)), std::size_t(100));
        ::operator delete[](hidden(::operator new[](100)), std::nothrow);
        ::operator delete(hidden(::operator new(50, std::align_val_t(32))), std::size_t(50),
                          std::align_val_t(32));
    }
    std::map<int, std::vector<std::string>> map;
    for (int i = 0; i < 100; i++)
        map[i % 7].push_back("text that is too long to be kept inside " + std::to_string(i));
    map.clear();
    std::shared_ptr<wide> shared = std::make_shared<wide>();
    shared.reset();
    std::printf("new %d, delete %d\n", new_count, delete_count);
    return 0;
}
