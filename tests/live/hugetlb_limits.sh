#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# hugetlb_limits.sh - a pool with pages to spare, and a limit that keeps the heap from them.
#
# Problem  Under some limits mmap of hugetlb pages succeeds and a touch kills; under others so much
#          is refused that the next backing would be needed for everything.
# Idea     Under each limit a program writes to all it gets and checks it. What the limit allows is
#          used, the report names the limit, and with no other backing in the chain the rest is
#          ENOMEM.
. "$(dirname "$0")/pool.sh"

# Control groups: pages in use, where mmap succeeds and a touch would kill; and pages promised.
pages 64
if make_pool_group && [ -e "$pool_group_dir/hugetlb.2MB.rsvd.max" ]; then
    for limit in max rsvd.max; do
        reason=pool-${limit/rsvd.max/rsvd-max}
        echo $((20 << 21)) >"$pool_group_dir/hugetlb.2MB.$limit"
        in_group run limit hugetlb,thp,4k fill 120 look full check free look freed fill 120 check
        expect "hugetlb.2MB.$limit" "$work_dir/limit" full_hugetlb_kib eq $((20 * 2048))
        expect "hugetlb.2MB.$limit" "$work_dir/limit" full_coverage_pct ge 90
        expect_reason "$reason" "$work_dir/limit.json"
        one_line limit "$pool_group_dir/hugetlb.2MB.$limit: $((20 << 21)))"
        in_group run limit hugetlb fill 30 look full want 40 check free fill 30 check
        one_line limit "$pool_group_dir/hugetlb.2MB.$limit: $((20 << 21)))"
        expect_reason "$reason" "$work_dir/limit.json"
        told limit full
        echo 0 >"$pool_group_dir/hugetlb.2MB.$limit"
        in_group run limit hugetlb:2M want 1
        one_line limit "$pool_group_dir/hugetlb.2MB.$limit: 0)"
        echo max >"$pool_group_dir/hugetlb.2MB.$limit"
        all_free "hugetlb.2MB.$limit"
    done
    remove_group
else
    echo "no hugetlb controller of version 2 that can be used here: its limits are not tried"
fi

# Address space: what is left is used, then NULL.
pages 256
(ulimit -v $((400 << 10)) && run space hugetlb,thp,4k fill 150 look full want 300 check free \
    fill 150 check) || exit 1
expect "ulimit -v" "$work_dir/space" full_hugetlb_kib ge $((75 * 2048))
(ulimit -v $((400 << 10)) && run space hugetlb fill 150 want 300 check free fill 150 check) ||
    exit 1
all_free "ulimit -v"

# Strict overcommit: hugetlb pages do not count, and their address space must not either.
committed_kib=$(value_of Committed_AS /proc/meminfo)
limit_kib=$(value_of CommitLimit /proc/meminfo)
if [ $((committed_kib + (2 << 20))) -lt "$limit_kib" ]; then
    set_machine /proc/sys/vm/overcommit_memory 2
    run strict hugetlb,thp,4k fill 600 look full check free look freed
    run required hugetlb fill 400 look full check free trim look trimmed
    echo 0 >/proc/sys/vm/overcommit_memory
    expect "overcommit_memory=2" "$work_dir/strict" full_hugetlb_kib eq $((256 * 2048))
    expect "overcommit_memory=2" "$work_dir/strict" full_coverage_pct ge 95
    expect "overcommit_memory=2" "$work_dir/required" trimmed_hugetlb_kib le 2048
    all_free "overcommit_memory=2"
else
    echo "strict overcommit would hurt what runs here: not tried"
fi
