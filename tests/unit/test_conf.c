/* SPDX-License-Identifier: MIT */
/* test_conf.c - every option with good and bad values, and what is said about bad ones. */
#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#include "conf/conf.h"

/* The environment of the test: one variable. */
static const char *env_name;
static const char *env_text;

static const char *
getenv_one(const char *name)
{
    return env_name != NULL && strcmp(name, env_name) == 0 ? env_text : NULL;
}

/* Settings with one variable set; what is said goes to `said`, "" if nothing. */
static unsigned
read_one(struct hm_conf *out_conf, const char *name, const char *value, char *said,
         size_t cap_bytes)
{
    int fds[2];
    ssize_t n;
    unsigned wrong_count;

    env_name = name;
    env_text = value;
    cr_assert_eq(pipe(fds), 0);
    hm_conf_defaults(out_conf);
    wrong_count = hm_conf_read(out_conf, getenv_one, fds[1]);
    close(fds[1]);
    n = read(fds[0], said, cap_bytes - 1);
    said[n > 0 ? n : 0] = '\0';
    close(fds[0]);
    return wrong_count;
}

static const char *
chain_text(const struct hm_chain *chain)
{
    static char text[64];

    text[0] = '\0';
    for (unsigned i = 0; i < chain->kind_count; i++) {
        if (i > 0)
            strcat(text, ",");
        strcat(text, hm_backing_name((enum hm_backing_kind)chain->kind[i]));
    }
    return text;
}

Test(conf, defaults)
{
    struct hm_conf conf;

    hm_conf_defaults(&conf);
    cr_assert_str_eq(chain_text(&conf.backing), "thp,mthp,4k");
    cr_assert_str_eq(conf.stats, "0");
    cr_assert(!conf.verbose);
    cr_assert_geq(conf.huge_start_bytes, 4 * HM_MIB);
    cr_assert_leq(conf.huge_start_bytes, 16 * HM_MIB);
}

Test(conf, defaults_of_the_table_are_accepted)
{
    struct hm_conf conf;
    char said[256];

#define HM_OPTION(field, name, parser, fallback, values, help)                                     \
    cr_expect_eq(read_one(&conf, name, fallback, said, sizeof(said)), 0, "%s", name);
#include "conf/options.def"
#undef HM_OPTION
}

Test(conf, an_empty_environment_changes_nothing)
{
    struct hm_conf conf;
    char said[256];

    cr_assert_eq(read_one(&conf, NULL, NULL, said, sizeof(said)), 0);
    cr_assert_str_eq(said, "");
    cr_assert_str_eq(chain_text(&conf.backing), "thp,mthp,4k");
}

Test(conf, an_empty_value_is_as_good_as_none)
{
    struct hm_conf conf;
    char said[256];

#define HM_OPTION(field, name, parser, fallback, values, help)                                     \
    cr_expect_eq(read_one(&conf, name, "", said, sizeof(said)), 0, "%s", name);                    \
    cr_expect_str_eq(said, "");
#include "conf/options.def"
#undef HM_OPTION
    cr_assert_str_eq(chain_text(&conf.backing), "thp,mthp,4k");
    cr_assert_str_eq(conf.stats, "0");
}

Test(conf, backing)
{
    static const char *const good[]
        = { "thp", "4k", "thp,4k", "4k,thp", "hugetlb", "hugetlb,thp,4k", "mthp,4k" };
    static const char *const bad[]
        = { ",",    "thp,", ",thp", "thp,,4k",  "thp,thp", "4k,4k",   "THP",    "thp 4k",
            " thp", "th",   "thpp", "hugetlb:", "mthp4",   "thp,4k,", "4k;thp", "thp,4k,thp" };
    struct hm_conf conf;
    char said[256];

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        cr_expect_eq(read_one(&conf, "HUMA_BACKING", good[i], said, sizeof(said)), 0, "%s",
                     good[i]);
        cr_expect_str_eq(said, "");
        cr_expect_str_eq(chain_text(&conf.backing), good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_expect_eq(read_one(&conf, "HUMA_BACKING", bad[i], said, sizeof(said)), 1, "%s", bad[i]);
        cr_expect_str_eq(chain_text(&conf.backing), "thp,mthp,4k", "%s", bad[i]);
    }
}

