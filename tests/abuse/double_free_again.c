/* SPDX-License-Identifier: MIT */
/* double_free_again.c - a block is freed twice whose pages stay ready for the next of its size. */
#include "abuse/abuse.h"

int
main(void)
{
    void *mem = NULL;

    for (int i = 0; i < 4; i++) {
        mem = block(100000);
        free(mem);
    }
    free(hidden(mem));
    return 0;
}
