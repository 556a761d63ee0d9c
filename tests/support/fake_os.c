/* SPDX-License-Identifier: MIT */
/* fake_os.c - a kernel for tests (see fake_os.h).
 *
 * Problem     Each call must be counted, logged, checked, and possibly refused, in the same way.
 * Idea        Every entry begins with fake_os_begin(), which may name an error, and ends with
 *             fake_os_end(). A call is checked even if it is going to fail.
 */
#include "support/fake_os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct fake_meta {
    struct fake_meta *next;
    void *mem;
    size_t len_bytes;
};

int
fake_os_begin(struct fake_os *fake, enum fake_call_kind kind)
{
    (void)pthread_mutex_lock(&fake->mutex);
    return fake_os_step(fake, kind);
}

int
fake_os_step(struct fake_os *fake, enum fake_call_kind kind)
{
    struct fake_fault *fault = &fake->fault;

    fake->call_count[kind]++;
    if (fault->left_count == 0 || (fault->kind != FAKE_ANY && fault->kind != kind))
        return 0;
    if (fault->left_count > 1) {
        fault->left_count--;
        return 0;
    }
    if (!fault->stays)
        fault->left_count = 0;
    if (fault->failed_count++ == 0)
        fault->failed_kind = kind;
    return -fault->error;
}

int
fake_os_end(struct fake_os *fake, struct fake_call call)
{
    fake->log[fake->log_count++ % FAKE_LOG_COUNT] = call;
    (void)pthread_mutex_unlock(&fake->mutex);
    return call.rc;
}

/* --- the table -------------------------------------------------------------------------------- */

static int
reserve(void *ctx, size_t len_bytes, size_t align_bytes, uintptr_t *out_addr)
{
    struct fake_os *fake = ctx;
    struct fake_call call = { .kind = FAKE_RESERVE, .len_bytes = len_bytes };

    call.rc = fake_os_begin(fake, FAKE_RESERVE);
    if (call.rc == 0
        && (len_bytes > fake->limit_bytes
            || fake->space.reserved_bytes > fake->limit_bytes - len_bytes
            || !fake_space_reserve(&fake->space, len_bytes, align_bytes, &call.addr)))
        call.rc = -ENOMEM;
    if (call.rc == 0)
        *out_addr = call.addr;
    return fake_os_end(fake, call);
}

static int
commit(void *ctx, uintptr_t addr, size_t len_bytes)
{
    struct fake_os *fake = ctx;
    struct fake_call call = { .kind = FAKE_COMMIT, .addr = addr, .len_bytes = len_bytes };

    call.rc = fake_os_begin(fake, FAKE_COMMIT);
    fake_os_forbid_pool(fake, addr, len_bytes, "commit() of hugetlb pages");
    fake_space_set(&fake->space, addr, len_bytes, 0, call.rc == 0 ? FAKE_COMMITTED : 0,
                   "commit() of what is not whole regions of one mapping");
    return fake_os_end(fake, call);
}

static int
unmap(void *ctx, uintptr_t addr, size_t len_bytes)
{
    struct fake_os *fake = ctx;
    struct fake_call call = { .kind = FAKE_UNMAP, .addr = addr, .len_bytes = len_bytes };

    call.rc = fake_os_begin(fake, FAKE_UNMAP);
    if (call.rc == 0)
        fake_space_unmap(&fake->space, addr, len_bytes);
    return fake_os_end(fake, call);
}

static int
remap(void *ctx, uintptr_t addr, size_t old_bytes, uintptr_t to_addr, size_t new_bytes)
{
    struct fake_os *fake = ctx;
    struct fake_call call = {
        .kind = FAKE_REMAP,
        .addr = addr,
        .len_bytes = old_bytes,
        .to_addr = to_addr,
        .new_bytes = new_bytes,
    };

    call.rc = fake_os_begin(fake, FAKE_REMAP);
    if (call.rc != 0 && to_addr != 0) /* as kernels do that unmap the target first */
        fake_space_unmap(&fake->space, to_addr, new_bytes);
    else if (to_addr != 0)
        fake_space_move(&fake->space, addr, old_bytes, to_addr, new_bytes);
    else if (call.rc == 0
             && ((new_bytes > old_bytes && fake->no_room_to_grow)
                 || !fake_space_grow(&fake->space, addr, old_bytes, new_bytes)))
        call.rc = -ENOMEM;
    return fake_os_end(fake, call);
}