Test(conf, sizes_of_hugetlb_pages)
{
    static const char *const bad[]
        = { "hugetlb:3M",
            "hugetlb:0",
            "hugetlb:2M,hugetlb:2048k",
            "hugetlb:2M:1G",
            "thp:2M",
            "hugetlb:1k",
            "hugetlb:99999999999999999999999G",
            "hugetlb:4k,hugetlb:8k,hugetlb:16k,hugetlb:32k,hugetlb:64k,hugetlb:1M,hugetlb,thp,4k" };
    struct hm_conf conf;
    char said[256];

    cr_assert_eq(
        read_one(&conf, "HUMA_BACKING", "hugetlb:1G,hugetlb:2M,hugetlb,4k", said, sizeof(said)), 0);
    cr_assert_eq(conf.backing.kind_count, 4);
    cr_assert_eq(conf.backing.kind[1], HM_BACKING_HUGETLB);
    cr_assert_eq(conf.backing.page_shift[0], 30);
    cr_assert_eq(conf.backing.page_shift[1], 21);
    cr_assert_eq(conf.backing.page_shift[2], 0);
    cr_expect_eq(read_one(&conf, "HUMA_BACKING",
                          "hugetlb:16G,hugetlb:512M,hugetlb:2M,hugetlb:64k,hugetlb,thp,mthp,4k",
                          said, sizeof(said)),
                 0, "all that an arm64 has");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_expect_eq(read_one(&conf, "HUMA_BACKING", bad[i], said, sizeof(said)), 1, "%s", bad[i]);
        cr_expect_str_eq(chain_text(&conf.backing), "thp,mthp,4k", "%s", bad[i]);
    }
}

Test(conf, huge_start)
{
    static const struct {
        const char *text;
        size_t value;
    } good[] = {
        { "0", 0 },
        { "1", 1 },
        { "64k", 64 * HM_KIB },
        { "64K", 64 * HM_KIB },
        { "16m", 16 * HM_MIB },
        { "16M", 16 * HM_MIB },
        { "3g", 3 * HM_GIB },
        { "3G", 3 * HM_GIB },
        { "007", 7 },
        { "18446744073709551615", SIZE_MAX },
        { "17179869183G", 17179869183 * HM_GIB },
    };
    static const char *const bad[]
        = { "M",           "-1",    "+1",  " 1", "1 ",  "1MB",   "1.5M",
            "0x8",         "eight", "1kk", "1T", "1m ", "1,000", "18446744073709551616",
            "17179869184G" };
    struct hm_conf conf;
    struct hm_conf defaults;
    char said[256];

    hm_conf_defaults(&defaults);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        cr_expect_eq(read_one(&conf, "HUMA_HUGE_START", good[i].text, said, sizeof(said)), 0, "%s",
                     good[i].text);
        cr_expect_eq(conf.huge_start_bytes, good[i].value, "%s", good[i].text);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_expect_eq(read_one(&conf, "HUMA_HUGE_START", bad[i], said, sizeof(said)), 1, "%s",
                     bad[i]);
        cr_expect_eq(conf.huge_start_bytes, defaults.huge_start_bytes, "%s", bad[i]);
    }
}

