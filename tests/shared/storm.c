/* SPDX-License-Identifier: MIT */
/* storm.c - processes that share an arena are killed all the time, at random.
 *
 * Problem     Images of memory (images.c) show what one process leaves. Whether several at a time
 *             get along, with kills among them, shows only when they run.
 * Idea        Workers allocate, free, publish and take, put into a ring and get out of it, and
 *             lock, as fast as they can, through huma.h and with the kernel's own locks. One after
 *             the other is killed, or stopped for a while, and another one comes. Each block bears
 *             a mark that its holder has written: who finds another one has a block that somebody
 *             else was given, too. In the end nothing may be left.
 *
 * Usage       storm [SECONDS [WORKERS]]   default 10, 4
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "huma.h"

enum { WORKERS_MAX = 16, CELLS = 24, HELD = 200, RING_SLOTS = 8 };

/* What is counted, in memory of its own. */
struct tally {
    uint64_t operations;
    uint64_t bad;        /* blocks with somebody else's mark */
    uint64_t guarded[2]; /* by the lock: the same, unless its holder died in between */
    uint64_t serial;
};

static struct tally *tally;
static huma_shared *shared;
static uint64_t cells[CELLS];
static uint64_t ring;
static uint64_t lock; /* a word */

/* Of a worker. */
static struct {
    uint64_t off;
    uint64_t mark;
} held[HELD];
static unsigned held_count;
static uint64_t state;

static void __attribute__((noreturn)) fail(const char *what)
{
    (void)fprintf(stderr, "storm: %s; %s\n", what, huma_last_error());
    _exit(1);
}

static uint64_t
draw(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 11) % below;
}

