/* SPDX-License-Identifier: MIT */
/* fake_log.c - which calls of the kernel for tests fail, and which there were (see fake_os.h). */
#include <errno.h>
#include <string.h>

#include "support/fake_os.h"

static const char *const kind_names[FAKE_CALL_KINDS + 1] = {
    [FAKE_RESERVE] = "reserve",
    [FAKE_COMMIT] = "commit",
    [FAKE_UNMAP] = "unmap",
    [FAKE_REMAP] = "remap",
    [FAKE_NODES] = "nodes",
    [FAKE_PLACE] = "place",
    [FAKE_NEAREST] = "nearest",
    [FAKE_CARRY] = "carry",
    [FAKE_POOL_KERNEL] = "pool_map, kernel",
    [FAKE_POOL_RESERVE] = "pool_map, reserve",
    [FAKE_POOL_FILL] = "pool_map, fill",
    [FAKE_POOL_MOVE] = "pool_map, move",
    [FAKE_POOL_UNMAP] = "pool_unmap",
    [FAKE_COPY] = "copy",
    [FAKE_SHORTAGE] = "shortage",
    [FAKE_MAP_META] = "map_meta",
    [FAKE_SCAN] = "scan",
    [FAKE_SHARING] = "sharing",
    [FAKE_ADVISE_HUGE] = "advise huge",
    [FAKE_ADVISE_BASE] = "advise base",
    [FAKE_COLLAPSE] = "collapse",
    [FAKE_DISCARD] = "discard",
    [FAKE_LAZY] = "lazy",
    [FAKE_COLD] = "cold",
    [FAKE_LOCK] = "lock",
    [FAKE_HIDE] = "hide",
    [FAKE_SHOW] = "show",
    [FAKE_NO_FORK] = "advise no fork",
    [FAKE_FORK] = "advise fork",
    [FAKE_ANY] = "any",
};

/* mmap(2), mprotect(2), munmap(2), mremap(2), madvise(2), mbind(2) and open(2), as far as they
 * apply to private anonymous memory, and to files of /proc and /sys; EINTR where the kernel waits
 * for the lock of the address space and can be interrupted; EPERM where a sandbox or a seal forbids
 * the call. The kernel makes a file for each mapping of hugetlb pages: of these there can be too
 * many. */
static const int errors[FAKE_CALL_KINDS][10] = {
    [FAKE_RESERVE] = { ENOMEM, EAGAIN, EPERM, EINTR },
    [FAKE_COMMIT] = { ENOMEM, EACCES, EPERM, EINTR },
    [FAKE_UNMAP] = { ENOMEM, EINVAL, EPERM, EINTR },
    [FAKE_NODES] = { EPERM, ENOSYS, EINVAL },
    [FAKE_PLACE] = { EPERM, ENOSYS, EINVAL, ENOMEM, EFAULT, EINTR },
    [FAKE_NEAREST] = { ENOENT, EACCES, EMFILE, ENFILE, ENOMEM },
    [FAKE_REMAP] = { ENOMEM, EAGAIN, EFAULT, EINVAL, EPERM, EINTR },
    [FAKE_CARRY] = { ENOMEM, EAGAIN, EFAULT, EINVAL, EPERM, EINTR },
    [FAKE_POOL_KERNEL] = { ENOSYS },
    [FAKE_POOL_RESERVE] = { ENOMEM, EINVAL, EAGAIN, EPERM, ENODEV, ENOENT, ENFILE, ENOSYS, EINTR },
    [FAKE_POOL_FILL] = { ENOMEM, EFAULT, EINVAL, EAGAIN, EHWPOISON, EPERM, EINTR },
    [FAKE_POOL_MOVE] = { ENOMEM, EFAULT, EINVAL, EAGAIN, EPERM, EINTR },
    [FAKE_POOL_UNMAP] = { ENOMEM, EINVAL, EAGAIN, EPERM, EINTR },
    [FAKE_COPY] = { EFAULT },
    [FAKE_SHORTAGE] = { ENOENT, EACCES, EMFILE, ENFILE, ENOMEM, EINTR },
    [FAKE_MAP_META] = { ENOMEM, EAGAIN, EPERM, EINTR },
    [FAKE_SCAN] = { EPERM, ENOENT, EACCES, EMFILE, ENOMEM, EINTR },
    [FAKE_SHARING] = { EPERM, ENOENT, EACCES, EMFILE, ENOMEM, EINTR },
    [FAKE_ADVISE_HUGE] = { EINVAL, ENOMEM, EAGAIN, EPERM, EINTR },
    [FAKE_ADVISE_BASE] = { EINVAL, ENOMEM, EAGAIN, EPERM, EINTR },
    [FAKE_COLLAPSE] = { EINVAL, ENOMEM, EAGAIN, EBUSY, EPERM, EINTR },
    [FAKE_DISCARD] = { EINVAL, ENOMEM, EAGAIN, EPERM, EINTR },
    [FAKE_LAZY] = { EINVAL, ENOMEM, EAGAIN, EPERM, EINTR },
    [FAKE_COLD] = { EINVAL, ENOMEM, EAGAIN, EPERM, EINTR },
    [FAKE_LOCK] = { ENOMEM, EAGAIN, EPERM, ENOSYS },
    [FAKE_HIDE] = { EINVAL, ENOMEM, EAGAIN, EPERM, EINTR },
    [FAKE_SHOW] = { EINVAL, ENOMEM, EAGAIN, EPERM, EINTR },
    [FAKE_NO_FORK] = { EINVAL, ENOMEM, EAGAIN, EPERM, EINTR },
    [FAKE_FORK] = { EINVAL, ENOMEM, EAGAIN, EPERM, EINTR },
};

const int *
fake_os_errors(enum fake_call_kind kind)
{
    return errors[kind];
}

const char *
fake_os_kind_name(enum fake_call_kind kind)
{
    return kind_names[kind];
}

void
fake_os_fail(struct fake_os *fake, enum fake_call_kind kind, uint64_t nth, int error, bool stays)
{
    fake->fault
        = (struct fake_fault){ .kind = kind, .left_count = nth, .stays = stays, .error = error };
}

void
fake_os_heal(struct fake_os *fake)
{
    fake->fault.left_count = 0;
}

const struct fake_call *
fake_os_logged(const struct fake_os *fake, size_t idx)
{
    if (idx >= fake->log_count || idx >= FAKE_LOG_COUNT)
        fake_space_misuse("test: so many calls were not logged", 0, idx);
    return &fake->log[(fake->log_count - 1 - idx) % FAKE_LOG_COUNT];
}

uint64_t
fake_os_calls(const struct fake_os *fake)
{
    uint64_t sum = 0;

    for (int kind = 0; kind < FAKE_CALL_KINDS; kind++)
        sum += fake->call_count[kind];
    return sum;
}

void
fake_os_forget(struct fake_os *fake)
{
    memset(fake->call_count, 0, sizeof(fake->call_count));
    fake->log_count = 0;
    fake->discarded_bytes = 0;
    fake->thp_mode_count = 0;
    fake->room_count = 0;
    fake->clock_count = 0;
}
