/* SPDX-License-Identifier: MIT */
/* foreign.h - what foreign.c asks of its plugin. */
#ifndef HUMA_TESTS_FOREIGN_H
#define HUMA_TESTS_FOREIGN_H

#include <stddef.h>

enum { TEXT_COUNT_MAX = 16 };

struct plugin {
    /* A block of the plugin's malloc or, over an alignment of 16, memalign. */
    void *(*make)(size_t align, size_t size);

    /* `count` such blocks, made by a thread of the plugin's, which has ended. */
    void (*make_in_thread)(size_t align, size_t size, size_t count, void **blocks);

    /* Texts that functions of libc allocated; returns how many. */
    size_t (*make_by_libc)(char **texts);

    void (*free)(void *block);
};

#endif
