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

#include "api/nodes.h"
#include "api/said.h"
#include "api/shareds.h"

static const char create[] = "huma_shared_create()";

#define SEATS_DEFAULT 64
#define ROOTS_DEFAULT 64
#define MODE_DEFAULT 0600

#define FLAGS_KNOWN (HUMA_SHARED_SAME_ADDRESS | HUMA_SHARED_PREFAULT | HUMA_SHARED_ONE_WRITER)

/* What an arena shall be like, as it is tried with one backing after the other. */
struct plan {
    struct huma_shared_options options; /* with the defaults for 0 */
    struct hm_chain chain;
    struct hm_conf conf; /* of the nodes */
    const char *why;     /* what is wrong, for people, if it is not told by an errno */
    unsigned pool_shift; /* of the last pool that lacked pages; 0: none did */
    uint64_t pool_pages; /* ... and how many were wanted */
};

/* --- options ---------------------------------------------------------------------------------- */

static const char *
check_memory(const struct huma_shared_options *options)
{
    if (options->memory == NULL)
        return options->memory_bytes == 0 ? NULL : "memory_bytes without memory; set both or none";
    if ((uintptr_t)options->memory % hm_page_bytes(&hm_arenas.geom) != 0)
        return "memory is not at a multiple of the page size; pass what mmap or shmat returned";
    if (options->backing != NULL || options->nodes != NULL || options->mode != 0
        || (options->flags & HUMA_SHARED_ONE_WRITER) != 0)
        return "memory with backing, nodes, mode or HUMA_SHARED_ONE_WRITER, which are for memory "
               "of "
               "huma's; leave them out";
    return NULL;
}

static const char *
check_path(const struct huma_shared_options *options)
{
    const char *fault = NULL;

    if (options->path != NULL)
        fault = hm_shareds_path_fault(options->path);
    if (fault != NULL)
        return fault;
    if (options->path != NULL && options->memory != NULL && hm_shareds_is_name(options->path))
        return "with memory, path is a file's that the processes lock; pass one with '/'";
    if (options->path != NULL && (options->flags & HUMA_SHARED_ONE_WRITER) != 0)
        return "HUMA_SHARED_ONE_WRITER with a path: such files cannot be sealed; leave one out";
    return NULL;
}

static const char *
check_sizes(const struct huma_shared_options *options)
{
    if ((options->limit_bytes == 0 && options->memory == NULL)
        || options->limit_bytes > HM_SHARED_DATA_MAX_BYTES)
        return "limit_bytes is 0, or more than 8 TiB; set it to what the arena may grow to";
    if (options->limit_bytes != 0 && options->initial_bytes > options->limit_bytes)
        return "initial_bytes is more than limit_bytes; set it to as much at most";
    if (options->process_count > HM_SHARED_SEATS_MAX)
        return "process_count is more than 1023; set it to as many at most";
    if (options->root_count > HM_SHARED_ROOTS_MAX)
        return "root_count is more than 4096; set it to as many at most";
    return NULL;
}

static const char *
check(const struct huma_shared_options *options)
{
    const char *fault;

    if (options->struct_size != sizeof(*options))
        return "struct_size is wrong; begin with HUMA_SHARED_OPTIONS_INIT";
    if ((options->flags & ~FLAGS_KNOWN) != 0 || options->reserved != 0)
        return "flags has bits that this version does not know, or reserved is not 0; pass "
               "HUMA_SHARED_SAME_ADDRESS, _PREFAULT or _ONE_WRITER, and 0";
    if ((options->mode & ~0777u) != 0 || (options->mode != 0 && (options->mode & 0600) != 0600))
        return "mode is none of a file that its owner reads and writes; set it to 0600, 0660, ...";
    fault = check_sizes(options);
    if (fault == NULL)
        fault = check_path(options);
    return fault != NULL ? fault : check_memory(options);
}