static int
carry(void *ctx, uintptr_t addr, size_t len_bytes, size_t align_bytes, uintptr_t *out_addr)
{
    struct fake_os *fake = ctx;
    struct fake_call call = { .kind = FAKE_CARRY, .addr = addr, .len_bytes = len_bytes };

    call.rc = fake_os_begin(fake, FAKE_CARRY);
    fake_os_forbid_pool(fake, addr, len_bytes, "carry() of hugetlb pages");
    if (call.rc == 0
        && (fake->space.reserved_bytes + len_bytes > fake->limit_bytes
            || !fake_space_carry(&fake->space, addr, len_bytes, align_bytes, out_addr)))
        call.rc = -ENOMEM;
    return fake_os_end(fake, call);
}

/* Turn whole regions into huge pages, as far as there are any. */
static int
collapse(struct fake_os *fake, uintptr_t addr, size_t len_bytes)
{
    uintptr_t flags = fake_space_flags(&fake->space, addr);
    size_t shared_count;

    if ((flags & FAKE_IS_HUGE) != 0)
        return 0;
    fake->now_ns += fake->collapse_ns;
    if ((flags & FAKE_COMMITTED) == 0)
        fake_space_misuse("collapse of what was not committed", addr, len_bytes);
    if ((flags & FAKE_WANTS_BASE) != 0 || fake->thp_mode == HM_THP_PRCTL_OFF)
        return -EINVAL;
    if (len_bytes > fake->huge_room_bytes)
        return -ENOMEM;
    fake->huge_room_bytes -= len_bytes;
    (void)fake_space_shared(&fake->space, addr, len_bytes, &shared_count);
    fake->copied_count += shared_count;
    fake_space_set(&fake->space, addr, len_bytes, 0, FAKE_IS_HUGE,
                   "collapse of a part of a huge page");
    return 0;
}

/* Break up the huge page at `addr`, if there is one: all of its pages stay resident. */
static void
split(struct fake_space *space, uintptr_t addr)
{
    size_t region_bytes = hm_region_bytes(&space->geom);

    if ((fake_space_flags(space, addr) & FAKE_IS_HUGE) == 0)
        return;
    addr = hm_align_down(addr, region_bytes);
    fake_space_touch(space, addr, region_bytes);
    fake_space_set(space, addr, region_bytes, FAKE_IS_HUGE, 0, "split");
}

static int
obey(struct fake_os *fake, uintptr_t addr, size_t len_bytes, enum hm_advice advice)
{
    const char *what = "advice on a part of a huge page";
    struct fake_space *space = &fake->space;

    switch (advice) {
    case HM_ADVICE_HUGE:
        fake_space_set(space, addr, len_bytes, FAKE_WANTS, FAKE_WANTS_HUGE, what);
        break;
    case HM_ADVICE_BASE:
        fake_space_base(space, addr, len_bytes, what);
        break;
    case HM_ADVICE_COLLAPSE:
        return collapse(fake, addr, len_bytes);
    case HM_ADVICE_DISCARD:
    case HM_ADVICE_DISCARD_LOCKED:
        /* Only where base pages are wanted is it meant that a huge page goes. */
        if ((fake_space_flags(space, addr) & FAKE_WANTS_BASE) != 0)
            split(space, addr);
        fake_space_discard(space, addr, len_bytes);
        fake->discarded_bytes += len_bytes;
        break;
    case HM_ADVICE_LAZY:
        fake->lazy_bytes += len_bytes;
        break;
    case HM_ADVICE_COLD:
        split(space, addr);
        break;
    case HM_ADVICE_HIDE:
        fake_space_set(space, addr, len_bytes, 0, FAKE_HIDDEN, what);
        break;
    case HM_ADVICE_SHOW:
        fake_space_set(space, addr, len_bytes, FAKE_HIDDEN, 0, what);
        break;
    case HM_ADVICE_NO_FORK:
        fake->no_fork_bytes += len_bytes;
        break;
    case HM_ADVICE_FORK:
        fake->no_fork_bytes -= len_bytes;
        break;
    case HM_ADVICE_LOCK:
        fake->locked_bytes += len_bytes;
        break;
    }
    return 0;
}

