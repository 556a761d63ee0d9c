/* SPDX-License-Identifier: MIT */
/* shared_attach.c - shared arenas that others have created are found, checked and attached.
 *
 * Problem     What comes from a stranger may be anything.
 * Idea        The file is looked at first, then the header is read into memory of our own; only
 *             numbers of that copy are used. Each way to find an arena ends in a descriptor, or in
 *             memory that the caller has mapped.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "api/said.h"
#include "api/shareds.h"

#define FLAGS_KNOWN (HUMA_SHARED_READ_ONLY | HUMA_SHARED_ANY_OWNER)

/* --- checks ----------------------------------------------------------------------------------- */

static const char *
check_length(const struct hm_os_shared_file *file, const struct hm_shared_header *header,
             struct hm_shared_geom *out_geom)
{
    const char *fault = hm_shared_header_fault(header);

    if (fault != NULL)
        return fault;
    (void)hm_shared_geom_init(out_geom, header);
    if (file->len_bytes < out_geom->end_off)
        return "the file was cut short";
    if (file->page_bytes != (uint64_t)1 << header->page_shift)
        return "its header names pages of another size than the file has";
    return NULL;
}

/* Whether the file is one that can be used as an arena; NULL: it is. */
static const char *
check_file(int fd, struct hm_os_shared_file *out_file, struct hm_shared_header *out_header,
           struct hm_shared_geom *out_geom)
{
    const char *fault;

    if (hm_os_shared_stat(fd, out_file) != 0)
        return "it is no file";
    if (hm_os_shared_read(fd, out_header, sizeof(*out_header)) != 0)
        return "the file is shorter than any arena, or cannot be read";
    fault = check_length(out_file, out_header, out_geom);
    if (fault != NULL)
        return fault;
    if (!out_file->is_named && !out_file->is_sealed)
        return "the file was removed, or can be cut short by others (it lacks F_SEAL_SHRINK)";
    return NULL;
}

/* The descriptor as this process may have it: open on the file anew, since flags and locks are of
 * what was opened; who only reads may have to be content with what he was given. */
static int
open_again(int fd, bool is_read_only)
{
    int again;

    /* Who was handed one for reading shall not have more by another way. */
    if (!is_read_only && !hm_os_shared_is_writable(fd))
        return -EACCES;
    again = hm_os_shared_reopen(fd, is_read_only);

    if (again >= 0 || !is_read_only)
        return again;
    again = dup(fd);
    return again >= 0 ? again : -errno;
}

static const char *
explain(int rc, const struct hm_os_shared_file *file)
{
    switch (rc) {
    case -EUSERS:
        return "all of its process_count are attached; detach one, or create it with more";
    case -ENOENT:
        return "the arena was removed at this moment";
    case -EADDRNOTAVAIL:
        return "something else is at the address that all of its processes have it at; attach it "
               "earlier, or create it without HUMA_SHARED_SAME_ADDRESS";
    case -EPERM:
        if (file->is_write_sealed)
            return "its creator alone writes to it; attach it with HUMA_SHARED_READ_ONLY";
        return "the file cannot be mapped for writing; see its permissions, or attach it with "
               "HUMA_SHARED_READ_ONLY";
    case -EACCES:
        return "the file may not be opened for writing; see its permissions, or attach it with "
               "HUMA_SHARED_READ_ONLY";
    case -ENOSPC:
    case -ENOMEM:
        return "there is no memory to map it, or for what its creator left out; see ulimit -v, and "
               "memory.max of the control group";
    default:
        return "it cannot be opened and mapped; see ulimit -n, and whether /proc is there";
    }
}

/* Whose files are trusted. */
static bool
is_owner_fine(const struct hm_os_shared_file *file, uint64_t flags)
{
    return (flags & HUMA_SHARED_ANY_OWNER) != 0 || file->owner == geteuid() || file->owner == 0;
}

