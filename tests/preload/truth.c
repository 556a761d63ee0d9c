/* SPDX-License-Identifier: MIT */
/* truth.c - what malloc_info says of memory, held against what the kernel says.
 *
 *   truth play SEED [no-ioctl]   random takes, frees, trims, forks; at every look the same resident
 *                                and huge bytes as in /proc/self/smaps; no-ioctl: PAGEMAP_SCAN is
 *                                refused, as by kernels before 6.7
 *   truth fill [no-advice|no-collapse|no-commit|no-thp]
 *                                fills a heap where the kernel refuses one thing, and prints the
 *                                reasons and backings that malloc_info gives
 *
 * The kernel's figures are the sums over mappings named "huma heap"; without names, over those in
 * which a block was ever seen. They may differ by a huge page for each mapping.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "expect.h"
#include "support/smaps.h"

#include <errno.h>
#include <fcntl.h>

enum {
    SKIPPED = 77,
    BLOCK_COUNT = 3000,
    STEP_COUNT = 24000,
    LOOK_STEPS = 3000,
    SEEN_COUNT = 1 << 16,
    SEEN_SHIFT = 21,
    ADVICE_HUGE = 14,
    ADVICE_COLLAPSE = 25,
};

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* --- what the kernel says --------------------------------------------------------------------- */

struct sums {
    size_t rss_bytes;
    size_t huge_bytes;
    size_t map_count;
};

static uintptr_t seen[SEEN_COUNT]; /* a hash of places where blocks were */
static bool has_names;
static char lines[1 << 16];

static void
note_place(uintptr_t addr)
{
    size_t idx = (addr >> SEEN_SHIFT) * 2654435761u % SEEN_COUNT;
    while (seen[idx] != 0 && seen[idx] >> SEEN_SHIFT != addr >> SEEN_SHIFT)
        idx = (idx + 1) % SEEN_COUNT;
    seen[idx] = addr;
}

static void
note_seen(const volatile void *block, size_t len_bytes)
{
    uintptr_t addr = (uintptr_t)block;
    for (size_t at = 0; at < len_bytes; at += (size_t)1 << SEEN_SHIFT)
        note_place(addr + at);
    note_place(addr + len_bytes - 1);
}

static bool
is_heap(const char *line, uintptr_t start, uintptr_t end)
{
    if (has_names)
        return strstr(line, "[anon:huma heap]") != NULL;
    for (size_t i = 0; i < SEEN_COUNT; i++)
        if (seen[i] >= start && seen[i] < end)
            return true;
    return false;
}

static void
add_line(const char *line, struct sums *sums, bool *inout_is_heap)
{
    char *rest;
    uintptr_t start = strtoul(line, &rest, 16);
    if (rest > line && *rest == '-') {
        *inout_is_heap = is_heap(line, start, strtoul(rest + 1, NULL, 16));
        sums->map_count += *inout_is_heap;
    } else if (*inout_is_heap && strncmp(line, "Rss:", 4) == 0) {
        sums->rss_bytes += strtoul(line + 4, NULL, 10) * KIB;
    } else if (*inout_is_heap && strncmp(line, "AnonHugePages:", 14) == 0) {
        sums->huge_bytes += strtoul(line + 14, NULL, 10) * KIB;
    }
}

/* Without malloc: stdio would take a buffer. */
static struct sums
read_smaps(void)
{
    struct sums sums = { 0 };
    int fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
    size_t kept_bytes = 0;
    bool is_heap_now = false;
    ssize_t got;

    expect(fd >= 0, "no /proc/self/smaps");
    while ((got = read(fd, lines + kept_bytes, sizeof(lines) - 1 - kept_bytes)) > 0) {
        char *line = lines;
        char *end;
        lines[kept_bytes + (size_t)got] = '\0';
        for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            *end = '\0';
            add_line(line, &sums, &is_heap_now);
        }
        kept_bytes = strlen(line);
        memmove(lines, line, kept_bytes);
    }
    (void)close(fd);
    return sums;
}

/* --- what malloc_info says -------------------------------------------------------------------- */

static FILE *info_file;
static char info_buf[4096];
static char info[1 << 16];

static void
open_info(void)
{
    int fd = memfd_create("info", MFD_CLOEXEC);
    info_file = fd < 0 ? NULL : fdopen(fd, "w+");
    expect(info_file != NULL, "no memfd");
    (void)setvbuf(info_file, info_buf, _IOFBF, sizeof(info_buf));
}

