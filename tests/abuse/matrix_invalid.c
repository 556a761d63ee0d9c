/* SPDX-License-Identifier: MIT */
/* matrix_invalid.c - pointers that no call of the family ever returned, or no longer. */
#include "abuse/matrix.h"

#include <alloca.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

/* --- in and around a block -------------------------------------------------------------------- */

void
inside(size_t size, unsigned step)
{
    char *mem = block(size);
    size_t room = room_of(mem);
    size_t offset = step + 1; /* 1 to 15: no block is aligned so */

    if (step >= 15) {
        const size_t offsets[] = {
            16,        32,   48,        64,   96,       112,     128,         room / 2, room / 3,
            room - 16, 4096, 4096 + 16, 8192, room / 4, 2097152, room - 4096, room - 1,
        };
        offset = offsets[step - 15] & (step == 31 ? ~(size_t)0 : ~(size_t)15);
    }
    if (offset == 0 || offset >= room)
        not_here();
    misuse(mem + offset, INVALID, room);
}

static sigjmp_buf after_abort;
static volatile unsigned long abort_count;

static void
on_abort(int signal)
{
    (void)signal;
    abort_count++;
    siglongjmp(after_abort, 1);
}

/* One child for all offsets: the program goes on after each abort, as a handler may. */
void
every_offset(size_t size, unsigned step)
{
    struct sigaction action = { .sa_handler = on_abort };
    char *volatile mem = block(size);
    volatile size_t room = room_of(mem);
    volatile size_t offset = 1;

    (void)step;
    (void)sigaction(SIGABRT, &action, NULL);
    for (; offset < room; offset += offset < 1024 ? 1 : 16) {
        if (sigsetjmp(after_abort, 1) == 0)
            misuse(mem + offset, INVALID, room);
    }
    (void)signal(SIGABRT, SIG_DFL);
    if (abort_count == 0 || ftruncate(STDERR_FILENO, 0) != 0
        || lseek(STDERR_FILENO, 0, SEEK_SET) != 0)
        exit(BROKEN);
    misuse(mem + 1, INVALID, room);
}

/* Pages of a large block, and what lies before and behind it. */
void
beside(size_t size, unsigned step)
{
    char *mem = block(size);
    size_t room = room_of(mem);
    const ptrdiff_t offsets[]
        = { 4096, 8192,  (ptrdiff_t)(room - 4096), (ptrdiff_t)room, (ptrdiff_t)room + 16, -16,
            -8,   -4096, -(ptrdiff_t)room };

    misuse(mem + offsets[step], EITHER, 0);
}

/* Behind the first block of its size. A right allocator may have put another's block there; none of
 * the same size. */
void
never_issued(size_t size, unsigned step)
{
    char *mem = block(size);
    size_t room = room_of(mem);

    misuse(mem + (step + 1) * room, EITHER, 0);
}

static char *blocks[PLENTY_MAX];

static int
by_address(const void *left, const void *right)
{
    const char *const *a = left;
    const char *const *b = right;

    return *a < *b ? -1 : *a > *b;
}

/* Many blocks, sorted; where two neighbours are not adjacent, a span ends and another begins. */
void
span_ends(size_t size, unsigned step)
{
    size_t count = plenty_of(size);
    size_t room;
    size_t end = 0;

    for (size_t i = 0; i < count; i++)
        blocks[i] = block(size);
    room = room_of(blocks[0]);
    /* qsort may allocate: not of this size, which would do no harm either */
    qsort(blocks, count, sizeof(blocks[0]), by_address);
    while (end + 1 < count && (size_t)(blocks[end + 1] - blocks[end]) == room)
        end++;
    if (end + 1 == count && step < 2)
        not_here();
    if (step == 0)
        misuse(blocks[end] + room, EITHER, 0); /* the unused tail, or behind it */
    if (step == 1)
        misuse(blocks[end + 1] - 16, EITHER, 0);
    if (step == 2)
        misuse(blocks[0] - 16, EITHER, 0);
    if (step == 3)
        misuse(blocks[0] - room, EITHER, 0);
    misuse(blocks[count - 1] + room, EITHER, 0);
}

/* A table over 48 bits of address sees the block's own entry. */
void
aliased(size_t size, unsigned step)
{
    static const uintptr_t bits[]
        = { (uintptr_t)1 << 47, (uintptr_t)1 << 48,      (uintptr_t)1 << 56,
            (uintptr_t)1 << 63, (uintptr_t)0xffff << 48, (uintptr_t)0x5a00 << 48 };
    char *mem = block(size);

    misuse((char *)((uintptr_t)mem | bits[step]), INVALID, 0);
}

void
shrunk(size_t size, unsigned step)
{
    char *mem = block(size * 2);
    char *less = realloc(mem, size);
    size_t room = room_of(less);

    if (less != hidden(mem) || size * 2 < room + 8192)
        not_here();
    misuse(less + room + (step == 0 ? 0 : step == 1 ? 4096 : 16), EITHER, 0);
}

