/* SPDX-License-Identifier: MIT */
/* info.c - questions about the heap: mallinfo, malloc_stats, malloc_info.
 *
 * Problem     Programs and tools read these in glibc's terms, some with parsers of their own.
 * Idea        Figures come from one walk (stats/stats.c), put into glibc's words: the arena is all
 *             that is opened for blocks that are not direct, mmap stands for direct blocks as glibc
 *             would have mapped them. What glibc prints comes first, in its layout; what only huma
 *             knows follows. Where glibc's notion has no counterpart here the field is 0.
 * Sources     mallinfo(3), malloc_info(3), malloc_stats(3); glibc 2.36, observed.
 */
#include <errno.h>
#include <malloc.h>
#include <unistd.h>

#include "api/names.h"
#include "api/process.h"
#include "stats/print.h"

static bool
read_stats(bool ask_kernel, struct hm_stats *out_stats)
{
    if (!hm_process_start())
        return false;
    hm_process_stats(ask_kernel, out_stats);
    return true;
}

static struct mallinfo2
info_of(const struct hm_stats *stats)
{
    struct mallinfo2 info = { 0 };

    for (unsigned i = 0; i < HM_BACKING_KINDS; i++)
        info.arena += stats->backing_bytes[i];
    info.arena -= stats->direct_page_bytes;
    info.uordblks = stats->live_bytes - stats->direct_page_bytes;
    info.fordblks = info.arena - info.uordblks;
    info.keepcost = stats->kept_bytes;
    info.hblks = stats->direct_count;
    info.hblkhd = stats->direct_bytes;
    return info;
}

HM_EXPORT struct mallinfo2
mallinfo2(void)
{
    struct hm_stats stats;

    if (!read_stats(false, &stats))
        return (struct mallinfo2){ 0 };
    return info_of(&stats);
}

/* The fields are int, and wrap as they do in glibc. */
HM_EXPORT struct mallinfo
mallinfo(void)
{
    struct mallinfo2 wide = mallinfo2();
    struct mallinfo info = { 0 };

    info.arena = (int)wide.arena;
    info.hblks = (int)wide.hblks;
    info.hblkhd = (int)wide.hblkhd;
    info.uordblks = (int)wide.uordblks;
    info.fordblks = (int)wide.fordblks;
    info.keepcost = (int)wide.keepcost;
    return info;
}

/* An alias, since a call of the deprecated function would be warned of. */
HM_EXPORT struct mallinfo __libc_mallinfo(void) __attribute__((alias("mallinfo")));

/* --- malloc_stats ----------------------------------------------------------------------------- */

static void
put_line(struct hm_fmt *out, const char *label, uint64_t value)
{
    hm_fmt_str(out, label);
    hm_fmt_str(out, " = ");
    hm_fmt_u64_wide(out, value, 10);
    hm_fmt_str(out, "\n");
}

/* glibc prints all but the last figure modulo 4 GiB; this does not. Apart, for what it has on the
 * stack. */
static HM_NOINLINE void
put_as_glibc(const struct hm_stats *stats, struct hm_fmt *out)
{
    struct mallinfo2 info = info_of(stats);

    hm_fmt_str(out, "Arena 0:\n");
    put_line(out, "system bytes    ", info.arena);
    put_line(out, "in use bytes    ", info.uordblks);
    hm_fmt_str(out, "Total (incl. mmap):\n");
    put_line(out, "system bytes    ", info.arena + info.hblkhd);
    put_line(out, "in use bytes    ", info.uordblks + info.hblkhd);
    put_line(out, "max mmap regions", stats->max_direct_count);
    put_line(out, "max mmap bytes  ", stats->max_direct_bytes);
}

HM_EXPORT void
malloc_stats(void)
{
    struct hm_stats stats;
    char buf[128];
    struct hm_fmt out = hm_fmt_init(buf, sizeof(buf), STDERR_FILENO);

    if (!read_stats(true, &stats))
        return;
    put_as_glibc(&stats, &out);
    hm_stats_print_text(&stats, &out);
}

/* --- malloc_info ------------------------------------------------------------------------------ */

/* An element is begun by its name, gets attributes, and is closed when it is written. */
struct element {
    struct hm_fmt out;
    char buf[200];
};

static void
begin(struct element *element, const char *name)
{
    element->out = hm_fmt_init(element->buf, sizeof(element->buf), -1);
    hm_fmt_str(&element->out, "<");
    hm_fmt_str(&element->out, name);
}

static void
put_text(struct element *element, const char *name, const char *text)
{
    hm_fmt_str(&element->out, " ");
    hm_fmt_str(&element->out, name);
    hm_fmt_str(&element->out, "=\"");
    hm_fmt_str(&element->out, text);
    hm_fmt_str(&element->out, "\"");
}

