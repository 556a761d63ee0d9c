/* SPDX-License-Identifier: MIT */
/* shared_create.c - shared arenas are made.
 *
 * Problem     An arena must be complete before anybody else can see it.
 * Idea        The backing is decided before the arena is there: the first of the list that has
 *             memory for what is needed at the beginning; of a pool, for all of it, since nothing
 *             else can serve a file on hugetlb pages later. Nobody has the descriptor before the
 *             header is written; a name or path is given to the file last. In the caller's memory
 *             the header's first word is written last.
 */
#include <errno.h>
#include <string.h>

#include "api/said.h"
#include "api/shared_plan.h"
#include "api/shareds.h"

static const char create[] = "huma_shared_create()";

/* --- where the memory comes from -------------------------------------------------------------- */

/* Before any of it is there: it holds for all processes. */
static int
place(const struct huma_shared *shared, const struct hm_plan *plan)
{
    enum hm_policy policy = HM_POLICY_BIND;

    if (plan->conf.numa == HM_NUMA_OFF || plan->conf.numa == HM_NUMA_LOCAL)
        return 0;
    if (plan->conf.numa == HM_NUMA_PREFER)
        policy = HM_POLICY_PREFER;
    else if (plan->conf.numa == HM_NUMA_INTERLEAVE)
        policy = HM_POLICY_INTERLEAVE;
    return hm_os_place(NULL, (uintptr_t)shared->base, shared->view.geom.end_off, policy,
                       &plan->conf.nodes);
}

/* Where programs, libraries and stacks are not: from 32 TiB on, or 64 GiB on machines whose
 * addresses are short. Arenas shall rarely meet there. */
static uintptr_t
propose_address(uint64_t length, unsigned trial)
{
    uintptr_t first = trial % 2 == 0 ? (uintptr_t)1 << 45 : (uintptr_t)1 << 36;
    uint64_t step = trial % 2 == 0 ? (uint64_t)1 << 36 : (uint64_t)1 << 32;
    uint64_t number = (hm_os_now_ns(NULL) >> 10) % 64;

    return first + number * hm_align_up(length, step);
}

#define ADDRESS_TRIALS 32

/* Returns 0 or a negative errno: EADDRNOTAVAIL. */
static int
map(struct huma_shared *shared, const struct hm_shared_geom *geom, struct hm_shared_header *header,
    uint64_t flags)
{
    int rc = -EEXIST;

    if ((flags & HUMA_SHARED_SAME_ADDRESS) == 0)
        return hm_shareds_map(shared, geom, 0);
    for (unsigned trial = 0;
         trial < ADDRESS_TRIALS && shared->base == NULL && (rc == -EEXIST || rc == -ENOMEM);
         trial++) {
        uintptr_t address = propose_address(geom->end_off, trial);

        address = hm_align_up(address, (uintptr_t)1 << geom->page_shift);
        rc = hm_shareds_map(shared, geom, address);
        header->address = address;
    }
    return rc == -EEXIST || rc == -ENOMEM ? -EADDRNOTAVAIL : rc;
}

static int
fill_first(struct huma_shared *shared, const struct hm_plan *plan, bool is_pool)
{
    uint64_t initial_bytes = plan->options.initial_bytes;
    const struct hm_shared_geom *geom = &shared->view.geom;
    int rc = hm_shareds_fill(shared, 0, is_pool ? geom->end_off : geom->blocks_off);

    if (rc != 0 || initial_bytes == 0)
        return rc;
    rc = hm_shared_fill(&shared->view, 0,
                        (uint32_t)((initial_bytes - 1) >> HM_SHARED_SPAN_SHIFT) + 1);
    if (rc == 0 && (plan->options.flags & HUMA_SHARED_PREFAULT) != 0)
        rc = hm_os_populate(NULL, (uintptr_t)shared->base + geom->data_off,
                            hm_align_up(initial_bytes, (uint64_t)1 << geom->page_shift));
    return rc;
}

/* The header is written, its first word last. */
static void
complete(const struct huma_shared *shared, struct hm_shared_header *header)
{
    uint64_t magic = header->magic;

    hm_shared_header_seal(header);
    header->magic = 0;
    memcpy(shared->base, header, sizeof(*header));
    __atomic_store_n((uint64_t *)shared->base, magic, __ATOMIC_RELEASE);
}

static void
init_header(struct hm_shared_header *out_header, const struct hm_plan *plan, uint64_t data_bytes,
            unsigned page_shift)
{
    hm_shared_header_init(out_header, data_bytes, plan->options.process_count,
                          plan->options.root_count, page_shift);
    out_header->process_bytes = hm_align_up(plan->options.process_bytes, HM_SHARED_SPAN_BYTES);
}

