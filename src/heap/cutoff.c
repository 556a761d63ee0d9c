/* SPDX-License-Identifier: MIT */
/* cutoff.c - glibc's arithmetic of chunks and thresholds, to the byte (see cutoff.h).
 *
 * Idea        A chunk of glibc is a request with a header of one word, in steps of 16 bytes. It
 *             compares with the threshold what it needs, not what was requested; a chunk with a
 *             mapping of its own has one word more.
 */
#include "heap/cutoff.h"

#define HEADER_BYTES ((size_t)8)
#define STEP_BYTES ((size_t)16)
#define NEED_MIN_BYTES ((size_t)32)

/* Low bit in the size word of a mapped chunk, which glibc compares along with it. */
#define MAPPED_MARK ((size_t)2)

#define THRESHOLD_START_BYTES (128 * HM_KIB)
#define THRESHOLD_MAX_BYTES (32 * HM_MIB)
#define MMAP_MAX_START 65536

static size_t
need_of_size(size_t size_bytes)
{
    size_t need_bytes = hm_align_up(size_bytes + HEADER_BYTES, STEP_BYTES);

    return need_bytes > NEED_MIN_BYTES ? need_bytes : NEED_MIN_BYTES;
}

/* An aligned block is cut out of one that is larger by the alignment and a smallest chunk; this sum
 * gets a header of its own. */
static size_t
need_of(size_t size_bytes, size_t align_bytes)
{
    size_t need_bytes = need_of_size(size_bytes);

    if (align_bytes <= STEP_BYTES)
        return need_bytes;
    return need_of_size(need_bytes + align_bytes + NEED_MIN_BYTES);
}

/* What lies before an aligned block in glibc's mapping, which begins at a page and with a header.
 * If the alignment exceeds a page, it depends on the address; this is the most there can be, but
 * for gaps that are too small for a chunk. */
static size_t
slack_of(size_t align_bytes)
{
    size_t slack_bytes = align_bytes - STEP_BYTES;

    if (align_bytes <= STEP_BYTES)
        return 0;
    return slack_bytes < NEED_MIN_BYTES ? slack_bytes + align_bytes : slack_bytes;
}

bool
hm_cutoff_is_direct_slow(const struct hm_cutoff *cutoff, size_t size_bytes, size_t align_bytes)
{
    int mmap_max = hm_load(&cutoff->mmap_max);

    return need_of(size_bytes, align_bytes) >= hm_load(&cutoff->mmap_threshold_bytes)
           && mmap_max > 0 && hm_load(&cutoff->live_count) < (size_t)mmap_max;
}

static void
move_threshold(struct hm_cutoff *cutoff, size_t threshold_bytes)
{
    size_t first_bytes = 0;

    if (threshold_bytes > PTRDIFF_MAX)
        first_bytes = SIZE_MAX;
    else if (threshold_bytes > NEED_MIN_BYTES)
        first_bytes = hm_align_up(threshold_bytes, STEP_BYTES) - STEP_BYTES - HEADER_BYTES + 1;
    hm_store(&cutoff->mmap_threshold_bytes, threshold_bytes);
    hm_store(&cutoff->first_direct_bytes, first_bytes);
}

void
hm_cutoff_init(struct hm_cutoff *out_cutoff)
{
    *out_cutoff = (struct hm_cutoff){
        .trim_threshold_bytes = THRESHOLD_START_BYTES,
        .mmap_max = MMAP_MAX_START,
    };
    move_threshold(out_cutoff, THRESHOLD_START_BYTES);
}

static void
count(struct hm_cutoff *cutoff)
{
    if (cutoff->live_count > cutoff->max_live_count)
        cutoff->max_live_count = cutoff->live_count;
    if (cutoff->live_bytes > cutoff->max_live_bytes)
        cutoff->max_live_bytes = cutoff->live_bytes;
}

struct hm_charge
hm_cutoff_add(struct hm_cutoff *cutoff, size_t size_bytes, size_t align_bytes, size_t page_bytes)
{
    struct hm_charge charge = {
        .mapped_bytes = hm_align_up(need_of(size_bytes, align_bytes) + HEADER_BYTES, page_bytes),
        .slack_bytes = slack_of(align_bytes),
    };

    hm_store(&cutoff->live_count, cutoff->live_count + 1);
    cutoff->live_bytes += charge.mapped_bytes;
    count(cutoff);
    return charge;
}

void
hm_cutoff_resize(struct hm_cutoff *cutoff, struct hm_charge *charge, size_t size_bytes,
                 size_t page_bytes)
{
    size_t old_bytes = charge->mapped_bytes;

    charge->mapped_bytes
        = hm_align_up(need_of_size(size_bytes) + charge->slack_bytes + HEADER_BYTES, page_bytes);
    cutoff->live_bytes += charge->mapped_bytes - old_bytes;
    count(cutoff);
}

void
hm_cutoff_remove(struct hm_cutoff *cutoff, const struct hm_charge *charge)
{
    size_t chunk_bytes = charge->mapped_bytes - charge->slack_bytes;
    size_t marked_bytes = chunk_bytes | MAPPED_MARK;

    if (!cutoff->is_frozen && marked_bytes > cutoff->mmap_threshold_bytes
        && marked_bytes <= THRESHOLD_MAX_BYTES) {
        move_threshold(cutoff, chunk_bytes);
        cutoff->trim_threshold_bytes = 2 * chunk_bytes;
    }
    hm_store(&cutoff->live_count, cutoff->live_count - 1);
    cutoff->live_bytes -= charge->mapped_bytes;
}

void
hm_cutoff_set_mmap_threshold(struct hm_cutoff *cutoff, size_t threshold_bytes)
{
    move_threshold(cutoff, threshold_bytes);
    cutoff->is_frozen = true;
}

void
hm_cutoff_set_trim_threshold(struct hm_cutoff *cutoff, size_t threshold_bytes)
{
    cutoff->trim_threshold_bytes = threshold_bytes;
    cutoff->keep_bytes = threshold_bytes;
    cutoff->is_frozen = true;
}

void
hm_cutoff_set_mmap_max(struct hm_cutoff *cutoff, int max_count)
{
    hm_store(&cutoff->mmap_max, max_count);
    cutoff->is_frozen = true;
}

void
hm_cutoff_freeze(struct hm_cutoff *cutoff)
{
    cutoff->is_frozen = true;
}
