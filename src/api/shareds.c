/* SPDX-License-Identifier: MIT */
/* shareds.c - what a process has of the shared arenas that it has attached (see shareds.h). */
#include "api/shareds.h"

#include <errno.h>
#include <unistd.h>

#include "api/said.h"
#include "base/fmt.h"

struct hm_shareds hm_shareds;

/* Of a control group, left for what the kernel and other threads need meanwhile. */
#define ROOM_SPARE_BYTES (512 * HM_KIB)

/* No seat's number: who looks for a seat holds it. */
#define TURN (HM_SHARED_SEATS_MAX + 1)
#define TURN_WAIT_MS 1000

/* --- finding ---------------------------------------------------------------------------------- */

/* Where the kernel does not know such memory. */
static unsigned no_mark = 1;

struct huma_shared *
hm_shareds_not_open(const huma_shared *handle, const char *call)
{
    char what[80];
    struct hm_fmt out = hm_fmt_init(what, sizeof(what), -1);

    if (handle == NULL) {
        hm_said(EINVAL, call, "the arena is NULL; pass what huma_shared_create returned");
        return NULL;
    }
    hm_fmt_str(&out, call);
    hm_fmt_str(&out, ": not a shared arena:");
    hm_fail(what, (uintptr_t)handle, "this process has detached it; detach it last");
}

/* A child that came without fork handlers. */
static void
notice_child(void)
{
    if (!hm_shareds_is_child())
        return;
    hm_lock_take(&hm_arenas.lock);
    hm_shareds_after_fork();
    hm_lock_give(&hm_arenas.lock);
}

struct huma_shared *
hm_shareds_enter_slow(struct huma_shared *shared, const char *call)
{
    int rc = 0;

    if (shared->is_read_only) {
        hm_said(EROFS, call,
                "this process has attached the arena for reading; attach it without "
                "HUMA_SHARED_READ_ONLY");
        return NULL;
    }
    notice_child();
    if (shared->view.seat == 0)
        rc = hm_shareds_sit(shared);
    if (rc == 0)
        return shared;
    hm_said(-rc, call,
            "this process could not be attached, as a forked child must be: all of process_count "
            "are, or /proc cannot be read");
    return NULL;
}

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

/* Whether the control group has room for so much: near its limit the kernel would end processes,
 * and not refuse. Asking opens files, which filters of system calls that came later may forbid. */
static bool
has_room(uint64_t len_bytes)
{
    struct hm_room room;

    return hm_shareds.filters == HM_FILTERS_OPEN || hm_os_filters(NULL) != hm_shareds.filters
           || hm_os_room(NULL, &room) != 0 || room.limit_bytes == 0
           || room.left_bytes >= len_bytes + ROOM_SPARE_BYTES;
}

/* On a file of larger pages, those that the range touches. */
int
hm_shareds_fill(const struct huma_shared *shared, uint64_t off, uint64_t len_bytes)
{
    uint64_t page_bytes = (uint64_t)1 << shared->view.geom.page_shift;
    uint64_t from_off = hm_align_down(off, page_bytes);
    uint64_t to_off = hm_align_up(off + len_bytes, page_bytes);
    int saved_errno = errno;
    int rc;

    if (page_bytes < HM_SHARED_CHUNK_BYTES && !has_room(to_off - from_off)) {
        rc = -ENOMEM;
    } else if (shared->kind == HUMA_SHARED_MEMORY) {
        rc = hm_os_populate(NULL, (uintptr_t)shared->base + from_off, to_off - from_off);
    } else {
        if (shared->is_thp && off >= shared->view.geom.data_off)
            collapse(shared, off, len_bytes);
        rc = hm_os_shared_fill(shared->fd, from_off, to_off - from_off);
    }
    errno = saved_errno;
    return rc;
}

static int
fill(void *ctx, uint64_t off, uint64_t len_bytes)
{
    return hm_shareds_fill(ctx, off, len_bytes);
}