static double
now_s(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* --- a worker --------------------------------------------------------------------------------- */

/* At its start and at its end. */
static void
mark(unsigned idx)
{
    uint64_t *words = huma_shared_at(shared, held[idx].off);
    size_t count = huma_shared_usable_size(shared, held[idx].off) / sizeof(*words);

    held[idx].mark = __atomic_add_fetch(&tally->serial, 1, __ATOMIC_RELAXED) << 8 | 1;
    words[0] = held[idx].mark;
    words[count - 1] = held[idx].mark;
}

static void
check(unsigned idx)
{
    const uint64_t *words = huma_shared_at(shared, held[idx].off);
    size_t count = huma_shared_usable_size(shared, held[idx].off) / sizeof(*words);

    if (count == 0 || words[0] != held[idx].mark || words[count - 1] != held[idx].mark)
        (void)__atomic_add_fetch(&tally->bad, 1, __ATOMIC_RELAXED);
}

static void
forget(unsigned idx)
{
    held[idx] = held[--held_count];
}

static void
allocate(void)
{
    size_t size = draw(50) == 0 ? (size_t)draw(300000) : (size_t)draw(3000);
    uint64_t off = huma_shared_alloc(shared, size);

    if (off == 0)
        return;
    held[held_count].off = off;
    mark(held_count++);
}

static void
give_up(unsigned idx)
{
    check(idx);
    if (huma_shared_free(shared, held[idx].off) != 0)
        (void)__atomic_add_fetch(&tally->bad, 1, __ATOMIC_RELAXED);
    forget(idx);
}

static void
send(unsigned idx)
{
    bool is_ring = draw(2) == 0;
    int rc;

    check(idx);
    rc = is_ring ? huma_shared_ring_put(shared, ring, held[idx].off, draw(50) == 0)
                 : huma_shared_publish(shared, cells[draw(CELLS)], held[idx].off);
    if (rc == 0)
        forget(idx);
    else if (errno != (is_ring ? EAGAIN : EEXIST) && errno != ETIMEDOUT)
        (void)__atomic_add_fetch(&tally->bad, 1, __ATOMIC_RELAXED);
}

/* Its mark is its sender's, the same at both ends. */
static void
receive(void)
{
    uint64_t off = draw(2) == 0 ? huma_shared_ring_get(shared, ring, draw(50) == 0)
                                : huma_shared_take(shared, cells[draw(CELLS)]);

    if (off == 0)
        return;
    held[held_count].off = off;
    held[held_count].mark = *(const uint64_t *)huma_shared_at(shared, off);
    check(held_count);
    mark(held_count++);
}

/* Two at a time would be seen by each other. Who is stopped may have the lock. */
static void
guard(void)
{
    int rc = huma_shared_lock(shared, lock, 10);
    uint64_t *guarded = tally->guarded;

    if (rc < 0 && errno == ETIMEDOUT)
        return;
    if (rc < 0 || (rc == 0 && __atomic_load_n(&guarded[0], __ATOMIC_RELAXED) != guarded[1]))
        (void)__atomic_add_fetch(&tally->bad, 1, __ATOMIC_RELAXED);
    guarded[0] = guarded[1] + 1;
    __atomic_store_n(&guarded[1], guarded[0], __ATOMIC_RELEASE);
    if (huma_shared_unlock(shared, lock) != 0)
        (void)__atomic_add_fetch(&tally->bad, 1, __ATOMIC_RELAXED);
}

static void __attribute__((noreturn)) work(void)
{
    state = (uint64_t)getpid() * 0x9e3779b97f4a7c15u + 1;
    for (;;) {
        unsigned idx = held_count > 0 ? (unsigned)draw(held_count) : 0;

        switch (draw(held_count < HELD - 1 ? 6 : 4)) {
        case 0:
        case 1:
        case 2:
            if (held_count > 0)
                give_up(idx);
            break;
        case 3:
            if (held_count > 0)
                send(idx);
            break;
        case 4:
            receive();
            break;
        default:
            allocate();
            allocate();
            break;
        }
        if (draw(200) == 0)
            guard();
        if (draw(20000) == 0)
            (void)(draw(2) == 0 ? huma_shared_recover(shared) : (int)huma_shared_trim(shared));
        (void)__atomic_add_fetch(&tally->operations, 1, __ATOMIC_RELAXED);
    }
}

/* --- who kills -------------------------------------------------------------------------------- */

static pid_t
start(void)
{
    pid_t pid = fork();

    if (pid < 0)
        fail("fork");
    if (pid == 0) {
        /* Also if this test fails. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() == 1)
            _exit(1);
        work();
    }
    return pid;
}

static void
end(pid_t pid)
{
    int status;

    if (kill(pid, SIGKILL) != 0 || waitpid(pid, &status, 0) != pid)
        fail("kill");
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        fail("a worker has ended by itself");
}

static void
pause_us(long us)
{
    struct timespec time = { 0, us * 1000 };

    (void)nanosleep(&time, NULL);
}

/* While one is stopped, wherever it is, the others go on. */
static void
stop_one(pid_t pid)
{
    uint64_t before;

    if (kill(pid, SIGSTOP) != 0)
        fail("kill");
    pause_us(20000);
    before = __atomic_load_n(&tally->operations, __ATOMIC_RELAXED);
    for (int i = 0; i < 500; i++) {
        pause_us(10000);
        if (__atomic_load_n(&tally->operations, __ATOMIC_RELAXED) > before + 1000)
            break;
        if (i == 499)
            fail("nobody goes on while one is stopped");
    }
    if (kill(pid, SIGCONT) != 0)
        fail("kill");
}

static long
storm(double seconds, unsigned worker_count)
{
    pid_t workers[WORKERS_MAX];
    double end_s = now_s() + seconds;
    long kills = 0;

    for (unsigned i = 0; i < worker_count; i++)
        workers[i] = start();
    while (now_s() < end_s) {
        unsigned idx = (unsigned)draw(worker_count);

        pause_us((long)draw(3000));
        if (kills % 200 == 100)
            stop_one(workers[idx]);
        end(workers[idx]);
        kills++;
        if (draw(3) == 0)
            (void)huma_shared_recover(shared);
        if (huma_shared_verify(shared) != 0)
            fail("verify");
        workers[idx] = start();
    }
    for (unsigned i = 0; i < worker_count; i++)
        end(workers[i]);
    return kills;
}

/* Take what is in cells, and see that nothing else is there. Returns how many blocks were. */
static unsigned
empty(void)
{
    struct huma_shared_state found = HUMA_SHARED_STATE_INIT;
    unsigned count = 0;

    (void)huma_shared_recover(shared);
    for (uint64_t off; (off = huma_shared_ring_get(shared, ring, 0)) != 0; count++)
        if (huma_shared_free(shared, off) != 0)
            fail("a block of the ring cannot be freed");
    if (huma_shared_ring_destroy(shared, ring) != 0 || huma_shared_free(shared, lock) != 0)
        fail("the ring or the lock cannot be freed");
    for (unsigned i = 0; i < CELLS; i++) {
        uint64_t off = huma_shared_take(shared, cells[i]);

        if (off == 0)
            continue;
        count++;
        if (huma_shared_free(shared, off) != 0)
            fail("a published block cannot be freed");
    }
    (void)huma_shared_trim(shared);
    if (huma_shared_verify(shared) != 0 || huma_shared_info(shared, &found) != 0)
        fail("verify");
    if (found.private_bytes != 0 || found.published_bytes != 0 || found.heap_bytes != 0
        || found.ready_bytes != 0 || found.process_count != 1)
        fail("something is left");
    return count;
}

int
main(int argc, char **argv)
{
    struct huma_shared_options options = HUMA_SHARED_OPTIONS_INIT;
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 10;
    unsigned worker_count = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 4;
    char name[] = "cell ?";
    unsigned count;
    long kills;

    if (worker_count < 2 || worker_count > WORKERS_MAX)
        fail("WORKERS: 2 to 16");
    tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    options.backing = "4k";
    options.limit_bytes = (size_t)64 << 20;
    shared = huma_shared_create(&options);
    if (tally == MAP_FAILED || shared == NULL)
        fail("create");
    ring = huma_shared_ring_create(shared, RING_SLOTS);
    lock = huma_shared_calloc(shared, 1, sizeof(uint64_t));
    if (ring == 0 || lock == 0)
        fail("alloc");
    for (unsigned i = 0; i < CELLS; i++) {
        name[5] = (char)('a' + i);
        cells[i] = huma_shared_root(shared, name);
    }
    state = (uint64_t)getpid() + 88172645463325252u;
    kills = storm(seconds, worker_count);
    count = empty();
    printf("storm: %ld kills, %llu operations, %u blocks in cells at the end, %llu bad, 0 leaked\n",
           kills, (unsigned long long)tally->operations, count, (unsigned long long)tally->bad);
    huma_shared_detach(shared);
    return tally->bad != 0;
}
