/* SPDX-License-Identifier: MIT */
/* pool_fork.c - fork() with a heap on the pool of hugetlb pages, all of which are in use.
 *
 * Problem     Whoever first writes to a page that parent and child share needs another one. The
 *             child is killed when there is none; or a store of another thread is lost when the
 *             pages are exchanged under it.
 * Idea        Fill the pool. Fork in every order of who writes first, and from children; check all
 *             contents on both sides. Then let threads count upwards in every cache line: each
 *             knows what it stored, and the child must find in each word a value between those
 *             before and after fork(). Streams are open: their locks are blocks of malloc, which
 *             libc writes to in the child before any handler runs.
 *
 * Usage       pool_fork orders|threads|exec MIB
 * Prints      hugetlb_kib before the forks, after_kib when all children are gone.
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define LINE_WORDS 8
#define THREAD_COUNT 8
#define FORK_COUNT 12
#define STREAM_COUNT 20

extern char **environ;

static unsigned long *words; /* one block, or several side by side: contents are per line */
static size_t word_count;
static FILE *streams[STREAM_COUNT];

static void __attribute__((noreturn)) fail(const char *what)
{
    (void)fprintf(stderr, "pool_fork: process %d: %s\n", (int)getpid(), what);
    _exit(1);
}

static void
write_all(unsigned long seed)
{
    for (size_t i = 0; i < word_count; i += LINE_WORDS)
        words[i] = i ^ seed;
}

static void
check_all(unsigned long seed)
{
    for (size_t i = 0; i < word_count; i += LINE_WORDS)
        if (words[i] != (i ^ seed))
            fail("contents changed");
}

/* malloc works, for sizes of all kinds. */
static void
use_heap(void)
{
    enum { COUNT = 2000 };
    static void *blocks[COUNT];

    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = malloc(16 + i * i % 60000);
        if (blocks[i] == NULL)
            fail("no memory");
        memset(blocks[i], (int)i, 16 + i * i % 60000);
    }
    for (size_t i = 0; i < COUNT; i++)
        free(blocks[i]);
}

static size_t
hugetlb_kib(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    size_t kib = 0;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, "HugetlbPages:", 13) == 0)
            kib = strtoul(line + 13, NULL, 10);
    if (file != NULL)
        (void)fclose(file);
    return kib;
}

static void
reap(pid_t pid)
{
    int status;

    if (waitpid(pid, &status, 0) != pid)
        fail("no child");
    if (WIFSIGNALED(status)) {
        (void)fprintf(stderr, "pool_fork: a child was ended by signal %d\n", WTERMSIG(status));
        _exit(1);
    }
    if (WEXITSTATUS(status) != 0)
        _exit(1);
}

static pid_t
start(void)
{
    pid_t pid = fork();

    if (pid < 0)
        fail(strerror(errno));
    return pid;
}

static void
hold(const int *gate)
{
    char byte;

    (void)close(gate[1]);
    if (read(gate[0], &byte, 1) != 0)
        fail("the gate");
    (void)close(gate[0]);
}

/* --- orders ----------------------------------------------------------------------------------- */

static void write_in_child(unsigned long seed, unsigned depth);

/* A child that forks again. */
static void
write_in_turn(unsigned long seed, unsigned depth)
{
    pid_t pid = start();

    if (pid == 0)
        write_in_child(seed, depth - 1);
    write_all(seed + 9);
    reap(pid);
    check_all(seed + 9);
}

static void
write_in_child(unsigned long seed, unsigned depth)
{
    check_all(seed);
    write_all(seed + 1);
    use_heap();
    if (depth > 0)
        write_in_turn(seed + 1, depth);
    else
        check_all(seed + 1);
    for (int i = 0; i < STREAM_COUNT; i++)
        (void)fclose(streams[i]);
    _exit(0);
}

static void
orders(void)
{
    for (unsigned long seed = 100; seed < 100 + 4 * 10; seed += 10) {
        int gate[2];
        pid_t pid;

        write_all(seed);
        if (pipe(gate) != 0)
            fail("pipe");
        pid = start();
        if (pid == 0) {
            if (seed % 20 == 0)
                hold(gate); /* the parent writes first */
            write_in_child(seed, seed % 30 == 0 ? 2 : 0);
        }
        (void)close(gate[0]);
        if (seed % 20 != 0)
            reap(pid);
        check_all(seed);
        write_all(seed + 5);
        use_heap();
        (void)close(gate[1]);
        if (seed % 20 == 0)
            reap(pid);
        check_all(seed + 5);
    }
}

