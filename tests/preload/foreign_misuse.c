/* SPDX-License-Identifier: MIT */
/* foreign_misuse.c - pointers that no malloc returned, most of them with what looks like glibc's
 * header before them.
 *
 * Problem     Who accepts blocks of another malloc must not accept everything: a bug would pass
 *             unnoticed, or damage that malloc's heap.
 * Idea        One pointer a run, named by the first argument; the second says to whom it is given.
 *             Without arguments the names are printed. Where a block lies must decide, so the
 *             headers are right where that can be told.
 */
#include "expect.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { AREA_BYTES = 1 << 20, MAPPED = 2, PREV_IN_USE = 1 };

static char area[AREA_BYTES] = { 1 };
static const char *call;

static void
hand_over(void *ptr)
{
    void *volatile hidden = ptr;

    if (strcmp(call, "free") == 0)
        free(hidden);
    else if (strcmp(call, "realloc") == 0)
        hidden = realloc(hidden, 1000);
    else
        (void)malloc_usable_size(hidden);
    expect(false, "%p was accepted", ptr);
}

/* Two neighbours such as a heap has: the block of the first. */
static void *
with_neighbour(char *at)
{
    size_t *words = (size_t *)(((uintptr_t)at + 63) / 64 * 64);

    memset(words, 0, 256);
    words[1] = 96 | PREV_IN_USE;
    words[1 + 96 / sizeof(size_t)] = 64 | PREV_IN_USE;
    return words + 2;
}

/* Whole pages with the header of a mapped block. */
static void *
with_mapping(char *at)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t *words = (size_t *)(((uintptr_t)at + page - 1) / page * page);

    words[0] = 0;
    words[1] = 4 * page | MAPPED;
    return words + 2;
}

static void *
map(int flags, int fd)
{
    void *mem = mmap(NULL, AREA_BYTES, PROT_READ | PROT_WRITE, flags, fd, 0);

    expect(mem != MAP_FAILED, "%s", strerror(errno));
    return mem;
}

static void
stack(void)
{
    char local[1024];

    hand_over(with_neighbour(local));
}

static void
stack_mapping(void)
{
    char local[64 << 10];

    hand_over(with_mapping(local));
}

static void *
in_thread(void *arg)
{
    ((void (*)(void))arg)();
    return NULL;
}

static void
start(void (*function)(void))
{
    pthread_t thread;

    expect(pthread_create(&thread, NULL, in_thread, (void *)function) == 0, "no thread");
    (void)pthread_join(thread, NULL);
}

static void
thread_stack(void)
{
    start(stack);
}

static void
thread_stack_mapping(void)
{
    start(stack_mapping);
}

static void
variable(void)
{
    hand_over(with_neighbour(area));
}

static void
variable_mapping(void)
{
    hand_over(with_mapping(area));
}

static void
file(void)
{
    FILE *out = tmpfile();

    expect(out != NULL && ftruncate(fileno(out), AREA_BYTES) == 0, "%s", strerror(errno));
    hand_over(with_mapping(map(MAP_PRIVATE, fileno(out))));
}

static void
shared(void)
{
    hand_over(with_mapping(map(MAP_SHARED | MAP_ANONYMOUS, -1)));
}

/* The program's own, with other things in it. */
static void
random_area(void)
{
    uint64_t *words = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    uint64_t state = 1;

    for (size_t i = 0; i < AREA_BYTES / sizeof(words[0]); i++)
        words[i] = draw(&state);
    hand_over(words + 64);
}

static void
empty_area(void)
{
    hand_over((char *)map(MAP_PRIVATE | MAP_ANONYMOUS, -1) + 4096);
}

static void
start_of_area(void)
{
    hand_over(map(MAP_PRIVATE | MAP_ANONYMOUS, -1));
}

/* A header without its neighbour, and one that claims to be of an arena. */
static void
lonely(void)
{
    size_t *words = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);

    words[1] = 96 | PREV_IN_USE;
    hand_over(words + 2);
}

