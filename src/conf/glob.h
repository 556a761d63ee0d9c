/* SPDX-License-Identifier: MIT */
/* glob.h - shell patterns for names of executables. */
#ifndef HM_CONF_GLOB_H
#define HM_CONF_GLOB_H

#include "base/compiler.h"

/* Whether every pattern of a list, separated by colons, is one: not empty, brackets closed, nothing
 * missing behind a backslash. */
bool hm_glob_is_list(const char *list);

/* Bytes before `stop` or the end. Not strcspn, which goes by tables: for the sake of the defaults,
 * every process would have those pages of libc. */
size_t hm_word_bytes(const char *text, char stop);

/* Whether the executable with this absolute path is meant by a pattern of such a list: by the whole
 * path if the pattern has a slash, else by its last component. */
bool hm_glob_list_has(const char *list, const char *path);

#endif
