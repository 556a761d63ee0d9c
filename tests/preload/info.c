/* SPDX-License-Identifier: MIT */
/* info.c - what mallinfo, malloc_stats and malloc_info tell, in glibc's words.
 *
 * Problem     Parsers written for glibc's XML and text must find all that they look for.
 * Idea        malloc_info goes to the file that is named, malloc_stats to stderr, for info.py to
 *             parse; sums that must hold under every malloc are checked here.
 */
#include "expect.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { KIB = 1 << 10, MIB = 1 << 20 };

/* Blocks of a thread, for another arena. */
static void *
hold(void *blocks)
{
    for (size_t i = 0; i < 100; i++)
        ((void **)blocks)[i] = malloc(i * 100);
    return NULL;
}

static void
check_sums(void)
{
    struct mallinfo2 before = mallinfo2();
    char *heap = malloc(100 * KIB);
    char *direct = malloc(8 * MIB);
    struct mallinfo2 info = mallinfo2();
    expect(info.arena == info.uordblks + info.fordblks, "%zu, %zu, %zu", info.arena, info.uordblks,
           info.fordblks);
    expect(info.hblks == before.hblks + 1, "%zu direct", info.hblks);
    expect(info.hblkhd >= before.hblkhd + 8 * MIB, "%zu bytes direct", info.hblkhd);
    expect(info.uordblks >= before.uordblks + 100 * KIB, "%zu in use", info.uordblks);
    expect(info.uordblks < before.uordblks + 200 * KIB, "%zu in use", info.uordblks);
    free(heap);
    free(direct);
    info = mallinfo2();
    expect(info.hblks == before.hblks && info.hblkhd == before.hblkhd, "%zu direct", info.hblks);
    expect(info.uordblks < before.uordblks + 100 * KIB, "%zu in use", info.uordblks);
}

/* malloc_info knows one option, and no error of writing; ferror does. */
static void
check_errors(void)
{
    FILE *full = fopen("/dev/full", "w");
    FILE *null = fopen("/dev/null", "r");
    expect(full != NULL && null != NULL, "no /dev/full or /dev/null");
    expect(malloc_info(1, stdout) == EINVAL, "option 1");
    expect(malloc_info(-1, stdout) == EINVAL, "option -1");
    (void)setvbuf(full, NULL, _IONBF, 0);
    expect(malloc_info(0, full) == 0 && ferror(full), "a full device");
    expect(malloc_info(0, null) == 0 && ferror(null), "a file for reading");
    (void)fclose(full);
    (void)fclose(null);
}

int
main(int argc, char **argv)
{
    void *volatile blocks[300];
    void *thread_blocks[100];
    pthread_t thread;
    expect(argc == 2, "usage: info FILE");
    expect(pthread_create(&thread, NULL, hold, thread_blocks) == 0, "no thread");
    expect(pthread_join(thread, NULL) == 0, "cannot join the thread");
    for (size_t i = 0; i < 300; i++)
        blocks[i] = malloc(i * 100);
    for (size_t i = 0; i < 300; i += 2)
        free(blocks[i]);
    void *volatile direct = malloc(MIB);
    FILE *file = fopen(argv[1], "w");
    expect(direct != NULL && file != NULL, "no memory or no file");
    expect(fputs("<!-- before -->\n", file) >= 0, "cannot write");
    expect(malloc_info(0, file) == 0, "malloc_info fails");
    expect(fputs("<!-- behind -->\n", file) >= 0 && fclose(file) == 0, "cannot write");
    malloc_stats();
    check_sums();
    check_errors();
    return 0;
}
