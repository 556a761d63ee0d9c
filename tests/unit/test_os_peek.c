/* SPDX-License-Identifier: MIT */
/* test_os_peek.c - addresses that may be anything, asked of the running kernel. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/os.h"

#define AREA_BYTES HM_MIB

static int variable;

static uintptr_t
map(int prot, int flags, int fd)
{
    void *mem = mmap(NULL, AREA_BYTES, prot, flags, fd, 0);

    cr_assert_neq(mem, MAP_FAILED, "%s", strerror(errno));
    return (uintptr_t)mem;
}

static uintptr_t
map_plain(void)
{
    return map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static bool
is_heap_like(uintptr_t from, uintptr_t to)
{
    bool answer = false;

    cr_assert_eq(hm_os_is_heap_like(from, to, &answer), 0);
    return answer;
}

Test(os_peek, readable)
{
    uintptr_t addr = map_plain();
    uint64_t local = 0;
    sigset_t before;
    sigset_t after;

    cr_assert_eq(sigprocmask(SIG_SETMASK, NULL, &before), 0);
    memset((void *)addr, 0xff, 4096);
    cr_expect(hm_os_is_readable(addr));
    cr_expect(hm_os_is_readable(addr + AREA_BYTES - 8));
    cr_expect(hm_os_is_readable((uintptr_t)&local));
    cr_expect(hm_os_is_readable((uintptr_t)&hm_os_real), "read-only");
    cr_assert_eq(sigprocmask(SIG_SETMASK, NULL, &after), 0);
    for (int sig = 1; sig < 65; sig++)
        cr_expect_eq(sigismember(&before, sig), sigismember(&after, sig), "signal %d", sig);
}

Test(os_peek, not_readable)
{
    uintptr_t addr = map(PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    int fd = memfd_create("test", 0);

    cr_expect(!hm_os_is_readable(addr));
    cr_assert_eq(munmap((void *)addr, AREA_BYTES), 0);
    cr_expect(!hm_os_is_readable(addr));
    cr_expect(!hm_os_is_readable(0));
    cr_expect(!hm_os_is_readable(8));
    cr_expect(!hm_os_is_readable((uintptr_t)-16));
    cr_expect(!hm_os_is_readable(0x1234567890abcde8));
    cr_expect(!hm_os_is_readable(map(PROT_READ, MAP_PRIVATE, fd)), "behind the end of a file");
}

Test(os_peek, heap_like)
{
    uintptr_t addr = map_plain();
    uintptr_t last = addr + AREA_BYTES;

    cr_expect(is_heap_like(addr, last));
    cr_expect(is_heap_like(addr + 100, addr + 101));
    cr_assert_eq(mprotect((void *)(addr + AREA_BYTES / 2), 4096, PROT_READ), 0);
    cr_expect(is_heap_like(addr, last), "in three mappings");
    cr_assert_eq(munmap((void *)(addr + AREA_BYTES / 2), 4096), 0);
    cr_expect(!is_heap_like(addr, last), "with a hole");
    cr_expect(is_heap_like(addr, addr + AREA_BYTES / 2));
    cr_expect(!is_heap_like(addr + AREA_BYTES / 2, addr + AREA_BYTES / 2 + 1));
    cr_expect(!is_heap_like(0x1000, 0x2000));
    cr_expect(!is_heap_like((uintptr_t)-4096, (uintptr_t)-1));
}

Test(os_peek, not_heap_like)
{
    int local;
    int fd = memfd_create("test", 0);

    cr_assert_eq(ftruncate(fd, AREA_BYTES), 0);
    cr_expect(!is_heap_like((uintptr_t)&local, (uintptr_t)(&local + 1)), "the stack");
    cr_expect(!is_heap_like((uintptr_t)&hm_os_real, (uintptr_t)(&hm_os_real + 1)), "a constant");
    variable = 1;
    cr_expect(!is_heap_like((uintptr_t)&variable, (uintptr_t)(&variable + 1)), "a variable");
    for (int i = 0; i < 2; i++) {
        uintptr_t addr = map(PROT_READ, i == 0 ? MAP_SHARED : MAP_PRIVATE, fd);

        cr_expect(!is_heap_like(addr, addr + 1), "a file");
    }
}

Test(os_peek, memory_of_huma_by_its_name)
{
    uintptr_t addr = map_plain();

    if (prctl(0x53564d41, 0, addr, AREA_BYTES, "huma heap") != 0)
        cr_skip("the kernel cannot name mappings");
    cr_expect(!is_heap_like(addr, addr + 1));
    cr_assert_eq(prctl(0x53564d41, 0, addr, AREA_BYTES, "humaner"), 0);
    cr_expect(is_heap_like(addr, addr + 1));
}

/* A path that is longer than what is read at a time: its tail is no line of its own. */
Test(os_peek, long_paths)
{
    char path[] = "/tmp/huma-peek-XXXXXX";
    uintptr_t addr;
    int fd;

    cr_assert_not_null(mkdtemp(path));
    cr_assert_eq(chdir(path), 0);
    for (int depth = 0; depth < 5; depth++) {
        char name[201];

        memset(name, 'a' + depth, 200);
        name[200] = '\0';
        cr_assert_eq(mkdir(name, 0700), 0);
        cr_assert_eq(chdir(name), 0);
    }
    fd = open("file", O_RDWR | O_CREAT, 0600);
    cr_assert_geq(fd, 0);
    cr_assert_eq(ftruncate(fd, AREA_BYTES), 0);
    addr = map(PROT_READ, MAP_PRIVATE, fd);
    cr_expect(!is_heap_like(addr, addr + 1));
    addr = map_plain();
    cr_expect(is_heap_like(addr, addr + AREA_BYTES));
    cr_assert_eq(unlink("file"), 0);
    for (int depth = 4; depth >= 0; depth--) {
        char name[201];

        memset(name, 'a' + depth, 200);
        name[200] = '\0';
        cr_assert_eq(chdir(".."), 0);
        cr_assert_eq(rmdir(name), 0);
    }
    cr_assert_eq(chdir("/"), 0);
    cr_assert_eq(rmdir(path), 0);
}

Test(os_peek, brk)
{
    uintptr_t start = hm_os_brk_start();
    char *mem = sbrk(4096);

    cr_assert_neq(mem, (char *)-1);
    cr_expect_leq(start, (uintptr_t)mem);
    cr_expect_gt(start, (uintptr_t)&variable);
    cr_expect_lt((uintptr_t)mem - start, HM_GIB);
    cr_expect_eq(hm_os_brk_end(), (uintptr_t)mem + 4096);
}

Test(os_peek, without_descriptors)
{
    struct rlimit before;
    struct rlimit none;
    uintptr_t addr = map_plain();
    bool answer = true;
    uintptr_t start;
    int rc;

    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){ .rlim_cur = 0, .rlim_max = before.rlim_max };
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    rc = hm_os_is_heap_like(addr, addr + 1, &answer);
    start = hm_os_brk_start();
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    cr_expect_lt(rc, 0);
    cr_expect(answer, "untouched");
    cr_expect_eq(start, 0);
}

Test(os_peek, a_refused_call_reads_nothing)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigprocmask, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };
    uintptr_t addr = map_plain();

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
        || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        cr_skip("no seccomp filters here");
    cr_expect(!hm_os_is_readable(addr));
}
