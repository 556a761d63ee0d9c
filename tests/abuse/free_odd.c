/* SPDX-License-Identifier: MIT */
/* free_odd.c - a pointer that no block can start at is freed. */
#include "abuse/abuse.h"

int
main(void)
{
    free((char *)block(100) + 1);
    return 0;
}
