/* SPDX-License-Identifier: MIT */
/* os_linux.h - kernel interfaces that the headers of older distributions lack.
 *
 * Problem     The build machine's headers may be years older than the kernel that the library runs
 *             on.
 * Idea        Numbers and layouts from the kernel's stable user interface, each with the release
 *             that brought it. Whether the running kernel knows them is found out by calling.
 */
#ifndef HM_OS_OS_LINUX_H
#define HM_OS_OS_LINUX_H

#include <linux/ioctl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4 /* Linux 5.7 */
#endif

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* Linux 5.18 */
#endif

#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif

#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT MAP_HUGE_SHIFT
#endif

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u /* Linux 6.3 */
#endif

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* Linux 4.17 */
#endif

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41 /* Linux 5.17 */
#define PR_SET_VMA_ANON_NAME 0
#endif

/* Memory policies (include/uapi/linux/mempolicy.h): their own header comes with libnuma. */
#define HM_MPOL_PREFERRED 1
#define HM_MPOL_BIND 2
#define HM_MPOL_INTERLEAVE 3
#define HM_MPOL_F_ADDR (1ul << 1)
#define HM_MPOL_F_MEMS_ALLOWED (1ul << 2)

/* ioctl PAGEMAP_SCAN on /proc/PID/pagemap, Linux 6.7 (include/uapi/linux/fs.h). Own names, because
 * the headers that have it differ in what else they bring. */
#define HM_PAGE_IS_PRESENT ((uint64_t)1 << 3)
#define HM_PAGE_IS_PFNZERO ((uint64_t)1 << 5)
#define HM_PAGE_IS_HUGE ((uint64_t)1 << 6)

struct hm_scan_region {
    uint64_t start;
    uint64_t end;
    uint64_t categories;
};

struct hm_scan_arg {
    uint64_t size;
    uint64_t flags;
    uint64_t start;
    uint64_t end;
    uint64_t walk_end;
    uint64_t vec;
    uint64_t vec_len;
    uint64_t max_pages;
    uint64_t category_inverted;
    uint64_t category_mask;
    uint64_t category_anyof_mask;
    uint64_t return_mask;
};

#define HM_PAGEMAP_SCAN _IOWR('f', 16, struct hm_scan_arg)

#endif
