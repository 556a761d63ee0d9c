/* SPDX-License-Identifier: MIT */
/* free_inside_large.c - a pointer far into a block with a mapping of its own is freed. */
#include "abuse/abuse.h"

int
main(void)
{
    free((char *)block(40000000) + 20000000);
    return 0;
}
