/* SPDX-License-Identifier: MIT */
/* secure.c - allocates, and says whether the kernel started it in secure mode; see setuid.sh. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>

int
main(void)
{
    void *volatile block = malloc(100000);
    (void)printf("%s\n", getauxval(AT_SECURE) ? "secure" : "plain");
    free(block);
    return block ? 0 : 1;
}
