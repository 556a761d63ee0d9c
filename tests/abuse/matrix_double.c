/* SPDX-License-Identifier: MIT */
/* matrix_double.c - blocks freed twice by one thread, and the state of the heap in between.
 *
 * Invariants  No scenario takes a block of the misused one's size between the two frees, unless it
 *             makes sure that the slot was not handed out anew: then the second free would be
 *             right.
 */
#include "abuse/matrix.h"

#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void *blocks[PLENTY_MAX];

/* Blocks of the size, and one more, which is returned. */
static void *
take_among(size_t size, unsigned count)
{
    void *mem = NULL;

    for (unsigned i = 0; i < count; i++) {
        blocks[i] = block(size);
        if (i == count / 2)
            mem = block(size);
    }
    return mem;
}

/* Only slots have a size of their own that a line can still name. */
static size_t
size_named(void *ptr, size_t size)
{
    return size <= 32768 ? room_of(ptr) : 0;
}

void
lone(size_t size, unsigned step)
{
    void *mem = block(size);
    size_t room = size_named(mem, size);

    (void)step;
    release(mem);
    misuse(mem, EITHER, room);
}

/* The span stays, so the line must say what it was. */
void
among_others(size_t size, unsigned step)
{
    void *mem = take_among(size, 6);
    size_t room = size_named(mem, size);

    (void)step;
    release(mem);
    misuse(mem, size <= 32768 ? FREED : EITHER, room);
}

void
in_full_span(size_t size, unsigned step)
{
    size_t count = plenty_of(size);
    void *mem = take_among(size, (unsigned)count);
    size_t room = room_of(mem);

    (void)step;
    release(mem);
    misuse(mem, FREED, room);
}

void
delayed(size_t size, unsigned step)
{
    void *mem = step == 0 ? take_among(size, 6) : block(size);
    size_t room = size_named(mem, size);

    release(mem);
    for (size_t other = 16; other < 3000000; other += 16 + other / 2) {
        void *few[4];

        for (unsigned i = 0; i < 4; i++) {
            few[i] = block(other < size / 4 * 3 ? other : other + size);
            /* Pages that were free may begin another block now. */
            if (few[i] == mem)
                not_here();
        }
        for (unsigned i = 0; i < 4; i++)
            release(few[i]);
    }
    misuse(mem, EITHER, room);
}

void
interleaved(size_t size, unsigned step)
{
    static const unsigned counts[] = { 1, 2, 7, 8, 40 };
    unsigned count = counts[step];
    void *mem;
    size_t room;

    if (size > 100000 && count > 8)
        not_here();
    mem = take_among(size, count * 2);
    room = size_named(mem, size);
    release(mem);
    for (unsigned i = 0; i < count; i++)
        release(blocks[i]);
    misuse(mem, EITHER, room);
}

/* Two blocks are freed and one slot is taken again; the other one is freed twice. */
void
neighbour_reused(size_t size, unsigned step)
{
    void *mem = take_among(size, 6);
    size_t room = size_named(mem, size);
    void *first = step == 0 ? mem : blocks[3];
    void *second = step == 0 ? blocks[3] : mem;
    void *again;

    release(first);
    release(second);
    again = block(size);
    misuse(again == first ? second : first, EITHER, room);
}

void
all_freed(size_t size, unsigned step)
{
    unsigned count = (unsigned)plenty_of(size);
    void *mem;
    size_t room;

    if (size > 3333333)
        count = 4;
    mem = take_among(size, count);
    room = size_named(mem, size);
    if (step != 2)
        release(mem);
    for (unsigned i = 0; i < count; i++)
        release(blocks[step == 0 ? i : count - 1 - i]);
    if (step == 2)
        release(mem);
    misuse(mem, EITHER, room);
}

void
trimmed(size_t size, unsigned step)
{
    void *mem = take_among(size, 6);
    size_t room = size_named(mem, size);

    (void)step;
    release(mem);
    (void)malloc_trim(0);
    misuse(mem, EITHER, room);
}

void
moved(size_t size, unsigned step)
{
    void *mem = take_among(size, 6);
    size_t room = size_named(mem, size);
    void *wall = NULL;

    (void)step;
    if (size > 32768) /* nothing may grow in place */
        wall = block(size);
    if (realloc(hidden(mem), size * 4) == mem)
        not_here();
    release(wall);
    misuse(mem, EITHER, room);
}

void
mapping_moved(size_t size, unsigned step)
{
    char *mem = block(size);
    char *end = mem + ((room_of(mem) + 4095) & ~(size_t)4095);

    (void)step;
    /* Where something is in the way, the mapping has to move. */
    (void)mmap(end, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (realloc(hidden(mem), size * 2) == mem)
        not_here();
    misuse(mem, EITHER, 0);
}

static void *
take_by(unsigned how, size_t size)
{
    void *mem = NULL;

    switch (how) {
    case 0:
        return calloc(1, size);
    case 1:
        return memalign(64, size);
    case 2:
        return aligned_alloc(4096, size);
    case 3:
        return posix_memalign(&mem, 256, size) == 0 ? mem : NULL;
    case 4:
        return valloc(size);
    case 5:
        return realloc(NULL, size);
    default: /* shrunk in place, if the allocator does that */
        return realloc(malloc(size), size / 2 + 1);
    }
}

void
other_source(size_t size, unsigned step)
{
    void *first = hidden(take_by(step, size));
    void *mem = hidden(take_by(step, size));
    size_t room = room_of(mem);

    if (first == NULL || mem == NULL)
        exit(BROKEN);
    release(mem);
    misuse(mem, EITHER, room <= 32768 ? room : 0);
}

/* Writes to freed memory that leave the second word alone: glibc sees through them. */
void
written_beside(size_t size, unsigned step)
{
    char *mem = take_among(size, 6);
    size_t room = room_of(mem);

    release(mem);
    mem = hidden(mem);
    if (step == 0)
        mem[0] = 'x';
    else if (step == 1)
        memset(mem, 0, 8);
    else if (room > 16)
        memset(mem + 16, 'x', room - 16);
    else
        not_here();
    misuse(mem, FREED, room);
}

/* Writes to all of it, or to the second word. What is kept in the block is lost: it is good enough
 * if the slot is not handed out twice. */
void
written_over(size_t size, unsigned step)
{
    char *mem = take_among(size, 6);
    size_t room = room_of(mem);

    release(mem);
    mem = hidden(mem);
    if (step < 3)
        memset(mem,
               "\0\xff"
               "A"[step],
               room);
    else if (step == 3)
        memset(mem + 8, 0, 8);
    else
        memcpy(mem, blocks[0], room);
    misuse_once(mem, FREED | DAMAGED, room);
    settle(size);
    not_caught();
}

/* Goes on in a forked child; the parent ends as that does. */
static void
stand_in_child(void)
{
    pid_t pid = fork();
    int status;

    if (pid == 0)
        return;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        _exit(BROKEN);
    if (WIFSIGNALED(status))
        (void)raise(WTERMSIG(status));
    _exit(WEXITSTATUS(status));
}

void
parent_freed(size_t size, unsigned step)
{
    void *mem = take_among(size, 6);
    size_t room = size_named(mem, size);

    (void)step;
    release(mem);
    stand_in_child();
    misuse(mem, EITHER, room);
}