static void
put_number(struct element *element, const char *name, uint64_t value)
{
    char digits[24];
    struct hm_fmt out = hm_fmt_init(digits, sizeof(digits), -1);

    hm_fmt_u64(&out, value);
    put_text(element, name, digits);
}

static void
write_element(struct element *element, FILE *fp)
{
    hm_fmt_str(&element->out, "/>\n");
    (void)fputs(element->buf, fp);
}

static void
write_total(FILE *fp, const char *type, uint64_t count, uint64_t size_bytes)
{
    struct element total;

    begin(&total, "total");
    put_text(&total, "type", type);
    put_number(&total, "count", count);
    put_number(&total, "size", size_bytes);
    write_element(&total, fp);
}

/* <system type=... size=.../> and the like. */
static void
write_size(FILE *fp, const char *name, const char *type, uint64_t size_bytes)
{
    struct element element;

    begin(&element, name);
    put_text(&element, "type", type);
    put_number(&element, "size", size_bytes);
    write_element(&element, fp);
}

/* Free slots by size class, in glibc's elements for bins of free chunks. Returns their number. */
static HM_NOINLINE uint64_t
write_sizes(FILE *fp)
{
    uint64_t free_count[HM_CLASS_COUNT];
    uint64_t sum = 0;

    hm_stats_read_free_slots(&hm_process.pool, free_count);
    (void)fputs("<sizes>\n", fp);
    for (unsigned i = 0; i < HM_CLASS_COUNT; i++) {
        struct element size;

        if (free_count[i] == 0)
            continue;
        begin(&size, "size");
        put_number(&size, "from", i == 0 ? 1 : hm_class_bytes(i - 1) + 1);
        put_number(&size, "to", hm_class_bytes(i));
        put_number(&size, "total", free_count[i] * hm_class_bytes(i));
        put_number(&size, "count", free_count[i]);
        write_element(&size, fp);
        sum += free_count[i];
    }
    (void)fputs("</sizes>\n", fp);
    return sum;
}

/* What the kernel gave, by backing, and why it gave no more. Apart, so that its buffers are not on
 * the stack along with the statistics' other users. */
static HM_NOINLINE void
write_own(const struct hm_stats *stats, FILE *fp)
{
    struct element element;

    (void)fputs("<huma>\n", fp);
    begin(&element, "cutoff");
    put_number(&element, "size", stats->cutoff_bytes);
    write_element(&element, fp);
    for (unsigned i = 0; i < HM_BACKING_KINDS; i++)
        if (stats->backing_bytes[i] != 0)
            write_size(fp, "backing", hm_backing_name((enum hm_backing_kind)i),
                       stats->backing_bytes[i]);
    if (stats->pool_surplus_bytes != 0)
        write_size(fp, "pool", "surplus", stats->pool_surplus_bytes);
    if (stats->has_kernel) {
        begin(&element, "coverage");
        put_number(&element, "resident", stats->kernel.resident_bytes);
        put_number(&element, "huge", stats->kernel.huge_bytes);
        write_element(&element, fp);
    }
    for (unsigned i = HM_REASON_NONE + 1; i < HM_REASON_COUNT; i++) {
        if (stats->reason_count[i] == 0)
            continue;
        begin(&element, "reason");
        put_text(&element, "code", hm_reason_code((enum hm_reason)i));
        put_number(&element, "count", stats->reason_count[i]);
        write_element(&element, fp);
    }
    (void)fputs("</huma>\n", fp);
}

/* Elements that glibc has for its only arena and once more for the sum of all. */
static void
write_system(FILE *fp, const struct hm_stats *stats, const struct mallinfo2 *info)
{
    write_size(fp, "system", "current", info->arena);
    write_size(fp, "system", "max", stats->reserved_bytes);
    write_size(fp, "aspace", "total", stats->reserved_bytes);
    write_size(fp, "aspace", "mprotect", info->arena);
}

/* Like glibc's, this knows no error but a wrong option: what cannot be written shows in ferror. */
HM_EXPORT int
malloc_info(int options, FILE *fp)
{
    struct hm_stats stats;
    struct mallinfo2 info;
    uint64_t free_count;

    if (options != 0)
        return EINVAL;
    if (!read_stats(true, &stats))
        return ENOMEM;
    info = info_of(&stats);
    (void)fputs("<malloc version=\"1\">\n<heap nr=\"0\">\n", fp);
    free_count = write_sizes(fp);
    write_total(fp, "fast", 0, 0);
    write_total(fp, "rest", free_count, info.fordblks);
    write_system(fp, &stats, &info);
    (void)fputs("</heap>\n", fp);
    write_total(fp, "fast", 0, 0);
    write_total(fp, "rest", free_count, info.fordblks);
    write_total(fp, "mmap", info.hblks, info.hblkhd);
    write_system(fp, &stats, &info);
    write_own(&stats, fp);
    (void)fputs("</malloc>\n", fp);
    return 0;
}
