/* SPDX-License-Identifier: MIT */
/* bench_launch.c - runs one program under one allocator and measures it from outside.
 *
 * Problem  What a harness in a script measures is coloured by the harness: a child's peak RSS
 *          starts from its parent's, and memory that the host of a virtual machine must fetch
 *          first costs fifty times the rest.
 * Idea     A small parent. It first lets a process of its own, under the same allocator, touch as
 *          much memory as the program will need; then it runs the program and reads its rusage.
 *          With -s it also looks at the largest process of the program's tree every 100 ms, more
 *          often at first; such a run's time does not count.
 * Usage    bench_launch [-s] [-m MIB] [-t SECONDS] [-c SCRIPT] [-e NAME=VALUE]... -o FILE -- CMD...
 *            -m MIB         memory to touch before
 *            -t SECONDS     stop the program after that time (default 600)
 *            -c SCRIPT      run sh -c SCRIPT beside it, without the settings of -e; BENCH_PID is
 *                           the program
 *            -e NAME=VALUE  setting for the program, such as LD_PRELOAD
 *            -o FILE        where to write what was measured, as KEY<TAB>VALUE
 *          bench_launch --touch MIB     allocate and touch in blocks of 64 KiB
 *          bench_launch --whose         print the file that malloc comes from
 */
#include "support.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SETTING_COUNT = 32, STATUS_ROOM = 4096 };

struct job {
    int wants_samples;
    long touch_mib;
    long limit_s;
    const char *companion;
    const char *result_name;
    char *settings[SETTING_COUNT];
    int setting_count;
    char **command;
};

struct sample {
    long rss_kib;
    long huge_kib;
    long hugetlb_kib;
    long pte_kib;
};

static void
apply_settings(const struct job *job)
{
    for (int i = 0; i < job->setting_count; i++)
        if (putenv(job->settings[i]) != 0)
            _exit(127);
    if (job->wants_samples)
        (void)setenv("HUMA_BENCH_SAMPLED", "1", 1);
}

/* The child's side of a fork: signals as the caller had them, a group of its own, no life without
 * its parent. */
static void
become_child(const sigset_t *old_signals)
{
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)sigprocmask(SIG_SETMASK, old_signals, NULL);
}

static pid_t
start(const struct job *job, char **command, const sigset_t *old_signals)
{
    pid_t child = fork();

    if (child < 0)
        bench_stop(1, "bench_launch: fork failed: %s", strerror(errno));
    if (child == 0) {
        become_child(old_signals);
        apply_settings(job);
        (void)execvp(command[0], command);
        (void)dprintf(STDERR_FILENO, "bench_launch: cannot run %s: %s\n", command[0],
                      strerror(errno));
        _exit(127);
    }
    (void)setpgid(child, child);
    return child;
}

static pid_t
start_companion(const struct job *job, pid_t program, const sigset_t *old_signals)
{
    pid_t child = fork();

    if (child == 0) {
        char number[32];

        become_child(old_signals);
        (void)snprintf(number, sizeof(number), "%d", (int)program);
        (void)setenv("BENCH_PID", number, 1);
        (void)execlp("sh", "sh", "-c", job->companion, (char *)NULL);
        _exit(127);
    }
    return child;
}

static void
touch_before(const struct job *job, const char *self, const sigset_t *old_signals)
{
    struct job plain = *job;
    char self_name[4096];
    char option[] = "--touch";
    char number[32];
    char *command[] = { self_name, option, number, NULL };
    int status;

    (void)snprintf(self_name, sizeof(self_name), "%s", self);
    (void)snprintf(number, sizeof(number), "%ld", job->touch_mib);
    plain.wants_samples = 0;
    (void)waitpid(start(&plain, command, old_signals), &status, 0);
}

/* Read a file of /proc/PROCESS. */
static size_t
read_proc(char *text, pid_t process, const char *file)
{
    char name[128];

    (void)snprintf(name, sizeof(name), "/proc/%d/%s", (int)process, file);
    return bench_read_file(name, text, STATUS_ROOM);
}

