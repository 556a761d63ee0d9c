/* SPDX-License-Identifier: MIT */
/* shareds.c - shared arenas are made, found, and left (see shareds.h).
 *
 * Problem     An arena must be complete before anybody else can see it, and what comes from a
 *             stranger may be anything.
 * Idea        The backing is decided before the arena is there: the first of the list that has
 *             memory for what is needed at the beginning; of a pool, for all of it, since nothing
 *             else can serve a file on hugetlb pages later. Nobody has the descriptor before the
 *             header is written. Of a descriptor that comes from elsewhere the file is looked at
 *             first, then the header is read into memory of our own; only numbers of that copy are
 *             used.
 */
#include "api/shareds.h"

#include <errno.h>
#include <string.h>

#include "api/said.h"
#include "base/fmt.h"
#include "os/os_shared.h"

struct hm_shareds hm_shareds;

#define SEATS_DEFAULT 64
#define ROOTS_DEFAULT 64

static const char create[] = "huma_shared_create()";
static const char attach[] = "huma_shared_attach()";

/* --- what the arena's code asks for ----------------------------------------------------------- */

/* Before memory is allocated: a page of each chunk must be there to be collapsed. It is only read:
 * another process may have allocated in the chunk by now. What fails is done with base pages. */
static void
collapse(const struct huma_shared *shared, uint64_t off, uint64_t len_bytes)
{
    uint64_t page_bytes = (uint64_t)1 << shared->view.geom.page_shift;
    uintptr_t addr = (uintptr_t)shared->base + off;

    for (uint64_t at = 0; at < len_bytes; at += HM_SHARED_CHUNK_BYTES) {
        if (hm_os_shared_fill(shared->fd, off + at, page_bytes) != 0)
            return;
        (void)*(volatile char *)(addr + at);
    }
    (void)hm_os_advise(NULL, addr, len_bytes, HM_ADVICE_COLLAPSE);
}

/* On a file of larger pages, those that the range touches. */
static int
fill(void *ctx, uint64_t off, uint64_t len_bytes)
{
    const struct huma_shared *shared = ctx;
    uint64_t page_bytes = (uint64_t)1 << shared->view.geom.page_shift;
    uint64_t from_off = hm_align_down(off, page_bytes);
    uint64_t to_off = hm_align_up(off + len_bytes, page_bytes);
    int saved_errno = errno;
    int rc;

    if (shared->is_thp && off >= shared->view.geom.data_off)
        collapse(shared, off, len_bytes);
    rc = hm_os_shared_fill(shared->fd, from_off, to_off - from_off);
    errno = saved_errno;
    return rc;
}

/* Of larger pages than chunks no part can go back. */
static void
punch(void *ctx, uint64_t off, uint64_t len_bytes)
{
    const struct huma_shared *shared = ctx;
    int saved_errno = errno;

    if (shared->view.geom.page_shift <= HM_SHARED_CHUNK_SHIFT)
        hm_os_shared_punch(shared->fd, off, len_bytes);
    errno = saved_errno;
}

static bool
hold(void *ctx, unsigned seat)
{
    const struct huma_shared *shared = ctx;
    int saved_errno = errno;
    bool is_held = hm_os_shared_hold(shared->lock_fd, seat);

    errno = saved_errno;
    return is_held;
}

static void
let_go(void *ctx, unsigned seat)
{
    const struct huma_shared *shared = ctx;

    hm_os_shared_let_go(shared->lock_fd, seat);
}

/* --- handles ---------------------------------------------------------------------------------- */

static struct huma_shared *
obtain(void)
{
    struct huma_shared *shared;

    hm_lock_take(&hm_arenas.lock);
    if (!hm_shareds.is_started)
        hm_list_init(&hm_shareds.live);
    hm_shareds.is_started = true;
    shared = hm_shareds.idle;
    if (shared != NULL)
        hm_shareds.idle = shared->idle_next;
    else
        shared = hm_meta_alloc(&hm_arenas.meta, sizeof(*shared), HM_CACHE_LINE_BYTES);
    if (shared != NULL) {
        *shared = (struct huma_shared){ .fd = -1, .lock_fd = -1 };
        hm_list_init(&shared->link);
    }
    hm_lock_give(&hm_arenas.lock);
    return shared;
}

