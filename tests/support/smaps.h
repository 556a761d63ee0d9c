/* SPDX-License-Identifier: MIT */
/* smaps.h - what the kernel says about this process's memory, asked without malloc.
 *
 * Problem     A test that measures the heap must not change it: stdio allocates its buffers.
 * Idea        read(2) /proc/self/smaps_rollup into a buffer on the stack and pick out the lines.
 * Beware      Before Linux 6.6 huge pages that NUMA balancing has marked for a hinting fault are
 *             left out of all these figures: switch kernel.numa_balancing off where you measure.
 * State       none.
 */
#ifndef HUMA_TESTS_SMAPS_H
#define HUMA_TESTS_SMAPS_H

/* All figures in KiB, as the kernel prints them. */
struct hm_smaps {
    unsigned long rss_kib; /* resident, without hugetlb pages, which the kernel counts apart */
    unsigned long anonymous_kib; /* resident and not backed by a file: heap, stacks, written data */
    unsigned long anon_huge_kib; /* of that, mapped by huge pages (THP) */
    unsigned long hugetlb_kib;   /* hugetlb pages, private and shared */
};

/* The mode in brackets in /sys/kernel/mm/transparent_hugepage/enabled. */
enum hm_thp_mode { HM_THP_ABSENT, HM_THP_ALWAYS, HM_THP_MADVISE, HM_THP_NEVER };

/* Read the sums of this process. Returns 0, or a negative errno and leaves out_sum alone. */
int hm_smaps_read(struct hm_smaps *out_sum);

/* Share of the anonymous memory that lies on huge pages, in percent, rounded down. */
unsigned hm_smaps_coverage_pct(const struct hm_smaps *sum);

/* HM_THP_ABSENT if the kernel has no transparent huge pages or /sys is not mounted. */
enum hm_thp_mode hm_smaps_thp_mode(void);

/* Name of a mode, as in the file: "always", "madvise", "never"; "absent". */
const char *hm_smaps_thp_name(enum hm_thp_mode mode);

/* Bytes of a PMD-sized huge page on this kernel; 0 if it has none. */
unsigned long hm_smaps_hpage_bytes(void);

#endif
