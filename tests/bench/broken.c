/* SPDX-License-Identifier: MIT */
/* broken.c - a malloc library that fails from 1 MiB on: it aborts, or never returns. */
#include <stdlib.h>
#include <unistd.h>

void *__libc_malloc(size_t len_bytes);
void *malloc(size_t len_bytes);

void *
malloc(size_t len_bytes)
{
    if (len_bytes >= (size_t)1 << 20) {
        if (getenv("BROKEN_HANGS") == NULL)
            abort();
        for (;;)
            (void)pause();
    }
    return __libc_malloc(len_bytes);
}
