/* SPDX-License-Identifier: MIT */
/* sandbox.c - grows a heap after it has locked itself in: opening a file ends it.
 *
 * Usage    sandbox            the filter comes when the heap is small
 *          sandbox late       it comes before there is a heap
 *          sandbox again CMD  CMD starts with a filter that allows all, and without new privileges
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "expect.h"

enum { SKIPPED = 77, BLOCK_BYTES = 5000, BLOCK_COUNT = 20000 };

static void
add_filter(uint32_t for_open)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, for_open),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
        || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(SKIPPED);
}

int
main(int argc, char **argv)
{
    static void *blocks[BLOCK_COUNT];

    if (argc > 2 && strcmp(argv[1], "again") == 0) {
        add_filter(SECCOMP_RET_ALLOW);
        (void)execv(argv[2], argv + 2);
        _exit(1);
    }
    if (argc < 2)
        free(malloc(1));
    add_filter(SECCOMP_RET_KILL_PROCESS);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < BLOCK_COUNT; i++) {
            blocks[i] = malloc(BLOCK_BYTES);
            expect(blocks[i] != NULL, "block %zu", i);
            pattern_fill(blocks[i], BLOCK_BYTES, i);
        }
        for (size_t i = 0; i < BLOCK_COUNT; i++) {
            expect(pattern_holds(blocks[i], BLOCK_BYTES, i), "block %zu", i);
            free(blocks[i]);
        }
    }
    return 0;
}
