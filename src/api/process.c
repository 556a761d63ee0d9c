/* SPDX-License-Identifier: MIT */
/* process.c - the one process-wide heap: first call, environment, threads that end, exit.
 *
 * Problem     malloc is called before any constructor, in threads that are ending, in forked
 *             children and at exit; and each of these moments lacks something that the others have.
 * Idea        Three steps, each taken as soon as it can be. The heap starts with the first request.
 *             If libc has an environment by then, options are read and the handlers for fork and
 *             thread exit are set; else our constructor does that. At exit the report is written. A
 *             program that never allocates pays for none of it.
 * State       hm_process and hm_thread_cache: with what fork.c has, the only mutable globals.
 * Locking     hm_process.lock (rank 1), then heap.lock (rank 2).
 */
#include "api/process.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/fork.h"
#include "api/purger.h"
#include "cache/mixing.h"
#include "stats/print.h"

/* Its pagemap is empty before the first request, so that free(NULL) and foreign pointers find
 * it. */
struct hm_process hm_process = {
#ifdef HM_DEBUG
    .lock.later = { &hm_process.heap.lock },
#endif
    .small_end_bytes = HM_SMALL_MAX_BYTES + 1,
    .cached_end_bytes = HM_SMALL_MAX_BYTES + 1,
    .report.fd = -1,
};

#define EMPTY ((struct hm_tcache *)(uintptr_t)&hm_tcache_empty)

__thread struct hm_tcache *hm_thread_cache = EMPTY;

/* Set when this thread's cache was retired: it gets no second one, which nobody would retire. */
static __thread bool thread_is_ending __attribute__((tls_model("initial-exec")));

static bool
start_locked(void)
{
    struct hm_machine machine;

    hm_os_probe(&machine);
    hm_conf_defaults(&hm_process.conf);
    hm_process.conf.is_late = hm_process.is_loaded;
    if (hm_heap_init(&hm_process.heap, &hm_process.pagemap, &hm_os_real, &hm_process.conf,
                     &machine.geom)
        != 0)
        return false;
    hm_pool_init(&hm_process.pool, &hm_process.heap);
    /* release: pairs with the acquire in hm_process_start */
    __atomic_store_n(&hm_process.is_started, true, __ATOMIC_RELEASE);
    return true;
}

bool
hm_process_start(void)
{
    bool is_started = __atomic_load_n(&hm_process.is_started, __ATOMIC_ACQUIRE);

    if (is_started)
        return true;
    hm_lock_take(&hm_process.lock);
    is_started = hm_process.is_started || start_locked();
    hm_lock_give(&hm_process.lock);
    return is_started;
}

/* --- threads that end ------------------------------------------------------------------------- */

static void
thread_exit(void *cache)
{
    thread_is_ending = true;
    hm_thread_cache = EMPTY;
    hm_tcache_retire(cache);
}

/* pthread_setspecific may allocate: hm_thread_cache is set by then, so that it can. */
static void
watch_thread(struct hm_tcache *cache)
{
    if (hm_load(&hm_process.has_key))
        (void)pthread_setspecific(hm_process.exit_key, cache);
}

/* --- options ---------------------------------------------------------------------------------- */

static void
say(const char *line)
{
    char buf[128];
    struct hm_fmt out = hm_fmt_init(buf, sizeof(buf), STDERR_FILENO);

    hm_fmt_str(&out, line);
    hm_fmt_flush(&out);
}

/* A set-user-ID program gets NULL for every variable: its caller's environment is not to be
 * trusted. */
static const char *
read_env(const char *name)
{
    return secure_getenv(name);
}

/* LD_PRELOAD is inherited by all that a program starts: HUMA_ONLY tells whom it is meant for. */
static void
select_program(void)
{
    char path[900];

    if (strcmp(hm_process.conf.only, "*") == 0)
        return;
    if (hm_os_exe_path(path, sizeof(path)) != 0)
        path[0] = '\0';
    hm_conf_select(&hm_process.conf, path);
}

/* Apart from the others, for the size of their stack frame. */
static HM_NOINLINE void
read_glibc(void)
{
    struct hm_glibc glibc;

    hm_glibc_read(&glibc, read_env);
    hm_process_tune(&glibc);
}

static void
read_options(void)
{
    (void)hm_conf_read(&hm_process.conf, read_env, STDERR_FILENO);
    select_program();
    read_glibc();
    if (strcmp(hm_process.conf.stats, "1") == 0) {
        (void)hm_os_keep_fd(STDERR_FILENO, &hm_process.report);
    } else if (strcmp(hm_process.conf.stats, "0") != 0) {
        /* The program may overwrite its environment; the path must last until exit. */
        size_t len_bytes = strlen(hm_process.conf.stats);

        if (len_bytes < sizeof(hm_process.report_path))
            memcpy(hm_process.report_path, hm_process.conf.stats, len_bytes + 1);
        else
            say("huma: HUMA_STATS is ignored: accepted is 1 or a path of at most 255 bytes\n");
    }
}

