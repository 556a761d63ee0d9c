/* SPDX-License-Identifier: MIT */
/* double_free_large.c - a block with a mapping of its own is freed twice. */
#include "abuse/abuse.h"

int
main(void)
{
    void *mem = block(40000000);

    free(mem);
    free(hidden(mem));
    return 0;
}
