/* SPDX-License-Identifier: MIT */
/* print.c - HUMA_STATS (see print.h).
 *
 * Problem     The report is written at exit, when neither stdio nor malloc may be relied on.
 * Idea        A line per fact, built with base/fmt.h; rows that are zero and say nothing are left
 *             out.
 */
#include "stats/print.h"

#include <string.h>

#define LABEL_COLUMNS 18

static void
put_label(struct hm_fmt *out, const char *label)
{
    hm_fmt_str(out, "huma:   ");
    hm_fmt_str(out, label);
    for (size_t i = strlen(label); i < LABEL_COLUMNS; i++)
        hm_fmt_str(out, " ");
}

/* Bytes as KiB, MiB or GiB: the largest unit that leaves at least two digits. */
static void
put_size(struct hm_fmt *out, uint64_t bytes)
{
    uint64_t value = bytes / HM_KIB;
    const char *unit = " KiB";

    if (value >= 10 * HM_MIB) {
        value /= HM_MIB;
        unit = " GiB";
    } else if (value >= 10 * HM_KIB) {
        value /= HM_KIB;
        unit = " MiB";
    }
    hm_fmt_u64_wide(out, value, 8);
    hm_fmt_str(out, unit);
}

static void
put_size_row(struct hm_fmt *out, const char *label, uint64_t bytes, const char *note)
{
    put_label(out, label);
    put_size(out, bytes);
    hm_fmt_str(out, note);
    hm_fmt_str(out, "\n");
}

static void
put_count_row(struct hm_fmt *out, const char *label, uint64_t count, const char *note)
{
    put_label(out, label);
    hm_fmt_u64_wide(out, count, 8);
    hm_fmt_str(out, note);
    hm_fmt_str(out, "\n");
}

static void
put_kernel_rows(const struct hm_stats *stats, struct hm_fmt *out)
{
    if (!stats->has_kernel) {
        put_label(out, "resident");
        hm_fmt_str(out, "unknown: /proc/self/pagemap and /proc/self/smaps cannot be read\n");
        return;
    }
    put_size_row(out, "resident", stats->kernel.resident_bytes, "  as the kernel says");
    put_label(out, "on huge pages");
    put_size(out, stats->kernel.huge_bytes);
    hm_fmt_str(out, "  coverage ");
    hm_fmt_percent(out, stats->kernel.huge_bytes, stats->kernel.resident_bytes);
    hm_fmt_str(out, " %\n");
}

static void
put_backing_rows(const struct hm_stats *stats, struct hm_fmt *out)
{
    for (unsigned i = 0; i < HM_BACKING_KINDS; i++) {
        if (stats->backing_bytes[i] == 0)
            continue;
        put_label(out, "opened as");
        put_size(out, stats->backing_bytes[i]);
        hm_fmt_str(out, "  ");
        hm_fmt_str(out, hm_backing_name((enum hm_backing_kind)i));
        hm_fmt_str(out, "\n");
    }
    if (stats->pool_surplus_bytes != 0)
        put_size_row(out, "pool surplus", stats->pool_surplus_bytes, "  of all processes");
    for (unsigned i = HM_REASON_NONE + 1; i < HM_REASON_COUNT; i++) {
        if (stats->reason_count[i] == 0)
            continue;
        put_label(out, "fell back");
        hm_fmt_u64_wide(out, stats->reason_count[i], 8);
        hm_fmt_str(out, " regions  ");
        hm_fmt_str(out, hm_reason_code((enum hm_reason)i));
        hm_fmt_str(out, ": ");
        hm_fmt_str(out, hm_reason_sentence((enum hm_reason)i));
        hm_fmt_str(out, "\n");
    }
}

static uint64_t
node_bytes(const struct hm_stats *stats, unsigned idx)
{
    return (uint64_t)stats->node_pages[idx] * stats->page_bytes;
}

