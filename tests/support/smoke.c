/* SPDX-License-Identifier: MIT */
/* smoke.c - a small program with a heap, run by scripts under one allocator or another.
 *
 * Problem     Scripts that change a machine's settings, or boot another machine, need a program
 *             that uses malloc in a known way, checks what it gets, and says where its memory is.
 * Idea        One program, libc only, with a few verbs; it prints lines "key value" and exits
 *             with 0 only if all contents were right. The blocks are chained through their first
 *             bytes, so that it needs no memory beside them.
 *
 * Usage       smoke where             page sizes, THP mode and memory nodes of this machine
 *             smoke small             a heap of a few KiB
 *             smoke heap MIB THREADS  fill, measure, fork, free and fill again
 *             smoke churn MIB         fill with one size of block, free all, fill with the next
 *             smoke dense MIB THREADS SPARSE
 *                                     fill with small blocks, then SPARSE MiB that are hardly used
 *             smoke grow MIB BYTES    blocks of BYTES until malloc says no or MIB are there
 *             smoke crowd MIB BYTES   the same after vm.max_map_count was used up
 *             smoke turns COUNT BYTES MIB
 *                                     blocks of BYTES until malloc says no, then one of MIB; COUNT
 *                                     times
 *             smoke nothp CMD ARG...  run CMD with huge pages forbidden by prctl
 */
#include "support/smaps.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_THREADS = 64, CHILD_LIMIT_SECONDS = 120 };

#define MIB ((size_t)1 << 20)

/* Head of each block; the rest of it is filled with the byte tag. */
struct block {
    struct block *next;
    size_t size_bytes;
    unsigned char tag;
};

struct filler {
    pthread_t thread;
    size_t want_bytes;
    struct block *first;
    unsigned char tag;
};

static const size_t mixed_bytes[] = { 24, 100, 1000, 5000, 20000, 100000, 1 * MIB, 3 * MIB };

static void __attribute__((noreturn)) fail(const char *what)
{
    (void)fflush(stdout);
    (void)fprintf(stderr, "smoke: FAILED: %s\n", what);
    _exit(1);
}

static unsigned char *
body_of(struct block *block)
{
    return (unsigned char *)(block + 1);
}

/* One block, filled; NULL if malloc says no. */
static struct block *
make_block(size_t size_bytes, unsigned char tag, struct block *next)
{
    if (size_bytes < sizeof(struct block) + 1)
        size_bytes = sizeof(struct block) + 1;
    struct block *block = malloc(size_bytes);
    if (!block)
        return NULL;
    block->next = next;
    block->size_bytes = size_bytes;
    block->tag = tag;
    memset(body_of(block), tag, size_bytes - sizeof(*block));
    return block;
}

static void
check_blocks(struct block *block)
{
    for (; block; block = block->next) {
        unsigned char *body = body_of(block);
        size_t body_bytes = block->size_bytes - sizeof(*block);
        if (body[0] != block->tag || memcmp(body, body + 1, body_bytes - 1))
            fail("a block has foreign contents");
    }
}

static void
free_blocks(struct block *block)
{
    while (block) {
        struct block *next = block->next;
        free(block);
        block = next;
    }
}

/* Free every second block and return what is left. */
static struct block *
thin_blocks(struct block *first)
{
    for (struct block *block = first; block && block->next; block = block->next) {
        struct block *gone = block->next;
        block->next = gone->next;
        free(gone);
    }
    return first;
}

/* Each size gets the same share of the bytes. */
static void *
run_filler(void *arg)
{
    struct filler *filler = arg;
    size_t size_count = sizeof(mixed_bytes) / sizeof(mixed_bytes[0]);
    size_t share_bytes = filler->want_bytes / size_count;
    for (size_t i = 0; i < size_count; i++) {
        for (size_t done_bytes = 0; done_bytes < share_bytes; done_bytes += mixed_bytes[i]) {
            struct block *block = make_block(mixed_bytes[i], filler->tag, filler->first);
            if (!block)
                fail("no memory");
            filler->first = block;
        }
    }
    return NULL;
}

/* Fill by several threads at once, each in its own chain. */
static void
fill(struct filler *fillers, int thread_count, size_t want_bytes, void *(*run)(void *))
{
    for (int i = 0; i < thread_count; i++) {
        fillers[i].want_bytes = want_bytes / (size_t)thread_count;
        fillers[i].tag = (unsigned char)(fillers[i].tag + i + 1);
        if (pthread_create(&fillers[i].thread, NULL, run, &fillers[i]))
            fail("pthread_create");
    }
    for (int i = 0; i < thread_count; i++)
        (void)pthread_join(fillers[i].thread, NULL);
}

static void
print_smaps(void)
{
    struct hm_smaps sum;
    if (hm_smaps_read(&sum) < 0)
        fail("cannot read /proc/self/smaps_rollup");
    printf("rss_kib %lu\nanonymous_kib %lu\nanon_huge_kib %lu\ncoverage_pct %u\n", sum.rss_kib,
           sum.anonymous_kib, sum.anon_huge_kib, hm_smaps_coverage_pct(&sum));
    (void)fflush(stdout);
}

