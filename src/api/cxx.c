/* SPDX-License-Identifier: MIT */
/* cxx.c - the operators new and delete of C++20, by their mangled names.
 *
 * Problem     libstdc++'s operators would call our malloc anyway, at the price of a second call;
 *             other runtimes' may not. When memory is short, C++ wants its new-handler run and an
 *             exception thrown, which a C library cannot do. And a program may replace some
 *             operators: the others then have to use these, as the standard says which.
 * Idea        Each operator is a call of ours. When that fails, or if the program has operators of
 *             its own, the same operator of the C++ runtime takes over: the next one in the
 *             program or, for a plug-in that brought its runtime along, the one that the caller's
 *             own libraries have.
 * State       hm_process.operators and next_operator.
 * Sources     Itanium C++ ABI, 5.1 (mangling); ISO C++20 17.6.3; dlsym(3), dlopen(3).
 */
#include <dlfcn.h>
#include <link.h>
#include <malloc.h>
#include <stdlib.h>

#include "api/sized.h"
#include "base/check.h"

/* --- whose operators -------------------------------------------------------------------------- */

/* clang-format off */
#define OPERATORS(row)                                                                             \
    row(_Znwm) row(_Znam) row(_ZnwmRKSt9nothrow_t) row(_ZnamRKSt9nothrow_t)                        \
    row(_ZnwmSt11align_val_t) row(_ZnamSt11align_val_t)                                            \
    row(_ZnwmSt11align_val_tRKSt9nothrow_t) row(_ZnamSt11align_val_tRKSt9nothrow_t)                \
    row(_ZdlPv) row(_ZdaPv) row(_ZdlPvm) row(_ZdaPvm)                                              \
    row(_ZdlPvRKSt9nothrow_t) row(_ZdaPvRKSt9nothrow_t)                                            \
    row(_ZdlPvSt11align_val_t) row(_ZdaPvSt11align_val_t)                                          \
    row(_ZdlPvmSt11align_val_t) row(_ZdaPvmSt11align_val_t)                                        \
    row(_ZdlPvSt11align_val_tRKSt9nothrow_t) row(_ZdaPvSt11align_val_tRKSt9nothrow_t)
/* clang-format on */

#define ROW_IDX(name) AT##name,
enum { OPERATORS(ROW_IDX) OPERATOR_COUNT };

_Static_assert(OPERATOR_COUNT == HM_OPERATOR_COUNT, "one place for each");

/* Values of hm_process.operators. */
enum { UNKNOWN, OURS, REPLACED };

static HM_COLD bool ask(void);
static HM_COLD void *runtime_operator(unsigned idx, const void *caller);

HM_INLINE bool
are_ours(void)
{
    return hm_load(&hm_process.operators) == OURS;
}

/* Nobody can throw: the program ends, as it would by an exception that nobody catches. */
static HM_COLD void *
cannot_throw(void)
{
    hm_fail_plain("operator new: no memory, and no C++ runtime that could throw bad_alloc");
}

#define STRIP(...) __VA_ARGS__ /* the parentheses around params and args */

/* --- new: each with a slow half, which also serves the first call ----------------------------- */

