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
#include "api/prefault.h"
#include "api/said.h"
#include "base/fmt.h"

static const char create[] = "huma_arena_create()";

/* The smallest struct there was: up to `flags`. */
#define OPTIONS_MIN_BYTES (offsetof(struct huma_arena_options, flags) + sizeof(uint64_t))

#define FLAGS_KNOWN                                                                                \
    (HUMA_ARENA_SINGLE_THREADED | HUMA_ARENA_HUGE_FIRST | HUMA_ARENA_NO_FORK | HUMA_ARENA_LOCKED   \
     | HUMA_ARENA_FIXED)

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

static int
check(const struct huma_arena_options *options, struct hm_conf *inout_conf)
{
    const char *why = NULL;

    if (options->name != NULL && !is_name(options->name))
        why = "the name is not accepted; 1 to 63 printable ASCII characters are, without \\ ` $ [ "
              "]";
    else if (options->backing != NULL && !hm_chain_parse(options->backing, &inout_conf->backing))
        why = "the backing is not accepted; a comma-separated list of hugetlb, hugetlb:SIZE, thp, "
              "mthp and 4k is";
    else if ((options->flags & ~FLAGS_KNOWN) != 0)
        why = "flags has bits that this version does not know; pass HUMA_ARENA_* of its huma.h";
    else if (options->reserved != 0)
        why = "reserved is not 0; begin with HUMA_ARENA_OPTIONS_INIT";
    else if ((options->flags & HUMA_ARENA_FIXED) != 0 && options->initial_bytes == 0)
        why = "HUMA_ARENA_FIXED without initial_bytes; set it to what the arena shall have";
    else if (options->limit_bytes != 0 && options->initial_bytes > options->limit_bytes)
        why = "initial_bytes is more than limit_bytes; set it to as much at most";
    if (why == NULL)
        return 0;
    hm_said(EINVAL, create, why);
    return -1;
}

/* --- create and destroy ----------------------------------------------------------------------- */

static void
set_name(struct huma_arena *arena, const char *name)
{
    struct hm_fmt out = hm_fmt_init(arena->name, sizeof(arena->name), -1);

    hm_fmt_str(&out, "huma ");
    hm_fmt_str(&out, name != NULL ? name : "arena");
}

/* Returns 0, or -1 and everything said. */
static int
read_conf(const struct huma_arena_options *options, struct hm_conf *out_conf)
{
    *out_conf = hm_arenas.conf;
    (void)hm_chain_parse("hugetlb,thp,4k", &out_conf->backing);
    if (check(options, out_conf) != 0)
        return -1;
    out_conf->limit_bytes = options->limit_bytes != 0 ? options->limit_bytes : SIZE_MAX;
    out_conf->is_locked = (options->flags & HUMA_ARENA_LOCKED) != 0;
    if ((options->flags & HUMA_ARENA_HUGE_FIRST) != 0)
        out_conf->huge_start_bytes = 0;
    return 0;
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

/* What is to be there from the beginning. Returns 0 or -ENOMEM. */
static int
fill(struct huma_arena *arena, const struct huma_arena_options *options)
{
    struct hm_arena *core = &arena->core;
    struct hm_run run;

    if (options->initial_bytes == 0)
        return 0;
    if (hm_arena_open(core, options->initial_bytes, &run) != 0)
        return -ENOMEM;
    hm_prefault(run.addr, hm_pages_to_bytes(&core->heap.geom, run.len_pages),
                hm_page_bytes(&core->heap.geom), options->prefault_threads);
    hm_arena_settle(core, &run);
    if (arena->is_fixed) {
        hm_arena_equip(core);
        hm_arena_close(core);
        /* For huma_last_error. */
        (void)hm_arenas_thread();
    }
    return 0;
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

    if (arena != NULL && init(arena, options, conf) != 0) {
        hm_arenas_release(arena);
        arena = NULL;
    }
    if (arena == NULL) {
        hm_said(ENOMEM, create, "there is no memory for another arena; see ulimit -v");
        return NULL;
    }
    if (fill(arena, options) != 0) {
        (void)hm_said_no_memory(arena, create, options->initial_bytes);
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
