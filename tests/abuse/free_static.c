/* SPDX-License-Identifier: MIT */
/* free_static.c - the address of a static variable is freed. */
#include "abuse/abuse.h"

static int variable[8];

int
main(void)
{
    free(hidden(variable));
    return 0;
}
