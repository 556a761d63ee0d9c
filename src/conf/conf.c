/* SPDX-License-Identifier: MIT */
/* conf.c - HUMA_* variables to struct hm_conf.
 *
 * Problem     See conf.h. Options are read before main, where nothing may allocate.
 * Idea        One parser per kind of value: text in, field out, false if the text is wrong.
 */
#include "conf/conf.h"

#include <string.h>

#include "base/fmt.h"
#include "conf/glob.h"

static const char *const backing_names[HM_BACKING_KINDS] = {
    [HM_BACKING_HUGETLB] = "hugetlb",
    [HM_BACKING_THP] = "thp",
    [HM_BACKING_MTHP] = "mthp",
    [HM_BACKING_4K] = "4k",
};

const char *
hm_backing_name(enum hm_backing_kind kind)
{
    return backing_names[kind];
}

bool
hm_chain_has(const struct hm_chain *chain, enum hm_backing_kind kind)
{
    for (unsigned i = 0; i < chain->kind_count; i++)
        if (chain->kind[i] == kind)
            return true;
    return false;
}

static bool
parse_bytes(const char *text, size_t *out_bytes)
{
    size_t value = 0;
    unsigned shift = 0;

    if (*text < '0' || *text > '9')
        return false;
    for (; *text >= '0' && *text <= '9'; text++) {
        if (__builtin_mul_overflow(value, (size_t)10, &value)
            || __builtin_add_overflow(value, (size_t)(*text - '0'), &value))
            return false;
    }
    if (*text == 'k' || *text == 'K')
        shift = 10;
    else if (*text == 'm' || *text == 'M')
        shift = 20;
    else if (*text == 'g' || *text == 'G')
        shift = 30;
    if (shift != 0)
        text++;
    if (*text != '\0' || value > (SIZE_MAX >> shift))
        return false;
    *out_bytes = value << shift;
    return true;
}

/* One backing of a list, `len_bytes` long, into the chain. */
static bool
add_backing(const char *text, size_t len_bytes, struct hm_chain *inout_chain)
{
    size_t colon_bytes = hm_word_bytes(text, ':');
    size_t name_bytes = colon_bytes < len_bytes ? colon_bytes : len_bytes;
    unsigned page_shift = 0;
    unsigned kind = 0;

    while (kind < HM_BACKING_KINDS
           && (strlen(backing_names[kind]) != name_bytes
               || strncmp(backing_names[kind], text, name_bytes) != 0))
        kind++;
    if (kind == HM_BACKING_KINDS || inout_chain->kind_count == HM_CHAIN_MAX)
        return false;
    if (name_bytes != len_bytes) {
        char size[24];
        size_t size_bytes = len_bytes - name_bytes - 1;
        size_t page_bytes = 0;

        if (kind != HM_BACKING_HUGETLB || size_bytes >= sizeof(size))
            return false;
        memcpy(size, text + name_bytes + 1, size_bytes);
        size[size_bytes] = '\0';
        if (!parse_bytes(size, &page_bytes) || !hm_is_pow2(page_bytes) || page_bytes < 4 * HM_KIB)
            return false;
        page_shift = (unsigned)__builtin_ctzll(page_bytes);
    }
    for (unsigned k = 0; k < inout_chain->kind_count; k++)
        if (inout_chain->kind[k] == kind && inout_chain->page_shift[k] == page_shift)
            return false;
    inout_chain->page_shift[inout_chain->kind_count] = (uint8_t)page_shift;
    inout_chain->kind[inout_chain->kind_count++] = (uint8_t)kind;
    return true;
}

bool
hm_chain_parse(const char *text, struct hm_chain *out_chain)
{
    struct hm_chain chain = { .kind_count = 0 };

    for (;;) {
        size_t len_bytes = hm_word_bytes(text, ',');

        if (!add_backing(text, len_bytes, &chain))
            return false;
        if (text[len_bytes] == '\0')
            break;
        text += len_bytes + 1;
    }
    *out_chain = chain;
    return true;
}

