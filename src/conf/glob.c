/* SPDX-License-Identifier: MIT */
/* glob.c - shell patterns for names of executables (see glob.h).
 *
 * Problem     Options are read before main. libc's fnmatch may allocate there, and goes by a locale
 *             that is not set yet.
 * Idea        `*` and `?` stand for any bytes but a slash, [a-z] and [!a-z] for one of a set, and a
 *             backslash takes the next byte as it is. A star that was too short is made one longer:
 *             as none crosses a slash, only the last one has to be tried again.
 */
#include "conf/glob.h"

#include <string.h>

/* Behind the set that starts at `text`, a bracket; NULL if it does not end. As in shells, a closing
 * bracket that comes first belongs to it. */
static const char *
end_of_set(const char *text, const char *end)
{
    text++;
    if (text < end && (*text == '!' || *text == '^'))
        text++;
    if (text < end && *text == ']')
        text++;
    while (text < end && *text != ']')
        text++;
    return text < end ? text + 1 : NULL;
}

static bool
is_in_set(const char *text, const char *set_end, char c)
{
    bool is_inverted = text[1] == '!' || text[1] == '^';
    const char *last = set_end - 1; /* the closing bracket */
    bool is_found = false;

    for (text += is_inverted ? 2 : 1; text < last; text++) {
        if (text + 2 < last && text[1] == '-') {
            is_found |= (unsigned char)text[0] <= (unsigned char)c
                        && (unsigned char)c <= (unsigned char)text[2];
            text += 2;
        } else {
            is_found |= *text == c;
        }
    }
    return is_found != is_inverted;
}

/* Whether the item at *inout_text, no star, stands for `c`; moves behind it if so. */
static bool
takes(const char **inout_text, const char *end, char c)
{
    const char *text = *inout_text;
    const char *next = text + 1;
    bool is_taken;

    if (text == end)
        return false;
    if (*text == '?') {
        is_taken = c != '/';
    } else if (*text == '[') {
        next = end_of_set(text, end);
        is_taken = c != '/' && next != NULL && is_in_set(text, next, c);
    } else {
        if (*text == '\\' && next < end)
            text = next++;
        is_taken = *text == c;
    }
    if (is_taken)
        *inout_text = next;
    return is_taken;
}

static bool
matches(const char *text, const char *end, const char *name)
{
    const char *star = NULL; /* what comes behind the last star */
    const char *star_name = NULL;

    while (*name != '\0') {
        if (text < end && *text == '*') {
            star = ++text;
            star_name = name;
        } else if (takes(&text, end, *name)) {
            name++;
        } else if (star != NULL && *star_name != '/') {
            text = star;
            name = ++star_name;
        } else {
            return false;
        }
    }
    while (text < end && *text == '*')
        text++;
    return text == end;
}

static bool
is_pattern(const char *text, const char *end)
{
    if (text == end)
        return false;
    while (text < end) {
        if (*text == '[')
            text = end_of_set(text, end);
        else if (*text == '\\')
            text = text + 1 < end ? text + 2 : NULL;
        else
            text++;
        if (text == NULL)
            return false;
    }
    return true;
}

size_t
hm_word_bytes(const char *text, char stop)
{
    size_t len_bytes = 0;

    while (text[len_bytes] != '\0' && text[len_bytes] != stop)
        len_bytes++;
    return len_bytes;
}

bool
hm_glob_is_list(const char *list)
{
    for (;;) {
        size_t len_bytes = hm_word_bytes(list, ':');

        if (!is_pattern(list, list + len_bytes))
            return false;
        if (list[len_bytes] == '\0')
            return true;
        list += len_bytes + 1;
    }
}

HM_LATER bool
hm_glob_list_has(const char *list, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;

    for (;;) {
        size_t len_bytes = hm_word_bytes(list, ':');
        bool is_path = memchr(list, '/', len_bytes) != NULL;

        if (matches(list, list + len_bytes, is_path ? path : name))
            return true;
        if (list[len_bytes] == '\0')
            return false;
        list += len_bytes + 1;
    }
}
