/* SPDX-License-Identifier: MIT */
/* visitor.h - files that pretend to be a shared arena, and who falls for one.
 *
 * Problem     What attaches an arena reads what a stranger wrote: any bytes, under any length. That
 *             must end in a sentence, or in an arena that cannot be trusted, but in nothing else.
 * Idea        A good arena, in which there is something of everything, is copied once. Each case
 *             is a sealed file of its own with that copy, damaged. A visitor attaches it and calls
 *             all that there is.
 */
#ifndef HM_TESTS_VISITOR_H
#define HM_TESTS_VISITOR_H

#include "huma.h"
#include "shared/layout.h"
#include "support/choice.h"

enum { IMAGE_PAGES_MAX = 64, IMAGE_PAGE_BYTES = 4096 };

/* A good arena, as a file holds it. */
struct image {
    struct hm_shared_header header;
    struct hm_shared_geom geom;
    unsigned char *bytes; /* all before the data, then pages of data that have anything in them */
    size_t meta_bytes;    /* before the data */
    size_t len_bytes;
    unsigned page_count;
    uint64_t page_offs[IMAGE_PAGES_MAX]; /* where they are in the file */
};

/* Make one. Ends the program with 99 if that cannot be done. */
void image_init(struct image *out_image);

/* A file with the bytes of an image, or with a copy of them that has been damaged, cut to a length;
 * sealed against being shortened. Returns a descriptor. */
int image_file(const struct image *image, const unsigned char *bytes, uint64_t len_bytes);

/* Write something else into one word of a copy: of its state, of its data, or of its header, which
 * is sealed again. Returns the offset of that word in the copy. */
size_t image_damage(const struct image *image, unsigned char *bytes, struct choice *choice);

/* Where in the file a byte of the copy is. */
uint64_t image_file_off(const struct image *image, size_t off);

/* Attach, and try everything. Returns whether it could be attached. A refusal without a sentence
 * ends the program by abort(). */
bool visit(int fd, uint64_t flags);

#endif
