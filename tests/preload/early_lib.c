/* SPDX-License-Identifier: MIT */
/* early_lib.c - a library whose constructor allocates; see early.c. */
#include "early.h"

struct early early_in_library;

static void __attribute__((constructor(101))) construct(void)
{
    early_make(&early_in_library);
}