/* --- in a file of ours ------------------------------------------------------------------------ */

/* Open a file of pages of a size, or as its folder has them. Returns 0 or a negative errno. */
static int
open_file(struct huma_shared *shared, const struct hm_plan *plan, unsigned page_shift,
          char *out_place)
{
    const struct huma_shared_options *options = &plan->options;

    if (options->path == NULL)
        shared->fd = hm_os_shared_create(options->name != NULL ? options->name : "arena",
                                         page_shift, options->mode);
    else
        shared->fd = hm_shareds_make_file(options->path, page_shift, options->mode, out_place);
    shared->kind = options->path == NULL ? HUMA_SHARED_MEMFD : HUMA_SHARED_FILE;
    return shared->fd >= 0 ? 0 : shared->fd;
}

static int
fill_file(struct huma_shared *shared, struct hm_plan *plan)
{
    struct hm_os_shared_file file;
    struct hm_shared_header header;
    struct hm_shared_geom geom;
    int rc = hm_os_shared_stat(shared->fd, &file);

    if (rc != 0)
        return rc;
    init_header(&header, plan, plan->options.limit_bytes,
                (unsigned)__builtin_ctzll(file.page_bytes));
    (void)hm_shared_geom_init(&geom, &header);
    if (file.page_bytes > hm_page_bytes(&hm_arenas.geom)) {
        plan->pool_shift = header.page_shift;
        plan->pool_pages = geom.end_off >> header.page_shift;
    }
    header.flags = shared->is_thp ? HM_SHARED_THP : 0;
    rc = hm_os_shared_set_length(shared->fd, geom.end_off);
    if (rc == 0 && shared->kind == HUMA_SHARED_MEMFD)
        rc = hm_os_shared_seal_length(shared->fd);
    if (rc == 0)
        rc = map(shared, &geom, &header, plan->options.flags);
    if (rc == 0)
        rc = place(shared, plan);
    if (rc == 0)
        rc = fill_first(shared, plan, file.page_bytes > hm_page_bytes(&hm_arenas.geom));
    if (rc == 0) {
        complete(shared, &header);
        rc = hm_shareds_sit(shared);
    }
    if (rc == 0 && (plan->options.flags & HUMA_SHARED_ONE_WRITER) != 0)
        rc = hm_os_shared_seal_writes(shared->fd);
    return rc;
}

/* Try one backing of the list. Returns 0 or a negative errno; then nothing is left of it. */
static int
try_backing(struct huma_shared *shared, struct hm_plan *plan, unsigned page_shift, bool is_thp)
{
    char place[HM_SHARED_PATH_BYTES];
    int rc;

    plan->why = NULL;
    rc = open_file(shared, plan, page_shift, place);
    shared->is_thp = is_thp;
    if (rc == 0)
        rc = fill_file(shared, plan);
    if (rc == 0 && plan->options.path != NULL)
        rc = hm_shareds_publish(shared->fd, plan->options.path, place);
    if (rc != 0)
        hm_shareds_drop(shared);
    return rc;
}

/* The first backing of the list that can be had. Returns 0 or the last one's negative errno. */
static int
try_chain(struct huma_shared *shared, struct hm_plan *plan)
{
    const struct hm_chain *chain = &plan->chain;
    int rc = -ENOMEM;

    plan->why = "transparent huge pages are switched off, or there are none; see enabled and "
                "shmem_enabled in /sys/kernel/mm/transparent_hugepage, or add 4k to the backing";
    /* A path's folder decides. */
    if (plan->options.path != NULL && !hm_shareds_is_name(plan->options.path))
        return try_backing(shared, plan, 0, hm_os_shared_may_be_huge());
    for (unsigned i = 0; i < chain->kind_count && rc != 0 && rc != -EEXIST; i++) {
        unsigned page_shift
            = chain->page_shift[i] != 0 ? chain->page_shift[i] : hm_arenas.geom.hpage_shift;

        switch (chain->kind[i]) {
        case HM_BACKING_HUGETLB:
            if (page_shift != 0)
                rc = try_backing(shared, plan, page_shift, false);
            break;
        case HM_BACKING_THP:
            if (hm_os_shared_may_be_huge())
                rc = try_backing(shared, plan, 0, true);
            break;
        default:
            rc = try_backing(shared, plan, 0, false);
            break;
        }
    }
    return rc;
}

