/* SPDX-License-Identifier: MIT */
/* free_stack.c - the address of a local variable is freed. */
#include "abuse/abuse.h"

int
main(void)
{
    int local[8] = { 0 };

    free(hidden(local));
    return 0;
}