/* --- fork ------------------------------------------------------------------------------------- */

static bool
fork_has_pool(void)
{
    return hm_backing_has_pool(&hm_process.heap.backing) && hm_process.conf.fork == HM_FORK_SAFE;
}

/* There is one heap, and it stays. */
static void
fork_hold(void)
{
}

static bool
fork_next(struct hm_fork_heap *inout)
{
    bool is_first = inout->heap == NULL;

    inout->heap = &hm_process.heap;
    return is_first;
}

static void
fork_settle(const struct hm_fork_heap *at)
{
    (void)at;
    hm_pool_after_fork(&hm_process.pool, hm_thread_cache != EMPTY ? hm_thread_cache : NULL);
}

static void
fork_release(bool is_child, bool is_interrupted)
{
    if (!is_child)
        return;
    if (!hm_lock_is_mine(&hm_process.lock))
        hm_lock_reset(&hm_process.lock);
    if (!is_interrupted)
        hm_purger_start();
}

static const struct hm_fork_ops fork_ops = {
    .has_pool = fork_has_pool,
    .hold = fork_hold,
    .next = fork_next,
    .settle = fork_settle,
    .release = fork_release,
};

/* --- configuration ---------------------------------------------------------------------------- */

/* What needs a libc that is up: taken once, by the first request after libc has set the
 * environment. The process has one thread yet, since starting another allocates. */
static void
configure(void)
{
    pthread_key_t key;
    bool is_first;

    if (__atomic_load_n(&hm_process.is_configured, __ATOMIC_ACQUIRE) || environ == NULL)
        return;
    hm_lock_take(&hm_process.lock);
    is_first = !hm_process.is_configured;
    if (is_first && pthread_key_create(&key, thread_exit) == 0) {
        hm_process.exit_key = key;
        hm_store(&hm_process.has_key, true);
    }
    /* release: who sees it sees the key. What follows may allocate, and comes here again. */
    __atomic_store_n(&hm_process.is_configured, true, __ATOMIC_RELEASE);
    hm_lock_give(&hm_process.lock);
    if (is_first) {
        read_options();
        hm_fork_watch(&fork_ops);
    }
    if (hm_thread_cache != EMPTY)
        watch_thread(hm_thread_cache);
}

bool
hm_process_configure(void)
{
    if (!hm_process_start())
        return false;
    configure();
    return true;
}

/* Whether the heap shall start before there is a request: because of what the program may do until
 * then to its descriptors, or because files can be opened now and nobody knows whether later, or
 * because of its handlers for fork, which with hugetlb pages must be the first that are set. */
static bool
is_in_a_hurry(void)
{
    const char *backing = secure_getenv("HUMA_BACKING");

    return hm_load(&hm_process.is_started) || secure_getenv("HUMA_STATS") != NULL
           || secure_getenv("HUMA_PURGE_THREAD") != NULL || hm_os_filters(NULL) == HM_FILTERS_OPEN
           || (backing != NULL && strstr(backing, "hugetlb") != NULL);
}

__attribute__((constructor)) static void
on_load(void)
{
    int saved_errno = errno;

    if (is_in_a_hurry())
        (void)hm_process_configure();
    hm_process.is_loaded = true;
    hm_foreign_init(&hm_process.foreign);
    hm_process_ask_operators();
    hm_purger_start();
    errno = saved_errno;
}

/* Whose spans are open to the fast path of free(): nobody's if freed blocks are to be filled. */
static uintptr_t
fast_id(void)
{
    return hm_load(&hm_process.perturb) == 0 ? hm_thread_id() : 0;
}

struct hm_tcache *
hm_process_attach(void)
{
    struct hm_tcache *cache;

    if (hm_thread_cache != EMPTY)
        return hm_thread_cache;
    if (!hm_process_start() || thread_is_ending)
        return NULL;
    cache = hm_tcache_acquire(&hm_process.pool, fast_id());
    if (cache == NULL)
        return NULL;
    hm_mixing_start(cache);
    hm_thread_cache = cache;
    configure();
    watch_thread(cache);
    return cache;
}

/* With a cache for just this call. The span that it leaves is the next one's. */
void *
hm_process_alloc_late(unsigned class_idx)
{
    struct hm_tcache *cache;
    void *mem;

    if (!hm_process_start())
        return NULL;
    cache = hm_tcache_acquire(&hm_process.pool, 0);
    if (cache == NULL)
        return NULL;
    mem = hm_tcache_alloc(cache, class_idx);
    hm_tcache_retire(cache);
    return mem;
}

/* --- what mallopt closes ---------------------------------------------------------------------- */

