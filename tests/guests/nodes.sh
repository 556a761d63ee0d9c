# SPDX-License-Identifier: MIT
# shellcheck shell=dash disable=SC2154
# nodes.sh - whose memory threads get on a machine with several nodes. Sourced by init.sh.
#
# Input    bare_node, one that has processors and no memory, and near_node, the nearest to it.

# nodes_of PERCENT HOMES VARIABLE=VALUE...: each thread has at least that share of its pages on its
# node; or on another one that has to serve it, by HOMES such as "1:0".
nodes_of() {
    local least=$1 homes=$2
    shift 2
    # shellcheck disable=SC2086
    $into env "$@" /huma/numa 24 $numa_mode >/tmp/numa 2>/tmp/numa.err ||
        { cat /tmp/numa.err; return 1; }
    awk '$1 == "cpu" { print "node " $4 ": " $10 "% on " $8 "," }' /tmp/numa >/tmp/values
    cat /tmp/numa /tmp/numa.err
    awk -v least="$least" -v homes="$homes" '
        BEGIN {
            count = split(homes, pairs, " ")
            for (i = 1; i <= count; i++) { split(pairs[i], pair, ":"); home[pair[1]] = pair[2] }
        }
        $1 == "cpu" && ($8 != ($4 in home ? home[$4] : $4) || $10 < least) { bad = 1 }
        $1 == "cpu" { seen = 1 }
        END { exit bad || !seen }' /tmp/numa
}
into=      # a command before it
numa_mode= # words behind it

# homes: none, but for a node without memory.
homes() { [ -z "$bare_node" ] || echo "$bare_node:$near_node"; }

# any_nodes VARIABLE=VALUE...: wherever the memory is, it works.
any_nodes() { nodes_of 0 "" "$@" || grep -q '^cpu' /tmp/numa; }

# in_cpuset NODES COMMAND...: with memory of these nodes only.
in_cpuset() {
    echo +cpuset >/sys/fs/cgroup/cgroup.subtree_control || return 1
    mkdir -p /sys/fs/cgroup/few
    echo "$1" >/sys/fs/cgroup/few/cpuset.mems || return 1
    shift
    sh -c 'echo $$ >/sys/fs/cgroup/few/cgroup.procs; exec "$@"' - "$@"
}

# few_nodes NODES HOMES VARIABLE=VALUE...: nodes are forbidden: the nearest others serve, and it is
# said of each, once.
few_nodes() {
    local homes=$2 pair rc
    into="in_cpuset $1"
    shift 2
    nodes_of 99 "$homes" HUMA_VERBOSE=1 "$@"
    rc=$?
    into=
    [ $rc = 0 ] || return $rc
    for pair in $homes; do
        [ "$(grep -c "^huma: memory node ${pair%:*} has no memory .* node ${pair#*:}; see " \
            /tmp/numa.err)" = 1 ] || return 1
    done
}

# The node's own pages of the pool, whichever there are elsewhere.
arena_on_pool() {
    pages=/sys/devices/system/node/node$1/hugepages/hugepages-2048kB/nr_hugepages
    echo 4 | tee /sys/devices/system/node/node*/hugepages/hugepages-2048kB/nr_hugepages >/dev/null
    arena_nodes "$1" only "$1" >/tmp/arena
    rc=$?
    cat /tmp/arena "$pages"
    echo 0 >/proc/sys/vm/nr_hugepages
    [ $rc = 0 ] && [ "$(awk '/hugetlb/ { print $2 }' /tmp/arena)" = $((4 * 2097152)) ]
}

# One node is left, and no choice. The program starts on another one.
only_node() {
    in_cpuset 0 taskset 2 env LD_PRELOAD=$lib HUMA_VERBOSE=1 smoke heap 16 1 2>/tmp/err &&
        grep -q '^huma: memory node 1 has no memory .* node 0; see ' /tmp/err
}

if [ "${want_nodes:-1}" != 1 ]; then
    check "own node" nodes_of 99 "$(homes)" LD_PRELOAD=$lib
    check "own node, huge pages at once" nodes_of 99 "$(homes)" LD_PRELOAD=$lib HUMA_HUGE_START=0
    check "HUMA_NUMA=interleave" any_nodes LD_PRELOAD=$lib HUMA_NUMA=interleave
    check "HUMA_NUMA=off" any_nodes LD_PRELOAD=$lib HUMA_NUMA=off
    any_nodes X= >/dev/null
    echo "guest: glibc: $(tr '\n' ' ' </tmp/values)"
    : >/tmp/values
    numa_mode=wander
    check "threads that move" nodes_of 80 "$(homes)" LD_PRELOAD=$lib
    numa_mode=
    if [ "$want_nodes" = 4 ]; then
        check "cpuset of nodes 0 and 3" few_nodes 0,3 "1:0 2:3" LD_PRELOAD=$lib
    fi
    check "cpuset of node 0" only_node
    check "arena on node 1" arena_nodes 1 only 1
    check "arena on nodes 0-1" arena_nodes 0-1 only 0 1
    check "arena that prefers node 1" arena_nodes preferred=1 only 1
    check "arena over nodes 0 and 1 in turn" arena_nodes interleave=0-1 spread 0 1
    check "arena on a node that is not there" arena_nodes 9 refused
    check "arena on nodes that a cpuset forbids" in_cpuset 0 arena_nodes 1 refused
    if [ "$want_nodes" = 4 ] && [ -z "$bare_node" ]; then
        check "arena over all nodes in turn" arena_nodes interleave=all spread 0 1 2 3
        check "arena of a thread on node 2" taskset 4 arena_nodes local only 2
        check "arena on hugetlb pages of node 1" arena_on_pool 1
    fi
fi
