/* SPDX-License-Identifier: MIT */
/* test_huma_shared.c - shared arenas as programs see them, on the real kernel: children, strangers,
 * and the dead. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/arena.h"

/* All of it is under a checksum. */
#define HEADER_BYTES 56

static huma_shared *
create_shared(const char *backing, size_t limit_bytes)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    huma_shared *shared;

    options.backing = backing;
    options.limit_bytes = limit_bytes;
    shared = huma_shared_create(&options);
    cr_assert_not_null(shared, "%s", huma_last_error());
    return shared;
}

static struct huma_shared_state
info_of(huma_shared *shared)
{
    struct huma_shared_state info = HUMA_SHARED_STATE_INIT;

    cr_assert_eq(huma_shared_info(shared, &info), 0, "%s", huma_last_error());
    cr_assert_eq(huma_shared_verify(shared), 0, "%s", huma_last_error());
    return info;
}

/* In a child: no assertion of Criterion's. */
#define NEED(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)fprintf(stderr, "%s:%d: %s; %s\n", __FILE__, __LINE__, #condition,               \
                          huma_last_error());                                                      \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static void
expect_exit(pid_t pid, int status)
{
    int got;

    cr_assert_eq(waitpid(pid, &got, 0), pid);
    cr_assert_eq(got, status, "%d", got);
}

/* --- one process ------------------------------------------------------------------------------ */

Test(huma_shared, blocks)
{
    huma_shared *shared = create_shared("thp,4k", 16 * MIB);
    uint64_t block = huma_shared_alloc(shared, 100);
    char *start = huma_shared_at(shared, block);

    cr_assert_neq(block, 0);
    cr_assert_not_null(start);
    cr_assert_eq(huma_shared_offset(shared, start), block);
    cr_assert_geq(huma_shared_usable_size(shared, block), 100);
    memset(start, 7, 100);
    block = huma_shared_realloc(shared, block, 100000);
    cr_assert_neq(block, 0);
    start = huma_shared_at(shared, block);
    cr_assert(start[0] == 7 && start[99] == 7);
    block = huma_shared_realloc(shared, block, 10);
    cr_assert_eq(((char *)huma_shared_at(shared, block))[9], 7);
    cr_assert_eq(huma_shared_free(shared, block), 0);
    cr_assert_eq(huma_shared_free(shared, block), -1);
    cr_assert_eq(errno, EINVAL);
    cr_assert_eq(huma_shared_realloc(shared, block, 10), 0);
    cr_assert_eq(errno, EINVAL);
    cr_assert_eq(huma_shared_free(shared, 0), 0);
    block = huma_shared_calloc(shared, 1000, 100);
    cr_assert_neq(block, 0);
    for (size_t i = 0; i < 100000; i++)
        cr_assert_eq(((char *)huma_shared_at(shared, block))[i], 0);
    cr_assert_eq(huma_shared_aligned_alloc(shared, 65536, 1) % 65536, 0);
    cr_assert_eq(huma_shared_aligned_alloc(shared, 3, 1), 0);
    cr_assert_eq(huma_shared_alloc(shared, 17 * MIB), 0);
    cr_assert_eq(errno, ENOMEM);
    cr_assert_eq(huma_shared_calloc(shared, SIZE_MAX, 2), 0);
    cr_assert_eq(errno, ENOMEM);
    cr_assert_null(huma_shared_at(shared, 5));
    cr_assert_eq(huma_shared_offset(shared, &block), 0);
    huma_shared_detach(shared);
    huma_shared_detach(NULL);
}

