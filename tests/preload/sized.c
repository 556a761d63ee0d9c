/* SPDX-License-Identifier: MIT */
/* sized.c - frees that tell the size: right ones in every way that a program can come to them, or
 * wrong ones. Prints how many were wrong; sized.sh compares that with the report. */
#include "expect.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

enum { KIB = 1 << 10, MIB = 1 << 20 };

static void *(*new_plain)(size_t size);
static void *(*new_aligned)(size_t size, size_t align);
static void (*delete_sized)(void *ptr, size_t size);
static void (*delete_array_sized)(void *ptr, size_t size);
static void (*delete_aligned)(void *ptr, size_t size, size_t align);
static void (*c_free_sized)(void *ptr, size_t size);
static void (*c_free_aligned)(void *ptr, size_t align, size_t size);

static void
look_up(void *out_function, const char *name)
{
    void *symbol = dlsym(RTLD_DEFAULT, name);

    expect(symbol != NULL, "%s is not there", name);
    memcpy(out_function, &symbol, sizeof(symbol));
}

static void *
live(void *block)
{
    void *volatile out = block;

    expect(out != NULL, "no memory");
    return out;
}

/* --- right ones ------------------------------------------------------------------------------- */

static void
check_size(size_t size)
{
    c_free_sized(live(malloc(size)), size);
    c_free_sized(live(calloc(1, size)), size);
    c_free_sized(live(realloc(NULL, size != 0 ? size : 1)), size != 0 ? size : 1);
    delete_sized(live(new_plain(size)), size);
    delete_array_sized(live(new_plain(size)), size);
}

static void
check_alignments(size_t size)
{
    for (size_t align = 1; align <= 4 * MIB; align *= 2) {
        c_free_aligned(live(aligned_alloc(align, size)), align, size);
        delete_aligned(live(new_aligned(size, align)), size, align);
    }
}

/* Whatever realloc does with a block, its last size is right. */
static void
check_resized(void)
{
    uint64_t state = 7;

    for (unsigned i = 0; i < 20000; i++) {
        size_t size = 1 + draw(&state) % (i % 100 == 0 ? 300 * KIB : 3 * KIB);
        void *mem = live(malloc(size));

        for (unsigned step = 0; step < 4; step++) {
            size = 1 + size * (draw(&state) % 300) / 200;
            mem = live(realloc(mem, size));
        }
        c_free_sized(mem, size);
    }
    for (size_t size = 70 * MIB; size > 16; size = size / 3 * 2)
        c_free_sized(live(realloc(malloc(size * 2), size)), size);
}

static unsigned
do_right(void)
{
    for (size_t size = 0; size < 70 * KIB; size += size < 1100 ? 1 : 61)
        check_size(size);
    for (size_t size = 100 * KIB; size < 70 * MIB; size = size / 2 * 3 + 7)
        check_size(size);
    for (size_t size = 0; size < 3 * MIB; size = size * 5 / 4 + 5)
        check_alignments(size);
    check_resized();
    c_free_sized(NULL, 10);
    c_free_aligned(NULL, 64, 10);
    delete_sized(NULL, 10);
    delete_aligned(NULL, 10, 64);
    return 0;
}

/* --- wrong ones ------------------------------------------------------------------------------- */

static unsigned
do_wrong_of_size(size_t size)
{
    size_t room = malloc_usable_size(live(malloc(size)));
    unsigned count = 4;

    c_free_sized(live(malloc(size)), room + 1);
    c_free_sized(live(malloc(size)), SIZE_MAX);
    delete_sized(live(new_plain(size)), room + 1);
    delete_array_sized(live(new_plain(size)), SIZE_MAX / 2);
    if (room > 32) {
        c_free_sized(live(malloc(size)), room / 2 - 17);
        /* The next class or page is at least so far away. */
        delete_sized(live(new_plain(size)), room - room / 8 - 16);
        count += 2;
    }
    if (room > 128 * KIB) {
        delete_sized(live(new_plain(size)), room - 4 * KIB);
        count++;
    }
    return count;
}

static unsigned
do_wrong(void)
{
    unsigned count = 0;

    for (size_t size = 1; size < 80 * MIB; size += size / 3 + 1)
        count += do_wrong_of_size(size);
    /* alignments that the block does not have */
    c_free_aligned(live((char *)aligned_alloc(4096, 8192)), 1 << 30, 8192);
    delete_aligned(live(new_aligned(100, 64)), 100, (size_t)1 << 40);
    delete_aligned(live(new_aligned(100, 64)), 100, ((size_t)1 << 63) + 1);
    /* the right alignment, and a size of another class */
    c_free_aligned(live(aligned_alloc(256, 1000)), 256, 700);
    delete_aligned(live(new_aligned(1000, 4096)), 5000, 4096);
    return count + 5;
}

int
main(int argc, char **argv)
{
    expect(argc == 2, "what to do?");
    look_up(&new_plain, "_Znwm");
    look_up(&new_aligned, "_ZnwmSt11align_val_t");
    look_up(&delete_sized, "_ZdlPvm");
    look_up(&delete_array_sized, "_ZdaPvm");
    look_up(&delete_aligned, "_ZdlPvmSt11align_val_t");
    look_up(&c_free_sized, "free_sized");
    look_up(&c_free_aligned, "free_aligned_sized");
    (void)dprintf(STDOUT_FILENO, "%u\n", strcmp(argv[1], "wrong") == 0 ? do_wrong() : do_right());
    return 0;
}
