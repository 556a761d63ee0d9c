/* SPDX-License-Identifier: MIT */
/* soak.c - a long random run over malloc: threads, hand-overs, forks.
 *
 * Problem     Lost blocks, overlapping blocks and memory that never comes back show only after many
 *             calls in an order that nobody would write down.
 * Idea        Rounds. In each, new threads allocate blocks of log-uniform size, fill them with a
 *             pattern of their own, swap blocks through shared slots, and fork now and then; every
 *             block is checked before it is resized or freed. The live amount swings. Blocks climb
 *             by realloc to many megabytes; short-lived threads come in between. Then everything
 *             is freed, partly by another thread than the owner, and resident memory must have come
 *             back, in every round to what it was after the first. An alarm ends a run that hangs.
 * State       Everything here is static: the harness itself never allocates.
 * Replay      The seed is printed and SOAK_SEED sets it; the order of events differs still, since
 *             there are threads.
 *
 * Environment SOAK_SECONDS (30), SOAK_SEED (random), SOAK_LIVE_MIB (384): most bytes live at once,
 *             SOAK_CHILDREN (8): most children alive at once.
 * Exit        0 ok, 1 a check failed, 99 broken set-up.
 */
#include "support/smaps.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    THREAD_COUNT = 8,
    SLOT_COUNT = 4096,      /* blocks one thread may hold */
    SWAP_COUNT = 64,        /* shared slots through which blocks change hands */
    MIN_SHIFT = 4,          /* smallest block: 16 bytes */
    MAX_SHIFT = 22,         /* largest block: just under 4 MiB */
    FULL_SHIFT = 16,        /* the same while a thread holds enough */
    DENSE_BYTES = 16 << 10, /* up to this blocks are filled whole, else once per STRIDE_BYTES */
    STRIDE_BYTES = 2048,
    ROUND_SECONDS = 5,
    FORK_EVERY_MS = 400,
    CHILD_LIMIT_SECONDS = 60,
    HANG_SECONDS = 120,      /* a round that takes so much longer than it should hangs */
    LADDER_EVERY = 20000,    /* steps of a thread between two ladders */
    LADDER_BYTES = 80 << 20, /* up to where a ladder grows */
    VISITOR_EVERY = 4000,    /* steps of a thread between two threads of its own */
    SETTLED_ROUNDS = 4,      /* from then on resident memory may not grow by more than ... */
    GROWTH_KIB = 16 << 10,   /* ... this, whatever the number of rounds */
    ALLOWED_PCT = 5,         /* of the peak may stay resident after everything is freed ... */
    ALLOWED_KIB = 32 << 10,  /* ... and this much more */
};

struct block {
    unsigned char *start; /* NULL: no block */
    size_t size_bytes;
    uint64_t seed; /* of its pattern */
};

struct worker {
    pthread_t thread;
    int index;
    uint64_t random;
    size_t live_bytes; /* of its own slots */
    uint64_t op_count;
    long last_fork_ms;
    struct block slots[SLOT_COUNT];
};

struct swap {
    pthread_mutex_t lock;
    struct block block; /* lock: lock */
};

static struct worker workers[THREAD_COUNT];
static struct swap swaps[SWAP_COUNT];
static uint64_t base_seed;
static size_t live_limit_bytes; /* for one thread */
static long round_start_ms;
static long round_end_ms;
static long child_limit;
static atomic_long child_count;
static atomic_long fork_count;
static atomic_long swap_count;
static atomic_long ladder_count;
static atomic_long visitor_count;
static pthread_mutex_t ladder_lock = PTHREAD_MUTEX_INITIALIZER; /* one huge block at a time */
static unsigned long settled_kib; /* most that was resident after any of the first rounds */

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    (void)dprintf(STDERR_FILENO, "soak: FAILED: %s; repeat with SOAK_SEED=%llu\n", text,
                  (unsigned long long)base_seed);
    _exit(1);
}