static void
put_node_rows(const struct hm_stats *stats, struct hm_fmt *out)
{
    for (unsigned i = 0; i < stats->node_count; i++) {
        put_label(out, "memory node");
        hm_fmt_u64_wide(out, stats->node_ids[i], 8);
        put_size(out, node_bytes(stats, i));
        hm_fmt_str(out, "  of runs\n");
    }
}

static void
put_foreign_rows(const struct hm_stats *stats, struct hm_fmt *out)
{
    if (stats->foreign_free_count + stats->foreign_realloc_count == 0)
        return;
    put_count_row(out, "foreign blocks", stats->foreign_free_count, "  of libc's malloc, freed");
    put_count_row(out, "foreign moved", stats->foreign_realloc_count, "  by realloc");
    put_count_row(out, "foreign leaked", stats->foreign_leak_count, "  of these");
}

void
hm_stats_print_text(const struct hm_stats *stats, struct hm_fmt *out)
{
    hm_fmt_str(out, "huma: report");
    hm_fmt_str(out, stats->name != NULL ? " of arena " : "");
    hm_fmt_str(out, stats->name != NULL ? stats->name : "");
    hm_fmt_str(out, "\n");
    put_size_row(out, "live blocks", stats->live_bytes, "");
    put_size_row(out, "heap", stats->heap_bytes, "  pages that hold them");
    if (stats->limit_bytes != 0)
        put_size_row(out, "limit", stats->limit_bytes, "  of these");
    put_size_row(out, "free slots", stats->free_slot_bytes, "  of that, free again");
    put_size_row(out, "fresh slots", stats->fresh_slot_bytes, "  of that, never in use yet");
    put_size_row(out, "free pages", stats->free_page_bytes, "  between them");
    put_kernel_rows(stats, out);
    put_backing_rows(stats, out);
    put_node_rows(stats, out);
    put_count_row(out, "direct blocks", stats->direct_count, "  that glibc would have mapped");
    put_size_row(out, "in them", stats->direct_bytes, "");
    put_size_row(out, "cutoff", stats->cutoff_bytes, "");
    put_count_row(out, "spans of slots", stats->span_count[HM_SPAN_SLOTS], "");
    put_count_row(out, "mixed spans", stats->span_count[HM_SPAN_MIXED], "  of all small sizes");
    put_count_row(out, "large blocks", stats->span_count[HM_SPAN_RUN], "  on runs of pages");
    put_count_row(out, "mapped blocks", stats->span_count[HM_SPAN_MAPPED], "  on their own");
    put_size_row(out, "kept empty", stats->kept_bytes, "  for the next requests, at most");
    put_size_row(out, "given back", stats->discarded_bytes, "  since the start");
    put_count_row(out, "in calls", stats->discard_calls, "");
    put_count_row(out, "collapsed", stats->collapse_count, "  regions into huge pages");
    if (stats->healed_count != 0)
        put_count_row(out, "healed", stats->healed_count, "  huge pages that a fork had split");
    put_size_row(out, "metadata", stats->meta_bytes, "");
    put_count_row(out, "thread caches", stats->cache_count, "  ever made");
    put_count_row(out, "orphaned spans", stats->orphan_count, "  of ended threads");
    put_count_row(out, "adopted spans", stats->adopted_count, "");
    put_foreign_rows(stats, out);
    if (stats->sized_free_mismatch_count != 0)
        put_count_row(out, "wrong sizes", stats->sized_free_mismatch_count, "  passed to free");
    hm_fmt_flush(out);
}

static void
put_member(struct hm_fmt *out, const char *name, uint64_t value)
{
    hm_fmt_str(out, ",\n  ");
    hm_fmt_json_str(out, name);
    hm_fmt_str(out, ": ");
    hm_fmt_u64(out, value);
}

/* Begin an object member: its own members follow by put_entry, and the caller closes it. */
static void
put_object(struct hm_fmt *out, const char *name)
{
    hm_fmt_str(out, ",\n  ");
    hm_fmt_json_str(out, name);
    hm_fmt_str(out, ": {");
}

static void
put_entry(struct hm_fmt *out, const char *name, uint64_t value, bool is_first)
{
    hm_fmt_str(out, is_first ? " " : ", ");
    hm_fmt_json_str(out, name);
    hm_fmt_str(out, ": ");
    hm_fmt_u64(out, value);
}

