/* SPDX-License-Identifier: MIT */
/* cmd_arenas.c - huma arenas: list them, verify them, clean up what nobody has any more.
 *
 * Idea    Nothing is removed that a living process has, which huma_shared_remove sees to: it holds
 *         all seats while the file goes. A file that is looked at may be cut short at that moment,
 *         which would end this process: words are verified in a child.
 */
#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena.h"
#include "huma.h"
#include "tool.h"

static const char usage[]
    = "usage: huma arenas [list [--all]]\n"
      "       huma arenas verify NAME...\n"
      "       huma arenas reap [--dry-run]\n"
      "       huma arenas rm NAME...\n"
      "\n"
      "  list     shared arenas with a name, and those that processes have open;\n"
      "           --all: System V segments as well\n"
      "  verify   look at all that an arena's state is made of\n"
      "  reap     remove named ones that no living process has\n"
      "  rm       remove one, if no living process has it\n"
      "\n"
      "NAME is a name, or a path, which has a '/'.\n";

/* What the library says, without the function that says it. */
static const char *
last_error(void)
{
    const char *text = huma_last_error();
    const char *call_end = strstr(text, "(): ");

    return call_end != NULL ? call_end + 4 : text;
}

/* The worst of two exit statuses: what failed before what is not there. */
static int
worse(int status, int other)
{
    return status == TOOL_FAILED || other == TOOL_DONE ? status : other;
}

/* --- list ------------------------------------------------------------------------------------- */

static const char *
user_name(unsigned owner, char buf[16])
{
    const struct passwd *user = getpwuid(owner);

    if (user != NULL)
        (void)snprintf(buf, 16, "%.15s", user->pw_name);
    else
        (void)snprintf(buf, 16, "%u", owner);
    return buf;
}

/* What is no printable ASCII could do anything to a terminal. */
static const char *
clean(const char *text, char *buf, size_t room_bytes)
{
    size_t i = 0;

    for (; text[i] != '\0' && i + 1 < room_bytes; i++)
        buf[i] = text[i];
    buf[i] = '\0';
    for (char *at = buf; *at != '\0'; at++)
        if (*at < ' ' || *at > '~')
            *at = '?';
    return buf;
}

static void
print_arena(void *arg, const struct arena *arena)
{
    static char where[ARENA_PATH_BYTES];
    unsigned *count = arg;
    char name[24];
    char owner[16];
    char pages[TOOL_SIZE_BYTES];
    char limit[TOOL_SIZE_BYTES];
    char used[TOOL_SIZE_BYTES];
    char has[TOOL_SIZE_BYTES];

    if ((*count)++ == 0)
        (void)printf("%-16s %-7s %-8s %-7s %8s %8s %8s %5s %4s\n", "NAME", "KIND", "OWNER", "PAGES",
                     "LIMIT", "USED", "HAS", "ALIVE", "DEAD");
    (void)printf("%-16.16s %-7s %-8.8s ", clean(arena->name, name, sizeof(name)),
                 arena->is_memfd     ? "memfd"
                 : arena->is_hugetlb ? "hugetlb"
                                     : "named",
                 user_name(arena->owner, owner));
    if (arena->fault != NULL) {
        (void)printf("%-7s %8s %8s %8s %5s %4s\n", "?", "?", "?", tool_size(arena->has_bytes, has),
                     "?", "?");
    } else {
        (void)printf("%-7s %8s %8s %8s %5u %4u\n", tool_size(arena->page_bytes, pages),
                     tool_size(arena->limit_bytes, limit), tool_size(arena->used_bytes, used),
                     tool_size(arena->has_bytes, has), arena->alive_count, arena->dead_count);
    }
    (void)printf("  %s", clean(arena->where, where, sizeof(where)));
    for (unsigned i = 0; i < arena->pid_count; i++)
        (void)printf("%s %u", i == 0 ? "  pids" : "", arena->pids[i]);
    if (arena->alive_count > arena->pid_count)
        (void)printf(" ...");
    if (arena->fault != NULL)
        (void)printf("  %s", arena->fault);
    (void)printf("%s\n", arena->has_readers ? "  and readers" : "");
}

/* As ipcs has them; the kernel frees none of them by itself. */
static void
print_segments(void)
{
    FILE *file = fopen("/proc/sysvipc/shm", "re");
    char line[512];
    char size[TOOL_SIZE_BYTES];
    char owner[16];
    unsigned count = 0;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        unsigned long long key;
        unsigned long long len_bytes;
        unsigned id;
        unsigned attached;
        unsigned uid;

        /* key shmid perms size cpid lpid nattch uid */
        if (sscanf(line, "%llu %u %*u %llu %*u %*u %u %u", &key, &id, &len_bytes, &attached, &uid)
            != 5)
            continue;
        if (count++ == 0)
            (void)printf("\n%-18s %-7s %-8s %9s %8s\n", "SYSTEM V KEY", "ID", "OWNER", "SIZE",
                         "ATTACHED");
        (void)printf("0x%-16llx %-7u %-8.8s %9s %8u\n", key, id, user_name(uid, owner),
                     tool_size(len_bytes, size), attached);
    }
    if (file != NULL)
        (void)fclose(file);
}

static int
list(int argc, char **argv)
{
    bool is_all = argc > 0 && strcmp(argv[0], "--all") == 0;
    unsigned count = 0;
    unsigned hidden_count;

    if (argc > (is_all ? 1 : 0)) {
        tool_say("unknown argument \"%s\"; list takes --all", argv[is_all ? 1 : 0]);
        return TOOL_USAGE;
    }
    hidden_count = arena_find(print_arena, &count);
    if (count == 0)
        (void)printf("There are no shared arenas.\n");
    if (is_all)
        print_segments();
    if (hidden_count > 0)
        tool_say("%u processes cannot be looked into, and may have more; run as root",
                 hidden_count);
    return TOOL_DONE;
}

