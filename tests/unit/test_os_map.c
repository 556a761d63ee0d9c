/* SPDX-License-Identifier: MIT */
/* test_os_map.c - reserve, commit, advise, move and unmap on the running kernel, without
 * privileges. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "os/os.h"

static const struct hm_os *os = &hm_os_real;
static size_t page_bytes;

static void
setup(void)
{
    page_bytes = (size_t)sysconf(_SC_PAGESIZE);
}

TestSuite(os_map, .init = setup);

static char *
map(size_t len_bytes, size_t align_bytes)
{
    uintptr_t addr = 0;

    cr_assert_eq(os->reserve(os->ctx, len_bytes, align_bytes, &addr), 0);
    cr_assert_eq(addr % align_bytes, 0);
    cr_assert_eq(os->commit(os->ctx, addr, len_bytes), 0);
    return (char *)addr;
}

Test(os_map, reserves_aligned_and_commits)
{
    for (size_t align = page_bytes; align <= HM_GIB; align *= 4) {
        char *mem = map(4 * page_bytes, align);

        cr_assert_eq(mem[0], 0);
        memset(mem, 1, 4 * page_bytes);
        cr_assert_eq(os->unmap(os->ctx, (uintptr_t)mem, 4 * page_bytes), 0);
    }
}

/* Asks the kernel instead of trying, which would be a crash. */
static bool
is_accessible(uintptr_t addr)
{
    int fds[2];
    bool is_there;

    cr_assert_eq(pipe(fds), 0);
    is_there = write(fds[1], (void *)addr, 1) == 1;
    close(fds[0]);
    close(fds[1]);
    return is_there;
}

Test(os_map, what_is_only_reserved_is_not_accessible)
{
    uintptr_t addr = 0;

    cr_assert_eq(os->reserve(os->ctx, 2 * page_bytes, page_bytes, &addr), 0);
    cr_assert(!is_accessible(addr));
    cr_assert_eq(os->commit(os->ctx, addr, page_bytes), 0);
    cr_assert(is_accessible(addr));
    cr_assert(!is_accessible(addr + page_bytes));
    cr_assert_eq(os->unmap(os->ctx, addr, 2 * page_bytes), 0);
    cr_assert(!is_accessible(addr), "unmapped memory is gone");
}

/* The surroundings that alignment needs do not stay. */
Test(os_map, reserves_no_more_than_asked_for)
{
    unsigned char vec[1];

    for (int i = 0; i < 20; i++) {
        char *mem = map(page_bytes, 64 * HM_MIB);

        errno = 0;
        if (mincore(mem + page_bytes, page_bytes, vec) == 0)
            continue; /* somebody else's neighbour */
        cr_assert_eq(errno, ENOMEM);
        return;
    }
    cr_skip("every page behind the reservations belongs to somebody else");
}

Test(os_map, a_limit_of_address_space_is_an_error)
{
    struct rlimit limit;
    uintptr_t addr = 5;
    char text[64];

    /* A sanitizer has terabytes reserved already. */
    cr_assert_gt(hm_os_read_file("/proc/self/statm", text, sizeof(text)), 0);
    limit.rlim_cur = strtoul(text, NULL, 10) * page_bytes + 256 * HM_MIB;
    limit.rlim_max = limit.rlim_cur;
    cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
    cr_assert_eq(os->reserve(os->ctx, HM_GIB, 2 * HM_MIB, &addr), -ENOMEM);
    cr_assert_eq(addr, 5, "outputs are left alone on failure");
    cr_assert_eq(os->reserve(os->ctx, 8 * HM_MIB, HM_GIB, &addr), -ENOMEM);
    cr_assert_eq(os->reserve(os->ctx, 8 * HM_MIB, 2 * HM_MIB, &addr), 0);
}

Test(os_map, impossible_lengths_are_errors)
{
    uintptr_t addr = 5;

    cr_assert_lt(os->reserve(os->ctx, hm_align_down(SIZE_MAX, page_bytes), page_bytes, &addr), 0);
    cr_assert_lt(os->reserve(os->ctx, (size_t)1 << 62, (size_t)1 << 62, &addr), 0);
    cr_assert_eq(addr, 5);
}

Test(os_map, discarded_memory_reads_as_zero)
{
    char *mem = map(4 * page_bytes, page_bytes);

    memset(mem, 1, 4 * page_bytes);
    cr_assert_eq(os->advise(os->ctx, (uintptr_t)mem + page_bytes, page_bytes, HM_ADVICE_DISCARD),
                 0);
    cr_assert_eq(mem[page_bytes], 0);
    cr_assert_eq(mem[0], 1);
    cr_assert_eq(mem[2 * page_bytes], 1);
}

