/* SPDX-License-Identifier: MIT */
/* glob.h - shell patterns for names of executables. */
#ifndef HM_CONF_GLOB_H
#define HM_CONF_GLOB_H

#include "base/compiler.h"

/* Whether every pattern of a list, separated by colons, is one: not empty, brackets closed, nothing
 * missing behind a backslash. */
bool hm_glob_is_list(const char *list);

/* Whether the executable with this absolute path is meant by a pattern of such a list: by the whole
 * path if the pattern has a slash, else by its last component. */
bool hm_glob_list_has(const char *list, const char *path);

#endif
