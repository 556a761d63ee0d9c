/* SPDX-License-Identifier: MIT */
/* none.c - no misuse at all: the blocks that the others misuse, used rightly. */
#include "abuse/abuse.h"

int
main(void)
{
    void *small = block(100);
    void *medium = block(100000);
    void *large = block(40000000);

    free(large);
    free(medium);
    free(small);
    free(hidden(NULL));
    return 0;
}
