/* SPDX-License-Identifier: MIT */
/* smaps.c - what the kernel says about this process's memory, asked without malloc. */
#include "support/smaps.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* The rollup has about 25 lines of 30 bytes. */
#define TEXT_BYTES 4096

static const char THP_ENABLED[] = "/sys/kernel/mm/transparent_hugepage/enabled";
static const char THP_PMD_SIZE[] = "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size";

/* Read a whole small file as a string. Returns its length or a negative errno. */
static int
read_text(const char *path, char *text, size_t room_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;

    size_t used_bytes = 0;
    int error = 0;
    while (used_bytes < room_bytes - 1) {
        ssize_t got = read(fd, text + used_bytes, room_bytes - 1 - used_bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            error = -errno;
        if (got <= 0)
            break;
        used_bytes += (size_t)got;
    }
    (void)close(fd);
    text[used_bytes] = '\0';
    return error ? error : (int)used_bytes;
}

static unsigned long
parse_number(const char *text)
{
    unsigned long value = 0;
    while (*text == ' ' || *text == '\t')
        text++;
    while (*text >= '0' && *text <= '9')
        value = value * 10 + (unsigned long)(*text++ - '0');
    return value;
}

/* The number behind "name" at the start of a line; 0 if there is no such line. */
static unsigned long
find_field(const char *text, const char *name)
{
    size_t name_bytes = strlen(name);
    const char *line = text;
    while (line) {
        if (!strncmp(line, name, name_bytes))
            return parse_number(line + name_bytes);
        line = strchr(line, '\n');
        if (line)
            line++;
    }
    return 0;
}

int
hm_smaps_read(struct hm_smaps *out_sum)
{
    char text[TEXT_BYTES];
    int got = read_text("/proc/self/smaps_rollup", text, sizeof(text));
    if (got < 0)
        return got;

    out_sum->rss_kib = find_field(text, "Rss:");
    out_sum->anonymous_kib = find_field(text, "Anonymous:");
    out_sum->anon_huge_kib = find_field(text, "AnonHugePages:");
    out_sum->hugetlb_kib
        = find_field(text, "Private_Hugetlb:") + find_field(text, "Shared_Hugetlb:");
    return 0;
}

unsigned
hm_smaps_coverage_pct(const struct hm_smaps *sum)
{
    if (!sum->anonymous_kib)
        return 0;
    return (unsigned)(sum->anon_huge_kib * 100 / sum->anonymous_kib);
}

enum hm_thp_mode
hm_smaps_thp_mode(void)
{
    char text[128];
    if (read_text(THP_ENABLED, text, sizeof(text)) < 0)
        return HM_THP_ABSENT;
    if (strstr(text, "[always]"))
        return HM_THP_ALWAYS;
    if (strstr(text, "[madvise]"))
        return HM_THP_MADVISE;
    return HM_THP_NEVER;
}

const char *
hm_smaps_thp_name(enum hm_thp_mode mode)
{
    static const char *const names[] = { "absent", "always", "madvise", "never" };
    return names[mode];
}

unsigned long
hm_smaps_hpage_bytes(void)
{
    char text[32];
    return read_text(THP_PMD_SIZE, text, sizeof(text)) < 0 ? 0 : parse_number(text);
}
