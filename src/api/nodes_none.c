/* SPDX-License-Identifier: MIT */
/* nodes_none.c - NUMA nodes where libhuma is built without libnuma (see nodes.h). */
#include <errno.h>
#include <string.h>

#include "api/nodes.h"

int
hm_nodes_read(const char *text, struct hm_conf *inout_conf, const char **out_why)
{
    if (strcmp(text, "local") == 0) {
        inout_conf->numa = HM_NUMA_LOCAL;
        return 0;
    }
    *out_why = "this libhuma was built without libnuma; leave nodes NULL, or build it with libnuma";
    return -ENOSYS;
}

unsigned
hm_nodes_number(void)
{
    return 0;
}

int
hm_nodes_add_bytes(uintptr_t addr, size_t len_bytes, size_t page_bytes, uint64_t *bytes,
                   unsigned count)
{
    (void)addr;
    (void)len_bytes;
    (void)page_bytes;
    (void)bytes;
    (void)count;
    return -ENOSYS;
}