static bool
has_seats(const struct hm_shared *view)
{
    bool has_one = false;

    for (unsigned seat = 1; seat <= view->geom.seat_count && !has_one; seat++)
        has_one = (hm_load(&hm_shared_seat_of(view, seat)->state) & HM_SEAT_TAKEN) != 0;
    return has_one;
}

/* Map it and take a seat. Returns 0 or a negative errno. */
static int
settle(struct huma_shared *shared, const struct hm_shared_geom *geom, uintptr_t address)
{
    int rc = hm_shareds_map(shared, geom, address);

    if (rc == -EEXIST)
        return -EADDRNOTAVAIL;
    if (rc != 0)
        return rc;
    if (shared->is_read_only) {
        hm_os_shared_hold_reader(shared->fd);
        return 0;
    }
    /* What a stranger has not allocated could end who touches it. */
    rc = hm_shareds_fill(shared, 0, geom->blocks_off);
    if (rc == 0)
        rc = hm_shareds_sit(shared);
    /* All are held, and nobody has one: the arena is being removed. */
    return rc == -EUSERS && !has_seats(&shared->view) ? -ENOENT : rc;
}

/* Attach the arena of a descriptor, which stays the caller's. Returns NULL, and everything said, if
 * it is none. */
static huma_shared *
attach(int fd, uint64_t flags, const char *call)
{
    struct hm_os_shared_file file;
    struct hm_shared_header header;
    struct hm_shared_geom geom;
    const char *why = check_file(fd, &file, &header, &geom);
    struct huma_shared *shared;
    int rc;

    if (why != NULL) {
        hm_said(EINVAL, call, why);
        return NULL;
    }
    if (!is_owner_fine(&file, flags)) {
        hm_said(EACCES, call,
                "the file is another user's; pass HUMA_SHARED_ANY_OWNER if you trust that one");
        return NULL;
    }
    shared = hm_shareds_begin(call);
    if (shared == NULL)
        return NULL;
    shared->is_read_only = (flags & HUMA_SHARED_READ_ONLY) != 0;
    shared->kind = file.is_named ? HUMA_SHARED_FILE : HUMA_SHARED_MEMFD;
    shared->is_thp = (header.flags & HM_SHARED_THP) != 0 && hm_os_shared_may_be_huge();
    shared->fd = open_again(fd, shared->is_read_only);
    rc = shared->fd >= 0 ? settle(shared, &geom, header.address) : shared->fd;
    if (rc == 0)
        return hm_shareds_finish(shared);
    hm_shareds_abandon(shared);
    hm_said(-rc, call, explain(rc, &file));
    return NULL;
}

static bool
has_flags(uint64_t flags, uint64_t known, const char *call)
{
    if ((flags & ~known) == 0)
        return true;
    hm_said(EINVAL, call,
            "flags has bits that this function does not know; pass HUMA_SHARED_READ_ONLY, "
            "HUMA_SHARED_ANY_OWNER or 0");
    return false;
}

/* --- by a descriptor -------------------------------------------------------------------------- */

HM_EXPORT huma_shared *
huma_shared_attach(int fd, uint64_t flags)
{
    static const char call[] = "huma_shared_attach()";
    int saved_errno = errno;
    huma_shared *shared;

    if (!has_flags(flags, FLAGS_KNOWN, call))
        return NULL;
    shared = attach(fd, flags, call);
    if (shared != NULL)
        errno = saved_errno;
    return shared;
}

static int
fd_of(huma_shared *shared, const char *call)
{
    const struct huma_shared *found = hm_shareds_find(shared, call);

    if (found == NULL)
        return -1;
    if (found->kind != HUMA_SHARED_MEMORY)
        return found->fd;
    hm_said(EINVAL, call,
            "the arena is in memory of the program's; share that, and use "
            "huma_shared_attach_memory");
    return -1;
}

HM_EXPORT int
huma_shared_fd(huma_shared *shared)
{
    return fd_of(shared, "huma_shared_fd()");
}

