/* SPDX-License-Identifier: MIT */
/* fake_log.c - which calls of the kernel for tests fail, and which there were (see fake_os.h). */
#include <string.h>

#include "support/fake_os.h"

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