static void
read_info(void)
{
    rewind(info_file);
    expect(ftruncate(fileno(info_file), 0) == 0, "ftruncate");
    expect(malloc_info(0, info_file) == 0 && fflush(info_file) == 0, "malloc_info");
    ssize_t got = pread(fileno(info_file), info, sizeof(info) - 1, 0);
    expect(got > 0, "malloc_info is empty");
    info[got] = '\0';
}

/* The number that stands behind `begin` in what read_info read; 0 if it does not occur. */
static size_t
info_number(const char *begin)
{
    const char *found = strstr(info, begin);
    return found == NULL ? 0 : strtoul(found + strlen(begin), NULL, 10);
}

static void
compare(const char *who, size_t step)
{
    size_t hpage_bytes = hm_smaps_hpage_bytes() != 0 ? hm_smaps_hpage_bytes() : 2 * MIB;
    read_info();
    struct sums kernel = read_smaps();
    size_t rss_bytes = info_number("<coverage resident=\"");
    const char *coverage = strstr(info, "<coverage ");
    expect(coverage != NULL, "malloc_info tells no coverage:\n%s", info);
    size_t huge_bytes = strtoul(strstr(coverage, "huge=\"") + 6, NULL, 10);
    size_t thp_bytes = info_number("<backing type=\"thp\" size=\"");
    size_t base_bytes = info_number("<backing type=\"4k\" size=\"");
    size_t slack_bytes = kernel.map_count * hpage_bytes;

    expect(kernel.map_count > 0, "no mapping of the heap is found");
    expect(rss_bytes <= kernel.rss_bytes + slack_bytes
               && kernel.rss_bytes <= rss_bytes + slack_bytes,
           "%s, step %zu: resident %zu, smaps %zu in %zu mappings", who, step, rss_bytes,
           kernel.rss_bytes, kernel.map_count);
    expect(huge_bytes <= kernel.huge_bytes + slack_bytes
               && kernel.huge_bytes <= huge_bytes + slack_bytes,
           "%s, step %zu: huge %zu, smaps %zu in %zu mappings", who, step, huge_bytes,
           kernel.huge_bytes, kernel.map_count);
    expect(huge_bytes <= thp_bytes, "%s, step %zu: %zu huge of %zu opened as thp", who, step,
           huge_bytes, thp_bytes);
    expect(rss_bytes <= thp_bytes + base_bytes, "%s, step %zu: %zu resident of %zu opened", who,
           step, rss_bytes, thp_bytes + base_bytes);
    (void)dprintf(STDOUT_FILENO,
                  "%-6s %5zu: resident %7zu KiB (smaps %+ld), huge %7zu (%+ld), %zu mappings\n",
                  who, step, rss_bytes / KIB, (long)(kernel.rss_bytes - rss_bytes) / 1024,
                  huge_bytes / KIB, (long)(kernel.huge_bytes - huge_bytes) / 1024,
                  kernel.map_count);
}

/* --- refusals --------------------------------------------------------------------------------- */

/* System call `number` fails with `error` where its third argument is `third`; ANY: always. */
#define ANY UINT32_MAX

