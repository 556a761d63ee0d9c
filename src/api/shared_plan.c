/* SPDX-License-Identifier: MIT */
/* shared_plan.c - what a shared arena shall be like (see shared_plan.h). */
#include "api/shared_plan.h"

#include <errno.h>
#include <string.h>

#include "api/nodes.h"
#include "api/said.h"
#include "api/shareds.h"

#define SEATS_DEFAULT 64
#define ROOTS_DEFAULT 64
#define MODE_DEFAULT 0600

#define FLAGS_KNOWN (HUMA_SHARED_SAME_ADDRESS | HUMA_SHARED_PREFAULT | HUMA_SHARED_ONE_WRITER)

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

    const unsigned char *bytes = (const unsigned char *)options;

    if (options->struct_size < sizeof(*options) || options->struct_size % sizeof(void *) != 0)
        return "struct_size is wrong; begin with HUMA_SHARED_OPTIONS_INIT";
    for (size_t i = sizeof(*options); i < options->struct_size; i++)
        if (bytes[i] != 0)
            return "an option is set that this version does not know; leave it 0, or use the "
                   "libhuma that the program was compiled for";
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

int
hm_plan_make(const struct huma_shared_options *options, struct hm_plan *plan)
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

/* --- refusals -------------------------------------------------------------------------------- */

static const char *
explain(int rc, const struct hm_plan *plan)
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
    case -ENOENT:
        return is_disk ? "the folder of the path is not there; make it"
                       : "no hugetlbfs with pages of that size is mounted, or none that may be "
                         "written to; mount one, or add thp or 4k to the backing";
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
void
hm_plan_say(int rc, const struct hm_plan *plan, const char *call)
{
    char why[HM_SAID_BYTES];
    struct hm_fmt out = hm_fmt_init(why, sizeof(why), -1);
    const struct hm_chain *chain = &plan->chain;

    if (plan->why != NULL) {
        hm_said(-rc, call, plan->why);
        return;
    }
    if ((rc == -ENOSPC || rc == -ENOMEM) && plan->pool_shift != 0
        && chain->kind[chain->kind_count - 1] == HM_BACKING_HUGETLB) {
        hm_fmt_str(&out, "the pool has too few pages for limit_bytes and a sixteenth");
        if (hm_said_pages(&hm_os_real, plan->pool_shift, plan->pool_pages, &out)) {
            hm_said(ENOMEM, call, why);
            return;
        }
    }
    hm_said(rc == -ENOSPC || rc == -EFAULT ? ENOMEM : -rc, call, explain(rc, plan));
}