static long
now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* splitmix64: also serves as the hash that makes patterns. */
static uint64_t
mix(uint64_t value)
{
    value += 0x9e3779b97f4a7c15u;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

static uint64_t
draw(uint64_t *random)
{
    *random += 0x9e3779b97f4a7c15u;
    return mix(*random);
}

/* Log-uniform: each power of two is as likely as the next. */
static size_t
draw_size(uint64_t *random, unsigned max_shift)
{
    size_t low = (size_t)1 << (MIN_SHIFT + draw(random) % (max_shift - MIN_SHIFT));
    return low + (size_t)(draw(random) & (low - 1));
}

/* Visit the words of the pattern that lie before the last byte of the first size_bytes: every word
 * of a small block, one per stride of a large one. */
static bool
walk_pattern(const struct block *block, size_t size_bytes, bool write)
{
    size_t step_words = block->size_bytes <= DENSE_BYTES ? 1 : STRIDE_BYTES / sizeof(uint64_t);
    size_t word_count = (size_bytes - 1) / sizeof(uint64_t);
    for (size_t i = 0; i < word_count; i += step_words) {
        unsigned char *place = block->start + i * sizeof(uint64_t);
        uint64_t word = mix(block->seed + i);
        if (write)
            memcpy(place, &word, sizeof(word));
        else if (memcmp(place, &word, sizeof(word)))
            return false;
    }
    return true;
}

static void
fill(struct block *block)
{
    (void)walk_pattern(block, block->size_bytes, true);
    block->start[block->size_bytes - 1] = (unsigned char)block->seed;
}

static void
verify(const struct block *block)
{
    if (block->start[block->size_bytes - 1] != (unsigned char)block->seed
        || !walk_pattern(block, block->size_bytes, false))
        fail("block %p of %zu bytes has foreign contents", (void *)block->start, block->size_bytes);
}

static void
check_zero(const struct block *block)
{
    for (size_t off = 0; off < block->size_bytes; off += block->size_bytes <= DENSE_BYTES ? 1 : 512)
        if (block->start[off])
            fail("calloc(%zu) is not zero at offset %zu", block->size_bytes, off);
}

static void
alloc_block(struct block *block, uint64_t *random, unsigned max_shift)
{
    unsigned kind = (unsigned)(draw(random) % 8);
    size_t align_bytes = (size_t)16 << (draw(random) % 9);
    block->size_bytes = draw_size(random, max_shift);
    block->seed = draw(random);
    if (kind == 0) {
        block->start = calloc(1, block->size_bytes);
    } else if (kind == 1) {
        block->start = aligned_alloc(align_bytes, block->size_bytes);
        if ((uintptr_t)block->start & (align_bytes - 1))
            fail("aligned_alloc(%zu, ...) = %p", align_bytes, (void *)block->start);
    } else {
        block->start = malloc(block->size_bytes);
    }
    if (!block->start)
        fail("no memory for a block of %zu bytes", block->size_bytes);
    if (malloc_usable_size(block->start) < block->size_bytes)
        fail("malloc_usable_size is less than the %zu bytes asked for", block->size_bytes);
    if (kind == 0)
        check_zero(block);
    fill(block);
}

static void
free_block(struct block *block)
{
    verify(block);
    free(block->start);
    block->start = NULL;
}

/* Resize: the words of the pattern that both sizes hold must have moved along. */
static void
resize_to(struct block *block, size_t new_bytes)
{
    size_t kept_bytes = new_bytes < block->size_bytes ? new_bytes : block->size_bytes;
    verify(block);
    block->start = realloc(block->start, new_bytes);
    if (!block->start)
        fail("realloc to %zu bytes failed", new_bytes);
    if (!walk_pattern(block, kept_bytes, false))
        fail("realloc %zu -> %zu lost contents", block->size_bytes, new_bytes);
    block->size_bytes = new_bytes;
    fill(block);
}

static void
swap_block(struct worker *worker, struct block *block)
{
    struct swap *swap = &swaps[draw(&worker->random) % SWAP_COUNT];
    struct block mine = *block;
    (void)pthread_mutex_lock(&swap->lock);
    *block = swap->block;
    swap->block = mine;
    (void)pthread_mutex_unlock(&swap->lock);
    atomic_fetch_add_explicit(&swap_count, 1, memory_order_relaxed);
    if (block->start)
        verify(block);
}

/* A block that grows from a few bytes to a huge one, as buffers do, and shrinks again. */
static void
climb_ladder(struct worker *worker)
{
    size_t top_bytes = LADDER_BYTES / 16 + draw(&worker->random) % (LADDER_BYTES / 16 * 15);
    struct block block;
    if (pthread_mutex_trylock(&ladder_lock))
        return;
    alloc_block(&block, &worker->random, MIN_SHIFT + 1);
    while (block.size_bytes < top_bytes)
        resize_to(&block, block.size_bytes * 3 / 2 + draw(&worker->random) % 4096);
    resize_to(&block, top_bytes / 3);
    free_block(&block);
    (void)pthread_mutex_unlock(&ladder_lock);
    atomic_fetch_add_explicit(&ladder_count, 1, memory_order_relaxed);
}

/* A thread of a few calls: frees what it finds in the shared slots, and leaves blocks there. */
static void *
visit(void *arg)
{
    uint64_t random = *(uint64_t *)arg;
    for (int i = 0; i < 8; i++) {
        struct swap *swap = &swaps[draw(&random) % SWAP_COUNT];
        struct block block;
        alloc_block(&block, &random, FULL_SHIFT);
        (void)pthread_mutex_lock(&swap->lock);
        struct block found = swap->block;
        swap->block = block;
        (void)pthread_mutex_unlock(&swap->lock);
        if (found.start)
            free_block(&found);
    }
    return NULL;
}

static void
send_visitor(struct worker *worker)
{
    uint64_t random = draw(&worker->random);
    pthread_t visitor;
    if (pthread_create(&visitor, NULL, visit, &random))
        fail("pthread_create failed");
    (void)pthread_join(visitor, NULL);
    atomic_fetch_add_explicit(&visitor_count, 1, memory_order_relaxed);
}

/* The child has only this thread: it checks and writes to all blocks of this one, frees some, takes
 * others, leaves. */
static void __attribute__((noreturn)) run_child(struct worker *worker)
{
    (void)alarm(CHILD_LIMIT_SECONDS);
    for (struct block *block = worker->slots; block < worker->slots + SLOT_COUNT; block++)
        if (block->start) {
            verify(block);
            block->seed = draw(&worker->random);
            fill(block);
        }
    for (int i = 0; i < SLOT_COUNT; i++) {
        struct block *block = &worker->slots[i];
        if (block->start && i % 2 == 0)
            free_block(block);
        else if (!block->start && i < SLOT_COUNT / 4)
            alloc_block(block, &worker->random, FULL_SHIFT);
    }
    for (int i = 0; i < SLOT_COUNT; i++)
        if (worker->slots[i].start)
            verify(&worker->slots[i]);
    _exit(0);
}

static void
fork_child(struct worker *worker)
{
    pid_t pid = fork();
    if (pid < 0)
        fail("fork: %s", strerror(errno));
    if (pid == 0)
        run_child(worker);
    int status;
    if (waitpid(pid, &status, 0) != pid)
        fail("waitpid: %s", strerror(errno));
    if (status)
        fail("a forked child ended with wait status 0x%x (0x0e: hung)", (unsigned)status);
    atomic_fetch_add_explicit(&fork_count, 1, memory_order_relaxed);
}

/* The live amount swings between a quarter of the limit and all of it, four times a round. */
static size_t
wanted_bytes(long now)
{
    long quarter_ms = (round_end_ms - round_start_ms) / 4 + 1;
    long phase_ms = (now - round_start_ms) % quarter_ms;
    return live_limit_bytes / 1024 * (size_t)(256 + phase_ms * 768 / quarter_ms);
}

/* One random thing to one random slot. A thread that holds enough bytes sheds its large blocks and
 * goes on with smaller ones. */
static void
step(struct worker *worker, size_t want_bytes)
{
    struct block *block = &worker->slots[draw(&worker->random) % SLOT_COUNT];
    unsigned kind = (unsigned)(draw(&worker->random) % 16);
    size_t before_bytes = block->start ? block->size_bytes : 0;
    bool is_over = worker->live_bytes > want_bytes;
    unsigned max_shift = is_over ? FULL_SHIFT : MAX_SHIFT;

    if (kind == 0)
        swap_block(worker, block);
    else if (!block->start)
        alloc_block(block, &worker->random, max_shift);
    else if (kind < 10 || (is_over && before_bytes >> FULL_SHIFT))
        free_block(block);
    else if (kind < 12)
        resize_to(block, draw_size(&worker->random, max_shift));

    size_t after_bytes = block->start ? block->size_bytes : 0;
    worker->live_bytes += after_bytes - before_bytes;
    worker->op_count++;
    if (worker->op_count % LADDER_EVERY == 0)
        climb_ladder(worker);
    if (worker->op_count % VISITOR_EVERY == 0)
        send_visitor(worker);
}

static void *
run_worker(void *arg)
{
    struct worker *worker = arg;
    long now = now_ms();
    worker->last_fork_ms = now;
    for (; now < round_end_ms; now = now_ms()) {
        size_t want_bytes = wanted_bytes(now);
        for (int i = 0; i < 64; i++)
            step(worker, want_bytes);
        if (now - worker->last_fork_ms >= FORK_EVERY_MS * THREAD_COUNT) {
            if (child_count++ < child_limit) {
                fork_child(worker);
                worker->last_fork_ms = now_ms();
            }
            child_count--;
        }
    }
    /* Odd threads leave their blocks to whoever survives them. */
    for (int i = 0; i < SLOT_COUNT && worker->index % 2 == 0; i++)
        if (worker->slots[i].start)
            free_block(&worker->slots[i]);
    return NULL;
}

static void
free_leftovers(void)
{
    for (int w = 0; w < THREAD_COUNT; w++)
        for (int i = 0; i < SLOT_COUNT; i++)
            if (workers[w].slots[i].start)
                free_block(&workers[w].slots[i]);
    for (int i = 0; i < SWAP_COUNT; i++)
        if (swaps[i].block.start)
            free_block(&swaps[i].block);
}

static struct hm_smaps
read_smaps(void)
{
    struct hm_smaps sum;
    if (hm_smaps_read(&sum) < 0) {
        (void)dprintf(STDERR_FILENO, "soak: cannot read /proc/self/smaps_rollup; mount /proc\n");
        _exit(99);
    }
    return sum;
}

static void
run_round(int round)
{
    (void)alarm(ROUND_SECONDS + HANG_SECONDS);
    for (int w = 0; w < THREAD_COUNT; w++) {
        workers[w].index = w;
        workers[w].live_bytes = 0;
        workers[w].random = mix(base_seed ^ mix((uint64_t)(round * THREAD_COUNT + w)));
        if (pthread_create(&workers[w].thread, NULL, run_worker, &workers[w]))
            fail("pthread_create failed");
    }
    for (int w = 0; w < THREAD_COUNT; w++)
        (void)pthread_join(workers[w].thread, NULL);

    struct hm_smaps full = read_smaps();
    free_leftovers();
    struct hm_smaps freed = read_smaps();
    (void)malloc_trim(0);
    struct hm_smaps trimmed = read_smaps();
    unsigned long left_kib = trimmed.rss_kib + trimmed.hugetlb_kib;
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    unsigned long peak_kib = (unsigned long)usage.ru_maxrss;
    unsigned long allowed_kib = peak_kib * ALLOWED_PCT / 100 + ALLOWED_KIB;
    (void)dprintf(STDOUT_FILENO,
                  "round %d: peak %lu MiB; threads gone %lu (%u %% huge), hugetlb %lu; freed %lu;"
                  " trimmed %lu (allowed %lu)\n",
                  round, peak_kib >> 10, full.rss_kib >> 10, hm_smaps_coverage_pct(&full),
                  full.hugetlb_kib >> 10, (freed.rss_kib + freed.hugetlb_kib) >> 10, left_kib >> 10,
                  allowed_kib >> 10);
    if (left_kib > allowed_kib)
        fail("%lu KiB resident after everything was freed, allowed are %lu", left_kib, allowed_kib);
    if (round < SETTLED_ROUNDS)
        settled_kib = left_kib > settled_kib ? left_kib : settled_kib;
    else if (left_kib > settled_kib + GROWTH_KIB)
        fail("%lu KiB resident after round %d, after the first rounds it was %lu", left_kib, round,
             settled_kib);
}

/* A number from the environment, or the default. */
static uint64_t
read_option(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    char *end = NULL;
    uint64_t value = text ? strtoull(text, &end, 10) : fallback;
    if (text && (!*text || *end || *text == '-')) {
        (void)dprintf(STDERR_FILENO, "soak: %s=%s is not a number; give digits only\n", name, text);
        _exit(99);
    }
    return value;
}

int
main(void)
{
    uint64_t random_seed = 1;
    (void)getrandom(&random_seed, sizeof(random_seed), 0);
    base_seed = read_option("SOAK_SEED", random_seed >> 16);
    long run_seconds = (long)read_option("SOAK_SECONDS", 30);
    child_limit = (long)read_option("SOAK_CHILDREN", THREAD_COUNT);
    live_limit_bytes = (size_t)(read_option("SOAK_LIVE_MIB", 384) << 20) / THREAD_COUNT;
    for (int i = 0; i < SWAP_COUNT; i++)
        (void)pthread_mutex_init(&swaps[i].lock, NULL);
    (void)dprintf(STDOUT_FILENO, "soak: seed %llu, %ld s, %d threads, THP %s\n",
                  (unsigned long long)base_seed, run_seconds, THREAD_COUNT,
                  hm_smaps_thp_name(hm_smaps_thp_mode()));

    long end_ms = now_ms() + run_seconds * 1000;
    for (int round = 0; round == 0 || now_ms() < end_ms; round++) {
        round_start_ms = now_ms();
        round_end_ms = round_start_ms + ROUND_SECONDS * 1000;
        if (round_end_ms > end_ms)
            round_end_ms = end_ms;
        run_round(round);
    }
    unsigned long op_count = 0;
    for (int w = 0; w < THREAD_COUNT; w++)
        op_count += workers[w].op_count;
    (void)dprintf(STDOUT_FILENO,
                  "soak: ok, %lu operations, %ld swaps, %ld forks, %ld ladders, %ld visitors\n",
                  op_count, swap_count, fork_count, ladder_count, visitor_count);
    return 0;
}
