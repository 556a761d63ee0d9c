/* SPDX-License-Identifier: MIT */
/* test_glibc.c - glibc's variables and tunables. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "conf/glibc.h"

/* What glibc 2.36 makes of a text. */
Test(glibc, numbers)
{
    static const struct {
        const char *text;
        uint64_t value;
    } rows[] = {
        { "", 0 },
        { "0", 0 },
        { "200000", 200000 },
        { "0x40000", 0x40000 },
        { "0XaBcDeF", 0xabcdef },
        { "0400000", 0400000 },
        { "08", 0 },
        { "0x", 0 },
        { "0x-5", 0 },
        { " \t300000", 300000 },
        { "\n3", 0 },
        { "200000 ", 200000 },
        { "200000abc", 200000 },
        { "128K", 128 },
        { "abc", 0 },
        { "12:34", 12 },
        { "+300000", 300000 },
        { "-1", UINT64_MAX },
        { "-200000", (uint64_t)-200000 },
        { "--5", 0 },
        { "18446744073709551615", UINT64_MAX },
        { "18446744073709551616", UINT64_MAX },
        { "99999999999999999999999", UINT64_MAX },
        { "0xffffffffffffffff", UINT64_MAX },
        { "0x10000000000000000", UINT64_MAX },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        cr_expect_eq(hm_glibc_number(rows[i].text), rows[i].value, "'%s' is %lu", rows[i].text,
                     hm_glibc_number(rows[i].text));
}

/* An environment of at most two variables. */
static const char *names[2];
static const char *values[2];

static const char *
getenv_two(const char *name)
{
    for (int i = 0; i < 2; i++)
        if (names[i] != NULL && strcmp(names[i], name) == 0)
            return values[i];
    return NULL;
}

static struct hm_glibc
read_two(const char *name, const char *value, const char *other_name, const char *other_value)
{
    struct hm_glibc glibc;

    names[0] = name;
    values[0] = value;
    names[1] = other_name;
    values[1] = other_value;
    hm_glibc_read(&glibc, getenv_two);
    return glibc;
}

static struct hm_glibc
read_one(const char *name, const char *value)
{
    return read_two(name, value, NULL, NULL);
}

static struct hm_glibc
read_tunables(const char *value)
{
    return read_one("GLIBC_TUNABLES", value);
}

static int
given_count(const struct hm_glibc *glibc)
{
    int count = 0;

#define HM_GLIBC(field, variable, tunable, max) count += glibc->field.is_given;
#include "conf/glibc.def"
#undef HM_GLIBC
    return count;
}

Test(glibc, nothing_is_given)
{
    struct hm_glibc glibc = read_one("MALLOC_MMAP_THRESHOLD", "5");

    cr_assert_eq(given_count(&glibc), 0);
}

/* By the variable and by the tunable, up to the largest value and no further. */
Test(glibc, every_row)
{
    struct hm_glibc glibc;
    char text[128];

#define HM_GLIBC(field, variable, tunable, max)                                                    \
    glibc = read_one(variable, "77");                                                              \
    cr_expect_eq(given_count(&glibc), 1, variable);                                                \
    cr_expect(glibc.field.is_given, variable);                                                     \
    cr_expect_eq(glibc.field.value, 77, variable);                                                 \
    (void)snprintf(text, sizeof(text), "%s=%llu", tunable, (unsigned long long)(max));             \
    glibc = read_tunables(text);                                                                   \
    cr_expect_eq(given_count(&glibc), 1, tunable);                                                 \
    cr_expect_eq(glibc.field.value, max, tunable);                                                 \
    glibc = read_one(variable, "");                                                                \
    cr_expect(glibc.field.is_given, variable);                                                     \
    cr_expect_eq(glibc.field.value, 0, variable);
#include "conf/glibc.def"
#undef HM_GLIBC
}

Test(glibc, values_out_of_range_are_as_good_as_none)
{
    static const char *const wrong[]
        = { "2147483648", "4294967297", "-1", "-3000000000", "99999999999999999999" };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct hm_glibc glibc = read_one("MALLOC_MMAP_MAX_", wrong[i]);

        cr_expect_eq(given_count(&glibc), 0, "%s", wrong[i]);
        glibc = read_one("MALLOC_PERTURB_", wrong[i]);
        cr_expect_eq(given_count(&glibc), 0, "%s", wrong[i]);
    }
}

Test(glibc, tunables)
{
    static const struct {
        const char *text;
        int given;
        uint64_t threshold;
    } rows[] = {
        { "", 0, 0 },
        { "glibc.malloc.mmap_threshold=300000", 1, 300000 },
        { "glibc.malloc.mmap_threshold=", 1, 0 },
        { "glibc.malloc.mmap_threshold", 0, 0 },
        { "glibc.malloc.mmap_threshold:", 0, 0 },
        { "glibc.malloc.mmap_threshold=3:glibc.malloc.mmap_threshold=0x4", 1, 4 },
        { "glibc.malloc.mmap_threshold=5:glibc.malloc.mmap_max=0", 2, 5 },
        { ":glibc.malloc.mmap_threshold=5", 1, 5 },
        { "::glibc.malloc.mmap_threshold=5:::", 1, 5 },
        { "foo:glibc.malloc.mmap_threshold=5", 1, 5 },
        { "foo=1:glibc.malloc.mmap_threshold=5", 1, 5 },
        { "foo=glibc.malloc.mmap_threshold=5", 0, 0 },
        { "glibc.malloc.mmap_threshold=5=6", 1, 5 },
        { "glibc.malloc.mmap_threshold=glibc.malloc.mmap_threshold=5", 1, 0 },
        { " glibc.malloc.mmap_threshold=5", 0, 0 },
        { "glibc.malloc.mmap_threshold =5", 0, 0 },
        { "glibc.malloc.mmap_thresholds=5", 0, 0 },
        { "glibc.malloc.mmap_threshol=5", 0, 0 },
        { "glibc.malloc.mmap_threshold=5,glibc.malloc.mmap_max=6", 1, 5 },
        { "glibc.malloc.tcache_count=5:glibc.malloc.hugetlb=1:glibc.malloc.check=3", 0, 0 },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct hm_glibc glibc = read_tunables(rows[i].text);

        cr_expect_eq(given_count(&glibc), rows[i].given, "%s", rows[i].text);
        cr_expect_eq(glibc.mmap_threshold.value, rows[i].threshold, "%s", rows[i].text);
    }
}

Test(glibc, the_tunable_wins)
{
    struct hm_glibc glibc
        = read_two("MALLOC_MMAP_MAX_", "1", "GLIBC_TUNABLES", "glibc.malloc.mmap_max=2");

    cr_assert_eq(glibc.mmap_max.value, 2);
    glibc = read_two("MALLOC_MMAP_MAX_", "1", "GLIBC_TUNABLES", "glibc.malloc.mmap_max=-1");
    cr_assert_eq(glibc.mmap_max.value, 1, "a wrong one does not");
    glibc = read_two("MALLOC_MMAP_MAX_", "1", "GLIBC_TUNABLES", "glibc.malloc.top_pad=7");
    cr_assert_eq(glibc.mmap_max.value, 1);
    cr_assert_eq(glibc.top_pad.value, 7);
}