/* --- memory of others ------------------------------------------------------------------------- */

static char static_zeros[64] __attribute__((aligned(16)));
static char static_data[64] __attribute__((aligned(16))) = "data";
static __thread char of_thread[64] __attribute__((aligned(16)));

static void *volatile other_local;

static void *
run_stack(void *unused)
{
    char local[64] __attribute__((aligned(16))) = "stack";

    (void)unused;
    other_local = hidden(local);
    (void)pause();
    return NULL;
}

static void *
stack_of_thread(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, run_stack, NULL) != 0)
        exit(BROKEN);
    while (other_local == NULL)
        (void)usleep(100);
    return other_local;
}

static void *
mapped_page(void)
{
    void *mem = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return mem != MAP_FAILED ? mem : NULL;
}

static char *
foreign_address(unsigned step, char *local)
{
    switch (step) {
    case 0:
        return local;
    case 1:
        return local + 16;
    case 2:
        return static_zeros;
    case 3:
        return static_data;
    case 4:
        return (char *)(uintptr_t) "a literal of some length";
    case 5:
        return (char *)(uintptr_t)foreign; /* the code of a function */
    case 6:
        return of_thread;
    case 7:
        return mapped_page();
    case 8:
        return (char *)mapped_page() + 16;
    case 9:
        return stack_of_thread();
    case 10:
        return (char *)getauxval(AT_SYSINFO_EHDR);
    case 11:
        return (char *)stderr; /* libc's data */
    case 12:
        return (char *)&errno;
    default:
        return (char *)(uintptr_t)&malloc; /* the library's code */
    }
}

void
foreign(size_t size, unsigned step)
{
    char *local = alloca(64 + size / 16);
    char *ptr = foreign_address(step, hidden(local));

    (void)block(size); /* the heap exists */
    if (ptr == NULL)
        not_here();
    misuse(ptr, INVALID, 0);
}

void
far_away(size_t size, unsigned step)
{
    static const uintptr_t addrs[] = {
        1,
        8,
        16,
        4080,
        4096,
        (uintptr_t)1 << 47,
        (uintptr_t)1 << 48,
        0x0000800000000000,
        0xffff800000000000,
        0xffffffff81000000,
        UINTPTR_MAX,
        UINTPTR_MAX - 15,
        0x00007ffffffff000,
        0xdeadbeefdeadbee0,
    };

    (void)block(size);
    misuse((void *)addrs[step], INVALID, 0);
}

/* Whether one of the heap's mappings: it holds a block of ours. */
static bool
is_heap(const char *range, const char *mem, const char *large)
{
    char *end;
    uintptr_t first = strtoul(range, &end, 16);
    uintptr_t limit = strtoul(end + 1, NULL, 16);

    return ((uintptr_t)mem >= first && (uintptr_t)mem < limit)
           || ((uintptr_t)large >= first && (uintptr_t)large < limit);
}

/* What is writable or reserved and not of the heap: among it the variables of the library, and what
 * it maps for its tables and for later. Reading maps this way does not allocate. */
void
own_memory(size_t size, unsigned step)
{
    static const size_t offsets[] = { 0, 64, 2048 };
    static char maps[1 << 16];
    const char *mem = block(size);
    const char *large = block(100000);
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t got;
    unsigned seen_count = 0;

    while ((got = read(fd, maps + len, sizeof(maps) - 1 - len)) > 0)
        len += (size_t)got;
    for (char *at = strtok(maps, "\n"); at != NULL; at = strtok(NULL, "\n")) {
        if ((strstr(at, " rw") == NULL && strstr(at, " ---p") == NULL) || is_heap(at, mem, large))
            continue;
        if (seen_count++ == step / 3)
            misuse((char *)strtoul(at, NULL, 16) + offsets[step % 3], INVALID, 0);
    }
    not_here();
}

/* --- memory that went back -------------------------------------------------------------------- */

void
gone_small(size_t size, unsigned step)
{
    enum { COUNT = 40000 };
    static char *gone[COUNT];

    (void)size;
    for (unsigned i = 0; i < COUNT; i++)
        gone[i] = block(1000);
    for (unsigned i = 0; i < COUNT; i++)
        release(gone[i]);
    (void)malloc_trim(0);
    misuse(gone[(size_t)COUNT * (step + 1) / 5], EITHER, 0);
}

void
gone_large(size_t size, unsigned step)
{
    static const size_t sizes[] = { 300000, 3000000, 20000000, 80000000 };
    char *mem[6];

    (void)size;
    for (unsigned i = 0; i < 6; i++)
        mem[i] = block(sizes[step]);
    for (unsigned i = 0; i < 6; i++)
        release(mem[i]);
    (void)malloc_trim(0);
    misuse(mem[3], EITHER, 0);
}
