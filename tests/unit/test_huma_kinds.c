/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "huma.h"

#define MIB ((size_t)1 << 20)

/* In a child: an assertion of the framework would not end it. */
#define NEED(condition) ((condition) ? (void)0 : need_failed(__LINE__))

static void __attribute__((noreturn)) need_failed(int line)
{
    (void)fprintf(stderr, "line %d: not so in the child: %s\n", line, huma_last_error());
    _exit(99);
}

static char folder[64];
static char path[96];
static char name[64];

static void
make_folder(void)
{
    (void)strcpy(folder, "/tmp/huma-kinds.XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/arena", folder);
    (void)snprintf(name, sizeof(name), "test-kinds.%d", (int)getpid());
}

static void
remove_folder(void)
{
    (void)unlink(path);
    (void)huma_shared_remove(name);
    (void)rmdir(folder);
}

TestSuite(huma_kinds, .init = make_folder, .fini = remove_folder);

static struct huma_shared_options
options_of(const char *where)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;

    options.path = where;
    options.backing = "thp,4k";
    options.limit_bytes = 16 * MIB;
    return options;
}

static huma_shared *
must_create(const struct huma_shared_options *options)
{
    huma_shared *shared = huma_shared_create(options);

    cr_assert_not_null(shared, "%s", huma_last_error());
    return shared;
}

static struct huma_shared_state
info_of(huma_shared *shared)
{
    struct huma_shared_state info = HUMA_SHARED_STATE_INIT;

    cr_assert_eq(huma_shared_info(shared, &info), 0);
    return info;
}

static void
write_greeting(huma_shared *shared, const char *text)
{
    uint64_t block = huma_shared_alloc_to(shared, huma_shared_root(shared, "greeting"), 100);

    cr_assert_neq(block, 0, "%s", huma_last_error());
    (void)strcpy(huma_shared_at(shared, block), text);
}

static const char *
read_greeting(huma_shared *shared)
{
    uint64_t block = huma_shared_peek(shared, huma_shared_root(shared, "greeting"));

    return block != 0 ? huma_shared_at(shared, block) : "";
}

static int
wait_for(pid_t pid)
{
    int status;

    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return status;
}

/* Found, refused, in use, removed: by a name and by a path. */
static void
live_through(const char *where, unsigned kind)
{
    struct huma_shared_options options = options_of(where);
    huma_shared *one;
    huma_shared *two;
    huma_shared *reader;

    cr_assert_null(huma_shared_open(where, 0));
    cr_assert_eq(errno, ENOENT);
    one = must_create(&options);
    cr_assert_null(huma_shared_create(&options));
    cr_assert_eq(errno, EEXIST);
    write_greeting(one, "hello");
    two = huma_shared_open(where, 0);
    reader = huma_shared_open(where, HUMA_SHARED_READ_ONLY);
    cr_assert(two != NULL && reader != NULL, "%s", huma_last_error());
    cr_assert_str_eq(read_greeting(two), "hello");
    cr_assert_str_eq(read_greeting(reader), "hello");
    cr_assert_eq(info_of(reader).kind, kind);
    cr_assert_eq(info_of(reader).process_count, 2);
    cr_assert_neq(info_of(two).risks & HUMA_SHARED_MAY_BE_CUT, 0);
    huma_shared_detach(one);
    huma_shared_detach(two);
    cr_assert_eq(huma_shared_remove(where), -1);
    cr_assert_eq(errno, EBUSY);
    huma_shared_detach(reader);
    /* It stays when nobody has it. */
    two = huma_shared_open(where, 0);
    cr_assert_str_eq(read_greeting(two), "hello");
    cr_assert_eq(huma_shared_verify(two), 0);
    huma_shared_detach(two);
    cr_assert_eq(huma_shared_remove(where), 0, "%s", huma_last_error());
    cr_assert_eq(huma_shared_remove(where), -1);
    cr_assert_eq(errno, ENOENT);
}

Test(huma_kinds, by_a_name)
{
    live_through(name, HUMA_SHARED_FILE);
}

Test(huma_kinds, in_a_file)
{
    live_through(path, HUMA_SHARED_FILE);
}

/* Who was killed has left nothing but what it published, whoever comes next. */
Test(huma_kinds, a_file_outlives_its_processes)
{
    struct huma_shared_options options = options_of(path);
    huma_shared *shared;
    struct stat found;
    pid_t pid = fork();

    if (pid == 0) {
        shared = huma_shared_create(&options);
        NEED(shared != NULL && huma_shared_alloc(shared, 5 * MIB) != 0);
        NEED(huma_shared_alloc_to(shared, huma_shared_root(shared, "kept"), 1000) != 0);
        NEED(huma_shared_sync(shared, 0, 0) == 0);
        (void)raise(SIGKILL);
    }
    cr_assert(WIFSIGNALED(wait_for(pid)));
    cr_assert_eq(stat(path, &found), 0);
    cr_assert_eq(found.st_mode & 0777, 0600);
    shared = huma_shared_open(path, 0);
    cr_assert_not_null(shared, "%s", huma_last_error());
    cr_assert_eq(huma_shared_recover(shared), 1);
    cr_assert_eq(info_of(shared).private_bytes, 0);
    cr_assert_neq(huma_shared_take(shared, huma_shared_root(shared, "kept")), 0);
    huma_shared_detach(shared);
}

