/* SPDX-License-Identifier: MIT */
/* realloc_freed_small.c - a small block is resized after it was freed. */
#include "abuse/abuse.h"

int
main(void)
{
    void *keeps_the_span = block(100);
    void *mem = block(100);

    free(mem);
    free(realloc(hidden(mem), 200));
    free(keeps_the_span);
    return 0;
}
