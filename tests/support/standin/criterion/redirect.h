/* SPDX-License-Identifier: MIT */
/* redirect.h - what a test writes to stderr, read back (see criterion.h beside it). */
#ifndef HM_TESTS_STANDIN_REDIRECT_H
#define HM_TESTS_STANDIN_REDIRECT_H

#include <sys/mman.h>

#include "criterion.h"

static inline void
cr_redirect_stderr(void)
{
    int fd = memfd_create("stderr", 0);

    if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
        standin_fail(true, __FILE__, __LINE__, "redirect", " cannot");
}

static inline const char *
standin_stderr_text(void)
{
    static char text[4096];
    ssize_t len_bytes;

    fflush(stderr);
    len_bytes = pread(STDERR_FILENO, text, sizeof(text) - 1, 0);
    text[len_bytes > 0 ? len_bytes : 0] = '\0';
    return text;
}

#define cr_assert_stderr_eq_str(b, ...) cr_assert_str_eq(standin_stderr_text(), b, __VA_ARGS__)

#endif
