/* SPDX-License-Identifier: MIT */
/* huma.hpp - arenas (huma.h) for C++: owners, an allocator for containers, a memory resource.
 *
 *     #include <huma.hpp>
 *
 *     huma::arena arena;
 *     std::vector<int, huma::allocator<int>> numbers{huma::allocator<int>(arena.get())};
 *
 * From C++11 on; huma::memory_resource from C++17 on. An allocator or resource does not own its
 * arena, which must outlive all containers that use it. */
#ifndef HUMA_HPP
#define HUMA_HPP

#include <cerrno>
#include <cstddef>
#include <limits>
#include <new>
#include <system_error>
#include <type_traits>
#include <utility>

#include "huma.h"

#if defined(__has_include) && __cplusplus >= 201703L
#if __has_include(<memory_resource>)
#include <memory_resource>
#define HUMA_HAS_MEMORY_RESOURCE 1
#endif
#endif

namespace huma {

namespace detail {

/* What every block is aligned to. */
constexpr std::size_t min_alignment = 16;

/* Throws std::bad_alloc if there is no memory. */
inline void *
allocate(huma_arena *arena, std::size_t size, std::size_t alignment)
{
    void *mem = alignment <= min_alignment ? huma_arena_alloc(arena, size)
                                           : huma_arena_aligned_alloc(arena, alignment, size);

    if (mem == nullptr)
        throw std::bad_alloc();
    return mem;
}

} // namespace detail

/* Owns an arena. */
class arena {
public:
    /* Throws std::system_error with errno and huma_last_error(). */
    explicit arena(const huma_arena_options &options) : handle_(huma_arena_create(&options))
    {
        if (handle_ == nullptr)
            throw std::system_error(errno, std::generic_category(), huma_last_error());
    }
    arena() : arena(huma_arena_options(HUMA_ARENA_OPTIONS_INIT)) {}
    arena(arena &&other) noexcept : handle_(other.release()) {}
    arena &
    operator=(arena &&other) noexcept
    {
        if (this != &other) {
            arena old(std::move(*this));
            handle_ = other.release();
        }
        return *this;
    }
    arena(const arena &) = delete;
    arena &operator=(const arena &) = delete;
    ~arena() { huma_arena_destroy(handle_); }

    huma_arena *
    get() const noexcept
    {
        return handle_;
    }

    /* The arena is the caller's from now on. */
    huma_arena *
    release() noexcept
    {
        huma_arena *handle = handle_;
        handle_ = nullptr;
        return handle;
    }

private:
    huma_arena *handle_;
};

/* Makes an arena the current one of this thread (huma_arena_set_current) until its end. */
class current {
public:
    explicit current(huma_arena *arena) : before_(huma_arena_set_current(arena)) {}
    explicit current(const arena &owner) : current(owner.get()) {}
    current(const current &) = delete;
    current &operator=(const current &) = delete;
    ~current() { huma_arena_set_current(before_); }

private:
    huma_arena *before_;
};

/* A scope (struct huma_scope) in an arena; its blocks are freed at its end. It must end before the
 * arena is reset or destroyed: else its destructor ends the process. No destructor of what was made
 * in its blocks is run. */
class scope {
public:
    /* Throws std::system_error. */
    explicit scope(huma_arena *arena)
    {
        if (huma_scope_begin(&scope_, arena) != 0)
            throw std::system_error(errno, std::generic_category(), huma_last_error());
    }
    explicit scope(const arena &owner) : scope(owner.get()) {}
    scope(const scope &) = delete;
    scope &operator=(const scope &) = delete;
    ~scope() { huma_scope_end(&scope_); }

    /* Throws std::bad_alloc. */
    void *
    allocate(std::size_t size, std::size_t alignment = detail::min_alignment)
    {
        void *mem = alignment <= detail::min_alignment
                        ? huma_scope_alloc(&scope_, size)
                        : huma_scope_aligned_alloc(&scope_, alignment, size);

        if (mem == nullptr)
            throw std::bad_alloc();
        return mem;
    }

    huma_mark
    mark() const noexcept
    {
        return huma_scope_mark(&scope_);
    }

    void
    release(huma_mark mark) noexcept
    {
        huma_scope_release(&scope_, mark);
    }

private:
    huma_scope scope_;
};

/* For containers: allocates in an arena. */
template <class T> class allocator {
public:
    using value_type = T;
    using propagate_on_container_copy_assignment = std::true_type;
    using propagate_on_container_move_assignment = std::true_type;
    using propagate_on_container_swap = std::true_type;
    using is_always_equal = std::false_type;

    explicit allocator(huma_arena *arena) noexcept : arena_(arena) {}
    explicit allocator(const arena &owner) noexcept : arena_(owner.get()) {}
    template <class U> allocator(const allocator<U> &other) noexcept : arena_(other.get()) {}

    /* Throws std::bad_array_new_length, std::bad_alloc. */
    T *
    allocate(std::size_t count)
    {
        if (count > std::numeric_limits<std::size_t>::max() / sizeof(T))
            throw std::bad_array_new_length();
        return static_cast<T *>(detail::allocate(arena_, count * sizeof(T), alignof(T)));
    }

    void
    deallocate(T *ptr, std::size_t count) noexcept
    {
        huma_arena_free_sized(arena_, ptr, count * sizeof(T));
    }

    huma_arena *
    get() const noexcept
    {
        return arena_;
    }

private:
    huma_arena *arena_;
};

template <class T, class U>
bool
operator==(const allocator<T> &left, const allocator<U> &right) noexcept
{
    return left.get() == right.get();
}

template <class T, class U>
bool
operator!=(const allocator<T> &left, const allocator<U> &right) noexcept
{
    return left.get() != right.get();
}

#ifdef HUMA_HAS_MEMORY_RESOURCE
/* For containers of std::pmr: allocates in an arena. */
class memory_resource : public std::pmr::memory_resource {
public:
    explicit memory_resource(huma_arena *arena) noexcept : arena_(arena) {}
    explicit memory_resource(const arena &owner) noexcept : arena_(owner.get()) {}

    huma_arena *
    get() const noexcept
    {
        return arena_;
    }

private:
    void *
    do_allocate(std::size_t size, std::size_t alignment) override
    {
        return detail::allocate(arena_, size, alignment);
    }

    void
    do_deallocate(void *ptr, std::size_t size, std::size_t) override
    {
        huma_arena_free_sized(arena_, ptr, size);
    }

    bool
    do_is_equal(const std::pmr::memory_resource &other) const noexcept override
    {
        const auto *same = dynamic_cast<const memory_resource *>(&other);

        return same != nullptr && same->arena_ == arena_;
    }

    huma_arena *arena_;
};
#endif

} // namespace huma

#endif
