/* SPDX-License-Identifier: MIT */
/* os_peek.c - what lies at an address that may be anything.
 *
 * Problem     A pointer that is none of ours must be looked at without a fault, by a process that
 *             may sit in a sandbox.
 * Idea        rt_sigprocmask with an operation that does not exist reads the new mask before it
 *             refuses: EFAULT tells an address that cannot be read, from EINVAL for one that can.
 *             It changes nothing, needs no descriptor, and every sandbox must allow it, since libc
 *             calls it in abort() and pthread_create(). What a mapping is for is in
 *             /proc/self/maps, and where the brk heap starts in /proc/self/stat.
 * Sources     rt_sigprocmask(2), proc(5); Linux kernel/signal.c, fs/proc/task_mmu.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cancel.h"
#include "os/os.h"

/* The kernel's signal mask, which is shorter than libc's. */
#define MASK_BYTES ((size_t)(_NSIG / 8))

bool
hm_os_is_readable(uintptr_t addr)
{
    return syscall(SYS_rt_sigprocmask, -1, addr, NULL, MASK_BYTES) != 0 && errno == EINVAL;
}

uintptr_t
hm_os_brk_end(void)
{
    void *end = sbrk(0);

    return (intptr_t)end != -1 ? (uintptr_t)end : 0;
}

uintptr_t
hm_os_brk_start(void)
{
    enum { FIELD = 47, FIRST_FIELD = 2 }; /* the second ends with the last parenthesis */
    char buf[960];
    const char *text;

    if (hm_os_read_file("/proc/self/stat", buf, sizeof(buf)) <= 0)
        return 0;
    text = strrchr(buf, ')');
    for (int field = FIRST_FIELD; text != NULL && field < FIELD; field++)
        text = strchr(text + 1, ' ');
    return text != NULL ? (uintptr_t)strtoull(text, NULL, 10) : 0;
}

static bool
has_prefix(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Of a line "FROM-TO PERM OFFSET DEVICE INODE NAME", what follows TO: is it memory that a malloc
 * could have mapped? Stacks, files and our own heap are not, as far as the kernel tells. */
static bool
is_heap_like(const char *text)
{
    if (strlen(text) < 5 || text[4] != 'p')
        return false;
    for (int field = 0; field < 4 && text != NULL; field++)
        text = strchr(text + 1, ' ');
    if (text == NULL)
        return false;
    while (*text == ' ')
        text++;
    if (*text == '\0')
        return true;
    if (has_prefix(text, "[anon:"))
        return !has_prefix(text, "[anon:huma ") && !has_prefix(text, "[anon: glibc: pthread stack");
    return has_prefix(text, "[heap]") || has_prefix(text, "/anon_hugepage");
}

/* State of one walk through maps. */
struct maps_walk {
    uintptr_t from; /* what comes before is as it should be */
    uintptr_t to;
    bool is_over; /* the line for `from` was not, or there was none */
};

static HM_LATER void
maps_line(struct maps_walk *walk, const char *line)
{
    char *text;
    uintptr_t start = (uintptr_t)strtoull(line, &text, 16);
    uintptr_t end;

    if (*text != '-')
        return;
    end = (uintptr_t)strtoull(text + 1, &text, 16);
    if (end <= walk->from || walk->from >= walk->to)
        return;
    if (start > walk->from || !is_heap_like(text))
        walk->is_over = true;
    else
        walk->from = end;
}

/* Read lines until the walk ends; a line longer than the buffer (a path) is cut. */
static int
walk_maps(int fd, struct maps_walk *walk)
{
    char buf[512];
    size_t fill_bytes = 0;
    bool is_tail = false;

    while (!walk->is_over && walk->from < walk->to) {
        ssize_t n = read(fd, buf + fill_bytes, sizeof(buf) - 1 - fill_bytes);
        char *line = buf;
        char *end;

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        fill_bytes += (size_t)n;
        buf[fill_bytes] = '\0';
        while (!walk->is_over && (end = strchr(line, '\n')) != NULL) {
            *end = '\0';
            if (!is_tail)
                maps_line(walk, line);
            is_tail = false;
            line = end + 1;
        }
        fill_bytes -= (size_t)(line - buf);
        if (fill_bytes == sizeof(buf) - 1) {
            if (!is_tail)
                maps_line(walk, line);
            is_tail = true;
            fill_bytes = 0;
        }
        memmove(buf, line, fill_bytes);
    }
    return 0;
}

HM_LATER int
hm_os_is_heap_like(uintptr_t from, uintptr_t to, bool *out_is_heap_like)
{
    struct maps_walk walk = { .from = from, .to = to };
    int cancel_state = hm_cancel_disable();
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    int rc = fd >= 0 ? walk_maps(fd, &walk) : -errno;

    if (fd >= 0)
        (void)close(fd);
    hm_cancel_restore(cancel_state);
    if (rc == 0)
        *out_is_heap_like = walk.from >= walk.to;
    return rc;
}
