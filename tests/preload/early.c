/* SPDX-License-Identifier: MIT */
/* early.c - malloc is called before any constructor of a preloaded library has run.
 *
 * Problem     A process calls malloc before main: in the preinit array before all constructors, and
 *             in constructors of libraries that come before ours. Nothing of ours can have been
 *             prepared by then. (Resolvers of indirect functions run even earlier, before
 *             thread-local storage has its initial values; there no malloc but libc's works.)
 * Idea        Allocate in both places; in main, check the blocks, resize and free them.
 */
#include "early.h"

static struct early early_in_preinit;

static void
preinit(int argc, char **argv, char **envp)
{
    (void)argc;
    (void)argv;
    (void)envp;
    early_make(&early_in_preinit);
}

__attribute__((section(".preinit_array"), used)) static void (*const preinit_entry)(int, char **,
                                                                                    char **)
    = preinit;

int
main(void)
{
    early_check_and_free(&early_in_preinit, "preinit array");
    early_check_and_free(&early_in_library, "library constructor");
    return 0;
}
