/* SPDX-License-Identifier: MIT */
/* stats.c - counts by walking, not by counting on the hot path (see stats.h).
 *
 * Problem     A counter in malloc costs every call; a report is read once.
 * Idea        Walk the spans and take the live slots from their countdowns; walk the regions for
 *             what was opened; ask the kernel about the same ranges.
 * Locking     Takes heap->lock.
 */
#include "stats/stats.h"

static void
add_spans(struct hm_heap *heap, struct hm_stats *stats)
{
    for (struct hm_list *link = heap->spans.next; link != &heap->spans; link = link->next) {
        struct hm_span *span = hm_container_of(link, struct hm_span, all_link);

        stats->span_count[span->kind]++;
        if (span->kind == HM_SPAN_SLOTS) {
            uint32_t live_count = hm_span_live_count(span);
            uint32_t carved = hm_load(&span->carved);

            if (hm_pool_is_at_rest(span))
                stats->rest_bytes += hm_span_bytes(span);
            stats->live_bytes += live_count * span->slot_bytes;
            stats->free_slot_bytes += (carved - live_count) * span->slot_bytes;
            stats->fresh_slot_bytes += (span->slot_count - carved) * span->slot_bytes;
            continue;
        }
        if (span->kind == HM_SPAN_MIXED) {
            size_t live_bytes = hm_mixed_live_bytes(span);
            size_t issued_bytes = (size_t)hm_load(&span->carved) << span->class_idx;

            stats->live_bytes += live_bytes;
            stats->free_slot_bytes += issued_bytes > live_bytes ? issued_bytes - live_bytes : 0;
            stats->fresh_slot_bytes += span->end_addr - span->base - issued_bytes;
            continue;
        }
        stats->live_bytes += span->slot_bytes;
        if (span->charge.mapped_bytes != 0)
            stats->direct_page_bytes += span->slot_bytes;
    }
}

static void
add_cutoff(const struct hm_cutoff *cutoff, struct hm_stats *stats)
{
    stats->direct_count = cutoff->live_count;
    stats->direct_bytes = cutoff->live_bytes;
    stats->max_direct_count = cutoff->max_live_count;
    stats->max_direct_bytes = cutoff->max_live_bytes;
    stats->cutoff_bytes = cutoff->mmap_threshold_bytes;
}

static void
add_regions(const struct hm_heap *heap, struct hm_stats *stats)
{
    struct hm_region *region = NULL;

    while ((region = hm_pheap_next_region(heap, region)) != NULL) {
        uint32_t held_pages
            = hm_backing_is_base(region->backing) ? region->dirty_pages : heap->region_pages;

        if (region->state == HM_REGION_CLOSED)
            continue;
        stats->backing_bytes[region->backing] += hm_region_bytes(&heap->geom);
        stats->node_pages[region->extent->node] += region->used_pages;
        if (region->state == HM_REGION_OPEN)
            stats->free_page_bytes
                += hm_pages_to_bytes(&heap->geom, held_pages - region->used_pages);
    }
    stats->free_page_bytes += hm_pages_to_bytes(&heap->geom, heap->stash.pages);
    stats->backing_bytes[HM_BACKING_4K] -= hm_pages_to_bytes(&heap->geom, heap->outside_pages);
    for (unsigned kind = 0; kind < HM_BACKING_KINDS; kind++)
        stats->backing_bytes[kind] += heap->direct_kind_bytes[kind];
}

static void
add_nodes(const struct hm_heap *heap, struct hm_stats *stats)
{
    if (heap->nodes == NULL)
        return;
    stats->node_count = heap->nodes->count;
    stats->page_bytes = (uint32_t)hm_page_bytes(&heap->geom);
    for (unsigned i = 0; i < heap->nodes->count; i++)
        stats->node_ids[i] = heap->nodes->ids[i];
}

static bool
ask_residency(struct hm_heap *heap, struct hm_residency *sum)
{
    const struct hm_os *os = heap->os;

    if (heap->supply_bytes != 0)
        return os->scan(os->ctx, heap->supply_addr, heap->supply_bytes, sum) == 0;
    for (struct hm_extent *extent = heap->extents; extent != NULL; extent = extent->next)
        if (os->scan(os->ctx, extent->addr, extent->region_count << heap->geom.region_shift, sum)
            != 0)
            return false;
    for (struct hm_list *link = heap->spans.next; link != &heap->spans; link = link->next) {
        struct hm_span *span = hm_container_of(link, struct hm_span, all_link);

        if (span->kind == HM_SPAN_MAPPED
            && os->scan(os->ctx, span->base, hm_pages_to_bytes(&heap->geom, span->len_pages), sum)
                   != 0)
            return false;
    }
    return true;
}

void
hm_stats_read(struct hm_pool *pool, bool ask_kernel, struct hm_stats *out_stats)
{
    struct hm_heap *heap = pool->heap;
    struct hm_stats stats = { 0 };
    struct hm_residency meta = { 0 };

    hm_lock_take(&heap->lock);
    add_spans(heap, &stats);
    add_regions(heap, &stats);
    add_nodes(heap, &stats);
    add_cutoff(&heap->cutoff, &stats);
    if (ask_kernel)
        stats.has_kernel
            = ask_residency(heap, &stats.kernel) && hm_meta_scan(&heap->meta, &meta) == 0;
    if (ask_kernel && stats.backing_bytes[HM_BACKING_HUGETLB] != 0)
        stats.pool_surplus_bytes = hm_backing_surplus_bytes(&heap->backing);
    stats.heap_bytes = hm_heap_bytes(heap);
    if (hm_heap_is_limited(heap))
        stats.limit_bytes = heap->backing.conf->limit_bytes;
    for (unsigned reason = 0; reason < HM_REASON_COUNT; reason++)
        stats.reason_count[reason] = heap->backing.reason_count[reason];
    stats.reserved_bytes = (heap->extent_regions << heap->geom.region_shift) + heap->direct_bytes
                           - hm_pages_to_bytes(&heap->geom, heap->outside_pages);
    stats.kept_bytes = (heap->kept_count + heap->giant_kept_count) << heap->geom.region_shift;
    stats.discarded_bytes = heap->discarded_bytes;
    stats.discard_calls = heap->discard_calls;
    stats.collapse_count = heap->heal.collapse_count;
    stats.healed_count = heap->heal.healed_count;
    stats.meta_bytes = stats.has_kernel ? meta.resident_bytes : heap->meta.mapped_bytes;
    stats.cache_count = pool->cache_count;
    stats.orphan_count = pool->orphan_count;
    stats.adopted_count = pool->adopted_count;
    hm_lock_give(&heap->lock);
    *out_stats = stats;
}

void
hm_stats_read_free_slots(struct hm_pool *pool, uint64_t out_count[HM_CLASS_COUNT])
{
    struct hm_heap *heap = pool->heap;

    for (unsigned i = 0; i < HM_CLASS_COUNT; i++)
        out_count[i] = 0;
    hm_lock_take(&heap->lock);
    for (struct hm_list *link = heap->spans.next; link != &heap->spans; link = link->next) {
        struct hm_span *span = hm_container_of(link, struct hm_span, all_link);

        if (span->kind == HM_SPAN_SLOTS)
            out_count[span->class_idx] += span->slot_count - hm_span_live_count(span);
    }
    hm_lock_give(&heap->lock);
}
