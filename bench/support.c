/* SPDX-License-Identifier: MIT */
/* support.c - arguments, clocks and reports of the workloads. */
#include "support.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

void
bench_say(const char *format, ...)
{
    char line[512];
    va_list args;

    va_start(args, format);
    int len = vsnprintf(line, sizeof(line) - 1, format, args);
    va_end(args);
    if (len < 0 || (size_t)len > sizeof(line) - 2)
        bench_stop(1, "a line of the report is too long");
    line[len] = '\n';
    if (write(STDOUT_FILENO, line, (size_t)len + 1) != len + 1)
        _exit(1);
}

void
bench_stop(int status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    exit(status);
}

/* Is WORD one of NAMES, which are separated by spaces? */
static int
is_among(const char *word, const char *names)
{
    size_t len = strlen(word);

    for (const char *at = strstr(names, word); len > 0 && at != NULL; at = strstr(at + 1, word)) {
        int is_begin = at == names || at[-1] == ' ';

        if (is_begin && (at[len] == ' ' || at[len] == '\0'))
            return 1;
    }
    return 0;
}

struct bench_task
bench_task(int argc, char **argv, const char *names)
{
    struct bench_task task = { .scale = 1 };
    char *end = NULL;

    if (argc < 2 || argc > 4 || !is_among(argv[1], names))
        bench_stop(2, "usage: %s NAME [SCALE [COUNT|latency]], NAME being one of: %s", argv[0],
                   names);
    task.name = argv[1];
    if (argc > 2) {
        task.scale = strtod(argv[2], &end);
        if (*end != '\0' || !(task.scale > 0 && task.scale <= 1000))
            bench_stop(2, "%s: scale '%s': expected a number above 0, up to 1000", argv[0],
                       argv[2]);
    }
    if (argc > 3 && strcmp(argv[3], "latency") == 0) {
        task.wants_latency = 1;
    } else if (argc > 3) {
        task.count = strtol(argv[3], &end, 10);
        if (*end != '\0' || task.count < 1)
            bench_stop(2, "%s: '%s': expected a number of operations, or latency", argv[0],
                       argv[3]);
    }
    return task;
}

size_t
bench_scaled(const struct bench_task *task, double base, size_t least)
{
    double scaled = base * task->scale;

    return scaled < (double)least ? least : (size_t)scaled;
}

int64_t
bench_now_ns(clockid_t clock)
{
    struct timespec now;

    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void *
bench_alloc(size_t len_bytes)
{
    void *block = malloc(len_bytes);

    if (block == NULL)
        bench_stop(1, "no memory for a block of %zu bytes", len_bytes);
    bench_touch(block, len_bytes);
    return block;
}

size_t
bench_read_file(const char *name, char *text, size_t room_bytes)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    size_t len = 0;

    if (fd < 0)
        return 0;
    for (ssize_t got = 1; got > 0 && len<room_bytes - 1; len += got> 0 ? (size_t)got : 0)
        got = read(fd, text + len, room_bytes - 1 - len);
    (void)close(fd);
    text[len] = '\0';
    return len;
}

long
bench_field(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at == NULL ? 0 : strtol(at + strlen(name), NULL, 10);
}

/* What is resident, as KEY=VALUE; a walk of all pages only where the run may take its time. */
static void
memory_text(char *out, size_t room_bytes)
{
    char status[4096] = "";
    char rollup[4096] = "";
    long hugetlb_kib;
    long rss_kib;

    (void)bench_read_file("/proc/self/status", status, sizeof(status));
    hugetlb_kib = bench_field(status, "\nHugetlbPages:");
    rss_kib = bench_field(status, "\nVmRSS:") + hugetlb_kib;
    if (getenv("HUMA_BENCH_SAMPLED") != NULL
        && bench_read_file("/proc/self/smaps_rollup", rollup, sizeof(rollup)) > 0) {
        rss_kib = bench_field(rollup, "\nRss:") + hugetlb_kib;
        (void)snprintf(out, room_bytes, "rss_kib=%ld\thuge_kib=%ld\tpte_kib=%ld", rss_kib,
                       bench_field(rollup, "\nAnonHugePages:") + hugetlb_kib,
                       bench_field(status, "\nVmPTE:"));
        return;
    }
    (void)snprintf(out, room_bytes, "rss_kib=%ld\tpte_kib=%ld", rss_kib,
                   bench_field(status, "\nVmPTE:"));
}

static long
fault_count(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

void
bench_phase_begin(struct bench_phase *phase)
{
    phase->begin_fault_count = fault_count();
    phase->begin_cpu_ns = bench_now_ns(CLOCK_PROCESS_CPUTIME_ID);
    phase->begin_wall_ns = bench_now_ns(CLOCK_MONOTONIC);
}

void
bench_phase_end(const struct bench_phase *phase, const char *name, const char *extra)
{
    int64_t wall_ns = bench_now_ns(CLOCK_MONOTONIC) - phase->begin_wall_ns;
    int64_t cpu_ns = bench_now_ns(CLOCK_PROCESS_CPUTIME_ID) - phase->begin_cpu_ns;
    long faults = fault_count() - phase->begin_fault_count;
    char memory[160];

    memory_text(memory, sizeof(memory));
    bench_say("phase\t%s\twall_s=%.6f\tcpu_s=%.6f\tfaults=%ld\t%s%s%s", name, (double)wall_ns / 1e9,
              (double)cpu_ns / 1e9, faults, memory, extra == NULL ? "" : "\t",
              extra == NULL ? "" : extra);
}

void
bench_final(void)
{
    char memory[160];

    memory_text(memory, sizeof(memory));
    bench_say("final\t%s", memory);
}
