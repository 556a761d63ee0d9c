/* SPDX-License-Identifier: MIT */
/* free_inside_small.c - a pointer into a small block is freed. */
#include "abuse/abuse.h"

int
main(void)
{
    free((char *)block(100) + 16);
    return 0;
}
