/* SPDX-License-Identifier: MIT */
/* preload_used.c - under LD_PRELOAD, is each entry point of malloc really the library's?
 *
 * Problem     An entry point that is missing, or exported with a symbol version, is passed over by
 *             the loader without a word: the program runs, on libc's malloc. Worse, half of the
 *             family may come from either side.
 * Idea        Three proofs. References that the linker bound to a glibc version resolve to the
 *             library; so does each name looked up by dlsym; and a block from each allocating
 *             function shows in mallinfo2(), until its freeing function has taken it.
 */
#include "expect.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { BLOCK_BYTES = 3 << 20, ALIGN_BYTES = 64 };

/* Which arguments a function takes, in order. */
enum shape {
    NAME_ONLY, /* not called through the table */
    SIZE,
    COUNT_SIZE,
    PTR_SIZE,
    PTR_COUNT_SIZE,
    ALIGN_SIZE,
    OUT_ALIGN_SIZE,
    SIZE_NOTHROW,
    SIZE_ALIGN,
    SIZE_ALIGN_NOTHROW,
    PTR,
    PTR_NOTHROW,
    PTR_ALIGN,
    PTR_SIZE_ALIGN,
    PTR_ALIGN_SIZE,
    PTR_ALIGN_NOTHROW,
};

static const struct row {
    const char *alloc;
    const char *free;
    enum shape alloc_shape;
    enum shape free_shape;
} rows[] = {
    { "malloc", "free", SIZE, PTR },
    { "calloc", "cfree", COUNT_SIZE, PTR },
    { "realloc", "free_sized", PTR_SIZE, PTR_SIZE },
    { "reallocarray", "free", PTR_COUNT_SIZE, PTR },
    { "memalign", "free", ALIGN_SIZE, PTR },
    { "aligned_alloc", "free_aligned_sized", ALIGN_SIZE, PTR_ALIGN_SIZE },
    { "posix_memalign", "free", OUT_ALIGN_SIZE, PTR },
    { "valloc", "free", SIZE, PTR },
    { "pvalloc", "free", SIZE, PTR },
    { "__libc_malloc", "__libc_free", SIZE, PTR },
    { "__libc_calloc", "free", COUNT_SIZE, PTR },
    { "__libc_realloc", "free", PTR_SIZE, PTR },
    { "__libc_memalign", "free", ALIGN_SIZE, PTR },
    { "__libc_valloc", "free", SIZE, PTR },
    { "__posix_memalign", "free", OUT_ALIGN_SIZE, PTR },
    { "__libc_pvalloc", "free", SIZE, PTR },
    /* operator new and delete: nw dl na da; m is size_t, Pv is void *. */
    { "_Znwm", "_ZdlPv", SIZE, PTR },
    { "_Znam", "_ZdaPv", SIZE, PTR },
    { "_Znwm", "_ZdlPvm", SIZE, PTR_SIZE },
    { "_Znam", "_ZdaPvm", SIZE, PTR_SIZE },
    { "_ZnwmRKSt9nothrow_t", "_ZdlPvRKSt9nothrow_t", SIZE_NOTHROW, PTR_NOTHROW },
    { "_ZnamRKSt9nothrow_t", "_ZdaPvRKSt9nothrow_t", SIZE_NOTHROW, PTR_NOTHROW },
    { "_ZnwmSt11align_val_t", "_ZdlPvSt11align_val_t", SIZE_ALIGN, PTR_ALIGN },
    { "_ZnamSt11align_val_t", "_ZdaPvSt11align_val_t", SIZE_ALIGN, PTR_ALIGN },
    { "_ZnwmSt11align_val_t", "_ZdlPvmSt11align_val_t", SIZE_ALIGN, PTR_SIZE_ALIGN },
    { "_ZnamSt11align_val_t", "_ZdaPvmSt11align_val_t", SIZE_ALIGN, PTR_SIZE_ALIGN },
    { "_ZnwmSt11align_val_tRKSt9nothrow_t", "_ZdlPvSt11align_val_tRKSt9nothrow_t",
      SIZE_ALIGN_NOTHROW, PTR_ALIGN_NOTHROW },
    { "_ZnamSt11align_val_tRKSt9nothrow_t", "_ZdaPvSt11align_val_tRKSt9nothrow_t",
      SIZE_ALIGN_NOTHROW, PTR_ALIGN_NOTHROW },
    { "malloc_usable_size", "malloc_trim", NAME_ONLY, NAME_ONLY },
    { "mallopt", "mallinfo", NAME_ONLY, NAME_ONLY },
    { "mallinfo2", "malloc_info", NAME_ONLY, NAME_ONLY },
    { "malloc_stats", "malloc_stats", NAME_ONLY, NAME_ONLY },
    { "__libc_mallopt", "__libc_mallinfo", NAME_ONLY, NAME_ONLY },
};

static const char nothrow; /* stands for std::nothrow, which nobody looks at */

/* Address of a function, which must lie in the library. */
static void *
find(const char *name)
{
    const char *library = getenv("LD_PRELOAD");
    void *function = dlsym(RTLD_DEFAULT, name);
    Dl_info info;
    expect(library != NULL, "run this under LD_PRELOAD");
    expect(function != NULL, "%s is not to be found", name);
    expect(dladdr(function, &info) != 0, "%s is in no library", name);
    expect(strcmp(info.dli_fname, library) == 0, "%s is that of %s", name, info.dli_fname);
    return function;
}

