/* SPDX-License-Identifier: MIT */
/* double_free_full.c - many small blocks, so that their spans are full; then one is freed twice. */
#include "abuse/abuse.h"

#define COUNT 5000

int
main(void)
{
    void *mem[COUNT];

    for (int i = 0; i < COUNT; i++)
        mem[i] = block(100);
    free(mem[COUNT / 2]);
    free(hidden(mem[COUNT / 2]));
    return 0;
}