/* A child that has to check, free and allocate like its parent. */
static void
fork_and_check(struct filler *fillers, int thread_count)
{
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0) {
        (void)alarm(CHILD_LIMIT_SECONDS);
        for (int i = 0; i < thread_count; i++) {
            check_blocks(fillers[i].first);
            check_blocks(thin_blocks(fillers[i].first));
        }
        struct filler more = { .want_bytes = 4 * MIB, .tag = 77 };
        (void)run_filler(&more);
        check_blocks(more.first);
        free_blocks(more.first);
        _exit(0);
    }
    int status = 0;
    if (waitpid(pid, &status, 0) != pid || status)
        fail("the forked child failed");
}

static int
run_heap(size_t want_bytes, int thread_count)
{
    static struct filler fillers[MAX_THREADS];
    if (thread_count < 1 || thread_count > MAX_THREADS)
        fail("THREADS is from 1 to 64");
    fill(fillers, thread_count, want_bytes, run_filler);
    print_smaps();
    fork_and_check(fillers, thread_count);
    for (int i = 0; i < thread_count; i++) {
        check_blocks(fillers[i].first);
        fillers[i].first = thin_blocks(fillers[i].first);
    }
    fill(fillers, thread_count, want_bytes / 4, run_filler);
    for (int i = 0; i < thread_count; i++) {
        check_blocks(fillers[i].first);
        free_blocks(fillers[i].first);
    }
    return 0;
}

/* Counts 16 bytes for each block on top of its size, as other allocators need, too. */
static int
run_churn(size_t want_bytes)
{
    static const size_t block_bytes[] = { 64, 1000, 40 << 10, 1 * MIB, 100, 300 << 10 };
    for (size_t i = 0; i < sizeof(block_bytes) / sizeof(block_bytes[0]); i++) {
        struct block *first = NULL;
        for (size_t done_bytes = 0; done_bytes < want_bytes; done_bytes += block_bytes[i] + 16) {
            struct block *block = make_block(block_bytes[i], (unsigned char)i, first);
            if (!block)
                fail("no memory");
            first = block;
        }
        check_blocks(first);
        if (i == 0)
            print_smaps();
        free_blocks(first);
    }
    return 0;
}

/* Small blocks of mixed sizes, counted with 16 bytes each as other allocators need, too. Sizes
 * follow each other in an order that looks random, so that all are in use at any time. */
static void *
run_mixer(void *arg)
{
    static const size_t sizes[] = { 16, 24, 40, 56, 100, 120, 200, 250, 400, 700, 1000, 2000 };
    struct filler *filler = arg;
    unsigned state = 1;
    for (size_t done_bytes = 0; done_bytes < filler->want_bytes;) {
        state = state * 1103515245 + 12345;
        size_t size_bytes = sizes[(state >> 16) % (sizeof(sizes) / sizeof(sizes[0]))];
        struct block *block
            = make_block(size_bytes + sizeof(struct block), filler->tag, filler->first);
        if (!block)
            fail("no memory");
        filler->first = block;
        done_bytes += block->size_bytes + 16;
    }
    return NULL;
}

/* Blocks of 64 KiB of which only the first bytes are written. */
static void
take_sparse(size_t want_bytes, struct block **inout_first)
{
    for (size_t done_bytes = 0; done_bytes < want_bytes; done_bytes += 64 << 10) {
        struct block *block = malloc((64 << 10) - 64);
        if (!block)
            fail("no memory");
        *block = (struct block){ .next = *inout_first, .size_bytes = sizeof(*block) + 1 };
        *inout_first = block;
    }
}

static int
run_dense(size_t want_bytes, int thread_count, size_t sparse_bytes)
{
    static struct filler fillers[MAX_THREADS];
    struct block *sparse = NULL;
    if (thread_count < 1 || thread_count > MAX_THREADS)
        fail("THREADS is from 1 to 64");
    fill(fillers, thread_count, want_bytes, run_mixer);
    take_sparse(sparse_bytes, &sparse);
    print_smaps();
    for (int i = 0; i < thread_count; i++) {
        check_blocks(fillers[i].first);
        free_blocks(fillers[i].first);
    }
    free_blocks(sparse);
    return 0;
}

/* Blocks until malloc says no or limit_bytes are there; frees all, then prints the figures: where
 * no memory is left, files on tmpfs cannot be written. */
static void
grow_and_free(size_t limit_bytes, size_t block_bytes)
{
    struct block *first = NULL;
    size_t got_bytes = 0;
    int error = 0;
    while (got_bytes < limit_bytes) {
        errno = 0;
        struct block *block = make_block(block_bytes, 9, first);
        if (!block) {
            error = errno;
            break;
        }
        first = block;
        got_bytes += block_bytes;
    }
    check_blocks(first);
    if (error && error != ENOMEM)
        fail("malloc returned NULL, errno is not ENOMEM");
    free_blocks(first);
    printf("got_mib %zu\nrefused %s\n", got_bytes >> 20, error ? "yes" : "no");
}

