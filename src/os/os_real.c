/* SPDX-License-Identifier: MIT */
/* os_real.c - the table that binds struct hm_os to the running kernel. */
#include "os/os.h"

const struct hm_os hm_os_real = {
    .ctx = NULL,
    .reserve = hm_os_reserve,
    .nodes = hm_os_nodes,
    .here = hm_os_here,
    .place = hm_os_place,
    .nearest = hm_os_nearest,
    .commit = hm_os_commit,
    .unmap = hm_os_unmap,
    .remap = hm_os_remap,
    .carry = hm_os_carry,
    .pool_map = hm_os_pool_map,
    .pool_unmap = hm_os_pool_unmap,
    .copy = hm_os_copy,
    .shortage = hm_os_shortage,
    .pool_charged = hm_os_pool_charged,
    .surplus = hm_os_surplus,
    .advise = hm_os_advise,
    .map_meta = hm_os_map_meta,
    .name = hm_os_name,
    .thp_mode = hm_os_thp_mode,
    .available = hm_os_available,
    .room = hm_os_room,
    .filters = hm_os_filters,
    .scan = hm_os_scan,
    .sharing = hm_os_sharing,
    .address_limit = hm_os_address_limit,
    .now_ns = hm_os_now_ns,
    .cpu_ns = hm_os_cpu_ns,
};
