/* SPDX-License-Identifier: MIT */
/* seeded_test.c - a bug on purpose inside a forked Criterion test, where tools have been known to
 * miss it. */
#include <criterion/criterion.h>
#include <stdlib.h>

Test(seeded, a_bug_on_purpose)
{
    volatile int *words = malloc(4 * sizeof(*words));

    cr_assert_not_null((void *)words);
    words[0] = 1;
#if HM_SEEDED_BUG == 1
    words[4] = 1;
#elif HM_SEEDED_BUG == 5
    if (words[1] == 12345)
        words[0] = 2;
#endif
    free((void *)words);
}
