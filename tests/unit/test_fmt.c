/* SPDX-License-Identifier: MIT */
/* test_fmt.c - text without stdio. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fmt.h"

static char text[128];

static struct hm_fmt
begin(void)
{
    return hm_fmt_init(text, sizeof(text), -1);
}

Test(fmt, a_new_text_is_empty)
{
    struct hm_fmt out = begin();

    cr_assert_str_eq(text, "");
    cr_assert_eq(out.len_bytes, 0);
}

Test(fmt, numbers)
{
    static const struct {
        uint64_t value;
        const char *decimal;
        const char *hex;
    } rows[] = {
        { 0, "0", "0x0" },
        { 9, "9", "0x9" },
        { 10, "10", "0xa" },
        { 4096, "4096", "0x1000" },
        { UINT64_MAX, "18446744073709551615", "0xffffffffffffffff" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct hm_fmt out = begin();

        hm_fmt_u64(&out, rows[i].value);
        cr_assert_str_eq(text, rows[i].decimal);
        out = begin();
        hm_fmt_hex(&out, rows[i].value);
        cr_assert_str_eq(text, rows[i].hex);
    }
}

Test(fmt, wide_numbers_are_aligned_right)
{
    struct hm_fmt out = begin();

    hm_fmt_u64_wide(&out, 42, 5);
    hm_fmt_u64_wide(&out, 123456, 3);
    hm_fmt_u64_wide(&out, 0, 2);
    cr_assert_str_eq(text, "   42123456 0");
}

Test(fmt, percentages_have_one_decimal)
{
    static const struct {
        uint64_t part;
        uint64_t whole;
        const char *expected;
    } rows[] = {
        { 0, 0, "0.0" },         { 7, 0, "0.0" },        { 0, 9, "0.0" },       { 1, 3, "33.3" },
        { 2, 3, "66.7" },        { 1, 1, "100.0" },      { 984, 1000, "98.4" }, { 3, 2, "150.0" },
        { 1999, 2000, "100.0" }, { 1998, 2000, "99.9" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct hm_fmt out = begin();

        hm_fmt_percent(&out, rows[i].part, rows[i].whole);
        cr_assert_str_eq(text, rows[i].expected, "row %zu: %s", i, text);
    }
}

/* A heap of terabytes must not overflow the multiplication. */
Test(fmt, percentages_of_large_values)
{
    struct hm_fmt out = begin();

    hm_fmt_percent(&out, (uint64_t)1 << 52, (uint64_t)1 << 53);
    cr_assert_str_eq(text, "50.0");
}

Test(fmt, json_strings_are_escaped)
{
    struct hm_fmt out = begin();

    hm_fmt_json_str(&out, "a\"b\\c\n\x01\x1f /\xc3\xa4");
    cr_assert_str_eq(text, "\"a\\\"b\\\\c\\u000a\\u0001\\u001f /\xc3\xa4\"");
}

Test(fmt, text_is_cut_without_a_descriptor)
{
    char small[6] = "xxxxx";
    struct hm_fmt out = hm_fmt_init(small, sizeof(small), -1);

    hm_fmt_str(&out, "abc");
    hm_fmt_str(&out, "defgh");
    cr_assert_str_eq(small, "abcde");
    cr_assert_eq(out.len_bytes, 5);
    hm_fmt_flush(&out);
    cr_assert_str_eq(small, "abcde");
}

Test(fmt, a_full_buffer_is_drained_to_the_descriptor)
{
    char small[8];
    char got[64] = "";
    int fds[2];
    struct hm_fmt out;

    cr_assert_eq(pipe(fds), 0);
    out = hm_fmt_init(small, sizeof(small), fds[1]);
    hm_fmt_str(&out, "a text that is longer than its buffer, ");
    hm_fmt_u64(&out, 1234567890);
    hm_fmt_flush(&out);
    cr_assert_eq(out.len_bytes, 0);
    close(fds[1]);
    cr_assert_gt(read(fds[0], got, sizeof(got) - 1), 0);
    cr_assert_str_eq(got, "a text that is longer than its buffer, 1234567890");
}

Test(fmt, a_broken_descriptor_ends_the_output)
{
    char small[8];
    struct hm_fmt out = hm_fmt_init(small, sizeof(small), open("/dev/full", O_WRONLY));

    hm_fmt_str(&out, "much more than fits into eight bytes");
    hm_fmt_flush(&out);
    cr_assert_eq(out.len_bytes, 0);
}
