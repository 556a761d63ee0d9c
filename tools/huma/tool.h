/* SPDX-License-Identifier: MIT */
/* tool.h - what the commands of `huma` have in common: messages and exit statuses.
 *
 * Idea    A command is a function of its arguments. What is wrong is said in one line on stderr:
 *         huma: WHAT WAS WRONG: WHERE; WHAT TO DO.
 */
#ifndef HUMA_TOOL_H
#define HUMA_TOOL_H

#include <stdint.h>

/* Exit statuses, where sysexits.h has one, as there. */
enum {
    TOOL_DONE = 0,
    TOOL_FAILED = 1,
    TOOL_USAGE = 64,
    TOOL_NO_INPUT = 66,
};

/* argv[0] is the command's name. Return an exit status. */
int tool_arenas(int argc, char **argv);

/* One line on stderr, behind "huma: ". */
void tool_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A number of bytes for people, as "64 MiB": at most 9 characters. */
#define TOOL_SIZE_BYTES 16
const char *tool_size(uint64_t len_bytes, char buf[TOOL_SIZE_BYTES]);

#endif
