/* SPDX-License-Identifier: MIT */
/* test_os_scan.c - what is resident, as the running kernel says. */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/os.h"

static const struct hm_os *os = &hm_os_real;
static size_t page_bytes;

static void
setup(void)
{
    page_bytes = (size_t)sysconf(_SC_PAGESIZE);
}

TestSuite(os_scan, .init = setup);

/* Committed memory on base pages. */
static uintptr_t
map(size_t len_bytes)
{
    uintptr_t addr = 0;

    cr_assert_eq(os->reserve(os->ctx, len_bytes, 2 * HM_MIB, &addr), 0);
    cr_assert_eq(os->commit(os->ctx, addr, len_bytes), 0);
    (void)os->advise(os->ctx, addr, len_bytes, HM_ADVICE_BASE);
    return addr;
}

static struct hm_residency
scan(uintptr_t addr, size_t len_bytes)
{
    struct hm_residency sum = { 0 };

    cr_assert_eq(os->scan(os->ctx, addr, len_bytes, &sum), 0);
    cr_assert_leq(sum.huge_bytes, sum.resident_bytes);
    return sum;
}

static void
expect_counts(void)
{
    uintptr_t addr = map(8 * HM_MIB);

    cr_assert_eq(scan(addr, 8 * HM_MIB).resident_bytes, 0);
    memset((void *)addr, 1, HM_MIB);
    cr_assert_eq(scan(addr, 8 * HM_MIB).resident_bytes, HM_MIB);
    cr_assert_eq(scan(addr, 8 * HM_MIB).huge_bytes, 0);
}

Test(os_scan, counts_what_was_touched)
{
    expect_counts();
}

/* Many runs, each of one page: more than one batch of the ioctl. */
Test(os_scan, counts_scattered_pages)
{
    size_t page_count = 8 * HM_MIB / page_bytes;
    uintptr_t addr = map(8 * HM_MIB);

    for (size_t i = 0; i < page_count; i += 2)
        *(volatile char *)(addr + i * page_bytes) = 1;
    cr_assert_eq(scan(addr, 8 * HM_MIB).resident_bytes, 4 * HM_MIB);
}

/* The kernel's page of zeros stands for what was only read, and is nobody's memory. */
Test(os_scan, what_was_only_read_is_not_resident)
{
    uintptr_t addr = map(8 * HM_MIB);

    for (size_t at = 0; at < 8 * HM_MIB; at += page_bytes)
        (void)*(volatile char *)(addr + at);
    cr_assert_eq(scan(addr, 8 * HM_MIB).resident_bytes, 0);
    memset((void *)addr, 1, HM_MIB);
    cr_assert_eq(scan(addr, 8 * HM_MIB).resident_bytes, HM_MIB);
}

Test(os_scan, adds_to_what_is_there)
{
    struct hm_residency sum = { .resident_bytes = 1000, .huge_bytes = 500 };
    uintptr_t addr = map(2 * HM_MIB);

    memset((void *)addr, 1, page_bytes);
    cr_assert_eq(os->scan(os->ctx, addr, 2 * HM_MIB, &sum), 0);
    cr_assert_eq(sum.resident_bytes, 1000 + page_bytes);
    cr_assert_eq(sum.huge_bytes, 500);
}

Test(os_scan, huge_pages_where_the_kernel_gives_them)
{
    struct hm_machine machine;
    enum hm_thp_mode mode = os->thp_mode(os->ctx);
    uintptr_t addr = 0;
    size_t hpage_bytes;

    hm_os_probe(&machine);
    if (machine.geom.hpage_shift == 0 || (mode != HM_THP_MADVISE && mode != HM_THP_ALWAYS))
        cr_skip("transparent huge pages are switched off here");
    hpage_bytes = (size_t)1 << machine.geom.hpage_shift;
    cr_assert_eq(os->reserve(os->ctx, 4 * hpage_bytes, hpage_bytes, &addr), 0);
    cr_assert_eq(os->commit(os->ctx, addr, 4 * hpage_bytes), 0);
    cr_assert_eq(os->advise(os->ctx, addr, 4 * hpage_bytes, HM_ADVICE_HUGE), 0);
    memset((void *)addr, 1, 4 * hpage_bytes);
    cr_assert_eq(scan(addr, 4 * hpage_bytes).resident_bytes, 4 * hpage_bytes);
    cr_expect_eq(scan(addr, 4 * hpage_bytes).huge_bytes % hpage_bytes, 0);
    if (scan(addr, 4 * hpage_bytes).huge_bytes == 0)
        cr_skip("the kernel has no huge page free");
}

/* Kernels before 6.7 do not know the ioctl. A filter makes this one such a kernel. */
static bool
forget_ioctl(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTTY),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
           && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

Test(os_scan, older_kernels_are_asked_through_smaps)
{
    if (!forget_ioctl())
        cr_skip("no seccomp filters here");
    expect_counts();
}

/* smaps knows mappings only: of a part of one, the figure is a share. */
Test(os_scan, a_part_of_a_mapping_by_smaps)
{
    uintptr_t addr;

    if (!forget_ioctl())
        cr_skip("no seccomp filters here");
    addr = map(8 * HM_MIB);
    memset((void *)addr, 1, 8 * HM_MIB);
    cr_assert_eq(scan(addr + 2 * HM_MIB, 4 * HM_MIB).resident_bytes, 4 * HM_MIB);
}

/* Nothing can be asked without descriptors; that is an error, not a wrong figure. */
Test(os_scan, without_descriptors)
{
    struct rlimit before;
    struct rlimit none;
    struct hm_residency sum = { .resident_bytes = 1 };
    uintptr_t addr = map(2 * HM_MIB);
    int rc;

    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){ .rlim_cur = 0, .rlim_max = before.rlim_max };
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    rc = os->scan(os->ctx, addr, 2 * HM_MIB, &sum);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    cr_assert_lt(rc, 0);
    cr_assert_eq(sum.resident_bytes, 1);
}