/* Find the process with most memory below and including PROCESS. */
static void
find_largest(pid_t process, int depth, pid_t *out_largest, long *out_rss_kib)
{
    char text[STATUS_ROOM];
    char name[40];
    long rss_kib;

    if (read_proc(text, process, "status") == 0)
        return;
    rss_kib = bench_field(text, "\nVmRSS:") + bench_field(text, "\nHugetlbPages:");
    if (rss_kib > *out_rss_kib) {
        *out_rss_kib = rss_kib;
        *out_largest = process;
    }
    (void)snprintf(name, sizeof(name), "task/%d/children", (int)process);
    if (depth == 0 || read_proc(text, process, name) == 0)
        return;
    for (char *at = text, *end = NULL; *at != '\0'; at = end) {
        long child = strtol(at, &end, 10);

        if (end == at)
            break;
        find_largest((pid_t)child, depth - 1, out_largest, out_rss_kib);
    }
}

/* Returns whether there was something to see. */
static int
take_sample(pid_t program, struct sample *out_sample)
{
    char text[STATUS_ROOM];
    pid_t largest = program;
    long rss_kib = 0;

    find_largest(program, 4, &largest, &rss_kib);
    if (rss_kib == 0 || read_proc(text, largest, "status") == 0)
        return 0;
    out_sample->hugetlb_kib = bench_field(text, "\nHugetlbPages:");
    out_sample->pte_kib = bench_field(text, "\nVmPTE:");
    if (read_proc(text, largest, "smaps_rollup") == 0)
        return 0;
    out_sample->rss_kib = bench_field(text, "\nRss:") + out_sample->hugetlb_kib;
    out_sample->huge_kib = bench_field(text, "\nAnonHugePages:") + out_sample->hugetlb_kib;
    return out_sample->rss_kib > 0;
}

/* Wait for the program, with samples or without. Returns its wait status, or -1 after the limit. */
static int
wait_for(const struct job *job, pid_t program, FILE *result, struct rusage *out_usage)
{
    int64_t begin_ns = bench_now_ns(CLOCK_MONOTONIC);
    int64_t limit_ns = job->limit_s * 1000000000;
    int64_t pause_ns = job->wants_samples ? 4000000 : limit_ns;
    int has_ended = 0;
    int status = 0;
    sigset_t awaited;

    (void)sigemptyset(&awaited);
    (void)sigaddset(&awaited, SIGCHLD);
    (void)sigaddset(&awaited, SIGTERM);
    (void)sigaddset(&awaited, SIGINT);
    while (!has_ended) {
        int64_t at_ns = bench_now_ns(CLOCK_MONOTONIC) - begin_ns;
        int64_t left_ns = limit_ns - at_ns < pause_ns ? limit_ns - at_ns : pause_ns;
        struct timespec pause = { .tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000 };
        struct sample sample;
        int signal_number = left_ns > 0 ? sigtimedwait(&awaited, NULL, &pause) : -1;

        if (wait4(program, &status, WNOHANG, out_usage) == program)
            return status;
        at_ns = bench_now_ns(CLOCK_MONOTONIC) - begin_ns;
        has_ended = at_ns >= limit_ns || signal_number == SIGTERM || signal_number == SIGINT;
        if (!job->wants_samples || signal_number == SIGCHLD || !take_sample(program, &sample))
            continue;
        (void)fprintf(result, "sample\t%.4f\t%ld\t%ld\t%ld\t%ld\n", (double)at_ns / 1e9,
                      sample.rss_kib, sample.huge_kib, sample.hugetlb_kib, sample.pte_kib);
        pause_ns = pause_ns * 5 / 4 < 100000000 ? pause_ns * 5 / 4 : 100000000;
    }
    (void)kill(-program, SIGKILL);
    (void)wait4(program, &status, 0, out_usage);
    return -1;
}

