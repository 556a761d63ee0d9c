# SPDX-License-Identifier: MIT
# shellcheck shell=dash disable=SC2154
# pool.sh - a heap on hugetlb pages, and all that keeps it from them. Sourced by init.sh.
#
# Input    want_nodes, bare_node and near_node, as for nodes.sh.

pages=/sys/kernel/mm/hugepages/hugepages-2048kB
node_pages() {
    echo "$2" >/sys/devices/system/node/node"$1"/hugepages/hugepages-2048kB/nr_hugepages
}

has_reason() { tr -d ' \n' </tmp/stats.json | grep -E "\"$1\":[1-9]"; }

# on_pool CHAIN STEP...: the program of tests/live under $into, with a report.
on_pool() {
    local chain=$1
    shift
    rm -f /tmp/stats.json
    $into env LD_PRELOAD=$lib HUMA_BACKING="$chain" HUMA_VERBOSE=1 HUMA_STATS=/tmp/stats.json \
        pool "$@" >/tmp/values
}

# all_back: the pool has all its pages again.
all_back() {
    cat $pages/*_hugepages
    [ "$(cat $pages/free_hugepages)" = "$(cat $pages/nr_hugepages)" ] &&
        [ "$(cat $pages/resv_hugepages)" = 0 ] && [ "$(cat $pages/surplus_hugepages)" = 0 ]
}

# A heap of 40 MiB and fewer pages: the report names the reason for what is not on them.
short_pool() {
    echo "$1" >$pages/nr_hugepages
    on_pool hugetlb,thp,4k fill 40 look full check free trim && has_reason "$2" && all_back
}

# Filled, killed, and refused.
whole_pool() {
    echo 24 >$pages/nr_hugepages
    on_pool hugetlb,thp,4k fill 40 look full die
    grep -q full_ /tmp/values && all_back && on_pool hugetlb fill 16 want 100 check free fill 16
}

surplus_pool() {
    echo 4 >$pages/nr_hugepages
    echo 12 >$pages/nr_overcommit_hugepages
    on_pool hugetlb,thp,4k fill 40 look full check && has_reason 'pool-(empty|node)' &&
        has_reason pool_surplus_bytes && all_back
    rc=$?
    echo 0 >$pages/nr_overcommit_hugepages
    return $rc
}

# forked_pool MODE MIB: every page of the pool in use.
forked_pool() {
    echo $(($2 * 2 / 5)) >$pages/nr_hugepages
    LD_PRELOAD=$lib HUMA_BACKING=hugetlb,thp,4k pool_fork "$1" "$2"
}

# in_group COMMAND...: any node will do, so that the group's limit is what is met.
in_group() {
    sh -c 'echo $$ >/sys/fs/cgroup/pool/cgroup.procs; HUMA_NUMA=off exec "$@"' - "$@"
}

# limited_pool FILE REASON: the group may have ten pages of 24.
limited_pool() {
    echo 24 >$pages/nr_hugepages
    echo +hugetlb >/sys/fs/cgroup/cgroup.subtree_control || return 1
    mkdir -p /sys/fs/cgroup/pool
    echo 20971520 >/sys/fs/cgroup/pool/"$1" || return 1
    into=in_group
    on_pool hugetlb,thp,4k fill 40 look full check free && has_reason "$2" &&
        on_pool hugetlb fill 12 want 20 check free fill 12 && has_reason "$2" && all_back
    rc=$?
    into=
    echo max >/sys/fs/cgroup/pool/"$1"
    return $rc
}

# A memory cgroup that counts hugetlb pages, where a touch too many would never return.
charged() {
    echo 64 >$pages/nr_hugepages
    echo +memory >/sys/fs/cgroup/cgroup.subtree_control || return 1
    mkdir -p /sys/fs/cgroup/pool
    echo 0 >/sys/fs/cgroup/pool/memory.swap.max
    echo "$1" >/sys/fs/cgroup/pool/memory.max || return 1
    shift
    into=in_group
    "$@" && all_back && cat /sys/fs/cgroup/pool/memory.events &&
        grep -qx 'oom_kill 0' /sys/fs/cgroup/pool/memory.events
    rc=$?
    into=
    echo max >/sys/fs/cgroup/pool/memory.max
    return $rc
}
charged_short() {
    on_pool hugetlb,thp,4k fill 70 look full check free fill 70 check && has_reason pool-memcg
}
charged_required() { on_pool hugetlb fill 20 want 100 check free fill 20 && has_reason pool-memcg; }
charged_dense() {
    in_group env LD_PRELOAD=$lib HUMA_BACKING=hugetlb,thp,4k HUMA_STATS=/tmp/stats.json \
        smoke dense 60 4 64 >/tmp/values && has_reason pool-memcg
}

# The report of the last nodes_of: the threads of node 1 have its pages, the others their own THP.
node_used() {
    for kind in hugetlb thp 4k; do
        echo "${kind}_mib $(($(tr -d ' \n' </tmp/stats.json |
            sed "s/.*\"$kind\":\([0-9]*\).*/\1/") >> 20))"
    done >/tmp/values
    cat /tmp/stats.json
    [ "$(value_of hugetlb_mib)" -ge 20 ] && [ "$(value_of thp_mib)" -ge 20 ] &&
        has_reason pool-node
}

case $(uname -r) in
    5.1[0-5].*) check "hugetlb, kernel too old" short_pool 24 pool-kernel ;;
    *)
        check "hugetlb, short pool" short_pool 12 'pool-(empty|node)'
        check "hugetlb, whole pool" whole_pool
        check "hugetlb, surplus pages" surplus_pool
        check "hugetlb, fork: orders" forked_pool orders 40
        check "hugetlb, fork: exec" forked_pool exec 40
        check "hugetlb.2MB.max" limited_pool hugetlb.2MB.max pool-max
        check "hugetlb.2MB.rsvd.max" limited_pool hugetlb.2MB.rsvd.max pool-rsvd-max
        if [ "${want_nodes:-1}" != 1 ]; then
            pool_nodes="HUMA_BACKING=hugetlb,thp,4k HUMA_STATS=/tmp/stats.json"
            echo 64 >$pages/nr_hugepages
            check "hugetlb, own node" nodes_of 99 "$(homes)" LD_PRELOAD=$lib $pool_nodes
            echo 0 >$pages/nr_hugepages
            node_pages 1 40
            check "hugetlb, pages on one node" nodes_of 99 "$(homes)" LD_PRELOAD=$lib $pool_nodes
            check "hugetlb, pages on one node, used" node_used
        fi
        if mount -o remount,memory_hugetlb_accounting cgroup /sys/fs/cgroup 2>/dev/null; then
            check "hugetlb pages counted by memory.max" charged 80M charged_short
            check "... and required" charged 80M charged_required
            check "... and hardly used" charged 96M charged_dense
        fi
        ;;
esac
echo 0 >$pages/nr_hugepages