static int
create_file(struct huma_shared *shared, struct hm_plan *plan)
{
    char place[HM_SHARED_PATH_BYTES];

    /* Before memory is taken for nothing. */
    if (plan->options.path != NULL && hm_shareds_locate(plan->options.path, place) == 0
        && hm_os_shared_exists(place))
        return -EEXIST;
    return try_chain(shared, plan);
}

/* --- in the caller's memory ------------------------------------------------------------------- */

/* The file that the processes lock. */
static int
open_locks(struct huma_shared *shared, const struct hm_plan *plan)
{
    const char *path = plan->options.path;

    shared->fd = path != NULL ? hm_os_shared_open_lock(path)
                              : hm_os_shared_create("locks", 0, plan->options.mode);
    return shared->fd >= 0 ? hm_shareds_open_lock(shared) : shared->fd;
}

static bool
has_arena(const void *memory)
{
    uint64_t magic;

    return hm_os_shared_copy(&magic, memory, sizeof(magic)) == 0 && magic == HM_SHARED_MAGIC;
}

static int
fill_memory(struct huma_shared *shared, struct hm_plan *plan)
{
    const struct huma_shared_options *options = &plan->options;
    struct hm_shared_header header;
    struct hm_shared_geom geom;
    uint64_t data_bytes = hm_shared_data_bytes(options->memory_bytes, options->process_count,
                                               options->root_count, hm_arenas.geom.page_shift);
    int rc;

    if (options->limit_bytes != 0 && options->limit_bytes < data_bytes)
        data_bytes = options->limit_bytes;
    if (data_bytes == 0 || options->limit_bytes > data_bytes
        || options->initial_bytes > data_bytes) {
        plan->why = "memory_bytes is too short; about 17 sixteenths of limit_bytes and 4 MiB are "
                    "needed";
        return -EINVAL;
    }
    init_header(&header, plan, data_bytes, hm_arenas.geom.page_shift);
    header.address = (options->flags & HUMA_SHARED_SAME_ADDRESS) != 0 ? (uintptr_t)shared->base : 0;
    if (!hm_shared_geom_init(&geom, &header)) {
        plan->why = "memory is not at a multiple of 2 MiB, as HUMA_SHARED_SAME_ADDRESS needs it";
        return -EINVAL;
    }
    rc = has_arena(shared->base) ? -EEXIST : hm_shareds_set_up(shared, &geom);
    if (rc == 0)
        rc = hm_os_populate(NULL, (uintptr_t)shared->base, hm_align_up(geom.blocks_off, 4096));
    if (rc != 0)
        return rc;
    memset(shared->base, 0, geom.blocks_off);
    rc = fill_first(shared, plan, false);
    if (rc == 0)
        complete(shared, &header);
    return rc;
}

static int
create_in_memory(struct huma_shared *shared, struct hm_plan *plan)
{
    int rc;

    shared->kind = HUMA_SHARED_MEMORY;
    shared->base = plan->options.memory;
    rc = open_locks(shared, plan);
    if (rc == 0 && has_arena(shared->base))
        rc = -EEXIST;
    /* Who creates one at this moment has them, or another arena's processes do. */
    if (rc == 0 && !hm_os_shared_hold_all(shared->lock_fd, HM_SHARED_SEATS_MAX))
        rc = -EUSERS;
    if (rc != 0)
        return rc;
    rc = fill_memory(shared, plan);
    hm_os_shared_let_go_all(shared->lock_fd, HM_SHARED_SEATS_MAX);
    return rc == 0 ? hm_shareds_sit(shared) : rc;
}

/* --- create ---------------------------------------------------------------------------------- */

HM_EXPORT huma_shared *
huma_shared_create(const struct huma_shared_options *options)
{
    struct hm_plan plan = { .why = NULL };
    struct huma_shared *shared;
    int saved_errno = errno;
    int rc;

    if (!hm_arenas_start()) {
        hm_said(ENOMEM, create, "there is no memory for another arena; see ulimit -v");
        return NULL;
    }
    rc = hm_plan_make(options, &plan);
    if (rc != 0) {
        hm_said(-rc, create, plan.why);
        return NULL;
    }
    shared = hm_shareds_begin(create);
    if (shared == NULL)
        return NULL;
    rc = options->memory != NULL ? create_in_memory(shared, &plan) : create_file(shared, &plan);
    if (rc != 0) {
        hm_shareds_abandon(shared);
        hm_plan_say(rc, &plan, create);
        return NULL;
    }
    errno = saved_errno;
    return hm_shareds_finish(shared);
}
