/* SPDX-License-Identifier: MIT */
/* perturb.c - M_PERTURB and MALLOC_PERTURB_: new blocks are filled with the inverted byte, freed
 * ones with the byte; blocks that must be zero are zero. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload/expect.h"

static void
check_all(const unsigned char *mem, size_t size_bytes, int byte)
{
    for (size_t i = 0; i < size_bytes; i++)
        if (mem[i] != byte)
            expect(false, "byte %zu of a block of %zu is %#x, not %#x", i, size_bytes, mem[i],
                   byte);
}

static void
check_sizes(int byte)
{
    static const size_t sizes[] = { 1, 16, 100, 1000, 5000, 32768, 40000, 200000, 3000000 };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (int round = 0; round < 3; round++) {
            unsigned char *mem = malloc(sizes[i]);
            unsigned char *zero = calloc(1, sizes[i]);
            unsigned char *aligned = memalign(64, sizes[i]);

            check_all(mem, sizes[i], byte ^ 0xff);
            check_all(zero, sizes[i], 0);
            check_all(aligned, sizes[i], byte ^ 0xff);
            memset(mem, 1, sizes[i]);
            memset(zero, 1, sizes[i]);
            free(mem);
            free(zero);
            free(aligned);
        }
    }
}

/* What is read here was freed: that is the point of the option. */
static void
check_freed(int byte)
{
    unsigned char *volatile mem = malloc(1000);

    memset(mem, 1, 1000);
    free(mem);
    check_all(mem + 16, 900, byte);
}

int
main(int argc, char **argv)
{
    int byte = argc > 1 ? (int)strtol(argv[1], NULL, 0) : 0x5a;

    if (argc <= 1)
        expect(mallopt(M_PERTURB, byte) == 1, "mallopt(M_PERTURB) takes a byte");
    check_sizes(byte);
    check_freed(byte);
    if (argc <= 1) {
        expect(mallopt(M_PERTURB, 0) == 1, "mallopt(M_PERTURB) is switched off again");
        free(malloc(100));
    }
    return 0;
}