Test(huma_shared, options_that_are_wrong)
{
    const struct huma_shared_options init = HUMA_SHARED_OPTIONS_INIT;
    struct huma_shared_options options[8];

    for (size_t i = 0; i < 8; i++) {
        options[i] = init;
        options[i].limit_bytes = 4 * MIB;
    }
    options[0].limit_bytes = 0;
    options[1].limit_bytes = SIZE_MAX;
    options[2].initial_bytes = 5 * MIB;
    options[3].process_count = 1024;
    options[4].root_count = 5000;
    options[5].flags = HUMA_SHARED_READ_ONLY;
    options[6].backing = "tin";
    options[7].struct_size = 8;
    for (size_t i = 0; i < 8; i++) {
        errno = 0;
        cr_assert_null(huma_shared_create(&options[i]), "%zu", i);
        cr_assert_eq(errno, EINVAL, "%zu", i);
        cr_assert_not_null(strstr(huma_last_error(), "huma_shared_create(): "));
    }
    cr_assert_null(huma_shared_create(NULL));
    cr_assert_eq(huma_shared_alloc(NULL, 1), 0);
    cr_assert_eq(errno, EINVAL);
    cr_assert_eq(huma_shared_free(NULL, 1), -1);
    cr_assert_eq(huma_shared_verify(NULL), -1);
    cr_assert_eq(huma_shared_root(create_shared("4k", MIB), ""), 0);
    cr_assert_eq(errno, EINVAL);
}

/* What grows has memory, whatever it is, and gives it back. */
Test(huma_shared, growth)
{
    huma_shared *shared = create_shared("thp,4k", 64 * MIB);
    uint64_t block;

    cr_assert_eq(info_of(shared).ready_bytes, 0);
    cr_assert_eq(info_of(shared).limit_bytes, 64 * MIB);
    block = huma_shared_alloc(shared, 50 * MIB);
    cr_assert_neq(block, 0);
    memset(huma_shared_at(shared, block), 1, 50 * MIB);
    cr_assert_geq(info_of(shared).ready_bytes, 50 * MIB);
    cr_assert_eq(huma_shared_free(shared, block), 0);
    cr_assert_geq(huma_shared_trim(shared), 50 * MIB);
    cr_assert_eq(info_of(shared).ready_bytes, 0);
    huma_shared_detach(shared);
}

Test(huma_shared, a_detached_arena, .signal = SIGABRT)
{
    huma_shared *shared = create_shared("4k", MIB);

    huma_shared_detach(shared);
    (void)!huma_shared_alloc(shared, 1);
}

/* --- threads ---------------------------------------------------------------------------------- */

/* Returns the line where something was wrong, or NULL. */
static void *
play(void *arg)
{
    huma_shared *shared = arg;
    static const char *const names[] = { "a", "b", "c", "d" };
    unsigned state = (unsigned)(uintptr_t)&state;
    uint64_t blocks[100] = { 0 };

    for (int i = 0; i < 50000; i++) {
        uint64_t *block = &blocks[rand_r(&state) % 100];
        uint64_t *start;

        if (*block != 0) {
            start = huma_shared_at(shared, *block);
            if (*start != *block || huma_shared_free(shared, *block) != 0)
                return (void *)(uintptr_t)__LINE__;
            *block = 0;
        } else if (i % 5 == 0) {
            *block = huma_shared_take(shared, huma_shared_root(shared, names[i % 4]));
        } else {
            *block = huma_shared_alloc(shared, (size_t)rand_r(&state) % 2000 + 8);
            start = *block != 0 ? huma_shared_at(shared, *block) : NULL;
            if (start == NULL)
                return (void *)(uintptr_t)__LINE__;
            *start = *block;
            if (i % 7 == 0
                && huma_shared_publish(shared, huma_shared_root(shared, names[i % 4]), *block) == 0)
                *block = 0;
        }
    }
    for (size_t i = 0; i < 100; i++)
        if (blocks[i] != 0 && huma_shared_free(shared, blocks[i]) != 0)
            return (void *)(uintptr_t)__LINE__;
    return NULL;
}

Test(huma_shared, threads)
{
    huma_shared *shared = create_shared("4k", 16 * MIB);
    pthread_t threads[4];

    for (size_t i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, play, shared), 0);
    for (size_t i = 0; i < 4; i++) {
        void *fault;

        cr_assert_eq(pthread_join(threads[i], &fault), 0);
        cr_assert_null(fault, "line %zu", (size_t)(uintptr_t)fault);
    }
    cr_assert_eq(info_of(shared).private_bytes, 0);
    huma_shared_detach(shared);
}

