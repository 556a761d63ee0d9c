/* SPDX-License-Identifier: MIT */
/* fuzz_shared.c - an input is what a good shared arena has been damaged by: words of its header and
 * of its state. Who attaches it and uses it must come to no harm (visitor.h). */
#include "fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz/visitor.h"

enum { LEN_MAX_MIB = 256 };

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
    static struct image image;
    struct choice choice = choice_of_bytes(bytes, len_bytes);
    struct hm_shared_geom geom;
    struct hm_shared_header header;
    uint64_t file_bytes;
    unsigned char *copy;
    bool is_read_only;
    int fd;

    if (image.bytes == NULL)
        image_init(&image);
    copy = malloc(image.len_bytes);
    if (copy == NULL)
        return 0;
    memcpy(copy, image.bytes, image.len_bytes);
    is_read_only = choice_one_in(&choice, 4);
    while (!choice_is_over(&choice))
        (void)image_damage(&image, copy, &choice);
    memcpy(&header, copy, sizeof(header));
    file_bytes = image.geom.end_off;
    if (hm_shared_geom_init(&geom, &header) && geom.end_off < (uint64_t)LEN_MAX_MIB << 20)
        file_bytes = geom.end_off;
    fd = image_file(&image, copy, file_bytes);
    (void)visit(fd, is_read_only ? HUMA_SHARED_READ_ONLY : 0);
    (void)close(fd);
    free(copy);
    return 0;
}
