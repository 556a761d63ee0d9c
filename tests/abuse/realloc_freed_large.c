/* SPDX-License-Identifier: MIT */
/* realloc_freed_large.c - a block with a mapping of its own is resized after it was freed. */
#include "abuse/abuse.h"

int
main(void)
{
    void *mem = block(40000000);

    free(mem);
    free(realloc(hidden(mem), 50000000));
    return 0;
}
