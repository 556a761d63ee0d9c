/* SPDX-License-Identifier: MIT */
/* options.c - what an arena shall be like; its beginning and its end.
 *
 * Problem     Options are added in later versions, and a program may run with an older or a newer
 *             library than it was compiled for.
 * Idea        The struct begins with its size. What the program's has beyond ours must be 0, for we
 *             would not obey it; what it lacks is 0 for us. All options are checked before anything
 *             is made.
 */
#include <errno.h>
#include <string.h>

#include "api/arenas.h"
#include "api/nodes.h"
#include "api/prefault.h"
#include "api/said.h"
#include "base/fmt.h"

static const char create[] = "huma_arena_create()";

/* The smallest struct there was: up to `flags`. */
#define OPTIONS_MIN_BYTES (offsetof(struct huma_arena_options, flags) + sizeof(uint64_t))

#define FLAGS_KNOWN                                                                                \
    (HUMA_ARENA_SINGLE_THREADED | HUMA_ARENA_HUGE_FIRST | HUMA_ARENA_NO_FORK | HUMA_ARENA_LOCKED   \
     | HUMA_ARENA_FIXED | HUMA_ARENA_GUARDED)

/* No address of a program is beyond. */
#define ADDRESS_END ((uintptr_t)1 << HM_MAP_SHIFT)

/* No machine has larger ones (ppc64, arm64). */
#define PAGE_MAX_BYTES (16 * HM_GIB)

/* Not with memory of the program's. */
#define MEMORY_FLAGS (HUMA_ARENA_HUGE_FIRST | HUMA_ARENA_LOCKED | HUMA_ARENA_GUARDED)

/* --- checks ----------------------------------------------------------------------------------- */

/* Returns 0, or -1 and everything said. */
static int
read_options(const struct huma_arena_options *from, struct huma_arena_options *out_options)
{
    const unsigned char *bytes = (const unsigned char *)from;

    *out_options = (struct huma_arena_options)HUMA_ARENA_OPTIONS_INIT;
    if (from == NULL)
        return 0;
    if (from->struct_size < OPTIONS_MIN_BYTES || from->struct_size % sizeof(void *) != 0) {
        hm_said(EINVAL, create, "struct_size is wrong; begin with HUMA_ARENA_OPTIONS_INIT");
        return -1;
    }
    for (size_t i = sizeof(*out_options); i < from->struct_size; i++) {
        if (bytes[i] == 0)
            continue;
        hm_said(E2BIG, create,
                "an option is set that this version does not know; leave it 0, or use the libhuma "
                "that the program was compiled for");
        return -1;
    }
    memcpy(out_options, from,
           from->struct_size < sizeof(*from) ? from->struct_size : sizeof(*from));
    return 0;
}

/* As the kernel takes it. */
static bool
is_name(const char *name)
{
    size_t len_bytes = strlen(name);

    for (size_t i = 0; i < len_bytes; i++)
        if (name[i] < ' ' || name[i] > '~' || strchr("\\`$[]", name[i]) != NULL)
            return false;
    return len_bytes > 0 && len_bytes < HM_ARENA_NAME_BYTES;
}

static bool
has_whole_page(uintptr_t addr, size_t len_bytes)
{
    size_t page_bytes = hm_page_bytes(&hm_arenas.geom);

    return hm_align_up(addr, page_bytes) < hm_align_down(addr + len_bytes, page_bytes);
}

/* Memory of the caller's is as it is. */
static const char *
check_memory(const struct huma_arena_options *options)
{
    if (options->memory == NULL)
        return options->memory_bytes == 0 ? NULL : "memory_bytes without memory; set both or none";
    if (options->memory_bytes == 0 || options->memory_bytes > ADDRESS_END
        || (uintptr_t)options->memory > ADDRESS_END - options->memory_bytes)
        return "memory_bytes is not the length of memory; set it to that";
    if (!has_whole_page((uintptr_t)options->memory, options->memory_bytes))
        return "memory has no whole page; pass more of it";
    if (options->initial_bytes > options->memory_bytes)
        return "initial_bytes is more than memory_bytes; set it to as much at most";
    if (hm_arenas_have((uintptr_t)options->memory, options->memory_bytes))
        return "memory is another arena's; pass memory of your own, or destroy that one before";
    if (options->backing != NULL || options->page_bytes != 0 || options->nodes != NULL
        || (options->flags & MEMORY_FLAGS) != 0)
        return "memory with backing, page_bytes, nodes, HUMA_ARENA_LOCKED, HUMA_ARENA_GUARDED or "
               "HUMA_ARENA_HUGE_FIRST, which are for memory of huma's; leave them out";
    return NULL;
}