static void *
call_alloc(const char *name, enum shape shape)
{
    union {
        void *address;
        void *(*size)(size_t);
        void *(*two)(size_t, size_t);
        void *(*ptr_size)(void *, size_t);
        void *(*ptr_two)(void *, size_t, size_t);
        int (*out)(void **, size_t, size_t);
        void *(*size_nothrow)(size_t, const char *);
        void *(*two_nothrow)(size_t, size_t, const char *);
    } call = { find(name) };
    void *block = NULL;
    switch (shape) {
    case SIZE:
        return call.size(BLOCK_BYTES);
    case COUNT_SIZE:
        return call.two(BLOCK_BYTES / 8, 8);
    case PTR_SIZE:
        return call.ptr_size(NULL, BLOCK_BYTES);
    case PTR_COUNT_SIZE:
        return call.ptr_two(NULL, BLOCK_BYTES / 8, 8);
    case ALIGN_SIZE:
        return call.two(ALIGN_BYTES, BLOCK_BYTES);
    case OUT_ALIGN_SIZE:
        return call.out(&block, ALIGN_BYTES, BLOCK_BYTES) == 0 ? block : NULL;
    case SIZE_NOTHROW:
        return call.size_nothrow(BLOCK_BYTES, &nothrow);
    case SIZE_ALIGN:
        return call.two(BLOCK_BYTES, ALIGN_BYTES);
    default:
        return call.two_nothrow(BLOCK_BYTES, ALIGN_BYTES, &nothrow);
    }
}

static void
call_free(const char *name, enum shape shape, void *block)
{
    union {
        void *address;
        void (*ptr)(void *);
        void (*ptr_num)(void *, size_t);
        void (*ptr_two)(void *, size_t, size_t);
        void (*ptr_nothrow)(void *, const char *);
        void (*ptr_num_nothrow)(void *, size_t, const char *);
    } call = { find(name) };
    switch (shape) {
    case PTR:
        call.ptr(block);
        break;
    case PTR_SIZE:
        call.ptr_num(block, BLOCK_BYTES);
        break;
    case PTR_ALIGN:
        call.ptr_num(block, ALIGN_BYTES);
        break;
    case PTR_SIZE_ALIGN:
        call.ptr_two(block, BLOCK_BYTES, ALIGN_BYTES);
        break;
    case PTR_ALIGN_SIZE:
        call.ptr_two(block, ALIGN_BYTES, BLOCK_BYTES);
        break;
    case PTR_NOTHROW:
        call.ptr_nothrow(block, &nothrow);
        break;
    default:
        call.ptr_num_nothrow(block, ALIGN_BYTES, &nothrow);
    }
}

static size_t
bytes_in_use(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void
check_row(const struct row *row)
{
    if (row->alloc_shape == NAME_ONLY) {
        (void)find(row->alloc);
        (void)find(row->free);
        return;
    }
    size_t before = bytes_in_use();
    void *block = call_alloc(row->alloc, row->alloc_shape);
    expect(block != NULL, "%s gives nothing", row->alloc);
    expect(bytes_in_use() >= before + BLOCK_BYTES, "%s: the counters stand still", row->alloc);
    expect(malloc_usable_size(block) >= BLOCK_BYTES, "%s: less than asked", row->alloc);
    memset(block, 1, BLOCK_BYTES);
    call_free(row->free, row->free_shape, block);
    expect(bytes_in_use() < before + BLOCK_BYTES, "%s: the counters stand still", row->free);
}

/* The linker gave each of these references a version, such as malloc@GLIBC_2.2.5. */
static void
check_versioned_references(void)
{
    union {
        void (*function)(void);
        void *address;
    } bound[] = {
        { (void (*)(void))malloc },        { (void (*)(void))calloc },
        { (void (*)(void))realloc },       { (void (*)(void))free },
        { (void (*)(void))reallocarray },  { (void (*)(void))memalign },
        { (void (*)(void))aligned_alloc }, { (void (*)(void))posix_memalign },
        { (void (*)(void))valloc },        { (void (*)(void))pvalloc },
        { (void (*)(void))malloc_trim },   { (void (*)(void))malloc_usable_size },
        { (void (*)(void))mallopt },       { (void (*)(void))mallinfo2 },
        { (void (*)(void))malloc_info },   { (void (*)(void))malloc_stats },
    };
    for (size_t i = 0; i < sizeof(bound) / sizeof(bound[0]); i++) {
        Dl_info info = { 0 };
        expect(dladdr(bound[i].address, &info) != 0, "reference %zu", i);
        expect(strcmp(info.dli_fname, getenv("LD_PRELOAD")) == 0,
               "reference %zu (%s) is bound to %s", i, info.dli_sname ? info.dli_sname : "?",
               info.dli_fname);
    }
}

static void
check_reports(void)
{
    char text[8] = "";
    int fd = memfd_create("report", 0);
    FILE *file = fdopen(fd, "w");
    expect(malloc_info(0, file) == 0, "malloc_info fails");
    expect(fflush(file) == 0 && pread(fd, text, 7, 0) == 7, "malloc_info writes nothing");
    expect(strcmp(text, "<malloc") == 0, "malloc_info starts with '%s'", text);
    expect(malloc_info(1, file) != 0, "malloc_info takes an option it does not know");
    (void)fclose(file);
    malloc_stats();
    (void)malloc_trim(0);
}

int
main(void)
{
    size_t before = bytes_in_use();
    void *small[1000];
    for (int i = 0; i < 1000; i++)
        small[i] = malloc(1000);
    expect(bytes_in_use() >= before + 1000000, "a thousand small blocks do not show");
    for (int i = 0; i < 1000; i++)
        free(small[i]);

    check_versioned_references();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        check_row(&rows[i]);
    check_reports();
    (void)printf("every entry point is the library's\n");
    return 0;
}
