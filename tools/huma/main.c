/* SPDX-License-Identifier: MIT */
/* main.c - the tool `huma`: finds the command, and says what there is. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "huma.h"
#include "tool.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *purpose;
} commands[] = {
    { "arenas", tool_arenas, "list, verify, and clean up shared arenas" },
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

void
tool_say(const char *format, ...)
{
    va_list args;

    (void)fflush(stdout);
    (void)fputs("huma: ", stderr);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
}

const char *
tool_size(uint64_t len_bytes, char buf[TOOL_SIZE_BYTES])
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    double value = (double)len_bytes;
    unsigned unit = 0;

    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    /* Whole ones without a point. */
    if (value >= 100 || value == (double)(uint64_t)value)
        (void)snprintf(buf, TOOL_SIZE_BYTES, "%.0f %s", value, units[unit]);
    else
        (void)snprintf(buf, TOOL_SIZE_BYTES, "%.1f %s", value, units[unit]);
    return buf;
}

static void
print_help(void)
{
    (void)printf("usage: huma COMMAND [ARGUMENT...]\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        (void)printf("  %-10s %s\n", commands[i].name, commands[i].purpose);
    (void)printf("\nhuma COMMAND --help tells more, and so does huma(8).\n");
}

static int
run(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";

    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        print_help();
        return TOOL_DONE;
    }
    if (strcmp(name, "--version") == 0) {
        (void)printf("huma %d.%d.%d\n", HUMA_VERSION_MAJOR, HUMA_VERSION_MINOR, HUMA_VERSION_PATCH);
        return TOOL_DONE;
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (name[0] == '\0')
        tool_say("no command; \"huma --help\" lists them");
    else
        tool_say("unknown command \"%s\"; \"huma --help\" lists them", name);
    return TOOL_USAGE;
}

int
main(int argc, char **argv)
{
    int status = run(argc, argv);

    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    tool_say("what there is to say could not be written; see where it goes");
    return TOOL_FAILED;
}
