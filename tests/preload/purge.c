/* SPDX-License-Identifier: MIT */
/* purge.c - what the kernel says is resident after the program has freed, swung, or asked.
 *
 *   purge done     build up and free everything: it is back, with no further call
 *   purge swing    take and free the same again and again: nothing is faulted in anew
 *   purge later    after a swing: a later call returns what nobody wants any more
 *   purge idle     the same without a call (with HUMA_PURGE_THREAD=on)
 *   purge trim     one block in four stays: malloc_trim returns the rest, and contents stay
 *   purge hidden   free memory is left out of core dumps, and what is in use is not
 */
#include "expect.h"
#include "support/smaps.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { BLOCK_COUNT = 2000, BLOCK_BYTES = 100000, MIB_KIB = 1024 };

static char *blocks[BLOCK_COUNT];

static void
fill(void)
{
    for (int i = 0; i < BLOCK_COUNT; i++) {
        blocks[i] = malloc(BLOCK_BYTES);
        expect(blocks[i] != NULL, "malloc(%d)", BLOCK_BYTES);
        memset(blocks[i], i % 251 + 1, BLOCK_BYTES);
    }
}

static void
empty(void)
{
    for (int i = 0; i < BLOCK_COUNT; i++) {
        free(blocks[i]);
        blocks[i] = NULL;
    }
}

static unsigned long
rss_kib(void)
{
    struct hm_smaps sum;

    expect(hm_smaps_read(&sum) == 0, "smaps_rollup");
    return sum.rss_kib;
}

static long
fault_count(void)
{
    struct rusage usage;

    expect(getrusage(RUSAGE_SELF, &usage) == 0, "getrusage");
    return usage.ru_minflt;
}

static void
sleep_ms(long ms)
{
    struct timespec span = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

    (void)nanosleep(&span, NULL);
}

static void
call(void)
{
    void *mem = malloc(BLOCK_BYTES);

    expect(mem != NULL, "malloc(%d)", BLOCK_BYTES);
    free(mem);
}

/* 16 MiB and 5 % of the peak. */
static unsigned long
little_kib(unsigned long before_kib)
{
    return before_kib + 16 * MIB_KIB + BLOCK_COUNT * (BLOCK_BYTES / 1024) / 20;
}

static void
done(void)
{
    unsigned long before_kib = rss_kib();

    fill();
    empty();
    expect(rss_kib() <= little_kib(before_kib), "%lu KiB are resident, %lu were before", rss_kib(),
           before_kib);
}

static void
swing(void)
{
    long faults;

    for (int i = 0; i < 3; i++) {
        fill();
        empty();
    }
    faults = fault_count();
    for (int i = 0; i < 5; i++) {
        fill();
        empty();
    }
    faults = fault_count() - faults;
    expect(faults < 100, "%ld page faults in five swings of 200 MB", faults);
}

static void
later(void)
{
    unsigned long before_kib = rss_kib();

    for (int i = 0; i < 5; i++) {
        fill();
        empty();
    }
    for (int i = 0; i < 4; i++) {
        sleep_ms(250); /* more than HUMA_PURGE_DELAY_MS */
        call();
        call();
    }
    expect(rss_kib() <= little_kib(before_kib), "%lu KiB are resident, %lu were before", rss_kib(),
           before_kib);
}

static void
idle(void)
{
    unsigned long before_kib = rss_kib();

    for (int i = 0; i < 5; i++) {
        fill();
        empty();
    }
    for (int i = 0; i < 300 && rss_kib() > little_kib(before_kib); i++)
        sleep_ms(100);
    expect(rss_kib() <= little_kib(before_kib), "%lu KiB are resident, %lu were before", rss_kib(),
           before_kib);
}

static void
trim(void)
{
    unsigned long before_kib = rss_kib();
    unsigned long live_kib = BLOCK_COUNT / 4 * (BLOCK_BYTES / 1024 + 1);
    unsigned long after_kib;

    fill();
    for (int i = 0; i < BLOCK_COUNT; i++)
        if (i % 4 != 0)
            free(blocks[i]);
    expect(malloc_trim(0) == 1, "malloc_trim returns memory");
    after_kib = rss_kib() - before_kib;
    expect(after_kib <= live_kib + live_kib / 4, "%lu KiB for %lu in use", after_kib, live_kib);
    for (int i = 0; i < BLOCK_COUNT; i += 4)
        for (int k = 0; k < BLOCK_BYTES; k += 100)
            expect(blocks[i][k] == (char)(i % 251 + 1), "block %d is as it was", i);
}

/* KiB of mappings with a part between the first and the last block that dumps would hold. */
static unsigned long
dumped_kib(uintptr_t first_addr, uintptr_t last_addr)
{
    FILE *in = fopen("/proc/self/smaps", "r");
    char line[512];
    unsigned long size_kib = 0;
    unsigned long sum_kib = 0;
    bool is_heap = false;

    expect(in != NULL, "/proc/self/smaps");
    while (fgets(line, sizeof(line), in) != NULL) {
        unsigned long from;
        unsigned long to;

        if (sscanf(line, "%lx-%lx", &from, &to) == 2)
            is_heap = from <= last_addr && to > first_addr && strstr(line, " rw-p ") != NULL;
        if (sscanf(line, "Size: %lu", &size_kib) == 1 || strncmp(line, "VmFlags:", 8) != 0)
            continue;
        if (is_heap && strstr(line, " dd") == NULL)
            sum_kib += size_kib;
    }
    (void)fclose(in);
    return sum_kib;
}

static void
hidden(void)
{
    unsigned long all_kib = BLOCK_COUNT * (BLOCK_BYTES / 1024);
    uintptr_t first_addr = UINTPTR_MAX;
    uintptr_t last_addr = 0;

    fill();
    for (int i = 0; i < BLOCK_COUNT; i++) {
        uintptr_t addr = (uintptr_t)blocks[i];

        first_addr = addr < first_addr ? addr : first_addr;
        last_addr = addr > last_addr ? addr : last_addr;
    }
    expect(dumped_kib(first_addr, last_addr) >= all_kib, "what is in use is dumped");
    empty();
    expect(dumped_kib(first_addr, last_addr) <= all_kib / 3, "%lu of %lu KiB would be dumped",
           dumped_kib(first_addr, last_addr), all_kib);
    fill();
    expect(dumped_kib(first_addr, last_addr) >= all_kib, "what is in use again is dumped");
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } modes[] = { { "done", done }, { "swing", swing }, { "later", later },
                  { "idle", idle }, { "trim", trim },   { "hidden", hidden } };

    for (size_t i = 0; argc == 2 && i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (strcmp(argv[1], modes[i].name) == 0) {
            modes[i].run();
            return 0;
        }
    }
    (void)fprintf(stderr, "usage: purge done|swing|later|idle|trim|hidden\n");
    return 2;
}