Test(huma_kinds, what_is_no_arena)
{
    struct huma_shared_options options = options_of("/no/such/folder/arena");
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

    cr_assert_null(huma_shared_create(&options));
    cr_assert_eq(errno, ENOENT);
    cr_assert_null(huma_shared_open(path, 0));
    cr_assert_eq(errno, EINVAL);
    cr_assert_eq(huma_shared_remove(path), -1);
    cr_assert_eq(errno, EINVAL);
    cr_assert_eq(access(path, F_OK), 0);
    cr_assert_null(huma_shared_open("", 0));
    cr_assert_null(huma_shared_open(NULL, 0));
    cr_assert_null(huma_shared_open(folder, 0));
    cr_assert_null(huma_shared_open("/dev/null", 0));
    cr_assert_null(huma_shared_open(path, HUMA_SHARED_SAME_ADDRESS));
    cr_assert_eq(errno, EINVAL);
    (void)close(fd);
    (void)unlink(path);
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_assert_null(huma_shared_open(path, HUMA_SHARED_READ_ONLY));
    cr_assert_eq(errno, EINVAL);
}

/* A reader can do nothing but read. */
Test(huma_kinds, readers)
{
    struct huma_shared_options options = options_of(NULL);
    huma_shared *shared = must_create(&options);
    huma_shared *reader;
    uint64_t block;
    char text[8];

    write_greeting(shared, "hello");
    reader = huma_shared_attach(huma_shared_fd(shared), HUMA_SHARED_READ_ONLY);
    cr_assert_not_null(reader, "%s", huma_last_error());
    block = huma_shared_peek(reader, huma_shared_root(reader, "greeting"));
    cr_assert_eq(huma_shared_alloc(reader, 1), 0);
    cr_assert_eq(errno, EROFS);
    cr_assert_eq(huma_shared_free(reader, block), -1);
    cr_assert_eq(errno, EROFS);
    cr_assert_eq(huma_shared_take(reader, huma_shared_root(reader, "greeting")), 0);
    cr_assert_eq(huma_shared_write(reader, block, "x", 1), -1);
    cr_assert_eq(errno, EROFS);
    cr_assert_eq(huma_shared_root(reader, "another"), 0);
    cr_assert_eq(errno, ENOENT);
    cr_assert_eq(huma_shared_read(reader, block, text, 6), 0);
    cr_assert_str_eq(text, "hello");
    cr_assert_eq(huma_shared_read(reader, block, (void *)8, 6), -1);
    cr_assert_eq(errno, EFAULT);
    cr_assert_eq(huma_shared_read(reader, 0, text, 6), -1);
    cr_assert_eq(errno, EINVAL);
    cr_assert_eq(huma_shared_verify(reader), 0);
    huma_shared_detach(reader);
    huma_shared_detach(shared);
}

/* What the kernel keeps others from. */
Test(huma_kinds, one_writer)
{
    struct huma_shared_options options = options_of(NULL);
    huma_shared *shared;
    huma_shared *reader;
    int fds[2];

    options.flags = HUMA_SHARED_ONE_WRITER;
    shared = must_create(&options);
    cr_assert_eq(info_of(shared).risks, 0);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    cr_assert_eq(huma_shared_send(shared, fds[0], 0), 0);
    cr_assert_null(huma_shared_receive(fds[1], 0));
    cr_assert_eq(errno, EPERM);
    cr_assert_eq(huma_shared_send(shared, fds[0], HUMA_SHARED_READ_ONLY), 0);
    reader = huma_shared_receive(fds[1], HUMA_SHARED_READ_ONLY);
    cr_assert_not_null(reader, "%s", huma_last_error());
    cr_assert_eq(info_of(reader).risks, HUMA_SHARED_MAY_CHANGE);
    cr_assert_eq(write(fds[0], "not an arena", 13), 13);
    cr_assert_null(huma_shared_receive(fds[1], 0));
    cr_assert_eq(errno, EBADMSG);
    (void)close(fds[0]);
    while (huma_shared_receive(fds[1], 0) == NULL && errno == EBADMSG)
        continue;
    cr_assert_eq(errno, ECONNRESET);
    huma_shared_detach(reader);
    /* It grows all the same. */
    cr_assert_neq(huma_shared_alloc(shared, 5 * MIB), 0);
    huma_shared_detach(shared);
}

Test(huma_kinds, the_same_address)
{
    struct huma_shared_options options = options_of(name);
    huma_shared *shared;
    uint64_t block;
    pid_t pid;

    options.flags = HUMA_SHARED_SAME_ADDRESS;
    shared = must_create(&options);
    block = huma_shared_alloc(shared, 100);
    /* Here it is taken. */
    cr_assert_null(huma_shared_open(name, 0));
    cr_assert_eq(errno, EADDRNOTAVAIL);
    pid = fork();
    if (pid == 0) {
        void *there = huma_shared_at(shared, block);
        huma_shared *mine;

        huma_shared_detach(shared);
        mine = huma_shared_open(name, 0);
        NEED(mine != NULL && huma_shared_at(mine, block) == there);
        _exit(0);
    }
    cr_assert_eq(wait_for(pid), 0);
    huma_shared_detach(shared);
}

