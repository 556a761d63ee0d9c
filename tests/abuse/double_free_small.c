/* SPDX-License-Identifier: MIT */
/* double_free_small.c - a small block is freed twice. */
#include "abuse/abuse.h"

int
main(void)
{
    void *keeps_the_span = block(100);
    void *mem = block(100);

    free(mem);
    free(hidden(mem));
    free(keeps_the_span);
    return 0;
}