static void
write_result(FILE *result, int status, double wall_s, const struct rusage *usage)
{
    if (status == -1)
        (void)fprintf(result, "status\ttimeout\n");
    else if (WIFSIGNALED(status))
        (void)fprintf(result, "status\tsignal %d\n", WTERMSIG(status));
    else
        (void)fprintf(result, "status\texit %d\n", WEXITSTATUS(status));
    (void)fprintf(result, "wall_s\t%.6f\nuser_s\t%ld.%06ld\nsys_s\t%ld.%06ld\n", wall_s,
                  (long)usage->ru_utime.tv_sec, (long)usage->ru_utime.tv_usec,
                  (long)usage->ru_stime.tv_sec, (long)usage->ru_stime.tv_usec);
    (void)fprintf(result, "peak_rss_kib\t%ld\nminor_faults\t%ld\nmajor_faults\t%ld\n",
                  usage->ru_maxrss, usage->ru_minflt, usage->ru_majflt);
}

static int
run(const struct job *job, const char *self)
{
    FILE *result = fopen(job->result_name, "we");
    struct rusage usage;
    sigset_t blocked;
    sigset_t old_signals;
    pid_t companion = 0;

    if (result == NULL)
        bench_stop(1, "bench_launch: cannot write %s: %s", job->result_name, strerror(errno));
    (void)sigemptyset(&blocked);
    (void)sigaddset(&blocked, SIGCHLD);
    (void)sigaddset(&blocked, SIGTERM);
    (void)sigaddset(&blocked, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &blocked, &old_signals);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (job->touch_mib > 0)
        touch_before(job, self, &old_signals);

    int64_t begin_ns = bench_now_ns(CLOCK_MONOTONIC);
    pid_t program = start(job, job->command, &old_signals);

    if (job->companion != NULL)
        companion = start_companion(job, program, &old_signals);
    int status = wait_for(job, program, result, &usage);
    double wall_s = (double)(bench_now_ns(CLOCK_MONOTONIC) - begin_ns) / 1e9;

    if (companion > 0) {
        int companion_status = 0;

        if (status == -1)
            (void)kill(-companion, SIGKILL);
        if (waitpid(companion, &companion_status, 0) == companion && companion_status != 0)
            (void)fprintf(result, "companion\t%d\n", companion_status);
    }
    write_result(result, status, wall_s, &usage);
    return fclose(result) == 0 ? 0 : 1;
}

static int
touch(const char *mib)
{
    for (long i = strtol(mib, NULL, 10) * 16; i > 0; i--)
        (void)bench_alloc(65536);
    return 0;
}

static int
whose(void)
{
    Dl_info info;

    if (dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info) == 0)
        return 1;
    bench_say("%s", info.dli_fname);
    return 0;
}

int
main(int argc, char **argv)
{
    struct job job = { .limit_s = 600 };
    int option;

    if (argc == 3 && strcmp(argv[1], "--touch") == 0)
        return touch(argv[2]);
    if (argc == 2 && strcmp(argv[1], "--whose") == 0)
        return whose();
    while ((option = getopt(argc, argv, "+sm:t:c:e:o:")) != -1) {
        switch (option) {
        case 's':
            job.wants_samples = 1;
            break;
        case 'm':
            job.touch_mib = strtol(optarg, NULL, 10);
            break;
        case 't':
            job.limit_s = strtol(optarg, NULL, 10);
            break;
        case 'c':
            job.companion = optarg;
            break;
        case 'e':
            if (job.setting_count == SETTING_COUNT)
                bench_stop(2, "bench_launch: more than %d settings", SETTING_COUNT);
            job.settings[job.setting_count++] = optarg;
            break;
        case 'o':
            job.result_name = optarg;
            break;
        default:
            return 2;
        }
    }
    job.command = argv + optind;
    if (job.result_name == NULL || job.command[0] == NULL)
        bench_stop(2, "bench_launch: -o FILE and a command are needed");
    return run(&job, argv[0]);
}
