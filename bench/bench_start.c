/* SPDX-License-Identifier: MIT */
/* bench_start.c - what a preloaded library adds to a short program.
 *
 * Usage   bench_start ROUNDS NAME=[LIBRARY][;VARIABLE=VALUE]... -- PROGRAM ARG...
 *         Without LIBRARY none is preloaded. Give the variant to compare with first: an empty
 *         library is fair, since the loader's work for one more file is nobody's fault.
 * Prints  TSV, a row for each name: CPU time in microseconds (median, and that as a ratio to the
 *         first), minor faults, system calls, and KiB at exit: Rss, anonymous, huge, and the
 *         largest Rss there was.
 *
 * The variants take turns, so that what slows the machine down slows all of them; the program is
 * started by vfork(), so that this process's size is of no consequence. Times and faults come from
 * wait4(). A few more rounds under ptrace() count system calls and stop the program when it exits,
 * with its memory still there. What it prints goes to /dev/null; what its children do is not seen.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_VARIANTS = 16, MAX_SETTINGS = 8, MAX_ENV = 512, MEMORY_ROUNDS = 9, COUNTERS = 5 };

extern char **environ;

struct variant {
    const char *name;
    char *settings[MAX_SETTINGS + 1]; /* LD_PRELOAD=..., and more of the kind */
    long *cpu_us;
    long *faults;
    long memory[COUNTERS][MEMORY_ROUNDS]; /* system calls, Rss, anonymous, huge, largest Rss */
};

static struct variant variants[MAX_VARIANTS];

static void
die(const char *what)
{
    perror(what);
    exit(1);
}

static int
compare(const void *a, const void *b)
{
    long x = *(const long *)a;
    long y = *(const long *)b;

    return (x > y) - (x < y);
}

static long
median(long *values, int count)
{
    qsort(values, (size_t)count, sizeof(values[0]), compare);
    return values[count / 2];
}

/* NAME=[LIBRARY][;VARIABLE=VALUE]... */
static bool
parse(struct variant *variant, char *text, int round_count)
{
    char *library = strchr(text, '=');
    int count = 0;

    if (library == NULL)
        return false;
    *library++ = '\0';
    variant->name = text;
    text = strchr(library, ';');
    for (; text != NULL && count < MAX_SETTINGS - 1; text = strchr(text, ';')) {
        *text++ = '\0';
        variant->settings[count++] = text;
    }
    if (library[0] != '\0' && asprintf(&variant->settings[count], "LD_PRELOAD=%s", library) < 0)
        die("asprintf");
    variant->cpu_us = calloc((size_t)round_count + 1, sizeof(long));
    variant->faults = calloc((size_t)round_count + 1, sizeof(long));
    return true;
}

static pid_t
start(const struct variant *variant, char **argv, int null_fd, bool is_traced)
{
    char *env[MAX_ENV + MAX_SETTINGS + 1];
    int count = 0;
    pid_t pid;

    for (char *const *setting = variant->settings; *setting != NULL; setting++)
        env[count++] = *setting;
    for (char **var = environ; *var != NULL && count < MAX_ENV; var++)
        if (strncmp(*var, "LD_PRELOAD=", 11) != 0)
            env[count++] = *var;
    env[count] = NULL;
    pid = is_traced ? fork() : vfork();
    if (pid < 0)
        die("fork");
    if (pid > 0)
        return pid;
    (void)dup2(null_fd, 1);
    if (is_traced)
        (void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    (void)execvpe(argv[0], argv, env);
    _exit(127);
}

static void
run_timed(struct variant *variant, char **argv, int null_fd, int round)
{
    struct rusage usage;
    int status = 0;
    pid_t pid = start(variant, argv, null_fd, false);

    if (wait4(pid, &status, 0, &usage) != pid)
        die("wait4");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        die(argv[0]);
    variant->cpu_us[round] = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000
                             + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
    variant->faults[round] = usage.ru_minflt;
}

/* The number behind the first line of a file of /proc that starts with `key`. */
static long
look_up(pid_t pid, const char *file, const char *key)
{
    char path[64];
    char line[256];
    long value = 0;
    FILE *in;

    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    in = fopen(path, "r");
    if (in == NULL)
        return 0;
    while (value == 0 && fgets(line, sizeof(line), in) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            value = atol(line + strlen(key));
    (void)fclose(in);
    return value;
}

static void
run_traced(struct variant *variant, char **argv, int null_fd, int round)
{
    pid_t pid = start(variant, argv, null_fd, true);
    long stops = 0;
    int status = 0;

    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
        die("exec under ptrace");
    (void)ptrace(PTRACE_SETOPTIONS, pid, NULL,
                 (void *)(long)(PTRACE_O_TRACEEXIT | PTRACE_O_TRACESYSGOOD));
    for (;;) {
        int sig = 0;

        if (WSTOPSIG(status) == (SIGTRAP | 0x80))
            stops++;
        else if (WSTOPSIG(status) != SIGTRAP)
            sig = WSTOPSIG(status);
        if (status >> 8 == (SIGTRAP | (PTRACE_EVENT_EXIT << 8))) {
            variant->memory[0][round] = stops / 2;
            variant->memory[1][round] = look_up(pid, "smaps_rollup", "Rss:");
            variant->memory[2][round] = look_up(pid, "smaps_rollup", "Anonymous:");
            variant->memory[3][round] = look_up(pid, "smaps_rollup", "AnonHugePages:");
            variant->memory[4][round] = look_up(pid, "status", "VmHWM:");
        }
        (void)ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(long)sig);
        if (waitpid(pid, &status, 0) != pid || WIFEXITED(status) || WIFSIGNALED(status))
            return;
    }
}

static void
print(int variant_count, int round_count, int memory_count)
{
    double first_us = 0;

    printf("name\tcpu_us\tratio\tfaults\tcalls\trss_kib\tanon_kib\thuge_kib\tpeak_kib\n");
    for (int i = 0; i < variant_count; i++) {
        struct variant *variant = &variants[i];
        long cpu_us = median(variant->cpu_us, round_count);

        if (i == 0)
            first_us = (double)cpu_us;
        printf("%s\t%ld\t%.3f\t%ld", variant->name, cpu_us, (double)cpu_us / first_us,
               median(variant->faults, round_count));
        for (int j = 0; j < COUNTERS; j++)
            printf("\t%ld", median(variant->memory[j], memory_count));
        printf("\n");
    }
}

int
main(int argc, char **argv)
{
    int round_count = argc > 1 ? atoi(argv[1]) : 0;
    int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    int count = 0;
    int memory_count = round_count < MEMORY_ROUNDS ? round_count : MEMORY_ROUNDS;
    int arg = 2;

    for (; arg < argc && strcmp(argv[arg], "--") != 0 && count < MAX_VARIANTS; arg++, count++) {
        if (!parse(&variants[count], argv[arg], round_count))
            break;
    }
    if (round_count < 1 || count == 0 || arg + 1 >= argc || strcmp(argv[arg], "--") != 0) {
        (void)fprintf(stderr, "usage: bench_start ROUNDS NAME=[LIBRARY][;VARIABLE=VALUE]... -- "
                              "PROGRAM ARG...\n");
        return 2;
    }
    for (int round = -1; round < round_count; round++) /* the first one warms caches */
        for (int i = 0; i < count; i++)
            run_timed(&variants[i], &argv[arg + 1], null_fd, round < 0 ? 0 : round);
    for (int round = 0; round < memory_count; round++)
        for (int i = 0; i < count; i++)
            run_traced(&variants[i], &argv[arg + 1], null_fd, round);
    print(count, round_count, memory_count);
    return 0;
}
