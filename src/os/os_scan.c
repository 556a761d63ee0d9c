/* SPDX-License-Identifier: MIT */
/* os_scan.c - what of a range is resident, and what of that on huge pages, as the kernel sees it.
 *
 * Problem     An allocator's belief about huge pages is worth little: advice is silently ignored,
 *             and fork, partial release and khugepaged change the truth later.
 * Idea        ioctl PAGEMAP_SCAN (Linux 6.7, no privileges on oneself) reports runs of pages with
 *             the same properties in microseconds. The page of zeros that stands for memory that
 *             was only read is left out, as smaps does (kernels before 6.17 do not tell the huge
 *             one). Kernels without the ioctl: sum up /proc/self/smaps, whose mappings carry Rss
 *             and AnonHugePages, in proportion to the part that lies in the range.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cancel.h"
#include "os/os.h"
#include "os/os_linux.h"

#define SCAN_BATCH 16 /* runs per call; 24 bytes each on the stack */

static int
scan_pagemap(int fd, uintptr_t addr, size_t len_bytes, struct hm_residency *inout)
{
    struct hm_scan_region runs[SCAN_BATCH];
    struct hm_residency sum = { 0 };
    struct hm_scan_arg arg = {
        .size = sizeof(arg),
        .start = addr,
        .end = addr + len_bytes,
        .vec = (uint64_t)(uintptr_t)runs,
        .vec_len = SCAN_BATCH,
        .category_inverted = HM_PAGE_IS_PFNZERO,
        .category_mask = HM_PAGE_IS_PRESENT | HM_PAGE_IS_PFNZERO,
        .return_mask = HM_PAGE_IS_PRESENT | HM_PAGE_IS_HUGE,
    };

    while (arg.start < addr + len_bytes) {
        int run_count = ioctl(fd, HM_PAGEMAP_SCAN, &arg);

        if (run_count < 0)
            return -errno;
        for (int i = 0; i < run_count; i++) {
            uint64_t run_bytes = runs[i].end - runs[i].start;

            sum.resident_bytes += run_bytes;
            if ((runs[i].categories & HM_PAGE_IS_HUGE) != 0)
                sum.huge_bytes += run_bytes;
        }
        if (arg.walk_end <= arg.start)
            return -EIO;
        arg.start = arg.walk_end;
    }
    inout->resident_bytes += sum.resident_bytes;
    inout->huge_bytes += sum.huge_bytes;
    return 0;
}

/* State of one walk through smaps: the mapping whose lines are being read. */
struct smaps_walk {
    uintptr_t from;      /* the range asked for */
    uintptr_t to;        /* its end */
    uint64_t map_bytes;  /* length of the current mapping, at least 1 */
    uint64_t part_bytes; /* how much of it lies in the range */
    struct hm_residency *sum;
};

/* Parse a number in base 10 or 16 and leave *text behind it. */
static uint64_t
parse_number(const char **text, unsigned base)
{
    uint64_t value = 0;

    for (;; (*text)++) {
        char c = **text;
        unsigned digit;

        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if (base == 16 && c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        else
            return value;
        value = value * base + digit;
    }
}

/* Value in bytes of a line such as "Rss:   12 kB", scaled to the part in the range. */
static uint64_t
line_bytes(const struct smaps_walk *walk, const char *value)
{
    uint64_t kib;

    while (*value == ' ')
        value++;
    kib = parse_number(&value, 10);
    if (walk->part_bytes == walk->map_bytes)
        return kib * HM_KIB;
    return (uint64_t)((double)kib * (double)HM_KIB * (double)walk->part_bytes
                      / (double)walk->map_bytes);
}

static void
smaps_line(void *arg, const char *line)
{
    struct smaps_walk *walk = arg;
    const char *text = line;
    uintptr_t start = parse_number(&text, 16);

    if (text > line && *text == '-') {
        uintptr_t end;

        text++;
        end = parse_number(&text, 16);
        walk->map_bytes = end > start ? end - start : 1;
        start = start > walk->from ? start : walk->from;
        end = end < walk->to ? end : walk->to;
        walk->part_bytes = end > start ? end - start : 0;
    } else if (strncmp(line, "Rss:", 4) == 0) {
        walk->sum->resident_bytes += line_bytes(walk, line + 4);
    } else if (strncmp(line, "AnonHugePages:", 14) == 0) {
        walk->sum->huge_bytes += line_bytes(walk, line + 14);
    } else if (strncmp(line, "Private_Hugetlb:", 16) == 0
               || strncmp(line, "Shared_Hugetlb:", 15) == 0) {
        uint64_t len_bytes = line_bytes(walk, strchr(line, ':') + 1);

        /* The kernel does not count them in Rss. */
        walk->sum->resident_bytes += len_bytes;
        walk->sum->huge_bytes += len_bytes;
    }
}

int
hm_os_scan(void *ctx, uintptr_t addr, size_t len_bytes, struct hm_residency *inout)
{
    int cancel_state = hm_cancel_disable();
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    struct smaps_walk walk = { .from = addr, .to = addr + len_bytes, .map_bytes = 1, .sum = inout };
    int rc = -ENOENT;

    (void)ctx;
    if (fd >= 0) {
        rc = scan_pagemap(fd, addr, len_bytes, inout);
        (void)close(fd);
    }
    if (rc != 0)
        rc = hm_os_read_lines("/proc/self/smaps", smaps_line, &walk);
    hm_cancel_restore(cancel_state);
    return rc;
}
