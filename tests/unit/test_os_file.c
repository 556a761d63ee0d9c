/* SPDX-License-Identifier: MIT */
/* test_os_file.c - the few files that are read and written. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "os/os.h"

static char path[64];
static char text[32];

static void
setup(void)
{
    snprintf(path, sizeof(path), "test_os_file.%d.tmp", (int)getpid());
}

static void
teardown(void)
{
    unlink(path);
}

TestSuite(os_file, .init = setup, .fini = teardown);

static void
put(const char *content)
{
    int fd = hm_os_create_file(path);

    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    hm_os_close(fd);
}

Test(os_file, reads_a_file_whole)
{
    put("always [madvise] never\n");
    cr_assert_eq(hm_os_read_file(path, text, sizeof(text)), 23);
    cr_assert_str_eq(text, "always [madvise] never\n");
}

Test(os_file, cuts_what_is_too_long)
{
    put("0123456789");
    cr_assert_eq(hm_os_read_file(path, text, 5), 4);
    cr_assert_str_eq(text, "0123");
    cr_assert_eq(hm_os_read_file(path, text, 11), 10);
    cr_assert_str_eq(text, "0123456789");
    cr_assert_eq(hm_os_read_file(path, text, 1), 0);
    cr_assert_str_eq(text, "");
}

Test(os_file, an_empty_file)
{
    put("");
    cr_assert_eq(hm_os_read_file(path, text, sizeof(text)), 0);
    cr_assert_str_eq(text, "");
}

Test(os_file, files_that_cannot_be_read)
{
    cr_assert_eq(hm_os_read_file("/there/is/no/such/file", text, sizeof(text)), -ENOENT);
    cr_assert_eq(hm_os_read_file("/", text, sizeof(text)), -EISDIR);
}

Test(os_file, creates_or_empties)
{
    put("a long text that was there before");
    put("short");
    cr_assert_eq(hm_os_read_file(path, text, sizeof(text)), 5);
    cr_assert_eq(hm_os_create_file("/there/is/no/such/folder/file"), -ENOENT);
}

/* Descriptors of ours must not be inherited by programs, nor lie where programs expect theirs. */
Test(os_file, descriptors_are_out_of_the_way)
{
    int fd = hm_os_create_file(path);
    struct hm_kept_fd kept;
    struct hm_kept_fd none;

    cr_assert_neq(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    cr_assert_eq(hm_os_keep_fd(fd, &kept), 0);
    cr_assert_gt(kept.fd, fd);
    cr_assert_neq(fcntl(kept.fd, F_GETFD) & FD_CLOEXEC, 0);
    hm_os_close(fd);
    cr_assert(hm_os_is_kept(&kept));
    cr_assert_eq(write(kept.fd, "x", 1), 1);
    hm_os_close(kept.fd);
    cr_assert(!hm_os_is_kept(&kept));
    cr_assert_eq(hm_os_keep_fd(kept.fd, &none), -EBADF);
}

/* A program that closes everything and opens its own files must not find a report in one of
 * them. */
Test(os_file, a_reused_descriptor_is_not_kept)
{
    int fd = hm_os_create_file(path);
    int null_fd = hm_os_create_file("/dev/null");
    struct hm_kept_fd kept;

    cr_assert_eq(hm_os_keep_fd(fd, &kept), 0);
    cr_assert_eq(dup2(null_fd, kept.fd), kept.fd);
    cr_assert(!hm_os_is_kept(&kept));
    hm_os_close(kept.fd);
    hm_os_close(null_fd);
    hm_os_close(fd);
}

Test(os_file, the_path_of_this_program)
{
    char exe[512];

    cr_assert_eq(hm_os_exe_path(exe, sizeof(exe)), 0);
    cr_assert_eq(exe[0], '/');
    cr_assert_not_null(strstr(exe, "test_os_file"));
    cr_assert_eq(hm_os_exe_path(exe, 5), -ENAMETOOLONG);
}