/* clang-format off */
/* NOLINTBEGIN(bugprone-macro-parentheses): types and lists cannot have more of them */
#define NEW(name, params, args, request, otherwise)                                                \
    static HM_COLD void *slow##name(const void *caller, STRIP params)                              \
    {                                                                                              \
        void *mem = ask() ? request : NULL;                                                        \
        void *(*next) params;                                                                      \
        if (mem != NULL)                                                                           \
            return mem;                                                                            \
        next = (void *(*) params)runtime_operator(AT##name, caller);                               \
        if (next != NULL)                                                                          \
            return next args;                                                                      \
        mem = request;                                                                             \
        return mem != NULL ? mem : (otherwise);                                                    \
    }                                                                                              \
    void *name params;                                                                             \
    HM_EXPORT void *name params                                                                    \
    {                                                                                              \
        if (HM_LIKELY(are_ours())) {                                                               \
            void *mem = request;                                                                   \
            if (HM_LIKELY(mem != NULL))                                                            \
                return mem;                                                                        \
        }                                                                                          \
        return slow##name(__builtin_return_address(0), STRIP args);                                \
    }

#define NEW_PLAIN(name)                                                                            \
    NEW(name, (size_t size), (size), malloc(size), cannot_throw())

#define NEW_NOTHROW(name)                                                                          \
    NEW(name, (size_t size, const void *tag), (size, tag), malloc(size), NULL)

#define NEW_ALIGNED(name)                                                                          \
    NEW(name, (size_t size, size_t alignment), (size, alignment), memalign(alignment, size),       \
        cannot_throw())

#define NEW_ALIGNED_NOTHROW(name)                                                                  \
    NEW(name, (size_t size, size_t alignment, const void *tag), (size, alignment, tag),            \
        memalign(alignment, size), NULL)

NEW_PLAIN(_Znwm)
NEW_PLAIN(_Znam)
NEW_NOTHROW(_ZnwmRKSt9nothrow_t)
NEW_NOTHROW(_ZnamRKSt9nothrow_t)
NEW_ALIGNED(_ZnwmSt11align_val_t)
NEW_ALIGNED(_ZnamSt11align_val_t)
NEW_ALIGNED_NOTHROW(_ZnwmSt11align_val_tRKSt9nothrow_t)
NEW_ALIGNED_NOTHROW(_ZnamSt11align_val_tRKSt9nothrow_t)

/* --- delete: a size is looked at, alignment and nothrow make no difference -------------------- */

#define DELETE(name, params, args, body)                                                           \
    static HM_COLD void slow##name(const void *caller, STRIP params)                               \
    {                                                                                              \
        void (*next) params = NULL;                                                                \
        if (!ask())                                                                                \
            next = (void (*) params)runtime_operator(AT##name, caller);                            \
        if (next != NULL)                                                                          \
            next args;                                                                             \
        else                                                                                       \
            body;                                                                                  \
    }                                                                                              \
    void name params;                                                                              \
    HM_EXPORT void name params                                                                     \
    {                                                                                              \
        if (HM_LIKELY(are_ours()))                                                                 \
            body;                                                                                  \
        else                                                                                       \
            slow##name(__builtin_return_address(0), STRIP args);                                   \
    }

#define DELETE_PLAIN(name)                                                                         \
    DELETE(name, (void *ptr), (ptr), free(ptr))

#define DELETE_SIZED(name)                                                                         \
    DELETE(name, (void *ptr, size_t size), (ptr, size), hm_free_sized(ptr, size))

#define DELETE_NOTHROW(name)                                                                       \
    DELETE(name, (void *ptr, const void *tag), (ptr, tag), free(ptr))

#define DELETE_ALIGNED(name)                                                                       \
    DELETE(name, (void *ptr, size_t alignment), (ptr, alignment), free(ptr))

#define DELETE_ALIGNED_SIZED(name)                                                                 \
    DELETE(name, (void *ptr, size_t size, size_t alignment), (ptr, size, alignment),               \
           (hm_sized_look(ptr, size, alignment, false), free(ptr)))

#define DELETE_ALIGNED_NOTHROW(name)                                                               \
    DELETE(name, (void *ptr, size_t alignment, const void *tag), (ptr, alignment, tag), free(ptr))

DELETE_PLAIN(_ZdlPv)
DELETE_PLAIN(_ZdaPv)
DELETE_SIZED(_ZdlPvm)
DELETE_SIZED(_ZdaPvm)
DELETE_NOTHROW(_ZdlPvRKSt9nothrow_t)
DELETE_NOTHROW(_ZdaPvRKSt9nothrow_t)
DELETE_ALIGNED(_ZdlPvSt11align_val_t)
DELETE_ALIGNED(_ZdaPvSt11align_val_t)
DELETE_ALIGNED_SIZED(_ZdlPvmSt11align_val_t)
DELETE_ALIGNED_SIZED(_ZdaPvmSt11align_val_t)
DELETE_ALIGNED_NOTHROW(_ZdlPvSt11align_val_tRKSt9nothrow_t)
DELETE_ALIGNED_NOTHROW(_ZdaPvSt11align_val_tRKSt9nothrow_t)
/* NOLINTEND(bugprone-macro-parentheses) */
/* clang-format on */

/* --- the operators of others ------------------------------------------------------------------ */

#define ROW_ADDRESS(name) { #name, (void *)(name) },
static const struct {
    const char *name;
    void *address;
} own[] = { OPERATORS(ROW_ADDRESS) };

struct search {
    uint32_t hashes[OPERATOR_COUNT];
    uintptr_t self; /* an address of this library */
};

/* The hash by which the loader finds a name. */
static uint32_t
name_hash(const char *name)
{
    uint32_t hash = 5381;

    for (; *name != '\0'; name++)
        hash = hash * 33 + (unsigned char)*name;
    return hash;
}

/* The table of hashes of a library or program; NULL if it has none of this kind. */
static const uint32_t *
hash_table(const struct dl_phdr_info *info)
{
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        const ElfW(Dyn) *entry = (const ElfW(Dyn) *)(info->dlpi_addr + part->p_vaddr);

        if (part->p_type != PT_DYNAMIC)
            continue;
        while (entry->d_tag != DT_NULL && entry->d_tag != DT_GNU_HASH)
            entry++;
        if (entry->d_tag == DT_NULL)
            return NULL;
        /* The loader has added the address, unless it left the section as it was. */
        return (const uint32_t *)(entry->d_un.d_ptr
                                  + (entry->d_un.d_ptr < info->dlpi_addr ? info->dlpi_addr : 0));
    }
    return NULL;
}

/* Whether the hash of any operator's name is in the table. */
static bool
may_define(const struct search *search, const uint32_t *table)
{
    const uint32_t bucket_count = table[0];
    const uint32_t first_idx = table[1]; /* of the symbols that are in the table */
    /* behind four words and a filter of words as long as an address */
    const uint32_t *buckets = table + 4 + table[2] * (sizeof(ElfW(Addr)) / sizeof(table[0]));
    const uint32_t *hashes = buckets + bucket_count;

    for (unsigned i = 0; i < OPERATOR_COUNT && bucket_count != 0; i++) {
        uint32_t hash = search->hashes[i];
        uint32_t idx = buckets[hash % bucket_count];

        /* The lowest bit marks the end of a bucket. */
        for (bool is_last = idx < first_idx; !is_last; idx++) {
            uint32_t found = hashes[idx - first_idx];

            if ((found | 1) == (hash | 1))
                return true;
            is_last = (found & 1) != 0;
        }
    }
    return false;
}

/* The libraries come in the order in which names are looked up: 0 goes on, 1 says that one of them
 * may have an operator before ours, 2 that none has. */
static int
visit(struct dl_phdr_info *info, size_t size, void *arg)
{
    const struct search *search = arg;
    const uint32_t *table;

    (void)size;
    for (unsigned i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD
            && search->self - info->dlpi_addr - info->dlpi_phdr[i].p_vaddr
                   < info->dlpi_phdr[i].p_memsz)
            return 2;
    table = hash_table(info);
    return table == NULL || may_define(search, table);
}

/* Twenty look-ups take longer than a glance at the tables of the one or two that come before us.
 * The first one tells whether our names are seen by all. */
static bool
has_replaced(void)
{
    struct search search = { .self = (uintptr_t)own[0].address };

    if (dlsym(RTLD_DEFAULT, own[0].name) != own[0].address)
        return true;
    for (unsigned i = 0; i < OPERATOR_COUNT; i++)
        search.hashes[i] = name_hash(own[i].name);
    if (dl_iterate_phdr(visit, &search) == 2)
        return false;
    for (unsigned i = 1; i < OPERATOR_COUNT; i++)
        if (dlsym(RTLD_DEFAULT, own[i].name) != own[i].address)
            return true;
    return false;
}

/* Nothing that is loaded later comes before this library, so that the answer stays. Asked by our
 * constructor, or before it by the first call: later, the caller may hold what a thread waits for
 * that has the loader's lock. */
static bool
ask(void)
{
    uint32_t answer = hm_load(&hm_process.operators);

    if (answer == UNKNOWN) {
        answer = has_replaced() ? REPLACED : OURS;
        hm_store(&hm_process.operators, answer);
    }
    return answer == OURS;
}

void
hm_process_ask_operators(void)
{
    (void)ask();
}

/* A plug-in that was loaded for itself alone has a runtime that the program does not see. That may
 * use another operator for the one that it was called by, and then we are the caller: the one
 * before counts. */
static void *
operator_of_caller(unsigned idx, const void *caller)
{
    Dl_info info;
    Dl_info self;
    struct link_map *map;
    void *library;
    void *symbol;

    if (dladdr(own[idx].address, &self) == 0
        || dladdr1(caller, &info, (void **)&map, RTLD_DL_LINKMAP) == 0)
        return NULL;
    if (info.dli_fbase != self.dli_fbase)
        hm_store(&hm_process.plugin_caller, caller);
    else if (dladdr1(hm_load(&hm_process.plugin_caller), &info, (void **)&map, RTLD_DL_LINKMAP)
             == 0)
        return NULL;
    library = dlopen(map->l_name, RTLD_LAZY | RTLD_NOLOAD);
    if (library == NULL)
        return NULL;
    symbol = dlsym(library, own[idx].name);
    (void)dlclose(library); /* it stays: it called */
    return symbol != own[idx].address ? symbol : NULL;
}

/* The operator of the C++ runtime; NULL if there is none. */
static HM_LATER void *
runtime_operator(unsigned idx, const void *caller)
{
    void *symbol = hm_load(&hm_process.next_operator[idx]);

    if (symbol != NULL)
        return symbol;
    symbol = dlsym(RTLD_NEXT, own[idx].name);
    if (symbol == NULL)
        return operator_of_caller(idx, caller);
    hm_store(&hm_process.next_operator[idx], symbol);
    return symbol;
}