/* --- verify ----------------------------------------------------------------------------------- */

/* In a child. Returns whether all is well, and has said so. */
static bool
verify_one(const char *name, const char *where)
{
    int status = 0;
    pid_t pid;

    (void)fflush(stdout);
    pid = fork();
    if (pid == 0) {
        const char *fault = arena_verify(where);

        (void)printf("%s: %s\n", name, fault != NULL ? fault : "sound");
        (void)fflush(stdout);
        _exit(fault != NULL ? TOOL_FAILED : TOOL_DONE);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        tool_say("%s: cannot be verified: %s", name, strerror(errno));
        return false;
    }
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS)
        (void)printf("%s: its file was cut short, or lost pages, while it was looked at\n", name);
    else if (WIFSIGNALED(status))
        tool_say("%s: signal %d has ended the verification", name, WTERMSIG(status));
    return status == 0;
}

static int
verify(int argc, char **argv)
{
    int status = TOOL_DONE;

    for (int i = 0; i < argc; i++) {
        char where[ARENA_PATH_BYTES];
        const char *fault = arena_locate(argv[i], where);

        if (fault != NULL) {
            tool_say("%s: %s", argv[i], fault);
            status = worse(status, TOOL_NO_INPUT);
        } else if (!verify_one(argv[i], where)) {
            status = TOOL_FAILED;
        }
    }
    return status;
}

/* --- remove ----------------------------------------------------------------------------------- */

/* Who has what cannot be removed. */
static void
say_holders(const char *name)
{
    char where[ARENA_PATH_BYTES];
    struct arena arena;

    if (arena_locate(name, where) != NULL || arena_look(where, &arena) != NULL)
        return;
    for (unsigned i = 0; i < arena.pid_count; i++)
        (void)fprintf(stderr, "%s%u", i == 0 ? "huma: processes " : ", ", arena.pids[i]);
    if (arena.pid_count > 0)
        (void)fprintf(stderr, " have it\n");
    else if (arena.has_readers)
        (void)fprintf(stderr, "huma: who has it only reads\n");
}

static int
rm(int argc, char **argv)
{
    int status = TOOL_DONE;

    for (int i = 0; i < argc; i++) {
        int error = huma_shared_remove(argv[i]) == 0 ? 0 : errno;

        if (error == 0) {
            (void)printf("%s: removed\n", argv[i]);
            continue;
        }
        tool_say("%s: %s", argv[i], last_error());
        if (error == EBUSY)
            say_holders(argv[i]);
        status = worse(status, error == ENOENT ? TOOL_NO_INPUT : TOOL_FAILED);
    }
    return status;
}

struct reaper {
    bool is_dry;
    unsigned count;
    unsigned failed_count;
    unsigned unknown_count;
};

static void
reap_one(void *arg, const struct arena *arena)
{
    struct reaper *reaper = arg;
    char has[TOOL_SIZE_BYTES];
    char used[TOOL_SIZE_BYTES];

    reaper->unknown_count += !arena->is_memfd && arena->fault != NULL;
    if (arena->is_memfd || arena->fault != NULL || arena->alive_count > 0 || arena->has_readers)
        return;
    if (!reaper->is_dry && huma_shared_remove(arena->where) != 0) {
        /* Somebody has come, or it is another user's. */
        tool_say("%s: %s", arena->where, last_error());
        reaper->failed_count++;
        return;
    }
    (void)printf("%s %s: %s, %s in blocks, %u dead\n", reaper->is_dry ? "would remove" : "removed",
                 arena->where, tool_size(arena->has_bytes, has), tool_size(arena->used_bytes, used),
                 arena->dead_count);
    reaper->count++;
}

static int
reap(int argc, char **argv)
{
    struct reaper reaper = { .is_dry = argc > 0 && strcmp(argv[0], "--dry-run") == 0 };

    if (argc > (reaper.is_dry ? 1 : 0)) {
        tool_say("unknown argument \"%s\"; reap takes --dry-run", argv[reaper.is_dry ? 1 : 0]);
        return TOOL_USAGE;
    }
    (void)arena_find(reap_one, &reaper);
    if (reaper.count == 0 && reaper.failed_count == 0)
        (void)printf("There is nothing to remove.\n");
    if (reaper.unknown_count > 0)
        tool_say("%u could not be looked at; \"huma arenas\" says why", reaper.unknown_count);
    return reaper.failed_count > 0 ? TOOL_FAILED : TOOL_DONE;
}

/* --- the command ------------------------------------------------------------------------------ */

int
tool_arenas(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "list";

    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            (void)fputs(usage, stdout);
            return TOOL_DONE;
        }
    if (strcmp(what, "list") == 0)
        return list(argc > 2 ? argc - 2 : 0, argv + 2);
    if (strcmp(what, "--all") == 0)
        return list(argc - 1, argv + 1);
    if (strcmp(what, "reap") == 0)
        return reap(argc - 2, argv + 2);
    if (strcmp(what, "verify") != 0 && strcmp(what, "rm") != 0) {
        tool_say("unknown command \"arenas %s\"; \"huma arenas --help\" lists them", what);
        return TOOL_USAGE;
    }
    if (argc < 3) {
        tool_say("%s of what? pass NAME, or a path; \"huma arenas\" lists them", what);
        return TOOL_USAGE;
    }
    return what[0] == 'v' ? verify(argc - 2, argv + 2) : rm(argc - 2, argv + 2);
}
