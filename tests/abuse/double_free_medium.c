/* SPDX-License-Identifier: MIT */
/* double_free_medium.c - a block on a run of pages is freed twice. */
#include "abuse/abuse.h"

int
main(void)
{
    void *mem = block(100000);

    free(mem);
    free(hidden(mem));
    return 0;
}