bool
hm_chain_put_first(struct hm_chain *inout_chain, enum hm_backing_kind kind, unsigned page_shift)
{
    struct hm_chain chain = { .kind[0] = (uint8_t)kind, .page_shift[0] = (uint8_t)page_shift };

    chain.kind_count = 1;
    for (unsigned k = 0; k < inout_chain->kind_count; k++) {
        if (inout_chain->kind[k] == kind && inout_chain->page_shift[k] == page_shift)
            continue;
        if (chain.kind_count == HM_CHAIN_MAX)
            return false;
        chain.page_shift[chain.kind_count] = inout_chain->page_shift[k];
        chain.kind[chain.kind_count++] = inout_chain->kind[k];
    }
    *inout_chain = chain;
    return true;
}

/* Up to a day. */
static bool
parse_ms(const char *text, unsigned *out_ms)
{
    size_t value = 0;
    size_t len_bytes = 0;

    /* Not strspn, which is a page of libc that a short program need not touch. */
    while (text[len_bytes] >= '0' && text[len_bytes] <= '9')
        len_bytes++;
    if (text[len_bytes] != '\0' || !parse_bytes(text, &value) || value > 86400000)
        return false;
    *out_ms = (unsigned)value;
    return true;
}

static bool
parse_text(const char *text, const char **out_text)
{
    *out_text = text;
    return true;
}

static bool
parse_globs(const char *text, const char **out_text)
{
    if (!hm_glob_is_list(text))
        return false;
    *out_text = text;
    return true;
}

static bool
parse_switch(const char *text, bool *out_on)
{
    if (strcmp(text, "0") != 0 && strcmp(text, "1") != 0)
        return false;
    *out_on = text[0] == '1';
    return true;
}

static bool
parse_off_on(const char *text, bool *out_on)
{
    if (strcmp(text, "off") != 0 && strcmp(text, "on") != 0)
        return false;
    *out_on = strcmp(text, "on") == 0;
    return true;
}

/* Which of `count` names a text is. */
static bool
parse_name(const char *text, const char *const *names, unsigned count, unsigned *out_idx)
{
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out_idx = i;
            return true;
        }
    }
    return false;
}

static bool
parse_numa(const char *text, enum hm_numa *out_numa)
{
    static const char *const names[] = { "local", "interleave", "off" };

    return parse_name(text, names, 3, out_numa);
}

static bool
parse_fork(const char *text, enum hm_fork *out_fork)
{
    static const char *const names[] = { "safe", "keep" };

    return parse_name(text, names, 2, out_fork);
}

void
hm_conf_defaults(struct hm_conf *out_conf)
{
    *out_conf = (struct hm_conf){ .name = "huma heap", .limit_bytes = SIZE_MAX };
#define HM_OPTION(field, name, parser, fallback, values, help)                                     \
    (void)parser(fallback, &out_conf->field);
#include "conf/options.def"
#undef HM_OPTION
}

static void
complain(int err_fd, const char *name, const char *text, const char *values, const char *fallback)
{
    char buf[256];
    struct hm_fmt out = hm_fmt_init(buf, sizeof(buf), err_fd);

    hm_fmt_str(&out, "huma: ");
    hm_fmt_str(&out, name);
    hm_fmt_str(&out, "=");
    hm_fmt_str(&out, text);
    hm_fmt_str(&out, " is ignored: accepted is ");
    hm_fmt_str(&out, values);
    hm_fmt_str(&out, "; using ");
    hm_fmt_str(&out, fallback);
    hm_fmt_str(&out, "\n");
    hm_fmt_flush(&out);
}

unsigned
hm_conf_read(struct hm_conf *out_conf, hm_getenv_fn getenv_fn, int err_fd)
{
    unsigned wrong_count = 0;
    const char *text;

#define HM_OPTION(field, name, parser, fallback, values, help)                                     \
    text = getenv_fn(name);                                                                        \
    if (text != NULL && *text != '\0' && !parser(text, &out_conf->field)) {                        \
        complain(err_fd, name, text, values, fallback);                                            \
        wrong_count++;                                                                             \
    }
#include "conf/options.def"
#undef HM_OPTION
    return wrong_count;
}

void
hm_conf_select(struct hm_conf *inout_conf, const char *exe_path)
{
    if (hm_glob_list_has(inout_conf->only, exe_path))
        return;
    inout_conf->is_passed_over = true;
    inout_conf->backing = (struct hm_chain){ .kind = { HM_BACKING_4K }, .kind_count = 1 };
}