static void
no_arena(void)
{
    size_t *words = with_neighbour(map(MAP_PRIVATE | MAP_ANONYMOUS, -1));

    words[-1] |= 4;
    hand_over(words);
}

static void
own_brk(void)
{
    char *mem = sbrk(AREA_BYTES);

    expect(mem != (void *)-1, "%s", strerror(errno));
    hand_over(mem + 4096);
}

static void
own_brk_random(void)
{
    uint64_t *words = sbrk(AREA_BYTES);
    uint64_t state = 1;

    expect(words != (void *)-1, "%s", strerror(errno));
    for (size_t i = 0; i < AREA_BYTES / sizeof(words[0]); i++)
        words[i] = draw(&state);
    hand_over(words + 64);
}

/* Memory of the library's heap: inside a large block, and inside one with a mapping of its own. */
static void
inside_large(void)
{
    hand_over(with_mapping((char *)malloc(AREA_BYTES) + AREA_BYTES / 2));
}

static void
inside_mapped(void)
{
    hand_over(with_neighbour((char *)malloc(40 * AREA_BYTES) + AREA_BYTES));
}

static void
inside_mapped_mapping(void)
{
    hand_over(with_mapping((char *)malloc(40 * AREA_BYTES) + AREA_BYTES));
}

static void
unmapped_block(void)
{
    void *block = malloc(40 * AREA_BYTES);

    free(block);
    hand_over(block);
}

static void
unmapped(void)
{
    char *mem = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);

    (void)munmap(mem, AREA_BYTES);
    hand_over(mem + 4096);
}

static void
unreadable(void)
{
    char *mem = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);

    (void)mprotect(mem, AREA_BYTES, PROT_NONE);
    hand_over(mem + 4096);
}

/* A page of a file behind its end: SIGBUS for who touches it. */
static void
behind_end(void)
{
    FILE *out = tmpfile();

    expect(out != NULL, "%s", strerror(errno));
    hand_over((char *)map(MAP_PRIVATE, fileno(out)) + 4096);
}

static void
odd(void)
{
    hand_over(area + 1);
}

static void
first_page(void)
{
    hand_over((void *)16);
}

static void
last_page(void)
{
    hand_over((void *)-16);
}

/* A sandbox without the call that tells what can be read: nothing is looked at. */
static void
sandbox(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigprocmask, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };
    void *block = with_mapping(map(MAP_PRIVATE | MAP_ANONYMOUS, -1));

    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    (void)prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
    hand_over(block);
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    { "stack", stack },
    { "stack-mapping", stack_mapping },
    { "thread-stack", thread_stack },
    { "thread-stack-mapping", thread_stack_mapping },
    { "variable", variable },
    { "variable-mapping", variable_mapping },
    { "file", file },
    { "shared", shared },
    { "random-area", random_area },
    { "empty-area", empty_area },
    { "start-of-area", start_of_area },
    { "lonely", lonely },
    { "no-arena", no_arena },
    { "own-brk", own_brk },
    { "own-brk-random", own_brk_random },
    { "inside-large", inside_large },
    { "inside-mapped", inside_mapped },
    { "inside-mapped-mapping", inside_mapped_mapping },
    { "unmapped-block", unmapped_block },
    { "unmapped", unmapped },
    { "unreadable", unreadable },
    { "behind-end", behind_end },
    { "odd", odd },
    { "first-page", first_page },
    { "last-page", last_page },
    { "sandbox", sandbox },
};

enum { CASE_COUNT = sizeof(cases) / sizeof(cases[0]) };

int
main(int argc, char **argv)
{
    call = argc == 3 ? argv[2] : "";
    for (unsigned i = 0; i < CASE_COUNT; i++) {
        if (argc == 1)
            (void)puts(cases[i].name);
        else if (strcmp(cases[i].name, argv[1]) == 0)
            cases[i].run();
    }
    return argc == 1 ? 0 : 1;
}
