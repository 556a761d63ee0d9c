/* SPDX-License-Identifier: MIT */
/* inspect.c - what an arena holds, and whether it is sound. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "api/arenas.h"
#include "api/nodes.h"
#include "api/said.h"
#include "base/fmt.h"
#include "stats/print.h"

#define INFO_MIN_BYTES (offsetof(struct huma_info, fallback_code) + sizeof(char *))

/* --- counts ----------------------------------------------------------------------------------- */

static void
read_stats(struct huma_arena *arena, struct hm_stats *out_stats)
{
    int saved_errno = errno;

    hm_stats_read(&arena->core.pool, true, out_stats);
    out_stats->name = hm_arenas_name(arena);
    errno = saved_errno;
}

static void
fill_info(struct huma_arena *arena, struct huma_info *out_info)
{
    struct hm_stats stats;

    read_stats(arena, &stats);
    out_info->live_bytes = stats.live_bytes;
    out_info->heap_bytes = stats.heap_bytes - stats.rest_bytes;
    out_info->limit_bytes = stats.limit_bytes;
    out_info->reserved_bytes = stats.reserved_bytes;
    out_info->meta_bytes = stats.meta_bytes;
    if (stats.has_kernel) {
        out_info->resident_bytes = stats.kernel.resident_bytes;
        /* Pages of the pool are always there. */
        out_info->hugetlb_bytes = stats.backing_bytes[HM_BACKING_HUGETLB];
        if (stats.kernel.huge_bytes > out_info->hugetlb_bytes)
            out_info->thp_bytes = stats.kernel.huge_bytes - out_info->hugetlb_bytes;
    }
    for (unsigned i = HM_REASON_NONE + 1; i < HM_REASON_COUNT; i++)
        out_info->fallback_count += stats.reason_count[i];
    out_info->fallback_code
        = hm_reason_code((enum hm_reason)hm_load(&arena->core.heap.backing.last_reason));
}

HM_EXPORT int
huma_arena_info(huma_arena *arena, struct huma_info *info)
{
    static const char call[] = "huma_arena_info()";
    struct huma_arena *found = hm_said_find(arena, call);
    struct huma_info filled = HUMA_INFO_INIT;

    if (found == NULL)
        return -1;
    if (info == NULL || info->struct_size < INFO_MIN_BYTES) {
        hm_said(EINVAL, call, "struct_size is wrong; begin with HUMA_INFO_INIT");
        return -1;
    }
    fill_info(found, &filled);
    if (filled.struct_size > info->struct_size)
        filled.struct_size = info->struct_size;
    memcpy(info, &filled, filled.struct_size);
    return 0;
}

/* --- nodes ------------------------------------------------------------------------------------ */

/* All memory of an arena, node by node; heap.lock is held. */
static int
add_node_bytes(const struct hm_heap *heap, uint64_t *bytes, unsigned count)
{
    size_t page_bytes = hm_page_bytes(&heap->geom);
    struct hm_region *region = NULL;
    int rc = 0;

    if (heap->supply_bytes != 0)
        return hm_nodes_add_bytes(heap->supply_addr, heap->supply_bytes, page_bytes, bytes, count);
    while (rc == 0 && (region = hm_pheap_next_region(heap, region)) != NULL)
        if (region->state != HM_REGION_CLOSED)
            rc = hm_nodes_add_bytes(region->addr, hm_region_bytes(&heap->geom), page_bytes, bytes,
                                    count);
    for (struct hm_list *link = heap->spans.next; rc == 0 && link != &heap->spans;
         link = link->next) {
        const struct hm_span *span = hm_container_of(link, struct hm_span, all_link);

        if (span->kind == HM_SPAN_MAPPED)
            rc = hm_nodes_add_bytes(span->base, hm_pages_to_bytes(&heap->geom, span->len_pages),
                                    page_bytes, bytes, count);
    }
    return rc;
}

HM_EXPORT int
huma_arena_node_bytes(huma_arena *arena, uint64_t *bytes, unsigned count)
{
    static const char call[] = "huma_arena_node_bytes()";
    struct huma_arena *found = hm_said_find(arena, call);
    unsigned number = hm_nodes_number();
    int saved_errno = errno;
    int rc;

    if (found == NULL)
        return -1;
    if (bytes == NULL && count != 0) {
        hm_said(EINVAL, call, "bytes is NULL; pass an array of count numbers");
        return -1;
    }
    for (unsigned i = 0; i < count; i++)
        bytes[i] = 0;
    hm_lock_take(&found->core.heap.lock);
    rc = number != 0 ? add_node_bytes(&found->core.heap, bytes, count) : -ENOSYS;
    hm_lock_give(&found->core.heap.lock);
    if (rc != 0) {
        hm_said(-rc, call,
                "the kernel does not answer move_pages, as in some containers, or this "
                "libhuma was built without libnuma");
        return -1;
    }
    errno = saved_errno;
    return (int)number;
}