static void
refuse(uint32_t number, uint32_t third, uint32_t error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        third == ANY ? (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, 0)
                     : (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, third, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
        || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(SKIPPED);
}

/* --- play ------------------------------------------------------------------------------------- */

static char *blocks[BLOCK_COUNT];
static size_t sizes[BLOCK_COUNT];
static uint64_t seed;

static size_t
draw_size(size_t i)
{
    if (i < 4)
        return 32 * MIB + draw(&seed) % (8 * MIB);
    if (i < 100)
        return 33 * KIB + draw(&seed) % (3 * MIB);
    return 16 + draw(&seed) % (draw(&seed) % 8 != 0 ? 4 * KIB : 32 * KIB);
}

/* Some blocks are written to, in part or whole; of some only zeros are read. */
static void
take(size_t i)
{
    volatile char *block;
    size_t len_bytes = sizes[i] = draw_size(i);
    unsigned how = (unsigned)(draw(&seed) % 4);

    block = blocks[i] = how == 0 ? calloc(1, len_bytes) : malloc(len_bytes);
    expect(block != NULL, "%zu bytes", len_bytes);
    note_seen(block, len_bytes);
    if (how == 0)
        for (size_t at = 0; at < len_bytes; at += 4 * KIB)
            (void)block[at];
    else
        memset(blocks[i], 1, how == 1 ? len_bytes / 2 : len_bytes);
}

static void
step(void)
{
    size_t i = draw(&seed) % 64 == 0 ? draw(&seed) % 100 : draw(&seed) % BLOCK_COUNT;

    if (blocks[i] == NULL) {
        take(i);
    } else if (draw(&seed) % 8 == 0) {
        sizes[i] = draw_size(i);
        blocks[i] = realloc(blocks[i], sizes[i]);
        expect(blocks[i] != NULL, "%zu bytes", sizes[i]);
        note_seen(blocks[i], sizes[i]);
    } else {
        free(blocks[i]);
        blocks[i] = NULL;
    }
}

/* Parent and child share pages, then part with some. */
static void
play_in_child(size_t when)
{
    int status = 0;
    pid_t child = fork();

    expect(child >= 0, "fork");
    if (child == 0) {
        open_info(); /* the parent's file has one position for both */
        compare("child", when);
        for (size_t i = 0; i < BLOCK_COUNT; i += 3)
            if (blocks[i] != NULL)
                memset(blocks[i], 2, sizes[i] / 2);
        for (size_t i = 0; i < 300; i++)
            step();
        compare("child", when + 300);
        _exit(0);
    }
    for (size_t i = 0; i < BLOCK_COUNT; i += 5)
        if (blocks[i] != NULL)
            memset(blocks[i], 3, sizes[i] / 2);
    compare("parent", when);
    expect(waitpid(child, &status, 0) == child && status == 0, "the child's status is %x", status);
}

static void
play(void)
{
    for (size_t i = 1; i <= STEP_COUNT; i++) {
        step();
        if (i % LOOK_STEPS != 0)
            continue;
        compare("alone", i);
        if (i % (2 * LOOK_STEPS) == 0)
            play_in_child(i);
        if (i % (4 * LOOK_STEPS) == 0) {
            for (size_t k = 0; k < BLOCK_COUNT; k += 2) {
                free(blocks[k]);
                blocks[k] = NULL;
            }
            compare("freed", i);
            (void)malloc_trim(0);
            compare("trim", i);
        }
    }
    struct sums kernel = read_smaps();
    (void)dprintf(STDOUT_FILENO, "end %zu %zu %zu\n", kernel.rss_bytes, kernel.huge_bytes,
                  kernel.map_count);
}

/* --- fill ------------------------------------------------------------------------------------- */

/* Blocks below the size of a mapping, and no free, so that each region is opened once. */
static void
fill(char **argv)
{
    const char *what = argv[2] != NULL ? argv[2] : "";
    size_t refused_count = 0;

    if (strcmp(what, "no-thp") == 0) {
        if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0)
            _exit(SKIPPED);
        argv[2] = NULL;
        (void)execv("/proc/self/exe", argv);
        _exit(1);
    }
    if (strcmp(what, "no-advice") == 0)
        refuse(SYS_madvise, ADVICE_HUGE, EINVAL);
    if (strcmp(what, "no-collapse") == 0) {
        free(malloc(64 * MIB)); /* behind a filter the mode of THP is not read any more */
        refuse(SYS_madvise, ADVICE_COLLAPSE, EINVAL);
    }
    for (size_t i = 0; i < 80; i++) {
        char *block = malloc(MIB);
        expect(block != NULL, "block %zu", i);
        memset(block, 1, MIB);
    }
    /* Collapses wait for their share of the time. */
    for (int i = 0; strcmp(what, "no-collapse") == 0 && i < 5000; i++) {
        read_info();
        if (strstr(info, "collapse-failed") != NULL)
            break;
        (void)usleep(1000);
        free(malloc(MIB));
    }
    if (strcmp(what, "no-commit") == 0) {
        refuse(SYS_mprotect, ANY, ENOMEM);
        for (size_t i = 0; i < 10; i++)
            refused_count += malloc(3 * MIB / 2) == NULL;
        (void)printf("refused %zu\n", refused_count);
    }
    read_info();
    (void)printf("hpage %lu\n%s", hm_smaps_hpage_bytes(), info);
}

int
main(int argc, char **argv)
{
    open_info();
    free(malloc(1));
    memset(seen, 0, sizeof(seen));
    memset(blocks, 0, sizeof(blocks));
    has_names = true;
    has_names = read_smaps().map_count > 0;
    if (argc >= 3 && strcmp(argv[1], "play") == 0) {
        seed = strtoul(argv[2], NULL, 10) * 2 + 1;
        if (argc == 4)
            refuse(SYS_ioctl, ANY, ENOTTY);
        play();
    } else if (argc >= 2 && strcmp(argv[1], "fill") == 0) {
        fill(argv);
    } else {
        return 99;
    }
    return 0;
}
