#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# hugetlb_1g.sh - a heap of some gigabytes on hugetlb pages of 1 GiB: two, if the machine has as many.
#
# Problem  Such a page holds hundreds of regions, and comes and goes only as a whole.
# Idea     See pool.c. Both pages must be used, by one block and by many; what they lack comes from
#          pages of 2 MiB; and both are free again after the last block, after exit and SIGKILL.
. "$(dirname "$0")/pool.sh"
giants=/sys/kernel/mm/hugepages/hugepages-1048576kB
libc_prog=$build_dir/tests/live/pool_fork_libc
need_built "$libc_prog"
[ -d "$giants" ] || skip "no hugetlb pages of 1 GiB"
[ "$(cat "$giants/nr_hugepages")" = 0 ] || skip "somebody else has hugetlb pages of 1 GiB here"
[ "$(value_of MemAvailable /proc/meminfo)" -gt $((6 << 20)) ] || skip "needs 6 GiB of free memory"
# Contiguous memory is made by moving what lies in between.
sync
echo 3 >/proc/sys/vm/drop_caches
echo 1 >/proc/sys/vm/compact_memory
set_machine "$giants/nr_hugepages" 2
[ "$(cat "$giants/nr_hugepages")" = 2 ] || skip "the machine has no two hugetlb pages of 1 GiB to spare"
pages 128

# free_giants NAME
free_giants() {
    [ "$(cat "$giants/free_hugepages")" = 2 ] || fail "$1: not all pages of 1 GiB are free"
    [ "$(cat "$pool/free_hugepages")" = 128 ] || fail "$1: not all pages of 2 MiB are free"
}

run one hugetlb:1G,hugetlb:2M,thp,4k one 2200 look full check free look freed one 100 check
expect one "$work_dir/one" full_hugetlb_kib ge $((2200 * 1024))
expect one "$work_dir/one" freed_hugetlb_kib lt $((1024 * 1024))
free_giants one
run many hugetlb:1G,hugetlb:2M,thp,4k fill 2500 look full check half check free trim look trimmed
expect many "$work_dir/many" full_hugetlb_kib ge $((2 * 1024 * 1024))
expect many "$work_dir/many" full_coverage_pct ge 98
expect many "$work_dir/many" trimmed_hugetlb_kib lt $((1024 * 1024))
free_giants many
expected_rc=137 run killed hugetlb:1G,hugetlb:2M,thp,4k one 1500 look full die
free_giants killed
run required hugetlb:1G one 900 look full want 1200 check
expect required "$work_dir/required" full_hugetlb_kib eq $((1024 * 1024))
free_giants required

# A child has copies; and where it shares a page, the whole of it.
under "$huma_lib" env HUMA_BACKING=hugetlb:1G,hugetlb:2M,thp,4k "$libc_prog" handler 1500 \
    >"$work_dir/fork" 2>&1 || { cat "$work_dir/fork"; fail "fork"; }
free_giants fork
