/* SPDX-License-Identifier: MIT */
/* test_check.c - the last words of a program. */
#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"

/* Run `die` in a child; its stderr goes to `said`. Returns the signal that ended it. */
static int
last_words(void (*die)(void), char *said, size_t cap_bytes)
{
    int fds[2];
    int status = 0;
    size_t len_bytes = 0;
    ssize_t n;
    pid_t pid;

    cr_assert_eq(pipe(fds), 0);
    pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        die();
        _exit(0);
    }
    close(fds[1]);
    while ((n = read(fds[0], said + len_bytes, cap_bytes - 1 - len_bytes)) > 0)
        len_bytes += (size_t)n;
    said[len_bytes] = '\0';
    close(fds[0]);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void
die_by_fail(void)
{
    hm_fail("free(): double free of", 0xdeadbeef, "it is free already");
}

static void
die_by_assert(void)
{
    hm_assert_fail("1 == 2", "file.c", 42);
}

static char said[1024];

Test(check, fail_says_one_line_and_aborts)
{
    cr_assert_eq(last_words(die_by_fail, said, sizeof(said)), SIGABRT);
    cr_assert_str_eq(said, "huma: free(): double free of 0xdeadbeef: it is free already\n");
}

Test(check, a_failed_assertion_names_its_place)
{
    cr_assert_eq(last_words(die_by_assert, said, sizeof(said)), SIGABRT);
    cr_assert_str_eq(said, "huma: assertion failed: 1 == 2 at file.c:42\n");
}

static bool was_run;

static bool
note(void)
{
    was_run = true;
    return true;
}

/* Without --enable-debug an assertion must cost nothing, not even its side effects. */
Test(check, assertions_exist_in_debug_builds_only)
{
    hm_assert(note());
#ifdef HM_DEBUG
    cr_assert(was_run);
#else
    cr_assert(!was_run);
    cr_assert(note());
#endif
}