static int
advise(void *ctx, uintptr_t addr, size_t len_bytes, enum hm_advice advice)
{
    static const enum fake_call_kind kinds[] = {
        [HM_ADVICE_HUGE] = FAKE_ADVISE_HUGE,
        [HM_ADVICE_BASE] = FAKE_ADVISE_BASE,
        [HM_ADVICE_COLLAPSE] = FAKE_COLLAPSE,
        [HM_ADVICE_DISCARD] = FAKE_DISCARD,
        [HM_ADVICE_DISCARD_LOCKED] = FAKE_DISCARD,
        [HM_ADVICE_LAZY] = FAKE_LAZY,
        [HM_ADVICE_COLD] = FAKE_COLD,
        [HM_ADVICE_HIDE] = FAKE_HIDE,
        [HM_ADVICE_SHOW] = FAKE_SHOW,
        [HM_ADVICE_NO_FORK] = FAKE_NO_FORK,
        [HM_ADVICE_FORK] = FAKE_FORK,
        [HM_ADVICE_LOCK] = FAKE_LOCK,
    };
    struct fake_os *fake = ctx;
    struct fake_call call = { .kind = kinds[advice], .addr = addr, .len_bytes = len_bytes };

    call.rc = fake_os_begin(fake, call.kind);
    (void)fake_space_find(&fake->space, addr, len_bytes, "advice on what was not reserved");
    if (advice < HM_ADVICE_HIDE)
        fake_os_forbid_pool(fake, addr, len_bytes, "advice that hugetlb pages do not take");
    if (call.rc == 0 && fake_os_parts_pool(fake, addr, len_bytes)) {
        if (advice == HM_ADVICE_NO_FORK || advice == HM_ADVICE_FORK)
            fake_space_misuse("advice on a part of a hugetlb page", addr, len_bytes);
        call.rc = -EINVAL;
    }
    if (call.rc == 0 && advice < HM_ADVICE_DISCARD && fake->thp_mode == HM_THP_ABSENT)
        call.rc = -EINVAL;
    if (call.rc == 0)
        call.rc = obey(fake, addr, len_bytes, advice);
    return fake_os_end(fake, call);
}

static int
map_meta(void *ctx, size_t len_bytes, void **out_mem)
{
    struct fake_os *fake = ctx;
    struct fake_call call = { .kind = FAKE_MAP_META, .len_bytes = len_bytes };
    struct fake_meta *meta;
    void *mem;

    call.rc = fake_os_begin(fake, FAKE_MAP_META);
    if (call.rc != 0)
        return fake_os_end(fake, call);
    mem = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
               -1, 0);
    meta = malloc(sizeof(*meta));
    if (mem == MAP_FAILED || meta == NULL)
        fake_space_misuse("out of memory for metadata", 0, len_bytes);
    *meta = (struct fake_meta){ .next = fake->meta, .mem = mem, .len_bytes = len_bytes };
    fake->meta = meta;
    fake->meta_bytes += len_bytes;
    call.addr = (uintptr_t)mem;
    *out_mem = mem;
    return fake_os_end(fake, call);
}

static void
unmap_meta(void *ctx, void *mem, size_t len_bytes)
{
    struct fake_os *fake = ctx;
    struct fake_meta **link = &fake->meta;
    struct fake_meta *meta;

    (void)pthread_mutex_lock(&fake->mutex);
    while (*link != NULL && (*link)->mem != mem)
        link = &(*link)->next;
    meta = *link;
    if (meta == NULL || meta->len_bytes != len_bytes)
        fake_space_misuse("unmap_meta() of what was not mapped", (uintptr_t)mem, len_bytes);
    *link = meta->next;
    fake->meta_bytes -= len_bytes;
    (void)munmap(mem, len_bytes);
    free(meta);
    (void)pthread_mutex_unlock(&fake->mutex);
}

static bool
is_meta(const struct fake_os *fake, uintptr_t addr, size_t len_bytes)
{
    for (const struct fake_meta *meta = fake->meta; meta != NULL; meta = meta->next)
        if (addr >= (uintptr_t)meta->mem && len_bytes <= meta->len_bytes
            && addr - (uintptr_t)meta->mem <= meta->len_bytes - len_bytes)
            return true;
    return false;
}

static void
name(void *ctx, uintptr_t addr, size_t len_bytes, const char *text)
{
    struct fake_os *fake = ctx;

    (void)pthread_mutex_lock(&fake->mutex);
    if (!is_meta(fake, addr, len_bytes))
        (void)fake_space_find(&fake->space, addr, len_bytes, "name() for what was not reserved");
    if (strncmp(text, "huma ", 5) != 0)
        fake_space_misuse("name() that does not begin with huma", addr, len_bytes);
    fake->latest_name = text;
    (void)pthread_mutex_unlock(&fake->mutex);
}

static enum hm_thp_mode
thp_mode(void *ctx)
{
    struct fake_os *fake = ctx;

    fake->thp_mode_count++;
    return fake->thp_mode;
}

