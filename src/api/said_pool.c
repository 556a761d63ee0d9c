/* SPDX-License-Identifier: MIT */
/* said_pool.c - what a pool of hugetlb pages lacks, in numbers.
 *
 * Problem     "The pool has too few pages" leaves the reader to find out how many there are, how
 *             many it takes, and where a limit was set.
 * Idea        Read the pool's files again, and the control groups', right after the failure. The
 *             cure is a command that can be run as it is.
 * Locking     The heap's lock is held.
 * Sources     Linux Documentation/admin-guide/mm/hugetlbpage.rst.
 */
#include "api/said.h"
#include "base/fmt.h"

struct pool {
    unsigned page_shift;
    uint64_t total_count;
    uint64_t free_count;
    uint64_t promised_count; /* of the free ones */
};

static void
put_file(struct hm_fmt *out, unsigned page_shift, const char *file)
{
    hm_fmt_str(out, "/sys/kernel/mm/hugepages/hugepages-");
    hm_fmt_u64(out, ((uint64_t)1 << page_shift) / HM_KIB);
    hm_fmt_str(out, "kB/");
    hm_fmt_str(out, file);
}

static uint64_t
read_count(unsigned page_shift, const char *file)
{
    char path[96];
    char text[32];
    struct hm_fmt out = hm_fmt_init(path, sizeof(path), -1);
    uint64_t value = 0;

    put_file(&out, page_shift, file);
    if (hm_os_read_file(path, text, sizeof(text)) <= 0)
        return 0;
    for (const char *at = text; *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    return value;
}

static struct pool
read_pool(unsigned page_shift)
{
    return (struct pool){ .page_shift = page_shift,
                          .total_count = read_count(page_shift, "nr_hugepages"),
                          .free_count = read_count(page_shift, "free_hugepages"),
                          .promised_count = read_count(page_shift, "resv_hugepages") };
}

static void
put_pool(const struct pool *pool, uint64_t wanted_count, struct hm_fmt *out)
{
    uint64_t spare_count = pool->free_count - pool->promised_count;

    hm_fmt_str(out, ": ");
    hm_fmt_u64(out, pool->free_count);
    hm_fmt_str(out, " of ");
    hm_fmt_u64(out, pool->total_count);
    hm_fmt_str(out, " pages of ");
    hm_fmt_u64(out, ((uint64_t)1 << pool->page_shift) / HM_KIB);
    hm_fmt_str(out, " KiB are free, ");
    hm_fmt_u64(out, pool->promised_count);
    hm_fmt_str(out, " of them promised, and ");
    hm_fmt_u64(out, wanted_count);
    hm_fmt_str(out, " are wanted; cure: echo ");
    hm_fmt_u64(out, pool->total_count + wanted_count - spare_count);
    hm_fmt_str(out, " >");
    put_file(out, pool->page_shift, "nr_hugepages");
}

bool
hm_said_pages(const struct hm_os *os, unsigned page_shift, uint64_t wanted_count,
              struct hm_fmt *out)
{
    struct hm_shortage found = { .cause = HM_SHORTAGE_UNKNOWN };
    struct pool pool = read_pool(page_shift);

    (void)os->shortage(os->ctx, wanted_count << page_shift, page_shift, &found);
    if (found.cause == HM_SHORTAGE_MAX || found.cause == HM_SHORTAGE_RSVD) {
        hm_fmt_str(out, ": ");
        hm_fmt_str(out, found.path);
        hm_fmt_str(out, " is ");
        hm_fmt_u64(out, found.limit_bytes);
        hm_fmt_str(out, "; cure: write a larger number there");
        return true;
    }
    if (pool.free_count < pool.promised_count
        || pool.free_count - pool.promised_count >= wanted_count)
        return false;
    put_pool(&pool, wanted_count, out);
    return true;
}

bool
hm_said_pool(struct hm_heap *heap, size_t size_bytes, struct hm_fmt *out)
{
    const struct hm_chain *chain = &heap->backing.conf->backing;
    unsigned page_shift = heap->geom.hpage_shift;

    if (!hm_backing_may_open(&heap->backing) || page_shift == 0)
        return false;
    /* The last size that the chain names was the last to be asked. */
    for (unsigned k = 0; k < chain->kind_count; k++)
        if (chain->kind[k] == HM_BACKING_HUGETLB)
            page_shift = chain->page_shift[k] != 0 ? chain->page_shift[k] : heap->geom.hpage_shift;
    return hm_said_pages(heap->os, page_shift, (size_bytes >> page_shift) + 1, out);
}
