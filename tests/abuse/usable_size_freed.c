/* SPDX-License-Identifier: MIT */
/* usable_size_freed.c - the size of a small block is asked for after it was freed. */
#include "abuse/abuse.h"

#include <malloc.h>

int
main(void)
{
    void *keeps_the_span = block(100);
    void *mem = block(100);

    free(mem);
    (void)malloc_usable_size(hidden(mem));
    free(keeps_the_span);
    return 0;
}