/* Undo what was done to have it; the struct stays. */
static void
drop(struct huma_shared *shared)
{
    size_t ring_bytes = shared->view.geom.span_count * sizeof(shared->ring_next[0]);

    if (shared->ring_next != NULL)
        hm_os_unmap_meta(NULL, shared->ring_next, ring_bytes);
    if (shared->base != NULL)
        hm_os_shared_unmap(shared->base, shared->view.geom.end_off);
    if (shared->lock_fd >= 0)
        hm_os_close(shared->lock_fd);
    if (shared->fd >= 0)
        hm_os_close(shared->fd);
    shared->ring_next = NULL;
    shared->base = NULL;
    shared->lock_fd = -1;
    shared->fd = -1;
}

static void
release(struct huma_shared *shared)
{
    hm_lock_take(&hm_arenas.lock);
    hm_list_del(&shared->link);
    shared->is_open = false;
    shared->idle_next = hm_shareds.idle;
    hm_shareds.idle = shared;
    hm_lock_give(&hm_arenas.lock);
}

/* Map the file. Returns 0 or a negative errno. */
static int
map(struct huma_shared *shared, const struct hm_shared_geom *geom)
{
    struct hm_shared_env env = { shared, fill, punch, hold, let_go };
    uint64_t align_bytes = (uint64_t)1 << geom->page_shift;
    void *ring = NULL;
    int rc;

    if (align_bytes < HM_SHARED_CHUNK_BYTES)
        align_bytes = HM_SHARED_CHUNK_BYTES;
    rc = hm_os_shared_map(shared->fd, geom->end_off, align_bytes, &shared->base);
    if (rc != 0) {
        shared->base = NULL;
        return rc;
    }
    rc = hm_os_map_meta(NULL, geom->span_count * sizeof(shared->ring_next[0]), &ring);
    if (rc != 0)
        return rc;
    shared->ring_next = ring;
    hm_shared_init(&shared->view, shared->base, geom, &env, shared->ring_next);
    if (shared->is_thp)
        (void)hm_os_advise(NULL, (uintptr_t)shared->base + geom->data_off,
                           geom->end_off - geom->data_off, HM_ADVICE_HUGE);
    return 0;
}

int
hm_shareds_sit(struct huma_shared *shared)
{
    int rc = 0;

    hm_lock_take(&hm_arenas.lock);
    if (shared->lock_fd < 0)
        shared->lock_fd = hm_os_shared_reopen(shared->fd);
    if (shared->lock_fd < 0)
        rc = shared->lock_fd;
    hm_lock_give(&hm_arenas.lock);
    return rc == 0 ? hm_shared_attach(&shared->view) : rc;
}

/* All is done: it is one of the process's. */
static huma_shared *
finish(struct huma_shared *shared)
{
    hm_lock_take(&hm_arenas.lock);
    hm_list_add_last(&hm_shareds.live, &shared->link);
    shared->is_open = true;
    hm_lock_give(&hm_arenas.lock);
    return shared;
}

/* --- create ----------------------------------------------------------------------------------- */

#define OPTIONS_MIN_BYTES (offsetof(struct huma_shared_options, flags) + sizeof(uint64_t))

static const char *
check(const struct huma_shared_options *options)
{
    if (options->struct_size != sizeof(*options))
        return "struct_size is wrong; begin with HUMA_SHARED_OPTIONS_INIT";
    if (options->limit_bytes == 0 || options->limit_bytes > HM_SHARED_DATA_MAX_BYTES)
        return "limit_bytes is 0, or more than 8 TiB; set it to what the arena may grow to";
    if (options->initial_bytes > options->limit_bytes)
        return "initial_bytes is more than limit_bytes; set it to as much at most";
    if (options->process_count > HM_SHARED_SEATS_MAX)
        return "process_count is more than 1023; set it to as many at most";
    if (options->root_count > HM_SHARED_ROOTS_MAX)
        return "root_count is more than 4096; set it to as many at most";
    if (options->flags != 0)
        return "flags has bits that this version does not know; set it to 0";
    return NULL;
}

