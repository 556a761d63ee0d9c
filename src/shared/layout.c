/* SPDX-License-Identifier: MIT */
/* layout.c - from the header to where things are (see layout.h).
 *
 * Sources     CRC-32C: RFC 3720, appendix B.4.
 */
#include "shared/layout.h"

/* Bit by bit: a header is read once for each arena. */
static uint32_t
crc32c(const void *mem, size_t len_bytes)
{
    const uint8_t *bytes = mem;
    uint32_t crc = ~(uint32_t)0;

    for (size_t i = 0; i < len_bytes; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1)));
    }
    return ~crc;
}

static uint32_t
header_crc(const struct hm_shared_header *header)
{
    return crc32c(header, offsetof(struct hm_shared_header, crc));
}

bool
hm_shared_geom_init(struct hm_shared_geom *out_geom, const struct hm_shared_header *header)
{
    uint64_t chunk_count = header->data_bytes >> HM_SHARED_CHUNK_SHIFT;
    uint64_t span_count = chunk_count * HM_SHARED_CHUNK_SPANS;
    uint64_t section_bytes;

    if (header->data_bytes == 0 || header->data_bytes > HM_SHARED_DATA_MAX_BYTES
        || header->data_bytes % HM_SHARED_CHUNK_BYTES != 0 || header->seat_count == 0
        || header->seat_count > HM_SHARED_SEATS_MAX || header->root_count > HM_SHARED_ROOTS_MAX
        || header->page_shift < 12 || header->page_shift > 34
        || header->address % HM_SHARED_CHUNK_BYTES != 0
        || header->process_bytes % HM_SHARED_SPAN_BYTES != 0
        || (header->flags & ~HM_SHARED_THP) != 0)
        return false;
    section_bytes = (uint64_t)1 << header->page_shift;
    if (section_bytes < HM_SHARED_CHUNK_BYTES)
        section_bytes = HM_SHARED_CHUNK_BYTES;
    *out_geom = (struct hm_shared_geom){ .seat_count = header->seat_count,
                                         .root_count = header->root_count,
                                         .chunk_count = (uint32_t)chunk_count,
                                         .span_count = (uint32_t)span_count,
                                         .page_shift = header->page_shift };
    out_geom->process_spans = header->process_bytes >> HM_SHARED_SPAN_SHIFT;
    out_geom->seats_off = HM_SHARED_HEADER_BYTES;
    out_geom->roots_off
        = out_geom->seats_off + (header->seat_count + 1) * sizeof(struct hm_shared_seat);
    out_geom->chunks_off = out_geom->roots_off + header->root_count * sizeof(struct hm_shared_root);
    out_geom->spans_off = hm_align_up(out_geom->chunks_off + chunk_count * 4, 64);
    out_geom->blocks_off = hm_align_up(out_geom->spans_off + span_count * 8, 4096);
    out_geom->data_off
        = hm_align_up(out_geom->blocks_off + span_count * HM_SHARED_SPAN_UNITS * 4, section_bytes);
    out_geom->end_off = hm_align_up(out_geom->data_off + header->data_bytes, section_bytes);
    return true;
}

void
hm_shared_header_init(struct hm_shared_header *out_header, uint64_t data_bytes, unsigned seat_count,
                      unsigned root_count, unsigned page_shift)
{
    *out_header = (struct hm_shared_header){
        .magic = HM_SHARED_MAGIC,
        .version = HM_SHARED_VERSION,
        .header_bytes = HM_SHARED_HEADER_BYTES,
        .chunk_shift = HM_SHARED_CHUNK_SHIFT,
        .span_shift = HM_SHARED_SPAN_SHIFT,
        .unit_shift = HM_SHARED_UNIT_SHIFT,
        .page_shift = page_shift,
        .seat_count = seat_count,
        .root_count = root_count,
        .data_bytes = hm_align_up(data_bytes, HM_SHARED_CHUNK_BYTES),
    };
}

uint64_t
hm_shared_data_bytes(uint64_t len_bytes, unsigned seat_count, unsigned root_count,
                     unsigned page_shift)
{
    uint64_t data_bytes = hm_align_down(len_bytes, HM_SHARED_CHUNK_BYTES);
    struct hm_shared_header header;
    struct hm_shared_geom geom;

    /* What it needs besides is about a sixteenth. */
    if (data_bytes > HM_SHARED_DATA_MAX_BYTES)
        data_bytes = HM_SHARED_DATA_MAX_BYTES;
    for (; data_bytes > 0; data_bytes -= HM_SHARED_CHUNK_BYTES) {
        hm_shared_header_init(&header, data_bytes, seat_count, root_count, page_shift);
        if (hm_shared_geom_init(&geom, &header) && geom.end_off <= len_bytes)
            return data_bytes;
    }
    return 0;
}

void
hm_shared_header_seal(struct hm_shared_header *header)
{
    header->crc = header_crc(header);
}

const char *
hm_shared_header_fault(const struct hm_shared_header *header)
{
    struct hm_shared_geom geom;

    if (header->magic == __builtin_bswap64(HM_SHARED_MAGIC))
        return "it was made on a machine of the other byte order";
    if (header->magic != HM_SHARED_MAGIC)
        return "it is no shared arena";
    if (header->version != HM_SHARED_VERSION)
        return "it was made by another version of the library";
    if (header->crc != header_crc(header))
        return "its header is damaged";
    if (header->header_bytes != HM_SHARED_HEADER_BYTES
        || header->chunk_shift != HM_SHARED_CHUNK_SHIFT
        || header->span_shift != HM_SHARED_SPAN_SHIFT || header->unit_shift != HM_SHARED_UNIT_SHIFT
        || !hm_shared_geom_init(&geom, header))
        return "its header has numbers that no version of the library writes";
    return NULL;
}