HM_EXPORT int
huma_shared_send(huma_shared *shared, int socket, uint64_t flags)
{
    static const char call[] = "huma_shared_send()";
    int saved_errno = errno;
    int fd = fd_of(shared, call);
    int rc;

    if (fd < 0 || !has_flags(flags, HUMA_SHARED_READ_ONLY, call))
        return -1;
    if ((flags & HUMA_SHARED_READ_ONLY) != 0) {
        int read_fd = hm_os_shared_reopen(fd, true);

        rc = read_fd >= 0 ? hm_os_shared_send(socket, read_fd) : read_fd;
        if (read_fd >= 0)
            hm_os_close(read_fd);
    } else {
        rc = hm_os_shared_send(socket, fd);
    }
    errno = saved_errno;
    if (rc == 0)
        return 0;
    hm_said(-rc, call, "the arena could not be sent; pass a UNIX socket whose other side is open");
    return -1;
}

HM_EXPORT huma_shared *
huma_shared_receive(int socket, uint64_t flags)
{
    static const char call[] = "huma_shared_receive()";
    int saved_errno = errno;
    huma_shared *shared;
    int fd;

    if (!has_flags(flags, FLAGS_KNOWN, call))
        return NULL;
    fd = hm_os_shared_receive(socket);
    if (fd < 0) {
        hm_said(-fd, call,
                fd == -ECONNRESET ? "the other side has closed the socket"
                : fd == -EMFILE   ? "there are too many open files for it, and it is lost; see "
                                    "ulimit -n"
                : fd == -EBADMSG  ? "what came is no arena; send it with huma_shared_send"
                                  : "nothing could be received; pass a UNIX socket");
        return NULL;
    }
    shared = attach(fd, flags, call);
    hm_os_close(fd);
    if (shared != NULL)
        errno = saved_errno;
    return shared;
}

/* --- by a name or path ------------------------------------------------------------------------ */

/* Open the file of a name or path. Returns a descriptor, or -1 and everything said.
 *   out_place  [HM_SHARED_PATH_BYTES] where it is */
static int
find_file(const char *path, bool is_read_only, const char *call, char *out_place)
{
    const char *fault = path != NULL ? hm_shareds_path_fault(path) : "the path is NULL; pass one";
    int rc;

    if (fault != NULL) {
        hm_said(EINVAL, call, fault);
        return -1;
    }
    rc = hm_shareds_locate(path, out_place);
    if (rc == 0)
        rc = hm_os_shared_open(out_place, is_read_only, !hm_shareds_is_name(path));
    if (rc >= 0)
        return rc;
    hm_said(-rc, call,
            rc == -ENOENT   ? "there is no arena of this name or path"
            : rc == -EISDIR ? "the path is a folder's"
                            : "its file cannot be opened; see its permissions");
    return -1;
}

/* Who attached it while it was removed has what nobody else finds any more. */
static huma_shared *
attach_named(int fd, uint64_t flags, const char *call)
{
    huma_shared *shared = attach(fd, flags, call);
    struct hm_os_shared_file file;

    if (hm_os_shared_stat(fd, &file) != 0 || file.is_named)
        return shared;
    huma_shared_detach(shared);
    hm_said(ENOENT, call, "the arena was removed at this moment");
    return NULL;
}

HM_EXPORT huma_shared *
huma_shared_open(const char *path, uint64_t flags)
{
    static const char call[] = "huma_shared_open()";
    char place[HM_SHARED_PATH_BYTES];
    int saved_errno = errno;
    huma_shared *shared;
    int fd;

    if (!has_flags(flags, FLAGS_KNOWN, call))
        return NULL;
    fd = find_file(path, (flags & HUMA_SHARED_READ_ONLY) != 0, call, place);
    if (fd < 0)
        return NULL;
    shared = attach_named(fd, flags, call);
    hm_os_close(fd);
    if (shared != NULL)
        errno = saved_errno;
    return shared;
}