Test(os_map, advice_of_all_kinds_is_taken_or_refused_cleanly)
{
    char *mem = map(4 * HM_MIB, 2 * HM_MIB);

    memset(mem, 7, 4 * HM_MIB);
    for (int advice = HM_ADVICE_HUGE; advice < HM_ADVICE_DISCARD; advice++) {
        int rc = os->advise(os->ctx, (uintptr_t)mem, 4 * HM_MIB, (enum hm_advice)advice);

        cr_assert(rc == 0 || rc == -EINVAL || rc == -ENOMEM || rc == -EAGAIN || rc == -EBUSY, "%d",
                  rc);
        cr_assert_eq(mem[0], 7);
        cr_assert_eq(mem[4 * HM_MIB - 1], 7);
    }
    cr_assert_eq(os->advise(os->ctx, 1, page_bytes, HM_ADVICE_DISCARD), -EINVAL);
}

Test(os_map, remap_in_place)
{
    char *mem = map(16 * page_bytes, page_bytes);
    uintptr_t addr = (uintptr_t)mem;

    mem[0] = 3;
    cr_assert_eq(os->remap(os->ctx, addr, 16 * page_bytes, 0, 4 * page_bytes), 0);
    cr_assert_eq(mem[0], 3);
    cr_assert_eq(os->remap(os->ctx, addr, 4 * page_bytes, 0, 8 * page_bytes), 0,
                 "the room behind it has just become free");
    cr_assert_eq(mem[7 * page_bytes], 0);
}

Test(os_map, remap_moves_pages)
{
    char *mem = map(4 * page_bytes, page_bytes);
    uintptr_t to = 0;

    memset(mem, 9, 4 * page_bytes);
    cr_assert_eq(os->reserve(os->ctx, 16 * page_bytes, 2 * HM_MIB, &to), 0);
    cr_assert_eq(os->remap(os->ctx, (uintptr_t)mem, 4 * page_bytes, to, 16 * page_bytes), 0);
    cr_assert_eq(((char *)to)[4 * page_bytes - 1], 9);
    ((char *)to)[16 * page_bytes - 1] = 1;
    cr_assert_eq(os->unmap(os->ctx, to, 16 * page_bytes), 0);
}

Test(os_map, remap_of_nothing_is_an_error)
{
    uintptr_t addr = 0;

    cr_assert_eq(os->reserve(os->ctx, page_bytes, page_bytes, &addr), 0);
    cr_assert_eq(os->unmap(os->ctx, addr, page_bytes), 0);
    cr_assert_eq(os->remap(os->ctx, addr, page_bytes, 0, 2 * page_bytes), -EFAULT);
}

Test(os_map, memory_for_metadata_is_zero_and_writable)
{
    void *mem = NULL;

    cr_assert_eq(os->map_meta(os->ctx, HM_MIB, &mem), 0);
    for (size_t i = 0; i < HM_MIB; i++)
        cr_assert_eq(((char *)mem)[i], 0);
    memset(mem, 1, HM_MIB);
    os->name(os->ctx, (uintptr_t)mem, HM_MIB, "huma meta");
    cr_assert_lt(os->map_meta(os->ctx, (size_t)1 << 62, &mem), 0);
}

Test(os_map, the_clock_goes_forwards)
{
    uint64_t before_ns = os->now_ns(os->ctx);

    cr_assert_gt(before_ns, 0);
    usleep(2000);
    cr_assert_geq(os->now_ns(os->ctx), before_ns + 1000000);
}

Test(os_map, the_thp_mode_is_one_of_six)
{
    enum hm_thp_mode mode = os->thp_mode(os->ctx);

    cr_assert_leq(mode, HM_THP_UNKNOWN);
    cr_assert(mode != HM_THP_ABSENT
              || access("/sys/kernel/mm/transparent_hugepage/enabled", R_OK) != 0);
}

/* What a process may forbid itself, it can be told by the mode. */
Test(os_map, the_thp_mode_knows_of_prctl)
{
    enum hm_thp_mode mode = os->thp_mode(os->ctx);

    if (mode != HM_THP_MADVISE && mode != HM_THP_ALWAYS)
        cr_skip("transparent huge pages are switched off here");
    if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0)
        cr_skip("this kernel knows no PR_SET_THP_DISABLE");
    cr_assert_eq(os->thp_mode(os->ctx), HM_THP_PRCTL_OFF);
}
