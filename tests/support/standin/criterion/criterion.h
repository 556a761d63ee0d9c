/* SPDX-License-Identifier: MIT */
/* criterion.h - as much of Criterion as the unit tests use, for machines that we cross-compile for.
 *
 * Problem     The very same test files shall run in guests of other architectures. Criterion there
 *             means a dozen foreign packages, and for each test a process that loads them all under
 *             emulation.
 * Idea        The same macros in one header, with a main: each test runs in a fork of its own, and
 *             its name and result are printed as TAP. `make check` uses the real Criterion.
 *             configure finds this one by CRITERION_CFLAGS (tests/guests/cross.sh).
 * State       The list of tests, and in a test's process whether an expectation has failed. Weak,
 *             since several files of a program may include this.
 */
#ifndef HM_TESTS_STANDIN_CRITERION_H
#define HM_TESTS_STANDIN_CRITERION_H

#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define STANDIN_WEAK __attribute__((weak))
#define STANDIN_SKIPPED 77

struct standin_options {
    void (*init)(void);
    void (*fini)(void);
    int signal;     /* that must end it */
    int exit_code;  /* ... or its status */
    double timeout; /* ignored: the guest has a limit of its own */
};

struct standin_test {
    const char *suite;
    const char *name; /* NULL: options of the whole suite */
    void (*run)(void);
    struct standin_options options;
    struct standin_test *next;
};

STANDIN_WEAK struct standin_test *standin_tests;
STANDIN_WEAK bool standin_has_failed;

#define STANDIN_ENTER(id, suite_text, name_text, function, ...)                                    \
    __attribute__((constructor)) static void id##_enter(void)                                      \
    {                                                                                              \
        static struct standin_test test                                                            \
            = { suite_text, name_text, function, { __VA_ARGS__ }, NULL };                          \
                                                                                                   \
        test.next = standin_tests;                                                                 \
        standin_tests = &test;                                                                     \
    }

#define Test(suite_id, name_id, ...)                                                               \
    static void suite_id##_##name_id##_test(void);                                                 \
    STANDIN_ENTER(suite_id##_##name_id, #suite_id, #name_id, suite_id##_##name_id##_test,          \
                  __VA_ARGS__)                                                                     \
    static void suite_id##_##name_id##_test(void)

