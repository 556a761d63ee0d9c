/* SPDX-License-Identifier: MIT */
/* fuzz_conf.c - an input is the values of all options, one behind the other, each ended by a zero
 * byte. What the parser makes of them must be settings that a heap can use, and the same twice. */
#include "fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"

enum { TEXT_BYTES = 4096, OPTIONS_MAX = 32 };

static char text[TEXT_BYTES + 1];
static size_t text_bytes;
static size_t next_off;

/* Options are asked for in a fixed order: each gets the next value, and NULL once all are used. */
static const char *
next_value(const char *name)
{
    const char *value = text + next_off;

    (void)name;
    if (next_off >= text_bytes)
        return NULL;
    next_off += strlen(value) + 1;
    return value;
}

static unsigned
read_once(struct hm_conf *out_conf)
{
    next_off = 0;
    hm_conf_defaults(out_conf);
    return hm_conf_read(out_conf, next_value, -1);
}

static void
expect(bool condition)
{
    if (!condition)
        abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
    struct hm_conf conf;
    struct hm_conf again;
    unsigned seen = 0;
    unsigned wrong_count;

    text_bytes = len_bytes < TEXT_BYTES ? len_bytes : TEXT_BYTES;
    if (text_bytes > 0)
        memcpy(text, bytes, text_bytes);
    text[text_bytes] = '\0';
    memset(&conf, 0, sizeof(conf));
    memset(&again, 0, sizeof(again));
    wrong_count = read_once(&conf);
    expect(wrong_count <= OPTIONS_MAX);
    expect(read_once(&again) == wrong_count);
    expect(conf.huge_start_bytes == again.huge_start_bytes && conf.verbose == again.verbose);
    expect(strcmp(conf.stats, again.stats) == 0);
    expect(conf.backing.kind_count > 0 && conf.backing.kind_count <= HM_BACKING_KINDS);
    for (unsigned i = 0; i < conf.backing.kind_count; i++) {
        expect(conf.backing.kind[i] < HM_BACKING_KINDS);
        expect((seen & 1u << conf.backing.kind[i]) == 0);
        expect(hm_backing_name((enum hm_backing_kind)conf.backing.kind[i]) != NULL);
        seen |= 1u << conf.backing.kind[i];
    }
    return 0;
}
