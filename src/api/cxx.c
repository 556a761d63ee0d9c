/* SPDX-License-Identifier: MIT */
/* cxx.c - the operators new and delete of C++20, by their mangled names.
 *
 * Problem     libstdc++'s operators would call our malloc anyway, at the price of a second call;
 *             other runtimes' may not. When memory is short, C++ wants its new-handler run and an
 *             exception thrown, which a C library cannot do.
 * Idea        Each operator is a call of ours. When that fails, the same operator of the next
 *             library in the program takes over: it tries again, runs the handler, and throws or
 *             returns nothing.
 * Sources     Itanium C++ ABI, 5.1 (mangling); ISO C++20 17.6.3.
 */
#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>

#include "base/check.h"

/* The operator `name` behind this library. Without one, nobody can throw: the program ends, as it
 * would by an exception that nobody catches. */
static void *
next_operator(const char *name)
{
    void *symbol = dlsym(RTLD_NEXT, name);

    if (symbol == NULL)
        hm_fail_plain("operator new: no memory, and no C++ runtime that could throw bad_alloc");
    return symbol;
}

static HM_COLD void *
retry(const char *name, size_t size)
{
    void *(*next)(size_t) = (void *(*)(size_t))next_operator(name);

    return next(size);
}

static HM_COLD void *
retry_nothrow(const char *name, size_t size, const void *tag)
{
    void *(*next)(size_t, const void *) = (void *(*)(size_t, const void *))next_operator(name);

    return next(size, tag);
}

static HM_COLD void *
retry_aligned(const char *name, size_t size, size_t alignment)
{
    void *(*next)(size_t, size_t) = (void *(*)(size_t, size_t))next_operator(name);

    return next(size, alignment);
}

static HM_COLD void *
retry_aligned_nothrow(const char *name, size_t size, size_t alignment, const void *tag)
{
    void *(*next)(size_t, size_t, const void *)
        = (void *(*)(size_t, size_t, const void *))next_operator(name);

    return next(size, alignment, tag);
}

/* --- new -------------------------------------------------------------------------------------- */

/* clang-format off */
#define NEW(name)                                                                                  \
    void *name(size_t size);                                                                       \
    HM_EXPORT void *name(size_t size)                                                              \
    {                                                                                              \
        void *mem = malloc(size);                                                                  \
        return HM_LIKELY(mem != NULL) ? mem : retry(#name, size);                                  \
    }

#define NEW_NOTHROW(name)                                                                          \
    void *name(size_t size, const void *tag);                                                      \
    HM_EXPORT void *name(size_t size, const void *tag)                                             \
    {                                                                                              \
        void *mem = malloc(size);                                                                  \
        return HM_LIKELY(mem != NULL) ? mem : retry_nothrow(#name, size, tag);                     \
    }

#define NEW_ALIGNED(name)                                                                          \
    void *name(size_t size, size_t alignment);                                                     \
    HM_EXPORT void *name(size_t size, size_t alignment)                                            \
    {                                                                                              \
        void *mem = memalign(alignment, size);                                                     \
        return HM_LIKELY(mem != NULL) ? mem : retry_aligned(#name, size, alignment);               \
    }

#define NEW_ALIGNED_NOTHROW(name)                                                                  \
    void *name(size_t size, size_t alignment, const void *tag);                                    \
    HM_EXPORT void *name(size_t size, size_t alignment, const void *tag)                           \
    {                                                                                              \
        void *mem = memalign(alignment, size);                                                     \
        return HM_LIKELY(mem != NULL) ? mem : retry_aligned_nothrow(#name, size, alignment, tag);  \
    }

NEW(_Znwm)
NEW(_Znam)
NEW_NOTHROW(_ZnwmRKSt9nothrow_t)
NEW_NOTHROW(_ZnamRKSt9nothrow_t)
NEW_ALIGNED(_ZnwmSt11align_val_t)
NEW_ALIGNED(_ZnamSt11align_val_t)
NEW_ALIGNED_NOTHROW(_ZnwmSt11align_val_tRKSt9nothrow_t)
NEW_ALIGNED_NOTHROW(_ZnamSt11align_val_tRKSt9nothrow_t)

/* --- delete: what else is told (size, alignment, nothrow) makes no difference ----------------- */

#define DELETE(name, ...)                                                                          \
    void name(__VA_ARGS__);                                                                        \
    HM_EXPORT void name(__VA_ARGS__)

#define DELETE_BODY { free(ptr); }
#define UNUSED __attribute__((unused))

DELETE(_ZdlPv, void *ptr) DELETE_BODY
DELETE(_ZdaPv, void *ptr) DELETE_BODY
DELETE(_ZdlPvm, void *ptr, UNUSED size_t size) DELETE_BODY
DELETE(_ZdaPvm, void *ptr, UNUSED size_t size) DELETE_BODY
DELETE(_ZdlPvRKSt9nothrow_t, void *ptr, UNUSED const void *tag) DELETE_BODY
DELETE(_ZdaPvRKSt9nothrow_t, void *ptr, UNUSED const void *tag) DELETE_BODY
DELETE(_ZdlPvSt11align_val_t, void *ptr, UNUSED size_t alignment) DELETE_BODY
DELETE(_ZdaPvSt11align_val_t, void *ptr, UNUSED size_t alignment) DELETE_BODY
DELETE(_ZdlPvmSt11align_val_t, void *ptr, UNUSED size_t size, UNUSED size_t alignment) DELETE_BODY
DELETE(_ZdaPvmSt11align_val_t, void *ptr, UNUSED size_t size, UNUSED size_t alignment) DELETE_BODY
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, void *ptr, UNUSED size_t alignment,
       UNUSED const void *tag) DELETE_BODY
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, void *ptr, UNUSED size_t alignment,
       UNUSED const void *tag) DELETE_BODY
    /* clang-format on */
