/* SPDX-License-Identifier: MIT */
/* fit.c - which free run of the open regions a request fits into (see fit.h).
 *
 * Problem     Runs that lie end to end across regions leave, once freed, holes across regions: a
 *             search that knows only the runs inside of each finds none of them again.
 * Idea        For each node two indexes, each an array of lists with a bitmap of those that are not
 *             empty: open regions by their longest free run, and seams, the borders between two
 *             open neighbours, by the free run across them. The shortest that fits comes first, and
 *             a run is taken from that end of a hole which leaves the rest in one piece.
 * State       `fits` of struct hm_heap.
 * Locking     heap->lock is held by the caller.
 * Invariants  I1 an open region with free pages is in runs[longest_free_pages] of its node, and
 *             nowhere else; a full one is in no list. I2 a region with seam_pages > 0 is in
 *             seams[seam_pages] of its node; no other is. I3 seam_pages is the free run across the
 *             region's end, if both neighbours are open and both free there, else 0.
 */
#include "heap/fit.h"

#include <errno.h>

int
hm_fit_init(struct hm_heap *heap, struct hm_fits *out_fits)
{
    size_t run_count = heap->region_pages + 1;
    size_t seam_count = 2 * (size_t)heap->region_pages + 1;

    out_fits->runs = hm_meta_alloc_table(&heap->meta, run_count * sizeof(out_fits->runs[0]));
    out_fits->runs_map = hm_meta_alloc(&heap->meta, HM_BITMAP_WORDS(run_count) * sizeof(uint64_t),
                                       sizeof(uint64_t));
    out_fits->seams = hm_meta_alloc_table(&heap->meta, seam_count * sizeof(out_fits->seams[0]));
    out_fits->seams_map = hm_meta_alloc(&heap->meta, HM_BITMAP_WORDS(seam_count) * sizeof(uint64_t),
                                        sizeof(uint64_t));
    if (out_fits->runs == NULL || out_fits->runs_map == NULL || out_fits->seams == NULL
        || out_fits->seams_map == NULL)
        return -ENOMEM;
    /* The first region is soon entered in the last page of it. Read before it is written to, as it
     * will be then, a page costs two faults. */
    hm_store(&out_fits->runs[run_count - 1], NULL);
    return 0;
}

static struct hm_fits *
fits_of(const struct hm_heap *heap, const struct hm_region *region)
{
    return &heap->fits[region->extent->node];
}

/* --- regions ---------------------------------------------------------------------------------- */

void
hm_fit_link(struct hm_heap *heap, struct hm_region *region)
{
    uint32_t free_pages = region->longest_free_pages;
    struct hm_fits *fits = fits_of(heap, region);
    struct hm_region **head = &fits->runs[free_pages];
    struct hm_region *first = *head;

    hm_fit_settle_seams(heap, region);
    if (free_pages == 0)
        return;
    hm_bitmap_set_run(fits->runs_map, free_pages, 1);
    if (first == NULL || region->used_pages >= first->used_pages) {
        region->prev = NULL;
        region->next = first;
        *head = region;
    } else {
        region->prev = first;
        region->next = first->next;
        first->next = region;
    }
    if (region->next != NULL)
        region->next->prev = region;
}

void
hm_fit_unlink(struct hm_heap *heap, struct hm_region *region)
{
    uint32_t free_pages = region->longest_free_pages;
    struct hm_fits *fits = fits_of(heap, region);

    if (free_pages == 0)
        return;
    if (region->next != NULL)
        region->next->prev = region->prev;
    if (region->prev != NULL)
        region->prev->next = region->next;
    else
        fits->runs[free_pages] = region->next;
    if (fits->runs[free_pages] == NULL)
        hm_bitmap_clear_run(fits->runs_map, free_pages, 1);
}

/* Whether the last page before a region is free, in a region that may be open or not. */
static bool
is_free_before(const struct hm_heap *heap, const struct hm_region *region)
{
    size_t idx = hm_region_idx(region, &heap->geom);
    size_t last_idx = heap->region_pages - 1;

    return idx > 0
           && (hm_extent_region(region->extent, idx - 1)->bits[last_idx / 64] >> last_idx % 64 & 1)
                  == 0;
}

/* The first place for an aligned run in a region: the page, or HM_BITMAP_NONE. A free run that
 * begins in the region before is used from its end, so that one hole does not become two. */
static size_t
place_in(const struct hm_heap *heap, const struct hm_region *region, size_t len_pages,
         size_t align_pages)
{
    size_t page_idx
        = hm_bitmap_find_clear_run(region->bits, heap->region_pages, len_pages, align_pages);

    if (page_idx != 0 || !is_free_before(heap, region))
        return page_idx;
    return (hm_bitmap_leading_clear(region->bits, heap->region_pages) - len_pages)
           & ~(align_pages - 1);
}