/* --- threads ---------------------------------------------------------------------------------- */

static int is_over; /* atomic */

/* Count up in every line of a share of the words, and use the heap. */
static void *
count_up(void *arg)
{
    size_t share = word_count / THREAD_COUNT / LINE_WORDS * LINE_WORDS;
    volatile unsigned long *mine = words + (size_t)(char *)arg * share;

    for (unsigned long round = 0; !__atomic_load_n(&is_over, __ATOMIC_ACQUIRE); round++) {
        for (size_t i = 0; i < share; i += LINE_WORDS) {
            if (mine[i] != round)
                fail("a store of a thread is lost");
            mine[i] = round + 1;
        }
        free(malloc(round % 3000 + 1));
    }
    return NULL;
}

static void
read_words(unsigned long *to)
{
    for (size_t i = 0; i < word_count; i += LINE_WORDS)
        to[i / LINE_WORDS] = __atomic_load_n(&words[i], __ATOMIC_RELAXED);
}

static void
fork_once(unsigned long *before, unsigned long *in_child, unsigned long *after)
{
    pid_t pid;

    read_words(before);
    pid = start();
    if (pid == 0) {
        read_words(in_child);
        write_all(1);
        use_heap();
        check_all(1);
        for (int i = 0; i < STREAM_COUNT; i++)
            (void)fclose(streams[i]);
        _exit(0);
    }
    read_words(after);
    reap(pid);
    for (size_t i = 0; i < word_count / LINE_WORDS; i++)
        if (in_child[i] < before[i] || in_child[i] > after[i])
            fail("a word of the child is none that it had during fork()");
}

static void *
shared(size_t len_bytes)
{
    void *mem = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (mem == MAP_FAILED)
        fail("mmap");
    return mem;
}

static void
threads(void)
{
    size_t len_bytes = word_count / LINE_WORDS * sizeof(unsigned long);
    unsigned long *seen[3] = { shared(len_bytes), shared(len_bytes), shared(len_bytes) };
    pthread_t ids[THREAD_COUNT];

    memset(words, 0, word_count * sizeof(*words));
    for (size_t i = 0; i < THREAD_COUNT; i++)
        if (pthread_create(&ids[i], NULL, count_up, (char *)i) != 0)
            fail("pthread_create");
    for (int i = 0; i < FORK_COUNT; i++)
        fork_once(seen[0], seen[1], seen[2]);
    __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
    for (size_t i = 0; i < THREAD_COUNT; i++)
        (void)pthread_join(ids[i], NULL);
}

/* --- children that only exec ------------------------------------------------------------------ */

static void
exec(void)
{
    char *argv[] = { (char *)(size_t) "true", NULL };
    pid_t pid;

    write_all(3);
    if (system("exit 7") != 7 << 8 || pclose(popen("true", "re")) != 0)
        fail("system, popen");
    if (posix_spawnp(&pid, "true", NULL, NULL, argv, environ) != 0)
        fail("posix_spawn");
    reap(pid);
    pid = vfork();
    if (pid == 0)
        _exit(0);
    reap(pid);
    pid = start();
    if (pid == 0) {
        (void)execvp("true", argv);
        _exit(9);
    }
    reap(pid);
    check_all(3);
}

int
main(int argc, char **argv)
{
    size_t len_bytes;

    if (argc != 3)
        fail("usage: pool_fork orders|threads|exec MIB");
    len_bytes = strtoul(argv[2], NULL, 10) * MIB;
    for (int i = 0; i < STREAM_COUNT; i++)
        streams[i] = fopen("/dev/null", "we");
    words = malloc(len_bytes);
    if (words == NULL)
        fail("no memory");
    word_count = len_bytes / sizeof(*words);
    memset(words, 1, len_bytes);
    for (int i = 0; i < STREAM_COUNT; i++)
        if (streams[i] == NULL || freopen("/dev/null", "we", streams[i]) == NULL)
            fail("fopen");
    printf("hugetlb_kib %zu\n", hugetlb_kib());
    (void)fflush(stdout);
    if (strcmp(argv[1], "orders") == 0)
        orders();
    else if (strcmp(argv[1], "threads") == 0)
        threads();
    else
        exec();
    printf("after_kib %zu\n", hugetlb_kib());
    free(words);
    return 0;
}