/* Try one backing of the list. Returns 0 or a negative errno; then nothing is left of it. */
static int
try_backing(struct huma_shared *shared, const struct huma_shared_options *options,
            unsigned page_shift, bool is_thp)
{
    struct hm_shared_header header;
    struct hm_shared_geom geom;
    unsigned file_shift = page_shift != 0 ? page_shift : hm_arenas.geom.page_shift;
    uint64_t filled_bytes;
    int rc;

    hm_shared_header_init(&header, options->limit_bytes,
                          options->process_count != 0 ? options->process_count : SEATS_DEFAULT,
                          options->root_count != 0 ? options->root_count : ROOTS_DEFAULT,
                          file_shift);
    (void)hm_shared_geom_init(&geom, &header);
    shared->is_thp = is_thp;
    shared->fd = hm_os_shared_create(options->name != NULL ? options->name : "arena", geom.end_off,
                                     page_shift);
    if (shared->fd < 0)
        return shared->fd;
    /* Of a pool all, so that it cannot be lacking later. */
    filled_bytes = page_shift != 0 ? geom.end_off : geom.blocks_off;
    rc = hm_os_shared_fill(shared->fd, 0, filled_bytes);
    if (rc == 0)
        rc = map(shared, &geom);
    if (rc == 0 && options->initial_bytes > 0)
        rc = hm_shared_fill(&shared->view, 0,
                            (uint32_t)((options->initial_bytes - 1) >> HM_SHARED_SPAN_SHIFT) + 1);
    if (rc == 0) {
        hm_shared_header_seal(&header);
        memcpy(shared->base, &header, sizeof(header));
        rc = hm_shareds_sit(shared);
    }
    if (rc != 0)
        drop(shared);
    return rc;
}

/* The first backing of the list that can be had. Returns 0 or the last one's negative errno. */
static int
try_chain(struct huma_shared *shared, const struct huma_shared_options *options,
          const struct hm_chain *chain)
{
    int rc = -ENOMEM;

    for (unsigned i = 0; i < chain->kind_count && rc != 0; i++) {
        unsigned page_shift
            = chain->page_shift[i] != 0 ? chain->page_shift[i] : hm_arenas.geom.hpage_shift;

        switch (chain->kind[i]) {
        case HM_BACKING_HUGETLB:
            if (page_shift != 0)
                rc = try_backing(shared, options, page_shift, false);
            break;
        case HM_BACKING_THP:
            if (hm_os_shared_may_be_huge())
                rc = try_backing(shared, options, 0, true);
            break;
        default:
            rc = try_backing(shared, options, 0, false);
            break;
        }
    }
    return rc;
}

static void
say_refusal(int rc)
{
    if (rc == -ENOSPC || rc == -ENOMEM)
        hm_said(
            ENOMEM, create,
            "there is no memory of any backing for initial_bytes, or of a pool for limit_bytes; "
            "see /proc/meminfo, nr_hugepages in /sys/kernel/mm/hugepages, and memory.max of the "
            "control group");
    else if (rc == -EMFILE || rc == -ENFILE)
        hm_said(-rc, create, "there are too many open files; see ulimit -n and fs.file-max");
    else
        hm_said(-rc, create, "the kernel makes no such file in memory; see memfd_create(2)");
}