Test(conf, only)
{
    static const char *const bad[] = { ":", "a::b", "a:", "[a", "a\\" };
    struct hm_conf conf;
    char said[256];

    hm_conf_defaults(&conf);
    hm_conf_select(&conf, "");
    cr_expect(!conf.is_passed_over, "unless told otherwise, everybody is meant");
    cr_expect_eq(read_one(&conf, "HUMA_ONLY", "perl:/opt/*/bin/db", said, sizeof(said)), 0);
    hm_conf_select(&conf, "/opt/x/bin/db");
    cr_expect(!conf.is_passed_over);
    cr_expect_str_eq(chain_text(&conf.backing), "thp,mthp,4k");
    hm_conf_select(&conf, "/usr/bin/sh");
    cr_expect(conf.is_passed_over);
    cr_expect_str_eq(chain_text(&conf.backing), "4k");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_expect_eq(read_one(&conf, "HUMA_ONLY", bad[i], said, sizeof(said)), 1, "%s", bad[i]);
        cr_expect_str_eq(conf.only, "*");
    }
    cr_expect_str_eq(said, "huma: HUMA_ONLY=a\\ is ignored: accepted is patterns separated by "
                           "colons, with * ? [a-z] [!a-z] as in a shell; using *\n");
}

Test(conf, verbose)
{
    static const char *const bad[] = { "2", "yes", "on", "01", "1 ", "true" };
    struct hm_conf conf;
    char said[256];

    cr_expect_eq(read_one(&conf, "HUMA_VERBOSE", "1", said, sizeof(said)), 0);
    cr_expect(conf.verbose);
    cr_expect_eq(read_one(&conf, "HUMA_VERBOSE", "0", said, sizeof(said)), 0);
    cr_expect(!conf.verbose);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_expect_eq(read_one(&conf, "HUMA_VERBOSE", bad[i], said, sizeof(said)), 1, "%s", bad[i]);
        cr_expect(!conf.verbose);
    }
}

Test(conf, stats_takes_any_text)
{
    static const char *const good[] = { "0", "1", "/tmp/huma-%p.json", "a file with spaces" };
    struct hm_conf conf;
    char said[256];

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        cr_expect_eq(read_one(&conf, "HUMA_STATS", good[i], said, sizeof(said)), 0);
        cr_expect_str_eq(conf.stats, good[i]);
    }
}

/* A script that sets a variable to nothing means to have it unset. */
Test(conf, an_empty_value_counts_as_unset)
{
    struct hm_conf conf;
    char said[256];

#define HM_OPTION(field, name, parser, fallback, values, help)                                     \
    cr_expect_eq(read_one(&conf, name, "", said, sizeof(said)), 0, "%s", name);                    \
    cr_expect_str_eq(said, "", "%s", name);
#include "conf/options.def"
#undef HM_OPTION
}

Test(conf, a_wrong_value_is_told_in_one_line)
{
    struct hm_conf conf;
    char said[256];

    read_one(&conf, "HUMA_VERBOSE", "maybe", said, sizeof(said));
    cr_assert_str_eq(said, "huma: HUMA_VERBOSE=maybe is ignored: accepted is 0 or 1; using 0\n");
    read_one(&conf, "HUMA_BACKING", "2m", said, sizeof(said));
    cr_assert_str_eq(said, "huma: HUMA_BACKING=2m is ignored: accepted is a comma-separated "
                           "list of hugetlb, hugetlb:SIZE, thp, mthp and 4k; using thp,mthp,4k\n");
    read_one(&conf, "HUMA_HUGE_START", "lots", said, sizeof(said));
    cr_assert_eq(strncmp(said, "huma: HUMA_HUGE_START=lots is ignored: accepted is bytes, ", 57), 0,
                 "%s", said);
}

/* The text comes from outside: however long it is, it is told whole and in one line. */
Test(conf, a_long_wrong_value)
{
    static char value[1000];
    static char said[2000];
    struct hm_conf conf;

    memset(value, 'x', sizeof(value) - 1);
    cr_assert_eq(read_one(&conf, "HUMA_BACKING", value, said, sizeof(said)), 1);
    cr_assert_not_null(strstr(said, value));
    cr_assert_eq(strchr(said, '\n'), said + strlen(said) - 1);
}

Test(conf, membership_in_a_chain)
{
    struct hm_chain chain = { .kind = { HM_BACKING_THP }, .kind_count = 1 };

    cr_assert(hm_chain_has(&chain, HM_BACKING_THP));
    cr_assert(!hm_chain_has(&chain, HM_BACKING_4K));
    cr_assert(!hm_chain_has(&chain, HM_BACKING_HUGETLB));
}