/* Only an alignment can make the walk longer than one step. */
struct hm_region *
hm_fit_find(const struct hm_heap *heap, unsigned node, size_t len_pages, size_t align_pages,
            size_t *out_page_idx)
{
    const struct hm_fits *fits = &heap->fits[node];
    size_t list_count = heap->region_pages + 1;
    size_t fit = hm_bitmap_next_set(fits->runs_map, list_count, len_pages);

    while (fit < list_count) {
        struct hm_region *region = fits->runs[fit];

        while (region != NULL) {
            *out_page_idx = place_in(heap, region, len_pages, align_pages);
            if (*out_page_idx != HM_BITMAP_NONE)
                return region;
            region = region->next;
        }
        fit = hm_bitmap_next_set(fits->runs_map, list_count, fit + 1);
    }
    return NULL;
}

/* --- seams ------------------------------------------------------------------------------------ */

/* The free run across the border of two neighbours. */
static uint32_t
measure_seam(const struct hm_heap *heap, const struct hm_region *region,
             const struct hm_region *after)
{
    uint32_t last_idx = heap->region_pages - 1;

    if (region->state != HM_REGION_OPEN || after->state != HM_REGION_OPEN
        || (region->bits[last_idx / 64] >> last_idx % 64 & 1) != 0 || (after->bits[0] & 1) != 0)
        return 0;
    return (uint32_t)(hm_bitmap_trailing_clear(region->bits, heap->region_pages)
                      + hm_bitmap_leading_clear(after->bits, heap->region_pages));
}

static void
settle_seam(struct hm_heap *heap, struct hm_region *region, const struct hm_region *after)
{
    uint32_t old_pages = region->seam_pages;
    uint32_t new_pages = measure_seam(heap, region, after);
    struct hm_fits *fits = fits_of(heap, region);

    if (new_pages == old_pages)
        return;
    if (old_pages != 0) {
        if (region->seam_next != NULL)
            region->seam_next->seam_prev = region->seam_prev;
        if (region->seam_prev != NULL)
            region->seam_prev->seam_next = region->seam_next;
        else
            fits->seams[old_pages] = region->seam_next;
        if (fits->seams[old_pages] == NULL)
            hm_bitmap_clear_run(fits->seams_map, old_pages, 1);
    }
    region->seam_pages = new_pages;
    if (new_pages != 0) {
        region->seam_prev = NULL;
        region->seam_next = fits->seams[new_pages];
        if (region->seam_next != NULL)
            region->seam_next->seam_prev = region;
        fits->seams[new_pages] = region;
        hm_bitmap_set_run(fits->seams_map, new_pages, 1);
    }
}

void
hm_fit_settle_seams(struct hm_heap *heap, struct hm_region *region)
{
    struct hm_extent *extent = region->extent;
    size_t idx = hm_region_idx(region, &heap->geom);

    if (idx > 0)
        settle_seam(heap, hm_extent_region(extent, idx - 1), region);
    if (idx + 1 < extent->region_count)
        settle_seam(heap, region, hm_extent_region(extent, idx + 1));
}

/* Where an aligned run can start so that it lies within the seam behind `region`: page index, or
 * HM_BITMAP_NONE. */
static size_t
start_in_seam(const struct hm_heap *heap, const struct hm_region *region, size_t len_pages,
              size_t align_pages)
{
    size_t start_idx
        = heap->region_pages - hm_bitmap_trailing_clear(region->bits, heap->region_pages);
    size_t aligned_idx = (start_idx + align_pages - 1) & ~(align_pages - 1);

    return aligned_idx + len_pages <= start_idx + region->seam_pages ? aligned_idx : HM_BITMAP_NONE;
}

struct hm_region *
hm_fit_find_seam(const struct hm_heap *heap, unsigned node, size_t len_pages, size_t align_pages,
                 size_t *out_page_idx)
{
    const struct hm_fits *fits = &heap->fits[node];
    size_t list_count = 2 * (size_t)heap->region_pages + 1;
    size_t seam = hm_bitmap_next_set(fits->seams_map, list_count, len_pages);

    while (seam < list_count) {
        struct hm_region *region = fits->seams[seam];

        for (; region != NULL; region = region->seam_next) {
            *out_page_idx = start_in_seam(heap, region, len_pages, align_pages);
            if (*out_page_idx != HM_BITMAP_NONE)
                return region;
        }
        seam = hm_bitmap_next_set(fits->seams_map, list_count, seam + 1);
    }
    return NULL;
}
