/* SPDX-License-Identifier: MIT */
/* realloc_inside.c - a pointer into a small block is resized. */
#include "abuse/abuse.h"

int
main(void)
{
    free(realloc((char *)block(100) + 16, 200));
    return 0;
}