/* --- children --------------------------------------------------------------------------------- */

/* A child is another process: what it publishes stays, what it had to itself goes. */
Test(huma_shared, a_child)
{
    huma_shared *shared = create_shared("thp,4k", 16 * MIB);
    uint64_t root = huma_shared_root(shared, "answer");
    uint64_t ours = huma_shared_alloc(shared, 100);
    uint64_t block;
    pid_t pid = fork();

    if (pid == 0) {
        block = huma_shared_alloc(shared, 1000);
        NEED(block != 0 && block != ours);
        NEED(huma_shared_publish(shared, root, ours) != 0); /* the parent's */
        strcpy(huma_shared_at(shared, block), "42");
        NEED(huma_shared_publish(shared, root, block) == 0);
        NEED(huma_shared_alloc(shared, 5000) != 0);
        (void)raise(SIGKILL);
    }
    expect_exit(pid, SIGKILL);
    cr_assert_eq(info_of(shared).process_count, 1);
    cr_assert_eq(info_of(shared).dead_count, 1);
    block = huma_shared_take(shared, root);
    cr_assert_neq(block, 0);
    cr_assert_str_eq(huma_shared_at(shared, block), "42");
    cr_assert_eq(huma_shared_recover(shared), 1);
    cr_assert_eq(info_of(shared).process_count, 1);
    cr_assert_eq(info_of(shared).private_bytes,
                 huma_shared_usable_size(shared, ours) + huma_shared_usable_size(shared, block));
    huma_shared_detach(shared);
}

/* The parent dies, and its child, which has its memory but not its seat, frees what it had. */
Test(huma_shared, a_parent_that_dies)
{
    huma_shared *shared = create_shared("4k", 16 * MIB);
    pid_t pid = fork();

    if (pid == 0) {
        int ready[2];
        char byte = 0;
        pid_t child;

        NEED(huma_shared_alloc(shared, 10000) != 0);
        NEED(pipe(ready) == 0);
        child = fork();
        if (child == 0) {
            NEED(huma_shared_alloc(shared, 10) != 0);
            NEED(write(ready[1], &byte, 1) == 1);
            (void)close(ready[1]);
            (void)pause();
        }
        NEED(read(ready[0], &byte, 1) == 1);
        NEED(huma_shared_recover(shared) == 0);
        NEED(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
        NEED(huma_shared_recover(shared) == 1);
        _exit(0);
    }
    expect_exit(pid, 0);
    cr_assert_eq(huma_shared_recover(shared), 1);
    cr_assert_eq(info_of(shared).private_bytes, 0);
    huma_shared_detach(shared);
}

Test(huma_shared, as_many_processes_as_there_may_be)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    huma_shared *shared;
    pid_t pid;

    options.limit_bytes = MIB;
    options.backing = "4k";
    options.process_count = 2;
    shared = huma_shared_create(&options);
    cr_assert_not_null(shared);
    pid = fork();
    if (pid == 0) {
        pid_t child;
        int status;

        NEED(huma_shared_alloc(shared, 1) != 0);
        child = fork();
        if (child == 0) {
            NEED(huma_shared_alloc(shared, 1) == 0 && errno == EUSERS);
            NEED(huma_shared_attach(huma_shared_fd(shared), 0) == NULL && errno == EUSERS);
            _exit(0);
        }
        NEED(waitpid(child, &status, 0) == child);
        _exit(status != 0);
    }
    expect_exit(pid, 0);
    cr_assert_neq(huma_shared_alloc(shared, 1), 0);
    pid = fork();
    if (pid == 0) {
        NEED(huma_shared_alloc(shared, 1) != 0);
        _exit(0);
    }
    expect_exit(pid, 0);
    huma_shared_detach(shared);
}

/* --- strangers -------------------------------------------------------------------------------- */