/* Memory is to be had again. */
static void
expect_block(size_t block_bytes)
{
    struct block *block = make_block(block_bytes, 10, NULL);
    if (!block)
        fail("no memory after everything was freed");
    check_blocks(block);
    free(block);
}

static int
run_grow(size_t limit_bytes, size_t block_bytes)
{
    grow_and_free(limit_bytes, block_bytes);
    expect_block(block_bytes);
    return 0;
}

/* What small blocks had, a large one gets, and the other way round. */
static int
run_turns(size_t turn_count, size_t block_bytes, size_t large_bytes)
{
    for (size_t turn = 0; turn < turn_count; turn++) {
        grow_and_free(SIZE_MAX, block_bytes);
        expect_block(large_bytes);
    }
    return 0;
}

static size_t
max_map_count(void)
{
    size_t count = 0;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
    if (!file || fscanf(file, "%zu", &count) != 1)
        fail("cannot read vm.max_map_count");
    (void)fclose(file);
    return count;
}

/* Neighbouring pages that differ are mappings of their own. Returns the area, of so many pages as
 * there may be mappings. */
static char *
use_up_mappings(size_t count, size_t page_bytes)
{
    char *area = mmap(NULL, count * page_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED)
        fail("no address space to use up the mappings with");
    for (size_t i = 0; i < count; i += 2)
        if (mprotect(area + i * page_bytes, page_bytes, PROT_READ))
            return area;
    fail("vm.max_map_count does not hold");
}

/* A heap that is in use when the mappings run out; then all goes, and then the shortage ends. */
static int
run_crowd(size_t limit_bytes, size_t block_bytes)
{
    struct filler before = { .want_bytes = 20 * MIB, .tag = 5 };
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    size_t count = max_map_count();
    (void)run_filler(&before);
    char *area = use_up_mappings(count, page_bytes);
    grow_and_free(limit_bytes, block_bytes);
    check_blocks(before.first);
    free_blocks(before.first);
    if (munmap(area, count * page_bytes))
        fail("munmap");
    expect_block(block_bytes);
    expect_block(64 * MIB);
    return 0;
}

static int
run_where(void)
{
    struct utsname uts;
    (void)uname(&uts);
    int node_count = 0;
    char path[64];
    for (int i = 0; i < 1024; i++) {
        (void)snprintf(path, sizeof(path), "/sys/devices/system/node/node%d", i);
        node_count += access(path, F_OK) == 0;
    }
    printf("kernel %s\nmachine %s\npage_bytes %ld\nhpage_bytes %lu\nthp %s\nnodes %d\n",
           uts.release, uts.machine, sysconf(_SC_PAGESIZE), hm_smaps_hpage_bytes(),
           hm_smaps_thp_name(hm_smaps_thp_mode()), node_count);
    return 0;
}

static int
run_small(void)
{
    struct block *first = NULL;
    for (size_t i = 0; i < 100; i++)
        first = make_block(32 + 4 * i, (unsigned char)i, first);
    check_blocks(first);
    print_smaps();
    free_blocks(first);
    return 0;
}

static int
run_nothp(char **command)
{
    if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
        fail("prctl(PR_SET_THP_DISABLE)");
    (void)execvp(command[0], command);
    fail("cannot run the command of nothp");
}

static size_t
number(const char *text)
{
    char *end = NULL;
    unsigned long value = strtoul(text, &end, 10);
    if (!*text || *end)
        fail("not a number");
    return value;
}

int
main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    if (!strcmp(verb, "where") && argc == 2)
        return run_where();
    if (!strcmp(verb, "small") && argc == 2)
        return run_small();
    if (!strcmp(verb, "heap") && argc == 4)
        return run_heap(number(argv[2]) * MIB, (int)number(argv[3]));
    if (!strcmp(verb, "churn") && argc == 3)
        return run_churn(number(argv[2]) * MIB);
    if (!strcmp(verb, "dense") && argc == 5)
        return run_dense(number(argv[2]) * MIB, (int)number(argv[3]), number(argv[4]) * MIB);
    if (!strcmp(verb, "grow") && argc == 4)
        return run_grow(number(argv[2]) * MIB, number(argv[3]));
    if (!strcmp(verb, "crowd") && argc == 4)
        return run_crowd(number(argv[2]) * MIB, number(argv[3]));
    if (!strcmp(verb, "turns") && argc == 5)
        return run_turns(number(argv[2]), number(argv[3]), number(argv[4]) * MIB);
    if (!strcmp(verb, "nothp") && argc >= 3)
        return run_nothp(argv + 2);
    (void)fprintf(stderr, "usage: smoke where | small | heap MIB THREADS | churn MIB |"
                          " dense MIB THREADS SPARSE |"
                          " grow MIB BYTES | crowd MIB BYTES | turns COUNT BYTES MIB |"
                          " nothp CMD ARG...\n");
    return 99;
}