HM_EXPORT int
huma_shared_remove(const char *path)
{
    static const char call[] = "huma_shared_remove()";
    char place[HM_SHARED_PATH_BYTES];
    struct hm_os_shared_file file;
    struct hm_shared_header header;
    int saved_errno = errno;
    int fd = find_file(path, false, call, place);
    int error = 0;

    if (fd < 0)
        return -1;
    if (hm_os_shared_stat(fd, &file) != 0 || hm_os_shared_read(fd, &header, sizeof(header)) != 0
        || header.magic != HM_SHARED_MAGIC) {
        hm_said(EINVAL, call, "the file is no shared arena");
        error = EINVAL;
    } else if (!hm_os_shared_hold_all(fd, HM_SHARED_SEATS_MAX)) {
        hm_said(EBUSY, call, "a process has the arena; end it, or have it detach");
        error = EBUSY;
    } else {
        error = -hm_os_shared_unlink(fd, place);
        if (error != 0)
            hm_said(error, call,
                    error == ENOENT
                        ? "it was removed at this moment"
                        : "its file cannot be removed; see the permissions of the folder");
    }
    hm_os_close(fd);
    errno = error != 0 ? error : saved_errno;
    return error != 0 ? -1 : 0;
}

/* --- in the caller's memory ------------------------------------------------------------------- */

static const char *
check_memory(const void *memory, size_t memory_bytes, struct hm_shared_header *out_header,
             struct hm_shared_geom *out_geom)
{
    struct hm_os_shared_file file = { .len_bytes = memory_bytes };

    if (memory == NULL || (uintptr_t)memory % hm_page_bytes(&hm_arenas.geom) != 0)
        return "memory is NULL, or not at a multiple of the page size; pass what mmap or shmat "
               "returned";
    if (memory_bytes < sizeof(*out_header)
        || hm_os_shared_copy(out_header, memory, sizeof(*out_header)) != 0)
        return "memory is shorter than any arena, or cannot be read";
    file.page_bytes = (uint64_t)1 << (out_header->page_shift & 63);
    return check_length(&file, out_header, out_geom);
}

static int
attach_memory(struct huma_shared *shared, const struct hm_shared_header *header,
              const struct hm_shared_geom *geom, const char *path)
{
    int rc;

    shared->kind = HUMA_SHARED_MEMORY;
    if (header->address != 0 && header->address != (uintptr_t)shared->base)
        return -EADDRNOTAVAIL;
    rc = hm_shareds_set_up(shared, geom);
    if (rc != 0 || shared->is_read_only)
        return rc;
    shared->fd = hm_os_shared_open(path, false, true);
    return shared->fd >= 0 ? hm_shareds_sit(shared) : shared->fd;
}

HM_EXPORT huma_shared *
huma_shared_attach_memory(void *memory, size_t memory_bytes, const char *path, uint64_t flags)
{
    static const char call[] = "huma_shared_attach_memory()";
    struct hm_os_shared_file none = { .len_bytes = 0 };
    struct hm_shared_header header;
    struct hm_shared_geom geom;
    const char *why = NULL;
    struct huma_shared *shared;
    int saved_errno = errno;
    int rc;

    if (!has_flags(flags, HUMA_SHARED_READ_ONLY, call))
        return NULL;
    shared = hm_shareds_begin(call);
    if (shared == NULL)
        return NULL;
    if (path == NULL && (flags & HUMA_SHARED_READ_ONLY) == 0)
        why = "path is NULL; pass the path that the arena was created with";
    else
        why = check_memory(memory, memory_bytes, &header, &geom);
    if (why != NULL) {
        hm_shareds_abandon(shared);
        hm_said(EINVAL, call, why);
        return NULL;
    }
    shared->base = memory;
    shared->is_read_only = (flags & HUMA_SHARED_READ_ONLY) != 0;
    rc = attach_memory(shared, &header, &geom, path);
    if (rc == 0) {
        errno = saved_errno;
        return hm_shareds_finish(shared);
    }
    hm_shareds_abandon(shared);
    hm_said(-rc, call, rc == -ENOENT ? "there is no file of this path" : explain(rc, &none));
    return NULL;
}