Test(huma_kinds, what_one_process_may_have)
{
    struct huma_shared_options options = options_of(NULL);
    huma_shared *shared;
    uint64_t large;

    options.process_bytes = MIB;
    shared = must_create(&options);
    large = huma_shared_alloc(shared, MIB / 2);
    cr_assert_neq(large, 0);
    cr_assert_eq(huma_shared_alloc(shared, MIB), 0);
    cr_assert_eq(errno, ENOMEM);
    cr_assert_neq(huma_shared_alloc(shared, 1000), 0);
    cr_assert_eq(huma_shared_alloc(shared, MIB / 2), 0);
    /* Published, it is nobody's. */
    cr_assert_eq(huma_shared_publish(shared, huma_shared_root(shared, "x"), large), 0);
    cr_assert_neq(huma_shared_alloc(shared, MIB / 2), 0);
    for (unsigned i = 0; huma_shared_alloc(shared, 1000) != 0; i++)
        cr_assert_lt(i, MIB / 1000);
    huma_shared_detach(shared);
}

Test(huma_kinds, memory_of_the_callers)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    int id = shmget(IPC_PRIVATE, 16 * MIB, 0600);
    huma_shared *shared;
    uint64_t root;
    pid_t pid;

    cr_assert_geq(id, 0);
    options.memory = shmat(id, NULL, 0);
    options.memory_bytes = 16 * MIB;
    options.path = path;
    shared = must_create(&options);
    cr_assert_null(huma_shared_create(&options));
    cr_assert_eq(errno, EEXIST);
    cr_assert_eq(huma_shared_fd(shared), -1);
    root = huma_shared_root(shared, "from the other");
    pid = fork();
    if (pid == 0) {
        void *there = shmat(id, NULL, 0);
        huma_shared *mine;

        NEED(huma_shared_attach_memory(there, 16 * MIB, NULL, 0) == NULL && errno == EINVAL);
        NEED(huma_shared_attach_memory(there, 2 * MIB, path, 0) == NULL && errno == EINVAL);
        NEED(huma_shared_attach_memory(NULL, 16 * MIB, path, 0) == NULL && errno == EINVAL);
        mine = huma_shared_attach_memory(there, 16 * MIB, path, 0);
        NEED(mine != NULL && huma_shared_alloc(mine, 100) != 0);
        NEED(huma_shared_alloc_to(mine, huma_shared_root(mine, "from the other"), 3 * MIB) != 0);
        (void)raise(SIGKILL);
    }
    cr_assert(WIFSIGNALED(wait_for(pid)));
    cr_assert_eq(info_of(shared).dead_count, 1);
    cr_assert_eq(huma_shared_recover(shared), 1);
    cr_assert_eq(huma_shared_free(shared, huma_shared_take(shared, root)), 0);
    cr_assert_eq(info_of(shared).private_bytes, 0);
    cr_assert_gt(huma_shared_trim(shared), 0);
    cr_assert_eq(info_of(shared).ready_bytes, 0);
    huma_shared_detach(shared);
    (void)shmctl(id, IPC_RMID, NULL);
}

/* No fork handler has run in it. */
Test(huma_kinds, a_child_by_clone)
{
    struct huma_shared_options options = options_of(NULL);
    huma_shared *shared = must_create(&options);
    uint64_t ours = huma_shared_alloc(shared, 1000);
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

    if (pid == 0) {
        NEED(huma_shared_alloc(shared, 1000) != 0);
        NEED(huma_shared_publish(shared, huma_shared_root(shared, "x"), ours) == -1);
        (void)syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    }
    cr_assert(WIFSIGNALED(wait_for(pid)));
    cr_assert_eq(huma_shared_recover(shared), 1);
    cr_assert_eq(info_of(shared).private_bytes, huma_shared_usable_size(shared, ours));
    cr_assert_eq(huma_shared_verify(shared), 0);
    huma_shared_detach(shared);
}

Test(huma_kinds, options_that_are_wrong)
{
    struct huma_shared_options options[7];
    static char memory[4 * MIB] __attribute__((aligned(4096)));

    for (size_t i = 0; i < 7; i++)
        options[i] = options_of(NULL);
    options[0].path = "";
    options[1].path = "folder/";
    options[2].mode = 0444;
    options[3].nodes = "tin";
    options[4].memory = memory;
    options[4].memory_bytes = sizeof(memory);
    options[5].memory_bytes = 1;
    options[6].path = path;
    options[6].flags = HUMA_SHARED_ONE_WRITER;
    for (size_t i = 0; i < 7; i++) {
        cr_assert_null(huma_shared_create(&options[i]), "%zu", i);
        cr_assert(errno == EINVAL || (i == 3 && errno == ENOSYS), "%zu: %s", i, huma_last_error());
        cr_assert_not_null(strstr(huma_last_error(), "huma_shared_create(): "));
    }
}