static const char *
check_sizes(const struct huma_arena_options *options)
{
    if ((options->flags & HUMA_ARENA_FIXED) != 0 && options->initial_bytes == 0
        && options->memory == NULL)
        return "HUMA_ARENA_FIXED without initial_bytes; set it to what the arena shall have";
    if (options->limit_bytes != 0 && options->initial_bytes > options->limit_bytes)
        return "initial_bytes is more than limit_bytes; set it to as much at most";
    return check_memory(options);
}

static const char *
check(const struct huma_arena_options *options)
{
    if (options->name != NULL && !is_name(options->name))
        return "the name is not accepted; 1 to 63 printable ASCII characters are, without \\ ` $ [ "
               "]";
    if ((options->flags & ~FLAGS_KNOWN) != 0)
        return "flags has bits that this version does not know; pass HUMA_ARENA_* of its huma.h";
    if (options->reserved != 0)
        return "reserved is not 0; begin with HUMA_ARENA_OPTIONS_INIT";
    return check_sizes(options);
}

/* The chain that the program wrote, and before it the pages that it wishes for. */
static const char *
read_backing(const struct huma_arena_options *options, struct hm_conf *inout_conf)
{
    const struct hm_geom *geom = &hm_arenas.geom;
    size_t page_bytes = options->page_bytes;
    unsigned page_shift;

    if (!hm_chain_parse(options->backing != NULL ? options->backing : "hugetlb,thp,4k",
                        &inout_conf->backing))
        return "the backing is not accepted; a comma-separated list of hugetlb, hugetlb:SIZE, thp, "
               "mthp and 4k is";
    if (page_bytes == 0)
        return NULL;
    if (!hm_is_pow2(page_bytes) || page_bytes < hm_page_bytes(geom) || page_bytes > PAGE_MAX_BYTES)
        return "page_bytes is no size of a page; set it to one of a hugetlb pool "
               "(/sys/kernel/mm/hugepages), or of a base page (getconf PAGESIZE)";
    page_shift = (unsigned)__builtin_ctzll(page_bytes);
    if (page_shift != geom->page_shift)
        inout_conf->huge_start_bytes = 0;
    if (!hm_chain_put_first(
            &inout_conf->backing,
            page_shift == geom->page_shift ? HM_BACKING_4K : HM_BACKING_HUGETLB,
            page_shift == geom->page_shift || page_shift == geom->hpage_shift ? 0 : page_shift))
        return "page_bytes with a backing of so many parts; leave one of these out";
    return NULL;
}

/* --- create and destroy ----------------------------------------------------------------------- */

static void
set_name(struct huma_arena *arena, const char *name)
{
    struct hm_fmt out = hm_fmt_init(arena->name, sizeof(arena->name), -1);

    hm_fmt_str(&out, "huma ");
    hm_fmt_str(&out, name != NULL ? name : "arena");
}

/* Memory of the program's has the pages that it has. */
static void
leave_to_program(struct hm_conf *inout_conf)
{
    (void)hm_chain_parse("4k", &inout_conf->backing);
    inout_conf->numa = HM_NUMA_OFF;
}

/* Returns 0, or -1 and everything said. */
static int
read_conf(const struct huma_arena_options *options, struct hm_conf *out_conf)
{
    const char *why = check(options);
    int rc = -EINVAL;

    *out_conf = hm_arenas.conf;
    out_conf->limit_bytes = options->limit_bytes != 0 ? options->limit_bytes : SIZE_MAX;
    out_conf->has_guards = (options->flags & HUMA_ARENA_GUARDED) != 0;
    out_conf->is_locked = (options->flags & HUMA_ARENA_LOCKED) != 0;
    if ((options->flags & HUMA_ARENA_HUGE_FIRST) != 0)
        out_conf->huge_start_bytes = 0;
    if (why == NULL)
        why = read_backing(options, out_conf);
    if (why == NULL && options->nodes != NULL)
        rc = hm_nodes_read(options->nodes, out_conf, &why);
    if (options->memory != NULL)
        leave_to_program(out_conf);
    if (why == NULL)
        return 0;
    hm_said(-rc, create, why);
    return -1;
}

static int
init(struct huma_arena *arena, const struct huma_arena_options *options, struct hm_conf *conf)
{
    struct hm_arena_site site = { &hm_arenas.pagemap, &hm_os_real, &hm_arenas.geom };

    set_name(arena, options->name);
    conf->name = arena->name;
    arena->is_fixed = (options->flags & HUMA_ARENA_FIXED) != 0;
    arena->is_left_out = (options->flags & HUMA_ARENA_NO_FORK) != 0;
    arena->is_single = (options->flags & HUMA_ARENA_SINGLE_THREADED) != 0;
    return hm_arena_init(&arena->core, &site, conf, options->cutoff_bytes,
                         arena->is_single ? (uintptr_t)hm_arenas_handle(arena) : 0);
}

/* Touch the memory of a run, and what is left of its regions where that may be used later without
 * the kernel. */
