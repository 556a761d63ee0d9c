/* SPDX-License-Identifier: MIT */
/* free_inside_medium.c - a pointer into a block on a run of pages is freed. */
#include "abuse/abuse.h"

int
main(void)
{
    free((char *)block(100000) + 64);
    return 0;
}
