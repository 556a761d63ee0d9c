/* SPDX-License-Identifier: MIT */
/* test_glob.c - patterns for names of executables. */
#include <criterion/criterion.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "conf/glob.h"

static const struct {
    const char *list;
    const char *path;
    bool is_meant;
} cases[] = {
    { "*", "/usr/bin/perl", true },
    { "*", "", true },
    { "perl", "/usr/bin/perl", true },
    { "perl", "/usr/bin/perl5.36", false },
    { "perl", "/opt/perl/bin/cc", false },
    { "perl*", "/usr/bin/perl5.36", true },
    { "*perl", "/usr/bin/perl", true },
    { "p*l", "/usr/bin/perl", true },
    { "p*e*l", "/usr/bin/perl", true },
    { "p*x*l", "/usr/bin/perl", false },
    { "*a*a*b", "/aaaaaaaaaaaaaaaaaaaaaaaaac", false },
    { "p?rl", "/usr/bin/perl", true },
    { "?perl", "/usr/bin/perl", false },
    { "[op]erl", "/usr/bin/perl", true },
    { "[!op]erl", "/usr/bin/perl", false },
    { "[^a-f]erl", "/usr/bin/perl", true },
    { "[a-z]erl", "/usr/bin/perl", true },
    { "[z-a]erl", "/usr/bin/perl", false },
    { "[]p]erl", "/usr/bin/perl", true },
    { "[!]]erl", "/usr/bin/perl", true },
    { "[a-]x", "/-x", true },
    { "python3.[0-9]*", "/usr/bin/python3.11", true },
    { "/usr/bin/perl", "/usr/bin/perl", true },
    { "/usr/bin/perl", "/usr/local/bin/perl", false },
    { "/usr/*/perl", "/usr/bin/perl", true },
    { "/usr/*/perl", "/usr/local/bin/perl", false },
    { "/usr/*/*/perl", "/usr/local/bin/perl", true },
    { "/usr/*", "/usr/bin/perl", false },
    { "/usr?bin/perl", "/usr/bin/perl", false },
    { "/usr[/]bin/perl", "/usr/bin/perl", false },
    { "/opt/*x/*z", "/opt/axbx/cz", true },
    { "bin/perl", "/usr/bin/perl", false },
    { "\\*", "/usr/bin/*", true },
    { "\\*", "/usr/bin/x", false },
    { "a\\[b", "/a[b", true },
    { "cc:perl", "/usr/bin/perl", true },
    { "perl:cc", "/usr/bin/perl", true },
    { "cc:/usr/bin/p*:ld", "/usr/bin/perl", true },
    { "cc:ld", "/usr/bin/perl", false },
    { "perl", "", false },
};

Test(glob, cases)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cr_expect(hm_glob_is_list(cases[i].list), "%s", cases[i].list);
        cr_expect_eq(hm_glob_list_has(cases[i].list, cases[i].path), cases[i].is_meant, "%s, %s",
                     cases[i].list, cases[i].path);
    }
}

Test(glob, what_is_no_list)
{
    static const char *const bad[]
        = { "", ":", "a:", ":a", "a::b", "[", "[a", "[]", "[!]", "a\\", "[a:b]", "x:[", "a\\:b" };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_expect(!hm_glob_is_list(bad[i]), "%s", bad[i]);
}

/* libc's own, where it may be asked: the same answers for random patterns and names. */
Test(glob, agrees_with_libc)
{
    static const char letters[] = "ab*?[!]-/\\c";
    unsigned meant_count = 0;

    srand(1);
    for (int i = 0; i < 400000; i++) {
        char list[10] = "/";
        char path[10] = "/";
        int list_len = 1 + rand() % 8;
        int path_len = 1 + rand() % 8;

        for (int k = 1; k < list_len; k++)
            list[k] = letters[(size_t)rand() % (sizeof(letters) - 1)];
        for (int k = 1; k < path_len; k++)
            path[k] = "abc/-"[rand() % 5];
        /* libc has escapes within sets, and no star before a slash with a backslash. */
        if (!hm_glob_is_list(list) || strchr(list, '[') != NULL || strstr(list, "\\/") != NULL)
            continue;
        cr_assert_eq(hm_glob_list_has(list, path), fnmatch(list, path, FNM_PATHNAME) == 0, "%s, %s",
                     list, path);
        meant_count += hm_glob_list_has(list, path);
    }
    cr_assert_gt(meant_count, 1000);
}