static HM_LATER void
close_classes(void)
{
    struct hm_tcache *cache = hm_thread_cache;
    size_t end_bytes = hm_process.perturb == 0 ? hm_process.small_end_bytes : 0;
    unsigned open_count = 0;

    if (!hm_process_start())
        return;
    while (open_count < HM_CLASS_COUNT && hm_class_bytes(open_count) < end_bytes)
        open_count++;
    hm_lock_take(&hm_process.heap.lock);
    hm_process.pool.open_count = open_count;
    hm_lock_give(&hm_process.heap.lock);
    hm_store(&hm_process.cached_end_bytes, end_bytes);
    if (cache != EMPTY)
        hm_tcache_close(cache, open_count, fast_id());
}

void
hm_process_set_small_end(size_t size_bytes)
{
    if (size_bytes > HM_SMALL_MAX_BYTES)
        size_bytes = HM_SMALL_MAX_BYTES + 1;
    if (size_bytes == hm_process.small_end_bytes)
        return;
    hm_store(&hm_process.small_end_bytes, size_bytes);
    close_classes();
}

void
hm_process_set_perturb(int byte)
{
    hm_store(&hm_process.perturb, (unsigned char)byte);
    close_classes();
}

/* --- misuse ----------------------------------------------------------------------------------- */

void
hm_process_not_ours(uintptr_t addr, const char *call)
{
    char what[64];
    struct hm_fmt out = hm_fmt_init(what, sizeof(what), -1);

    hm_fmt_str(&out, call);
    hm_fmt_str(&out, ": invalid pointer");
    hm_fail(what, addr, "no live block starts there; pass what malloc returned, and only once");
}

/* --- exit ------------------------------------------------------------------------------------- */

/* The path with %p replaced by the process id. */
static void
expand_path(const char *path, uint64_t pid, struct hm_fmt *out)
{
    for (; *path != '\0'; path++) {
        char one[2] = { *path, '\0' };

        if (path[0] == '%' && path[1] == 'p') {
            hm_fmt_u64(out, pid);
            path++;
        } else {
            hm_fmt_str(out, one);
        }
    }
}

static int
open_report(uint64_t pid)
{
    char path[sizeof(hm_process.report_path) + 64];
    struct hm_fmt out = hm_fmt_init(path, sizeof(path), -1);

    expand_path(hm_process.report_path, pid, &out);
    return hm_os_create_file(path);
}

static HM_COLD void
report_text(const struct hm_stats *stats)
{
    char buf[256];
    struct hm_fmt out = hm_fmt_init(buf, sizeof(buf), hm_process.report.fd);

    if (hm_os_is_kept(&hm_process.report))
        hm_stats_print_text(stats, &out);
}

static HM_COLD void
report_json(const struct hm_stats *stats)
{
    uint64_t pid = (uint64_t)getpid();
    int fd = open_report(pid);
    char buf[256];
    struct hm_fmt out = hm_fmt_init(buf, sizeof(buf), fd);

    if (fd >= 0)
        hm_stats_print_json(stats, pid, &out);
    if (fd < 0 || out.is_lost) {
        struct hm_fmt err = hm_fmt_init(buf, sizeof(buf), STDERR_FILENO);

        hm_fmt_str(&err, "huma: HUMA_STATS: cannot write ");
        hm_fmt_str(&err, hm_process.report_path);
        hm_fmt_str(&err,
                   "; give the path of a file that this user may write, on a disk with room\n");
        hm_fmt_flush(&err);
    }
    if (fd >= 0)
        hm_os_close(fd);
}

void
hm_process_stats(bool ask_kernel, struct hm_stats *out_stats)
{
    hm_stats_read(&hm_process.pool, ask_kernel, out_stats);
    out_stats->foreign_free_count = hm_load(&hm_process.foreign.free_count);
    out_stats->foreign_realloc_count = hm_load(&hm_process.foreign.realloc_count);
    out_stats->foreign_leak_count = hm_load(&hm_process.foreign.leak_count);
    out_stats->sized_free_mismatch_count = hm_load(&hm_process.sized_free_mismatch_count);
}

void
hm_process_report(void)
{
    struct hm_stats stats;

    if (hm_process.report.fd < 0 && hm_process.report_path[0] == '\0')
        return;
    /* exit() called by a signal handler in the middle of malloc: better no report than no end. */
    if (hm_lock_is_mine(&hm_process.heap.lock)) {
        say("huma: HUMA_STATS: no report, since exit() was called in the middle of malloc\n");
        return;
    }
    hm_process_stats(true, &stats);
    if (hm_process.report.fd >= 0)
        report_text(&stats);
    else
        report_json(&stats);
}

__attribute__((destructor)) static void
on_exit_report(void)
{
    if (hm_load(&hm_process.is_started))
        hm_process_report();
}
