#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# shellcheck shell=dash
# init.sh - the first and only process of a guest: checks the library and powers off.
#
# Input    from the kernel's command line: want_nodes, memory nodes there must be; want_pct, least
#          coverage of a large heap in percent; those of nodes.sh.

. /huma/checks.sh

# Strict overcommit: what is mapped writable counts, touched or not.
strict_heap() {
    echo 2 >/proc/sys/vm/overcommit_memory
    huma heap 64 2
    strict_rc=$?
    echo 0 >/proc/sys/vm/overcommit_memory
    return $strict_rc
}

# Little is left of the commit limit: most of it must be had, then NULL and ENOMEM. A guest is alone
# on its machine, so nobody else takes of it.
committed_heap() {
    echo 2 >/proc/sys/vm/overcommit_memory
    echo 0 >/proc/sys/vm/admin_reserve_kbytes
    echo 0 >/proc/sys/vm/user_reserve_kbytes
    echo $(($(awk '$1 == "Committed_AS:" { print $2 }' /proc/meminfo) + 131072)) \
        >/proc/sys/vm/overcommit_kbytes
    # What is on tmpfs counts, too; on ramfs it does not.
    mkdir -p /ram && mount -t ramfs ram /ram
    huma grow 4096 "$1" >/ram/grown
    echo 0 >/proc/sys/vm/overcommit_memory
    expect got_mib ge 96 cat /ram/grown && grep -qx 'refused yes' /ram/grown
    committed_rc=$?
    umount /ram
    return $committed_rc
}

# Half the room and more must be had, then NULL and ENOMEM.
limited_heap() { (ulimit -v 262144 && expect got_mib ge 160 huma grow 1024 "$1"); }

# A memory cgroup of 96 MiB, filled to 75 % again and again with blocks of other sizes.
grouped_heap() {
    echo +memory >/sys/fs/cgroup/cgroup.subtree_control || return 1
    mkdir -p /sys/fs/cgroup/small
    echo 96M >/sys/fs/cgroup/small/memory.max
    sh -c 'echo $$ >/sys/fs/cgroup/small/cgroup.procs; exec "$@"' - \
        env LD_PRELOAD=$lib smoke churn 72
}

# The same group, with blocks that are hardly used at the end: base pages, and nobody is killed.
filled_heap() {
    echo 0 >/sys/fs/cgroup/small/memory.swap.max
    sh -c 'echo $$ >/sys/fs/cgroup/small/cgroup.procs; exec "$@"' - \
        env LD_PRELOAD=$lib HUMA_STATS=/tmp/stats.json smoke dense 60 4 64 || return 1
    grep -qx 'oom_kill 0' /sys/fs/cgroup/small/memory.events || return 1
    tr -d ' \n' </tmp/stats.json | grep -E '"cgroup-room":[1-9]'
}

never_reason() {
    LD_PRELOAD=$lib HUMA_STATS=/tmp/stats.json smoke heap 64 1 || return 1
    tr -d ' \n' </tmp/stats.json | grep -E '"thp-never":[1-9]'
}

introduce
check "nodes" expect nodes eq "${want_nodes:-1}" smoke where
for mode in always madvise never; do
    echo $mode >$thp
    check "thp=$mode small process" expect anon_huge_kib eq 0 huma small
    if [ $mode = never ]; then
        check "thp=$mode heap" expect anon_huge_kib eq 0 huma heap 128 2
        check "thp=$mode reason" never_reason
    else
        check "thp=$mode heap, 1 thread" expect coverage_pct ge "${want_pct:-90}" huma heap 128 1
        check "thp=$mode heap, 4 threads" expect coverage_pct ge "${want_pct:-90}" huma heap 128 4
    fi
done
echo madvise >$thp
. /huma/nodes.sh
[ ! -d /sys/kernel/mm/hugepages/hugepages-2048kB ] || . /huma/pool.sh
check "overcommit_memory=2" strict_heap
for block_bytes in 1000 40000 1048576 40000000; do
    check "commit limit, blocks of $block_bytes" committed_heap $block_bytes
done
check "ulimit -v, small blocks" limited_heap 1000
check "ulimit -v, large blocks" limited_heap 1048576
check "memory cgroup" grouped_heap
check "memory cgroup, filled up" filled_heap
finish