/* The kernel's number of each memory node, and what lies in its regions. */
static void
put_nodes(const struct hm_stats *stats, struct hm_fmt *out)
{
    put_object(out, "node_bytes");
    for (unsigned i = 0; i < stats->node_count; i++) {
        hm_fmt_str(out, i == 0 ? " \"" : ", \"");
        hm_fmt_u64(out, stats->node_ids[i]);
        hm_fmt_str(out, "\": ");
        hm_fmt_u64(out, node_bytes(stats, i));
    }
    hm_fmt_str(out, " }");
}

void
hm_stats_print_json(const struct hm_stats *stats, uint64_t pid, struct hm_fmt *out)
{
    hm_fmt_str(out, "{\n  \"pid\": ");
    hm_fmt_u64(out, pid);
    if (stats->name != NULL) {
        hm_fmt_str(out, ",\n  \"name\": ");
        hm_fmt_json_str(out, stats->name);
        put_member(out, "limit_bytes", stats->limit_bytes);
    }
    put_member(out, "live_bytes", stats->live_bytes);
    put_member(out, "heap_bytes", stats->heap_bytes);
    put_member(out, "free_slot_bytes", stats->free_slot_bytes);
    put_member(out, "fresh_slot_bytes", stats->fresh_slot_bytes);
    put_member(out, "free_page_bytes", stats->free_page_bytes);
    if (stats->has_kernel) {
        put_member(out, "resident_bytes", stats->kernel.resident_bytes);
        put_member(out, "huge_bytes", stats->kernel.huge_bytes);
    }
    put_object(out, "backing_bytes");
    for (unsigned i = 0; i < HM_BACKING_KINDS; i++)
        put_entry(out, hm_backing_name((enum hm_backing_kind)i), stats->backing_bytes[i], i == 0);
    hm_fmt_str(out, " }");
    put_member(out, "pool_surplus_bytes", stats->pool_surplus_bytes);
    put_object(out, "reasons");
    for (unsigned i = HM_REASON_NONE + 1; i < HM_REASON_COUNT; i++)
        put_entry(out, hm_reason_code((enum hm_reason)i), stats->reason_count[i],
                  i == HM_REASON_NONE + 1);
    hm_fmt_str(out, " }");
    if (stats->node_count > 0)
        put_nodes(stats, out);
    put_member(out, "direct_count", stats->direct_count);
    put_member(out, "direct_bytes", stats->direct_bytes);
    put_member(out, "cutoff_bytes", stats->cutoff_bytes);
    put_object(out, "span_count");
    put_entry(out, "slots", stats->span_count[HM_SPAN_SLOTS], true);
    put_entry(out, "mixed", stats->span_count[HM_SPAN_MIXED], false);
    put_entry(out, "run", stats->span_count[HM_SPAN_RUN], false);
    put_entry(out, "mapped", stats->span_count[HM_SPAN_MAPPED], false);
    hm_fmt_str(out, " }");
    put_member(out, "kept_bytes", stats->kept_bytes);
    put_member(out, "discarded_bytes", stats->discarded_bytes);
    put_member(out, "discard_calls", stats->discard_calls);
    put_member(out, "collapse_count", stats->collapse_count);
    put_member(out, "healed_count", stats->healed_count);
    put_member(out, "meta_bytes", stats->meta_bytes);
    put_member(out, "cache_count", stats->cache_count);
    put_member(out, "orphan_count", stats->orphan_count);
    put_member(out, "adopted_count", stats->adopted_count);
    put_member(out, "foreign_free_count", stats->foreign_free_count);
    put_member(out, "foreign_realloc_count", stats->foreign_realloc_count);
    put_member(out, "foreign_leak_count", stats->foreign_leak_count);
    put_member(out, "sized_free_mismatch_count", stats->sized_free_mismatch_count);
    hm_fmt_str(out, "\n}\n");
    hm_fmt_flush(out);
}
