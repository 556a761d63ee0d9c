/* SPDX-License-Identifier: MIT */
/* glibc.h - what glibc's own variables and tunables ask of malloc.
 *
 * Problem     Programs, units and scripts set glibc's malloc by the environment. What they set must
 *             hold here too, and by glibc's reading of it, which is not ours: no suffixes, 0 for
 *             what is no number, no message.
 * Idea        A value and whether it was given, for each row of glibc.def: given counts, whatever
 *             the value.
 * Sources     glibc 2.36, observed; mallopt(3); the chapter on tunables of glibc's manual.
 */
#ifndef HM_CONF_GLIBC_H
#define HM_CONF_GLIBC_H

#include "conf/conf.h"

struct hm_glibc_setting {
    bool is_given;
    uint64_t value; /* a negative number as its complement */
};

struct hm_glibc {
    struct hm_glibc_setting mmap_threshold;
    struct hm_glibc_setting trim_threshold;
    struct hm_glibc_setting top_pad;
    struct hm_glibc_setting mmap_max;
    struct hm_glibc_setting perturb;
};

/* Read the variables of glibc.def, then GLIBC_TUNABLES, which wins. */
void hm_glibc_read(struct hm_glibc *out_glibc, hm_getenv_fn getenv_fn);

/* A number as glibc reads it: blanks, a sign, then decimal, 0x hexadecimal or 0 octal, up to the
 * first character that fits no more. Too large is UINT64_MAX, no digit is 0. */
uint64_t hm_glibc_number(const char *text);

#endif