/* Returns 0 or a negative errno, and plan->why. */
static int
make_plan(const struct huma_shared_options *options, struct plan *plan)
{
    if (options == NULL)
        plan->why = "options is NULL; pass them with limit_bytes set";
    else
        plan->why = check(options);
    if (plan->why != NULL)
        return -EINVAL;
    plan->options = *options;
    if (!hm_chain_parse(options->backing != NULL ? options->backing : "hugetlb,thp,4k",
                        &plan->chain)) {
        plan->why = "the backing is not accepted; a comma-separated list of hugetlb, hugetlb:SIZE, "
                    "thp and 4k is";
        return -EINVAL;
    }
    if (options->process_count == 0)
        plan->options.process_count = SEATS_DEFAULT;
    if (options->root_count == 0)
        plan->options.root_count = ROOTS_DEFAULT;
    if (options->mode == 0)
        plan->options.mode = MODE_DEFAULT;
    plan->conf.numa = HM_NUMA_OFF;
    return options->nodes != NULL ? hm_nodes_read(options->nodes, &plan->conf, &plan->why) : 0;
}

/* --- where the memory comes from -------------------------------------------------------------- */

/* Before any of it is there: it holds for all processes. */
static int
place(const struct huma_shared *shared, const struct plan *plan)
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
fill_first(struct huma_shared *shared, const struct plan *plan, bool is_pool)
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

/* The header is written, and its first word last; then this process has a seat. */
static int
complete(struct huma_shared *shared, struct hm_shared_header *header)
{
    uint64_t magic = header->magic;

    hm_shared_header_seal(header);
    header->magic = 0;
    memcpy(shared->base, header, sizeof(*header));
    __atomic_store_n((uint64_t *)shared->base, magic, __ATOMIC_RELEASE);
    return hm_shareds_sit(shared);
}

static void
init_header(struct hm_shared_header *out_header, const struct plan *plan, uint64_t data_bytes,
            unsigned page_shift)
{
    hm_shared_header_init(out_header, data_bytes, plan->options.process_count,
                          plan->options.root_count, page_shift);
    out_header->process_bytes = hm_align_up(plan->options.process_bytes, HM_SHARED_SPAN_BYTES);
}

/* --- in a file of ours ------------------------------------------------------------------------ */

/* Open a file of pages of a size, or as its folder has them. Returns 0 or a negative errno. */
static int
open_file(struct huma_shared *shared, const struct plan *plan, unsigned page_shift, char *out_place)
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
fill_file(struct huma_shared *shared, struct plan *plan)
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
    rc = hm_os_shared_set_length(shared->fd, geom.end_off);
    if (rc == 0 && shared->kind == HUMA_SHARED_MEMFD)
        rc = hm_os_shared_seal_length(shared->fd);
    if (rc == 0)
        rc = map(shared, &geom, &header, plan->options.flags);
    if (rc == 0)
        rc = place(shared, plan);
    if (rc == 0)
        rc = fill_first(shared, plan, file.page_bytes > hm_page_bytes(&hm_arenas.geom));
    if (rc == 0)
        rc = complete(shared, &header);
    if (rc == 0 && (plan->options.flags & HUMA_SHARED_ONE_WRITER) != 0)
        rc = hm_os_shared_seal_writes(shared->fd);
    return rc;
}

