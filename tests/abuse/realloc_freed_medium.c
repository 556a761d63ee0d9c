/* SPDX-License-Identifier: MIT */
/* realloc_freed_medium.c - a block on a run of pages is resized after it was freed. */
#include "abuse/abuse.h"

int
main(void)
{
    void *mem = block(100000);

    free(mem);
    free(realloc(hidden(mem), 200000));
    return 0;
}