/* --- walk ------------------------------------------------------------------------------------- */

struct visitor {
    bool (*visit)(void *arg, void *block, size_t size);
    void *arg;
};

/* Slots that were handed out begin at the lowest address. Returns whether to go on. */
static bool
walk_slots(struct hm_span *span, const struct visitor *visitor)
{
    for (uint32_t i = 0; i < span->carved; i++) {
        uintptr_t addr = hm_span_slot_addr(span, span->slot_count - 1 - i);

        if (hm_span_is_live(span, addr)
            && !visitor->visit(visitor->arg, (void *)addr, span->slot_bytes))
            return false;
    }
    return true;
}

HM_EXPORT int
huma_arena_walk(huma_arena *arena, bool (*visit)(void *arg, void *block, size_t size), void *arg)
{
    static const char call[] = "huma_arena_walk()";
    struct huma_arena *found = hm_said_find(arena, call);
    struct visitor visitor = { visit, arg };
    const struct hm_list *spans;

    if (found == NULL)
        return -1;
    if (visit == NULL) {
        hm_said(EINVAL, call, "visit is NULL; pass a function");
        return -1;
    }
    spans = &found->core.heap.spans;
    for (struct hm_list *link = spans->next; link != spans; link = link->next) {
        struct hm_span *span = hm_container_of(link, struct hm_span, all_link);
        bool goes_on = span->kind == HM_SPAN_SLOTS
                           ? walk_slots(span, &visitor)
                           : visit(arg, (void *)span->base, span->slot_bytes);

        if (!goes_on)
            return 1;
    }
    return 0;
}

/* --- check ------------------------------------------------------------------------------------ */

HM_EXPORT int
huma_arena_check(huma_arena *arena)
{
    static const char call[] = "huma_arena_check()";
    struct huma_arena *found = hm_said_find(arena, call);
    uintptr_t addr = 0;
    const char *broken;
    char why[HM_SAID_BYTES];
    struct hm_fmt out = hm_fmt_init(why, sizeof(why), -1);

    if (found == NULL)
        return -1;
    hm_lock_take(&found->core.heap.lock);
    broken = hm_pheap_check(&found->core.heap);
    if (broken == NULL)
        broken = hm_pool_check(&found->core.pool, &addr);
    hm_lock_give(&found->core.heap.lock);
    if (broken == NULL)
        return 0;
    hm_fmt_str(&out, "arena ");
    hm_fmt_str(&out, hm_arenas_name(found));
    hm_fmt_str(&out, " is damaged: this does not hold: ");
    hm_fmt_str(&out, broken);
    if (addr != 0) {
        hm_fmt_str(&out, "; in the span at ");
        hm_fmt_hex(&out, addr);
    }
    hm_said(EUCLEAN, call, why);
    return -1;
}

/* --- dump ------------------------------------------------------------------------------------- */

/* Returns whether all was written. */
static HM_NOINLINE bool
put(const struct hm_stats *stats, int fd, unsigned format)
{
    char buf[256];
    struct hm_fmt out = hm_fmt_init(buf, sizeof(buf), fd);

    if (format == HUMA_DUMP_JSON)
        hm_stats_print_json(stats, (uint64_t)getpid(), &out);
    else
        hm_stats_print_text(stats, &out);
    return !out.is_lost;
}

HM_EXPORT int
huma_arena_dump(huma_arena *arena, int fd, unsigned format)
{
    static const char call[] = "huma_arena_dump()";
    struct huma_arena *found = hm_said_find(arena, call);
    struct hm_stats stats;

    if (found == NULL)
        return -1;
    if (format > HUMA_DUMP_JSON || fd < 0) {
        hm_said(EINVAL, call,
                "pass a descriptor, and HUMA_DUMP_TEXT or HUMA_DUMP_JSON as the format");
        return -1;
    }
    read_stats(found, &stats);
    if (put(&stats, fd, format))
        return 0;
    hm_said(EIO, call,
            "the descriptor does not take the report; pass one that is open for writing");
    return -1;
}
