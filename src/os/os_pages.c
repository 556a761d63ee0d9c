/* SPDX-License-Identifier: MIT */
/* os_pages.c - whether the pages of a range are ours alone, and whether one huge page maps them.
 *
 * Problem     After fork() a huge page that the parent writes to is split for good. To join it
 *             again copies it, which is a waste of time and memory as long as the child has the
 *             other half. Nobody tells when a child has gone, or has called exec.
 * Idea        /proc/self/pagemap has a word per base page. Its bit 56 says whether this process
 *             alone maps the page; no privileges are needed for that. Whether a huge page maps
 *             them is told by ioctl PAGEMAP_SCAN (Linux 6.7).
 * Sources     Linux Documentation/admin-guide/mm/pagemap.rst.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cancel.h"
#include "os/os.h"
#include "os/os_linux.h"

#define PAGE_PRESENT ((uint64_t)1 << 63)
#define PAGE_EXCLUSIVE ((uint64_t)1 << 56)

#define WORDS_PER_READ 64

/* Reading ends behind the first shared page: that is all that counts. */
static int
count_pages(int fd, size_t page_idx, size_t page_count, struct hm_sharing *inout)
{
    uint64_t words[WORDS_PER_READ];

    while (page_count > 0 && inout->shared_pages == 0) {
        size_t want_count = page_count < WORDS_PER_READ ? page_count : WORDS_PER_READ;
        ssize_t n
            = pread(fd, words, want_count * sizeof(words[0]), (off_t)(page_idx * sizeof(words[0])));
        size_t got_count = n > 0 ? (size_t)n / sizeof(words[0]) : 0;

        if (n < 0 && errno == EINTR)
            continue;
        if (got_count == 0)
            return n < 0 ? -errno : -EIO;
        for (size_t i = 0; i < got_count; i++) {
            inout->present_pages += (words[i] & PAGE_PRESENT) != 0;
            inout->shared_pages
                += (words[i] & PAGE_PRESENT) != 0 && (words[i] & PAGE_EXCLUSIVE) == 0;
        }
        page_idx += got_count;
        page_count -= got_count;
    }
    return 0;
}

/* Older kernels cannot tell. */
static bool
is_huge(int fd, uintptr_t addr, size_t len_bytes)
{
    struct hm_scan_region run;
    struct hm_scan_arg arg = {
        .size = sizeof(arg),
        .start = addr,
        .end = addr + len_bytes,
        .vec = (uint64_t)(uintptr_t)&run,
        .vec_len = 1,
        .category_mask = HM_PAGE_IS_HUGE,
        .return_mask = HM_PAGE_IS_HUGE,
    };

    return ioctl(fd, HM_PAGEMAP_SCAN, &arg) == 1 && run.end - run.start == len_bytes;
}

int
hm_os_sharing(void *ctx, uintptr_t addr, size_t len_bytes, struct hm_sharing *out_sharing)
{
    size_t page_bytes = getauxval(AT_PAGESZ);
    struct hm_sharing sharing = { 0 };
    int cancel_state = hm_cancel_disable();
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    int rc = fd >= 0 ? 0 : -errno;

    (void)ctx;
    if (rc == 0) {
        rc = count_pages(fd, addr / page_bytes, len_bytes / page_bytes, &sharing);
        if (rc == 0 && sharing.shared_pages == 0)
            sharing.is_huge = is_huge(fd, addr, len_bytes);
        (void)close(fd);
    }
    hm_cancel_restore(cancel_state);
    if (rc == 0)
        *out_sharing = sharing;
    return rc;
}