HM_EXPORT huma_shared *
huma_shared_create(const struct huma_shared_options *options)
{
    struct huma_shared *shared = NULL;
    struct hm_chain chain;
    const char *why;
    int saved_errno = errno;
    int rc;

    if (options == NULL)
        why = "options is NULL; pass them with limit_bytes set";
    else
        why = check(options);
    if (why == NULL
        && !hm_chain_parse(options->backing != NULL ? options->backing : "hugetlb,thp,4k", &chain))
        why = "the backing is not accepted; a comma-separated list of hugetlb, hugetlb:SIZE, thp "
              "and 4k is";
    if (why != NULL) {
        hm_said(EINVAL, create, why);
        return NULL;
    }
    if (hm_arenas_start())
        shared = obtain();
    if (shared == NULL) {
        hm_said(ENOMEM, create, "there is no memory for another arena; see ulimit -v");
        return NULL;
    }
    rc = try_chain(shared, options, &chain);
    if (rc != 0) {
        release(shared);
        say_refusal(rc);
        return NULL;
    }
    errno = saved_errno;
    return finish(shared);
}

/* --- attach ----------------------------------------------------------------------------------- */

/* Whether the file is one that can be used as an arena; NULL: it is. */
static const char *
check_file(int fd, struct hm_os_shared_file *file, struct hm_shared_header *header,
           struct hm_shared_geom *out_geom)
{
    const char *fault;

    if (hm_os_shared_stat(fd, file) != 0)
        return "the descriptor is no file; pass what huma_shared_fd returned";
    if (hm_os_shared_read(fd, header, sizeof(*header)) != 0)
        return "the file is shorter than any arena";
    fault = hm_shared_header_fault(header);
    if (fault != NULL)
        return fault;
    (void)hm_shared_geom_init(out_geom, header);
    if (file->len_bytes < out_geom->end_off)
        return "the file was cut short";
    if (!file->is_sealed)
        return "the file can be cut short by others (it lacks F_SEAL_SHRINK)";
    if (file->page_bytes != (uint64_t)1 << header->page_shift)
        return "its header names pages of another size than the file has";
    return NULL;
}

HM_EXPORT huma_shared *
huma_shared_attach(int fd)
{
    struct hm_os_shared_file file;
    struct hm_shared_header header;
    struct hm_shared_geom geom;
    struct huma_shared *shared = NULL;
    const char *why = check_file(fd, &file, &header, &geom);
    int saved_errno = errno;
    int rc;

    if (why != NULL) {
        hm_said(EINVAL, attach, why);
        return NULL;
    }
    if (hm_arenas_start())
        shared = obtain();
    if (shared == NULL) {
        hm_said(ENOMEM, attach, "there is no memory for another arena; see ulimit -v");
        return NULL;
    }
    shared->fd = hm_os_shared_reopen(fd);
    shared->is_thp = file.page_bytes < HM_SHARED_CHUNK_BYTES && hm_os_shared_may_be_huge();
    rc = shared->fd >= 0 ? map(shared, &geom) : shared->fd;
    if (rc == 0)
        rc = hm_shareds_sit(shared);
    if (rc != 0) {
        drop(shared);
        release(shared);
        hm_said(-rc, attach,
                rc == -EUSERS ? "all of its process_count are attached; detach one, or create it "
                                "with more"
                              : "it cannot be opened and mapped; see ulimit -v and ulimit -n, and "
                                "whether the file may be opened for writing");
        return NULL;
    }
    errno = saved_errno;
    return finish(shared);
}

HM_EXPORT void
huma_shared_detach(huma_shared *shared)
{
    struct huma_shared *found = hm_shareds_find(shared, "huma_shared_detach()");
    int saved_errno = errno;

    if (found == NULL)
        return;
    if (found->view.seat != 0)
        hm_shared_detach(&found->view);
    drop(found);
    release(found);
    errno = saved_errno;
}

/* --- fork ------------------------------------------------------------------------------------- */

HM_LATER void
hm_shareds_after_fork(void)
{
    if (!hm_shareds.is_started)
        return;
    for (struct hm_list *link = hm_shareds.live.next; link != &hm_shareds.live; link = link->next) {
        struct huma_shared *shared = hm_container_of(link, struct huma_shared, link);

        hm_lock_reset(&shared->view.lock);
        if (shared->lock_fd >= 0)
            hm_os_close(shared->lock_fd);
        shared->lock_fd = -1;
        shared->view.seat = 0;
        hm_shared_forget(&shared->view);
    }
}