static int
room(void *ctx, struct hm_room *out_room)
{
    struct fake_os *fake = ctx;

    fake->room_count++;
    if (fake->room_rc == 0)
        *out_room = fake->room;
    return fake->room_rc;
}

static enum hm_filters
filters(void *ctx)
{
    const struct fake_os *fake = ctx;

    return fake->filters;
}

static int
scan(void *ctx, uintptr_t addr, size_t len_bytes, struct hm_residency *inout)
{
    struct fake_os *fake = ctx;
    struct fake_call call = { .kind = FAKE_SCAN, .addr = addr, .len_bytes = len_bytes };
    size_t huge_bytes = 0;

    call.rc = fake_os_begin(fake, FAKE_SCAN);
    if (call.rc == 0 && is_meta(fake, addr, len_bytes)) {
        inout->resident_bytes += len_bytes;
    } else if (call.rc == 0) {
        inout->resident_bytes += fake_space_resident(&fake->space, addr, len_bytes, &huge_bytes);
        inout->huge_bytes += huge_bytes;
    }
    return fake_os_end(fake, call);
}

static int
sharing(void *ctx, uintptr_t addr, size_t len_bytes, struct hm_sharing *out_sharing)
{
    struct fake_os *fake = ctx;
    struct fake_call call = { .kind = FAKE_SHARING, .addr = addr, .len_bytes = len_bytes };

    call.rc = fake_os_begin(fake, FAKE_SHARING);
    fake->now_ns += fake->sharing_ns;
    if (call.rc == 0) {
        out_sharing->present_pages
            = fake_space_shared(&fake->space, addr, len_bytes, &out_sharing->shared_pages);
        out_sharing->is_huge = !fake->no_huge_flag && out_sharing->shared_pages == 0
                               && (fake_space_flags(&fake->space, addr) & FAKE_IS_HUGE) != 0;
    }
    return fake_os_end(fake, call);
}

static size_t
address_limit(void *ctx)
{
    const struct fake_os *fake = ctx;

    return fake->limit_bytes;
}

static uint64_t
now_ns(void *ctx)
{
    struct fake_os *fake = ctx;
    uint64_t now;

    (void)pthread_mutex_lock(&fake->mutex);
    fake->clock_count++;
    fake->now_ns += fake->tick_ns;
    now = fake->now_ns;
    (void)pthread_mutex_unlock(&fake->mutex);
    return now;
}

/* --- for tests -------------------------------------------------------------------------------- */

void
fake_os_init(struct fake_os *fake, size_t page_bytes, size_t hpage_bytes)
{
    struct hm_geom geom = hm_os_geometry(page_bytes, hpage_bytes);

    *fake = (struct fake_os){
        .os = { .reserve = reserve,
                .nodes = fake_os_nodes,
                .here = fake_os_here,
                .place = fake_os_place,
                .nearest = fake_os_nearest,
                .commit = commit,
                .unmap = unmap,
                .remap = remap,
                .carry = carry,
                .pool_map = fake_os_pool_map,
                .pool_unmap = fake_os_pool_unmap,
                .copy = fake_os_copy,
                .shortage = fake_os_shortage,
                .pool_charged = fake_os_pool_charged,
                .surplus = fake_os_surplus,
                .advise = advise,
                .map_meta = map_meta,
                .unmap_meta = unmap_meta,
                .name = name,
                .thp_mode = thp_mode,
                .has_mthp = fake_os_has_mthp,
                .available = fake_os_available,
                .room = room,
                .filters = filters,
                .scan = scan,
                .sharing = sharing,
                .address_limit = address_limit,
                .now_ns = now_ns,
                .cpu_ns = now_ns },
        .thp_mode = hpage_bytes != 0 ? HM_THP_MADVISE : HM_THP_ABSENT,
        .now_ns = 1000000000u,
        .nodes = { { 1 } },
        .limit_bytes = SIZE_MAX,
        .huge_room_bytes = SIZE_MAX,
        .pool_max_bytes = SIZE_MAX,
    };
    fake->os.ctx = fake;
    (void)pthread_mutex_init(&fake->mutex, NULL);
    fake_space_init(&fake->space, &geom);
}

void
fake_os_fini(struct fake_os *fake)
{
    while (fake->meta != NULL) {
        struct fake_meta *next = fake->meta->next;

        (void)munmap(fake->meta->mem, fake->meta->len_bytes);
        free(fake->meta);
        fake->meta = next;
    }
    fake_space_fini(&fake->space);
    (void)pthread_mutex_destroy(&fake->mutex);
}