static void
touch_run(const struct huma_arena *arena, const struct hm_run *run, unsigned thread_count)
{
    const struct hm_geom *geom = &arena->core.heap.geom;
    uintptr_t addr = run->addr;
    uintptr_t end_addr = addr + hm_pages_to_bytes(geom, run->len_pages);

    if (arena->is_fixed) {
        addr = hm_align_down(addr, hm_region_bytes(geom));
        end_addr = hm_align_up(end_addr, hm_region_bytes(geom));
    }
    hm_prefault(addr, end_addr - addr, hm_page_bytes(geom), thread_count);
}

/* Touch memory ahead. Returns 0 or -ENOMEM. What the program supplied is open already, and may end
 * within regions at both ends, where no run lies across all of it. */
static int
touch(struct huma_arena *arena, size_t len_bytes, unsigned thread_count)
{
    struct hm_arena *core = &arena->core;
    const struct hm_heap *heap = &core->heap;
    struct hm_prefault_os os;
    struct hm_run run;

    if (core->is_supplied) {
        if (arena->is_fixed || len_bytes > heap->supply_bytes)
            len_bytes = heap->supply_bytes;
        hm_prefault(heap->supply_addr, len_bytes, hm_page_bytes(&heap->geom), thread_count);
        return 0;
    }
    if (len_bytes == 0)
        return 0;
    hm_prefault_os_init(&os, thread_count);
    if (hm_arena_open(core, &os.os, len_bytes, &run) != 0)
        return -ENOMEM;
    touch_run(arena, &run, thread_count);
    hm_arena_settle(core, &run);
    return 0;
}

/* What is to be there from the beginning. Returns 0, -EINVAL or -ENOMEM. */
static int
fill(struct huma_arena *arena, const struct huma_arena_options *options)
{
    struct hm_arena *core = &arena->core;
    int rc = 0;

    if (options->memory != NULL)
        rc = hm_arena_supply(core, options->memory, options->memory_bytes);
    if (rc == 0)
        rc = touch(arena, options->initial_bytes, options->prefault_threads);
    if (rc == 0 && arena->is_fixed) {
        hm_arena_equip(core);
        hm_arena_close(core);
        /* For huma_last_error. */
        (void)hm_arenas_thread();
    }
    return rc;
}

static void
destroy(struct huma_arena *arena)
{
    hm_arena_fini(&arena->core, true);
    hm_arenas_release(arena);
}

/* NULL, and everything said, if there is no memory. */
static struct huma_arena *
make(const struct huma_arena_options *options, struct hm_conf *conf)
{
    struct huma_arena *arena = hm_arenas_obtain();
    int rc;

    if (arena != NULL && init(arena, options, conf) != 0) {
        hm_arenas_release(arena);
        arena = NULL;
    }
    if (arena == NULL) {
        hm_said(ENOMEM, create, "there is no memory for another arena; see ulimit -v");
        return NULL;
    }
    rc = fill(arena, options);
    if (rc != 0) {
        if (rc == -EINVAL)
            hm_said(EINVAL, create,
                    "blocks of another arena are in memory; pass memory of your own");
        else
            (void)hm_said_no_memory(
                arena, create,
                options->memory != NULL ? options->memory_bytes : options->initial_bytes, 1);
        destroy(arena);
        return NULL;
    }
    return arena;
}

HM_EXPORT huma_arena *
huma_arena_create(const struct huma_arena_options *options)
{
    struct huma_arena_options read;
    struct huma_arena *arena;
    struct hm_conf conf;
    int saved_errno = errno;

    if (read_options(options, &read) != 0)
        return NULL;
    if (!hm_arenas_start()) {
        hm_said(ENOMEM, create, "there is no memory for a first arena; see ulimit -v");
        return NULL;
    }
    if (read_conf(&read, &conf) != 0)
        return NULL;
    arena = make(&read, &conf);
    if (arena == NULL)
        return NULL;
    hm_arenas_enter(arena);
    errno = saved_errno;
    return hm_arenas_handle(arena);
}

HM_EXPORT void
huma_arena_destroy(huma_arena *arena)
{
    struct huma_arena *found = hm_arenas_find(arena, "huma_arena_destroy()");
    int saved_errno = errno;

    if (found == NULL || !hm_arenas_leave(found))
        return;
    destroy(found);
    errno = saved_errno;
}

HM_COLD huma_arena *
hm_arenas_common(void)
{
    huma_arena *common = __atomic_load_n(&hm_arenas.common, __ATOMIC_ACQUIRE);
    huma_arena *other = NULL;

    if (common != NULL)
        return common;
    common = huma_arena_create(NULL);
    /* release: pairs with the acquire above */
    if (common != NULL
        && !__atomic_compare_exchange_n(&hm_arenas.common, &other, common, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {
        huma_arena_destroy(common);
        common = other;
    }
    return common;
}
