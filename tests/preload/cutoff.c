/* SPDX-License-Identifier: MIT */
/* cutoff.c - runs one rule, or lists them (see cutoff.h). */
#include "cutoff.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* Below, glibc serves requests from what is left of a page, whatever the threshold. */
enum { PROBE_MIN_BYTES = 8000 };

static const size_t probe_max_bytes = 100 * MIB;

static const struct rule *const groups[] = {
    alloc_rules, dynamic_rules, realloc_rules, setting_rules, small_rules,
};

static const struct rule *current;

void
say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)dprintf(STDOUT_FILENO, "%s: ", current->name);
    (void)vdprintf(STDOUT_FILENO, format, args);
    (void)dprintf(STDOUT_FILENO, "\n");
    va_end(args);
}

size_t
direct_count(void)
{
    return mallinfo2().hblks;
}

void
say_direct(const char *what)
{
    struct mallinfo2 info = mallinfo2();
    say("%s: %zu direct, %#zx bytes", what, info.hblks, info.hblkhd);
}

void *
drained_malloc(size_t size)
{
    (void)malloc_trim(0);
    return malloc(size);
}

bool
becomes_direct(size_t size)
{
    size_t before = direct_count();
    void *volatile block = drained_malloc(size);
    expect(block != NULL, "no memory for %zu bytes", size);
    return direct_count() > before;
}

static bool
probe(size_t size, size_t align)
{
    pid_t child = fork();
    int status = 0;
    if (child == 0) {
        size_t before = direct_count();
        (void)malloc_trim(0);
        void *volatile block = align != 0 ? memalign(align, size) : malloc(size);
        _exit(block == NULL ? 2 : direct_count() > before);
    }
    expect(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) < 2,
           "a probe of %zu bytes ended with %#x", size, (unsigned)status);
    return WEXITSTATUS(status) == 1;
}

size_t
first_direct(size_t align)
{
    size_t low = PROBE_MIN_BYTES;
    size_t high = probe_max_bytes;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (probe(middle, align))
            high = middle;
        else
            low = middle;
    }
    return high;
}

void
say_first_direct(void)
{
    size_t first = first_direct(0);
    if (first == probe_max_bytes)
        say("no request is direct");
    else if (first == PROBE_MIN_BYTES + 1)
        say("all requests from %d on are direct", PROBE_MIN_BYTES);
    else
        say("direct from %zu on", first);
}

static void *
thread_main(void *function)
{
    union {
        void *address;
        void (*function)(void);
    } task = { function };
    task.function();
    return NULL;
}

void
in_thread(void (*function)(void))
{
    union {
        void (*function)(void);
        void *address;
    } task = { function };
    pthread_t thread;
    expect(pthread_create(&thread, NULL, thread_main, task.address) == 0, "no thread");
    expect(pthread_join(thread, NULL) == 0, "cannot join the thread");
}

int
main(int argc, char **argv)
{
    /* glibc's first malloc allocates for itself, too. */
    void *volatile first = malloc(24);
    expect(first != NULL, "no memory");
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        for (current = groups[i]; current->name != NULL; current++) {
            if (argc < 2) {
                (void)dprintf(STDOUT_FILENO, "%s\t%s\n", current->name,
                              current->env != NULL ? current->env : "");
            } else if (strcmp(argv[1], current->name) == 0) {
                current->run(current->a, current->b);
                return 0;
            }
        }
    }
    expect(argc < 2, "there is no rule %s", argv[1]);
    return 0;
}
