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
 *             libc writes to in the child before any handler runs. A thread hands blocks out
 *             through static memory, which the child sees as it was later than the blocks: what
 *             is in use must not be handed out again. Signal handlers fork as well, and the
 *             program may have taken away the right to read from a part.
 *
 * Usage       pool_fork orders|threads|handed|signals|protected|exec MIB
 * Prints      hugetlb_kib before the forks, after_kib when all children are gone.
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
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

/* --- blocks of other threads ------------------------------------------------------------------ */

enum { HANDED_BYTES = 200, HANDED_COUNT = 3000 };

static void *handed; /* the newest block of hand_out, in use; atomic */

static void *
hand_out(void *arg)
{
    static void *blocks[HANDED_COUNT];

    while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
        for (size_t i = 0; i < HANDED_COUNT; i++) {
            void *old = blocks[i];

            blocks[i] = malloc(HANDED_BYTES);
            __atomic_store_n(&handed, blocks[i], __ATOMIC_RELEASE);
            free(old);
        }
    }
    return arg;
}

/* Every block that malloc has left is not the one that the thread had. */
static void __attribute__((noreturn)) look_for_handed(void)
{
    void *theirs = __atomic_load_n(&handed, __ATOMIC_ACQUIRE);

    for (size_t i = 0; i < 20000; i++)
        if (malloc(HANDED_BYTES) == theirs)
            fail("a block of another thread is handed out again");
    free(theirs);
    _exit(0);
}

static void
hand_over(void)
{
    pthread_t id;

    if (pthread_create(&id, NULL, hand_out, NULL) != 0)
        fail("pthread_create");
    while (__atomic_load_n(&handed, __ATOMIC_ACQUIRE) == NULL)
        (void)usleep(1000);
    for (int i = 0; i < 2 * FORK_COUNT; i++) {
        pid_t pid = start();

        if (pid == 0)
            look_for_handed();
        reap(pid);
        (void)usleep(1000);
    }
    __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
    (void)pthread_join(id, NULL);
}

/* --- handlers that fork ----------------------------------------------------------------------- */

static volatile sig_atomic_t handled;

static void
fork_in_handler(int signo)
{
    int saved_errno = errno;
    pid_t pid = start();

    (void)signo;
    if (pid == 0) {
        check_all(7);
        write_all(8);
        _exit(0);
    }
    reap(pid);
    handled++;
    errno = saved_errno;
}

static void
signals(void)
{
    struct sigaction action = { .sa_handler = fork_in_handler, .sa_flags = SA_RESTART };
    /* In time of the processor: the handler would use up the next turn, too. */
    const struct itimerval soon = { .it_value = { .tv_usec = 3000 } };

    write_all(7);
    (void)sigaction(SIGVTALRM, &action, NULL);
    for (int i = 0; i < 2 * FORK_COUNT; i++) {
        sig_atomic_t seen = handled;

        (void)setitimer(ITIMER_VIRTUAL, &soon, NULL);
        while (handled == seen) {
            if (i % 2 == 0) {
                use_heap();
            } else {
                pid_t pid = start();

                if (pid == 0)
                    write_in_child(7, 0);
                reap(pid);
            }
        }
    }
    check_all(7);
}

/* --- what may not be read --------------------------------------------------------------------- */

static void
protect(void)
{
    char *mem = (char *)(((uintptr_t)words + 4 * MIB) & ~(2 * MIB - 1));
    pid_t pid;

    if (mprotect(mem, 2 * MIB, PROT_NONE) != 0)
        fail("mprotect");
    pid = start();
    if (pid == 0) {
        words[0] = 1;
        use_heap();
        _exit(0);
    }
    reap(pid);
    if (mprotect(mem, 2 * MIB, PROT_READ | PROT_WRITE) != 0)
        fail("mprotect");
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

static const struct {
    const char *name;
    void (*run)(void);
} modes[] = {
    { "orders", orders },   { "threads", threads },   { "handed", hand_over },
    { "signals", signals }, { "protected", protect }, { "exec", exec },
};

int
main(int argc, char **argv)
{
    size_t len_bytes;

    if (argc != 3)
        fail("usage: pool_fork orders|threads|handed|signals|protected|exec MIB");
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
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (strcmp(argv[1], modes[i].name) == 0)
            modes[i].run();
    printf("after_kib %zu\n", hugetlb_kib());
    free(words);
    return 0;
}