#define TestSuite(suite_id, ...)                                                                   \
    STANDIN_ENTER(suite_id##_suite, #suite_id, NULL, NULL, __VA_ARGS__)                            \
    struct standin_test

/* --- checks ----------------------------------------------------------------------------------- */

__attribute__((format(printf, 5, 6))) static inline void
standin_fail(bool is_fatal, const char *file, int line, const char *what, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    printf("# %s:%d: %s:", file, line, what);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
    standin_has_failed = true;
    if (is_fatal)
        _exit(EXIT_FAILURE);
}

#define STANDIN_CHECK(is_fatal, ok, what, ...)                                                     \
    ((ok) ? (void)0 : standin_fail(is_fatal, __FILE__, __LINE__, what, " " __VA_ARGS__))

#define STANDIN_OP(is_fatal, a, op, b, ...)                                                        \
    STANDIN_CHECK(is_fatal, (a)op(b), #a " " #op " " #b, __VA_ARGS__)

#define cr_assert(a, ...) STANDIN_CHECK(true, a, #a, __VA_ARGS__)
#define cr_assert_not(a, ...) STANDIN_CHECK(true, !(a), "not " #a, __VA_ARGS__)
#define cr_assert_eq(a, b, ...) STANDIN_OP(true, a, ==, b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...) STANDIN_OP(true, a, !=, b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...) STANDIN_OP(true, a, <, b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...) STANDIN_OP(true, a, <=, b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...) STANDIN_OP(true, a, >, b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...) STANDIN_OP(true, a, >=, b, __VA_ARGS__)
#define cr_assert_null(a, ...) STANDIN_OP(true, a, ==, NULL, __VA_ARGS__)
#define cr_assert_not_null(a, ...) STANDIN_OP(true, a, !=, NULL, __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) STANDIN_OP(true, strcmp(a, b), ==, 0, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, n, ...) STANDIN_OP(true, memcmp(a, b, n), ==, 0, __VA_ARGS__)
#define cr_expect(a, ...) STANDIN_CHECK(false, a, #a, __VA_ARGS__)
#define cr_expect_not(a, ...) STANDIN_CHECK(false, !(a), "not " #a, __VA_ARGS__)
#define cr_expect_eq(a, b, ...) STANDIN_OP(false, a, ==, b, __VA_ARGS__)
#define cr_expect_neq(a, b, ...) STANDIN_OP(false, a, !=, b, __VA_ARGS__)
#define cr_expect_lt(a, b, ...) STANDIN_OP(false, a, <, b, __VA_ARGS__)
#define cr_expect_leq(a, b, ...) STANDIN_OP(false, a, <=, b, __VA_ARGS__)
#define cr_expect_gt(a, b, ...) STANDIN_OP(false, a, >, b, __VA_ARGS__)
#define cr_expect_geq(a, b, ...) STANDIN_OP(false, a, >=, b, __VA_ARGS__)
#define cr_expect_null(a, ...) STANDIN_OP(false, a, ==, NULL, __VA_ARGS__)
#define cr_expect_not_null(a, ...) STANDIN_OP(false, a, !=, NULL, __VA_ARGS__)
#define cr_expect_str_eq(a, b, ...) STANDIN_OP(false, strcmp(a, b), ==, 0, __VA_ARGS__)
#define cr_expect_str_neq(a, b, ...) STANDIN_OP(false, strcmp(a, b), !=, 0, __VA_ARGS__)
#define cr_expect_arr_eq(a, b, n, ...) STANDIN_OP(false, memcmp(a, b, n), ==, 0, __VA_ARGS__)

#define cr_skip(...)                                                                               \
    (printf("# " __VA_ARGS__), printf("\n"), fflush(stdout), _exit(STANDIN_SKIPPED))
#define cr_skip_test cr_skip

/* --- running ---------------------------------------------------------------------------------- */

static inline void
standin_call(void (*function)(void))
{
    if (function != NULL)
        function();
}

/* In the test's own process. */
static inline void
standin_run(const struct standin_test *test, const struct standin_options *suite)
{
    standin_call(suite->init);
    standin_call(test->options.init);
    test->run();
    standin_call(test->options.fini);
    standin_call(suite->fini);
    fflush(NULL);
    _exit(standin_has_failed ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* Whether it ended as it shall. */
static inline bool
standin_is_expected(const struct standin_test *test, int status)
{
    if (test->options.signal != 0)
        return WIFSIGNALED(status) && WTERMSIG(status) == test->options.signal;
    return WIFEXITED(status) && WEXITSTATUS(status) == test->options.exit_code;
}

static inline struct standin_options
standin_suite(const char *suite)
{
    for (const struct standin_test *test = standin_tests; test != NULL; test = test->next)
        if (test->name == NULL && strcmp(test->suite, suite) == 0)
            return test->options;
    return (struct standin_options){ .init = NULL };
}

STANDIN_WEAK int
main(void)
{
    unsigned test_count = 0;
    unsigned failed_count = 0;

    for (const struct standin_test *test = standin_tests; test != NULL; test = test->next) {
        struct standin_options suite = standin_suite(test->suite);
        const char *result = "ok";
        const char *remark = "";
        int status = 0;
        pid_t pid;

        if (test->name == NULL)
            continue;
        fflush(NULL);
        pid = fork();
        if (pid == 0)
            standin_run(test, &suite);
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
            return EXIT_FAILURE;
        if (WIFEXITED(status) && WEXITSTATUS(status) == STANDIN_SKIPPED) {
            remark = " # SKIP";
        } else if (!standin_is_expected(test, status)) {
            result = "not ok";
            failed_count++;
        }
        printf("%s %u - %s::%s%s", result, ++test_count, test->suite, test->name, remark);
        if (failed_count > 0 && WIFSIGNALED(status))
            printf(" # signal %d", WTERMSIG(status));
        printf("\n");
    }
    printf("1..%u\n", test_count);
    return failed_count == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