/* Try one backing of the list. Returns 0 or a negative errno; then nothing is left of it. */
static int
try_backing(struct huma_shared *shared, struct plan *plan, unsigned page_shift, bool is_thp)
{
    char place[HM_SHARED_PATH_BYTES];
    int rc = open_file(shared, plan, page_shift, place);

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
try_chain(struct huma_shared *shared, struct plan *plan)
{
    const struct hm_chain *chain = &plan->chain;
    int rc = -ENOMEM;

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
create_file(struct huma_shared *shared, struct plan *plan)
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
open_locks(struct huma_shared *shared, const struct plan *plan)
{
    const char *path = plan->options.path;

    shared->fd = path != NULL ? hm_os_shared_open_lock(path)
                              : hm_os_shared_create("locks", 0, plan->options.mode);
    return shared->fd >= 0 ? hm_shareds_open_lock(shared) : shared->fd;
}

static int
fill_memory(struct huma_shared *shared, struct plan *plan)
{
    const struct huma_shared_options *options = &plan->options;
    struct hm_shared_header header;
    struct hm_shared_geom geom;
    uint64_t data_bytes = hm_shared_data_bytes(options->memory_bytes, options->process_count,
                                               options->root_count, hm_arenas.geom.page_shift);
    uint64_t old_magic;
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
    rc = hm_os_shared_copy(&old_magic, shared->base, sizeof(old_magic));
    if (rc == 0 && old_magic == HM_SHARED_MAGIC)
        rc = -EEXIST;
    if (rc == 0)
        rc = hm_shareds_set_up(shared, &geom);
    if (rc == 0)
        rc = hm_os_populate(NULL, (uintptr_t)shared->base, hm_align_up(geom.blocks_off, 4096));
    if (rc != 0)
        return rc;
    memset(shared->base, 0, geom.blocks_off);
    rc = fill_first(shared, plan, false);
    return rc == 0 ? complete(shared, &header) : rc;
}

static int
create_in_memory(struct huma_shared *shared, struct plan *plan)
{
    int rc;

    shared->kind = HUMA_SHARED_MEMORY;
    shared->base = plan->options.memory;
    rc = open_locks(shared, plan);
    /* Who else creates one at this moment has it. */
    if (rc == 0 && !hm_os_shared_hold(shared->lock_fd, 0))
        rc = -EEXIST;
    if (rc != 0)
        return rc;
    rc = fill_memory(shared, plan);
    hm_os_shared_let_go(shared->lock_fd, 0);
    return rc;
}

/* --- create ----------------------------------------------------------------------------------- */

static const char *
explain(int rc, const struct plan *plan)
{
    bool is_disk = plan->options.path != NULL && !hm_shareds_is_name(plan->options.path);

    switch (rc) {
    case -ENOSPC:
    case -ENOMEM:
        return is_disk ? "there is no room on the file system for initial_bytes; see df"
                       : "there is no memory of any backing for initial_bytes, or of a pool for "
                         "limit_bytes; see /proc/meminfo, nr_hugepages in "
                         "/sys/kernel/mm/hugepages, and memory.max of the control group";
    case -EEXIST:
        if (plan->options.memory != NULL)
            return "there is an arena in this memory already, or one is being made; attach it with "
                   "huma_shared_attach_memory, or set its first page to 0";
        return "there is an arena of this path already; attach it with huma_shared_open, or "
               "huma_shared_remove it";
    case -EADDRNOTAVAIL:
        return "no address is free in this process that others could have as well; leave out "
               "HUMA_SHARED_SAME_ADDRESS";
    case -EMFILE:
    case -ENFILE:
        return "there are too many open files; see ulimit -n and fs.file-max";
    case -EOPNOTSUPP:
    case -EISDIR:
        return "the file system lacks files without a name (O_TMPFILE) or fallocate; use one that "
               "has them, such as ext4, xfs or tmpfs";
    case -EFAULT:
        return "memory cannot be written to, or the kernel has none for it";
    case -EUSERS:
        return "another arena's processes lock the same file; pass another path";
    default:
        return is_disk ? "no such file can be made; see the path and its permissions"
                       : "the kernel makes no such file in memory; see memfd_create(2)";
    }
}

/* With what the pool lacks, where that was the last that was tried. */
static void
say_refusal(int rc, const struct plan *plan)
{
    char why[HM_SAID_BYTES];
    struct hm_fmt out = hm_fmt_init(why, sizeof(why), -1);
    const struct hm_chain *chain = &plan->chain;

    if ((rc == -ENOSPC || rc == -ENOMEM) && plan->pool_shift != 0
        && chain->kind[chain->kind_count - 1] == HM_BACKING_HUGETLB) {
        hm_fmt_str(&out, "the pool has too few pages for limit_bytes and a sixteenth");
        if (hm_said_pages(&hm_os_real, plan->pool_shift, plan->pool_pages, &out)) {
            hm_said(ENOMEM, create, why);
            return;
        }
    }
    hm_said(rc == -ENOSPC || rc == -EFAULT ? ENOMEM : -rc, create, explain(rc, plan));
}

HM_EXPORT huma_shared *
huma_shared_create(const struct huma_shared_options *options)
{
    struct plan plan = { .why = NULL };
    struct huma_shared *shared;
    int saved_errno = errno;
    int rc;

    if (!hm_arenas_start()) {
        hm_said(ENOMEM, create, "there is no memory for another arena; see ulimit -v");
        return NULL;
    }
    rc = make_plan(options, &plan);
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
        if (plan.why != NULL)
            hm_said(-rc, create, plan.why);
        else
            say_refusal(rc, &plan);
        return NULL;
    }
    errno = saved_errno;
    return hm_shareds_finish(shared);
}
