/* SPDX-License-Identifier: MIT */
/* free_wild.c - an address that no program can have is freed. */
#include "abuse/abuse.h"

int
main(void)
{
    free(hidden((void *)0x1234567890abcdef));
    return 0;
}
