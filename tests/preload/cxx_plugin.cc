// SPDX-License-Identifier: MIT
// cxx_plugin.cc - a C++ library that a C program loads for itself alone, as interpreters load their
// modules: when memory is short, the runtime that it brought along has to throw. While it is being
// loaded, a thread of it uses the program's first operators: nothing in these may wait for the loader,
// which waits for the thread.
#include <pthread.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <string>

static volatile std::size_t absurd = PTRDIFF_MAX;
static void *volatile kept;

static void *
use_operators(void *)
{
    kept = ::operator new(100);
    ::operator delete(kept);
    return nullptr;
}

static struct Loading {
    Loading()
    {
        pthread_t thread;
        if (pthread_create(&thread, nullptr, use_operators, nullptr) == 0)
            pthread_join(thread, nullptr);
    }
} loading;

template <class Call>
static int
throws_bad_alloc(Call call)
{
    try {
        call();
    } catch (const std::bad_alloc &) {
        return 1;
    }
    return 0;
}

// One bit for each thing that went right.
extern "C" int
run_plugin()
{
    int result = throws_bad_alloc([] { kept = ::operator new(absurd); });
    result |= throws_bad_alloc([] { kept = ::operator new[](absurd); }) << 1;
    result |= throws_bad_alloc([] { kept = ::operator new(absurd, std::align_val_t(64)); }) << 2;
    result |= (::operator new(absurd, std::nothrow) == nullptr) << 3;
    result |= throws_bad_alloc([] {
                  std::string text; // called from the runtime's own code
                  text.reserve(text.max_size() / 2);
              })
              << 4;
    return result;
}
