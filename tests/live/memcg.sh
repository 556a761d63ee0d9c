#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# memcg.sh - under a memory limit a heap in dense use lives as it does under glibc.
#
# Problem  Huge pages round up. With little room left that gets a program killed which would have
#          lived on base pages; so would memory that was freed but not really given back.
# Idea     Fill most of the limit, free it, fill it again with another size of block, and so on: the
#          kernel kills whoever keeps too much. glibc goes first and shows that the limit is fair.
. "$(dirname "$0")/lib.sh"
need_built "$smoke"
own_machine
limit_mib=128
make_group $((limit_mib << 20))

# churn MIB MODE: under the limit, with THP in this mode.
churn() {
    local mib=$1 mode=$2 rc=0 what="$1 of $limit_mib MiB, THP $2"
    set_machine "$thp_enabled" "$mode"
    in_group under glibc "$smoke" churn "$mib" >"$work_dir/glibc" 2>&1 || rc=$?
    [ "$rc" = 0 ] || { echo "$what: too much for glibc, too (exit status $rc)"; return 0; }
    in_group under "$huma_lib" "$smoke" churn "$mib" >"$work_dir/huma" 2>&1 || rc=$?
    [ "$rc" = 0 ] || { cat "$work_dir/huma"; fail "$what: exit status $rc; glibc lives"; }
    echo "$what: lives, $(value_of coverage_pct "$work_dir/huma") % on huge pages"
    passed=$((${passed:-0} + 1))
}
churn 64 madvise
churn 104 madvise
churn 104 always
[ "${passed:-0}" -gt 0 ] || skip "glibc itself does not live under a limit of $limit_mib MiB here"
remove_group

# Close to the limit, and no process killed, whoever goes first. Blocks that are hardly used are where
# huge pages cost more than base pages; the dense ones before them took most of the room. The rest of
# the heap is on huge pages.
limit_mib=96
passed=0

# kills: processes of the group that the kernel has killed so far.
kills() {
    cat "$group_dir/memory.events" "$group_dir/memory.oom_control" 2>/dev/null |
        awk '$1 == "oom_kill" { print $2 }'
}

# fill_up LIB THREADS DENSE_MIB SPARSE_MIB
fill_up() {
    make_group $((limit_mib << 20))
    in_group under "$1" "$smoke" dense "$3" "$2" "$4" >"$work_dir/out" 2>&1 || return 1
    [ "$(kills)" = 0 ] || return 1
    remove_group
}

set_machine "$thp_enabled" madvise
for case in "1 92 0" "8 92 0" "1 60 64" "8 60 64" "1 84 64"; do
    for order in "glibc $huma_lib" "$huma_lib glibc"; do
        for lib in $order; do
            # shellcheck disable=SC2086
            fill_up "$lib" $case || { cat "$work_dir/out"; [ "$lib" = glibc ] &&
                skip "glibc itself does not fit $case into $limit_mib MiB here"
                fail "threads, dense, sparse: $case: killed in $limit_mib MiB; glibc lives"; }
            [ "$lib" = glibc ] || expect "threads, dense, sparse: $case of $limit_mib MiB" \
                "$work_dir/out" coverage_pct ge 60
        done
        passed=$((passed + 1))
    done
done

# The report names the reason.
make_group $((limit_mib << 20))
in_group under "$huma_lib" env HUMA_STATS="$work_dir/stats.json" "$smoke" dense 84 1 0 >/dev/null
expect_reason cgroup-room "$work_dir/stats.json"
remove_group

# Page cache fills a group without bringing it near its limit. It is written out first: the kernel does
# not wait for a disk to make room for a huge page. Even so it refuses one now and then: the first 16 MiB,
# which are collapsed, may then be waiting for another try when the program ends.
make_group $((256 << 20))
in_group head -c $((300 << 20)) /dev/zero >"$work_dir/file"
sync "$work_dir/file"
in_group under "$huma_lib" "$smoke" dense 64 1 0 >"$work_dir/out" ||
    fail "page cache: exit status $?"
expect "64 of 256 MiB, the rest page cache" "$work_dir/out" coverage_pct ge 70