Test(huma_shared, by_descriptor)
{
    huma_shared *shared = create_shared("thp,4k", 16 * MIB);
    huma_shared *other = huma_shared_attach(huma_shared_fd(shared), 0);
    uint64_t root = huma_shared_root(shared, "x");
    uint64_t block = huma_shared_alloc(shared, 10);

    cr_assert_not_null(other, "%s", huma_last_error());
    cr_assert_eq(huma_shared_root(other, "x"), root);
    strcpy(huma_shared_at(shared, block), "seen");
    cr_assert_str_eq(huma_shared_at(other, block), "seen");
    cr_assert_neq(huma_shared_at(other, block), huma_shared_at(shared, block));
    cr_assert_eq(huma_shared_publish(shared, root, block), 0);
    huma_shared_detach(shared);
    cr_assert_eq(huma_shared_take(other, root), block);
    cr_assert_str_eq(huma_shared_at(other, block), "seen");
    huma_shared_detach(other);
}

static void
expect_no_arena(int fd)
{
    errno = 0;
    cr_assert_null(huma_shared_attach(fd, 0));
    cr_assert_eq(errno, EINVAL);
    cr_assert_not_null(strstr(huma_last_error(), "huma_shared_attach(): "));
}

/* A file that is nearly an arena. */
static int
copy_of(huma_shared *shared, size_t len_bytes, size_t changed_at)
{
    int fd = memfd_create("copy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    char page[4096];

    cr_assert(fd >= 0);
    cr_assert_eq(pread(huma_shared_fd(shared), page, sizeof(page), 0), (ssize_t)sizeof(page));
    if (changed_at < sizeof(page))
        page[changed_at] ^= 0x55;
    cr_assert_eq(ftruncate(fd, (off_t)len_bytes), 0);
    cr_assert_gt(pwrite(fd, page, len_bytes < sizeof(page) ? len_bytes : sizeof(page), 0), 0);
    return fd;
}

/* Whatever is attached that is none. */
Test(huma_shared, files_that_are_no_arena)
{
    huma_shared *shared = create_shared("4k", 4 * MIB);
    off_t len_bytes = lseek(huma_shared_fd(shared), 0, SEEK_END);
    int ends[2];
    int fd;

    expect_no_arena(-1);
    expect_no_arena(12345);
    cr_assert_eq(pipe(ends), 0);
    expect_no_arena(ends[0]);
    fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    expect_no_arena(fd);
    for (size_t cut = 1; cut < (size_t)len_bytes; cut = cut * 3 + 1) {
        fd = copy_of(shared, cut, SIZE_MAX);
        cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
        expect_no_arena(fd);
        (void)close(fd);
    }
    for (size_t i = 0; i < HEADER_BYTES; i++) {
        fd = copy_of(shared, (size_t)len_bytes, i);
        cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
        expect_no_arena(fd);
        (void)close(fd);
    }
    fd = copy_of(shared, (size_t)len_bytes, SIZE_MAX);
    expect_no_arena(fd); /* not sealed */
    cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    huma_shared_detach(huma_shared_attach(fd, 0));
    huma_shared_detach(shared);
}

/* Nobody cuts it short, and others do not open it. */
Test(huma_shared, the_file)
{
    huma_shared *shared = create_shared("4k", 4 * MIB);
    int fd = huma_shared_fd(shared);

    cr_assert_eq(ftruncate(fd, 0), -1);
    cr_assert_eq(ftruncate(fd, 1 << 30), -1);
    cr_assert_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    huma_shared_detach(shared);
    cr_assert_eq(fcntl(fd, F_GETFD), -1);
}

/* No descriptor and no mapping is left. */
Test(huma_shared, many_after_each_other)
{
    int first = dup(STDERR_FILENO);

    (void)close(first);
    for (int i = 0; i < 300; i++) {
        huma_shared *shared = create_shared("thp,4k", 4 * MIB);

        cr_assert_neq(huma_shared_alloc(shared, 100), 0);
        huma_shared_detach(shared);
    }
    cr_assert_eq(dup(STDERR_FILENO), first);
}
