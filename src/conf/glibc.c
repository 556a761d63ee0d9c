/* SPDX-License-Identifier: MIT */
/* glibc.c - MALLOC_*_ variables and GLIBC_TUNABLES to struct hm_glibc (see glibc.h). */
#include "conf/glibc.h"

#include <string.h>

/* The value of a digit in base 16 or below; 16 for anything else. */
static unsigned
digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    if (c >= 'a' && c <= 'f')
        return (unsigned)(c - 'a') + 10;
    if (c >= 'A' && c <= 'F')
        return (unsigned)(c - 'A') + 10;
    return 16;
}

uint64_t
hm_glibc_number(const char *text)
{
    uint64_t value = 0;
    unsigned base = 10;
    bool is_negative;

    while (*text == ' ' || *text == '\t')
        text++;
    is_negative = *text == '-';
    if (*text == '-' || *text == '+')
        text++;
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        base = 16;
        text += 2;
    } else if (text[0] == '0') {
        base = 8;
    }
    for (; digit_of(*text) < base; text++) {
        if (__builtin_mul_overflow(value, (uint64_t)base, &value)
            || __builtin_add_overflow(value, (uint64_t)digit_of(*text), &value))
            return UINT64_MAX;
    }
    return is_negative ? -value : value;
}

static void
take(struct hm_glibc_setting *setting, const char *text, uint64_t max)
{
    uint64_t value = hm_glibc_number(text);

    if (value <= max)
        *setting = (struct hm_glibc_setting){ .is_given = true, .value = value };
}

static bool
is_name(const char *text, size_t len_bytes, const char *name)
{
    return strlen(name) == len_bytes && strncmp(text, name, len_bytes) == 0;
}

/* NAME=VALUE pairs with colons between them; of several for one name the last counts. What has no
 * "=" is passed over. A number ends at the colon by itself. */
static void
read_tunables(struct hm_glibc *glibc, const char *text)
{
    while (*text != '\0') {
        size_t name_bytes = strcspn(text, "=:");
        const char *value = text + name_bytes + 1;

        if (text[name_bytes] == '=') {
#define HM_GLIBC(field, variable, tunable, max)                                                    \
    if (is_name(text, name_bytes, tunable))                                                        \
        take(&glibc->field, value, max);
#include "conf/glibc.def"
#undef HM_GLIBC
        }
        text += strcspn(text, ":");
        text += *text == ':';
    }
}

void
hm_glibc_read(struct hm_glibc *out_glibc, hm_getenv_fn getenv_fn)
{
    const char *text;

    *out_glibc = (struct hm_glibc){ 0 };
#define HM_GLIBC(field, variable, tunable, max)                                                    \
    text = getenv_fn(variable);                                                                    \
    if (text != NULL)                                                                              \
        take(&out_glibc->field, text, max);
#include "conf/glibc.def"
#undef HM_GLIBC
    text = getenv_fn("GLIBC_TUNABLES");
    if (text != NULL)
        read_tunables(out_glibc, text);
}