/* Of larger pages than chunks no part can go back. */
static int
punch(void *ctx, uint64_t off, uint64_t len_bytes)
{
    const struct huma_shared *shared = ctx;
    int saved_errno = errno;
    int rc = -EINVAL;

    if (shared->kind == HUMA_SHARED_MEMORY)
        rc = hm_os_shared_punch_memory((uintptr_t)shared->base + off, len_bytes);
    else if (shared->view.geom.page_shift <= HM_SHARED_CHUNK_SHIFT)
        rc = hm_os_shared_punch(shared->fd, off, len_bytes);
    errno = saved_errno;
    return rc;
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

/* --- structs ---------------------------------------------------------------------------------- */

/* hm_arenas.lock is held. */
static void
start(void)
{
    if (hm_shareds.is_started)
        return;
    hm_list_init(&hm_shareds.live);
    hm_shareds.mark = hm_os_shared_mark();
    if (hm_shareds.mark == NULL)
        hm_shareds.mark = &no_mark;
    hm_shareds.filters = hm_os_filters(NULL);
    hm_shareds.is_started = true;
}

static struct huma_shared *
obtain(void)
{
    struct huma_shared *shared;

    hm_lock_take(&hm_arenas.lock);
    start();
    shared = hm_shareds.idle;
    if (shared != NULL)
        hm_shareds.idle = shared->idle_next;
    else
        shared = hm_meta_alloc(&hm_arenas.meta, sizeof(*shared), HM_CACHE_LINE_BYTES);
    if (shared != NULL) {
        *shared = (struct huma_shared){ .fd = -1, .lock_fd = -1 };
        /* From now on a child that is forked meanwhile closes what it must not have. */
        hm_list_add_last(&hm_shareds.live, &shared->link);
    }
    hm_lock_give(&hm_arenas.lock);
    return shared;
}

struct huma_shared *
hm_shareds_begin(const char *call)
{
    struct huma_shared *shared = hm_arenas_start() ? obtain() : NULL;

    if (shared == NULL)
        hm_said(ENOMEM, call, "there is no memory for another arena; see ulimit -v");
    return shared;
}

void
hm_shareds_drop(struct huma_shared *shared)
{
    size_t ring_bytes = shared->view.geom.span_count * sizeof(shared->ring_next[0]);

    if (shared->ring_next != NULL)
        hm_os_unmap_meta(NULL, shared->ring_next, ring_bytes);
    if (shared->base != NULL && shared->kind != HUMA_SHARED_MEMORY)
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

/* The struct may be used for another arena. */
static void
release(struct huma_shared *shared)
{
    hm_lock_take(&hm_arenas.lock);
    hm_list_del(&shared->link);
    hm_store(&shared->is_open, false);
    shared->idle_next = NULL;
    if (hm_shareds.idle == NULL)
        hm_shareds.idle = shared;
    else
        hm_shareds.idle_last->idle_next = shared;
    hm_shareds.idle_last = shared;
    hm_lock_give(&hm_arenas.lock);
}

void
hm_shareds_abandon(struct huma_shared *shared)
{
    hm_shareds_drop(shared);
    release(shared);
}

huma_shared *
hm_shareds_finish(struct huma_shared *shared)
{
    hm_store(&shared->is_open, true);
    return shared;
}

/* --- mapping and sitting ---------------------------------------------------------------------- */

int
hm_shareds_set_up(struct huma_shared *shared, const struct hm_shared_geom *geom)
{
    struct hm_shared_env env = { shared, fill, punch, hold, let_go };
    void *ring = NULL;
    int rc = hm_os_map_meta(NULL, geom->span_count * sizeof(shared->ring_next[0]), &ring);

    if (rc != 0)
        return rc;
    shared->ring_next = ring;
    hm_shared_init(&shared->view, shared->base, geom, &env, shared->ring_next);
    return 0;
}

int
hm_shareds_map(struct huma_shared *shared, const struct hm_shared_geom *geom, uintptr_t address)
{
    struct hm_os_shared_map how = { .len_bytes = geom->end_off,
                                    .align_bytes = (size_t)1 << geom->page_shift,
                                    .address = address,
                                    .is_read_only = shared->is_read_only };
    uint64_t advised_off;
    int rc;

    if (how.align_bytes < HM_SHARED_CHUNK_BYTES)
        how.align_bytes = HM_SHARED_CHUNK_BYTES;
    /* For drop(). */
    shared->view.geom = *geom;
    rc = hm_os_shared_map(shared->fd, &how, &shared->base);
    if (rc == 0)
        rc = hm_shareds_set_up(shared, geom);
    /* Of files on a disk huge pages are to be had only where all of the mapping is advised. */
    advised_off = shared->kind == HUMA_SHARED_FILE ? 0 : geom->data_off;
    if (rc == 0 && shared->is_thp)
        (void)hm_os_advise(NULL, (uintptr_t)shared->base + advised_off, geom->end_off - advised_off,
                           HM_ADVICE_HUGE);
    return rc;
}

/* Under the lock that is held over fork(): a child must know of it, or it would hold what is locked
 * by it. */
int
hm_shareds_open_lock(struct huma_shared *shared)
{
    int rc = 0;

    hm_lock_take(&hm_arenas.lock);
    if (shared->lock_fd < 0)
        shared->lock_fd = hm_os_shared_reopen(shared->fd, false);
    if (shared->lock_fd < 0)
        rc = shared->lock_fd;
    hm_lock_give(&hm_arenas.lock);
    return rc;
}

/* One process at a time is looking for a seat: who recovers the dead holds all their seats for a
 * moment, and another would find none. Nobody waits long for one that is stopped. */
static int
sit_in_turn(struct huma_shared *shared)
{
    static const uint32_t never;
    bool is_turn = hm_os_shared_hold(shared->lock_fd, TURN);
    int rc;

    for (unsigned i = 0; i < TURN_WAIT_MS && !is_turn; i++) {
        hm_os_shared_sleep(&never, 0, 1);
        is_turn = hm_os_shared_hold(shared->lock_fd, TURN);
    }
    rc = hm_shared_attach(&shared->view);
    if (is_turn)
        hm_os_shared_let_go(shared->lock_fd, TURN);
    return rc;
}

int
hm_shareds_sit(struct huma_shared *shared)
{
    int saved_errno = errno;
    int rc = hm_shareds_open_lock(shared);

    if (rc == 0)
        rc = sit_in_turn(shared);
    errno = saved_errno;
    if (rc == 0)
        hm_store(&hm_shared_seat_of(&shared->view, shared->view.seat)->pid, (uint32_t)getpid());
    return rc;
}

HM_EXPORT void
huma_shared_detach(huma_shared *shared)
{
    static const char call[] = "huma_shared_detach()";
    int saved_errno = errno;
    struct huma_shared *found;

    if (shared == NULL)
        return;
    found = hm_shareds_find(shared, call);
    /* The parent's seat is not this child's to give up. */
    notice_child();
    if (found->view.seat != 0)
        hm_shared_detach(&found->view);
    hm_shareds_abandon(found);
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
    hm_store(hm_shareds.mark, 1);
}
