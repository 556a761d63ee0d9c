#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# shellcheck shell=dash
# init-cross.sh - the first and only process of a guest of another architecture: runs the unit
# tests, then programs under the library, and powers off.
#
# Input    from the kernel's command line: want_page_kib, want_huge_kib, the sizes of the base page
#          and of the huge page; want_pct, least coverage of a large heap in percent.

. /huma/checks.sh
want_pct=${want_pct:-90}

introduce
check "base page" expect page_bytes eq $((want_page_kib * 1024)) smoke where
check "huge page" expect hpage_bytes eq $((want_huge_kib * 1024)) smoke where

for mode in always madvise never; do
    echo $mode >$thp
    check "thp=$mode small process" expect anon_huge_kib eq 0 huma small
    if [ $mode = never ]; then
        check "thp=$mode heap" expect anon_huge_kib eq 0 huma heap 128 2
    else
        check "thp=$mode heap" expect coverage_pct ge "$want_pct" huma heap 384 2
    fi
done
echo madvise >$thp

# Each size of hugetlb pages that the kernel lists: those up to a region serve, 64 MiB of a heap of
# 96; larger ones are passed over, and the report says so.
pools=/sys/kernel/mm/hugepages
pooled() { LD_PRELOAD=$lib HUMA_BACKING=hugetlb:${kib}k,thp,4k HUMA_STATS=/tmp/stats.json "$@"; }
passed_over() {
    pooled pool fill 8 check free
    tr -d ' \n' </tmp/stats.json | grep -E '"pool-large":[1-9]'
}
for dir in $pools/hugepages-*; do
    kib=${dir##*-}
    kib=${kib%kB}
    if [ "$kib" -gt "$want_huge_kib" ]; then
        check "hugetlb:${kib}k is passed over" passed_over
        continue
    fi
    echo $((65536 / kib)) >"$dir/nr_hugepages"
    check "hugetlb:${kib}k" expect full_hugetlb_kib eq 65536 \
        pooled pool fill 96 look full check half check free
    check "hugetlb:${kib}k, all back" [ "$(cat "$dir/free_hugepages")" = $((65536 / kib)) ]
    [ "$kib" != "$want_huge_kib" ] || check "hugetlb:${kib}k, fork" pooled pool_fork orders 96
    echo 0 >"$dir/nr_hugepages"
done

# Smaller transparent huge pages, which only the kernel's counter shows; the PMD size is off.
sizes=/sys/kernel/mm/transparent_hugepage/hugepages
smaller() {
    before=$(cat $sizes-512kB/stats/anon_fault_alloc)
    echo never >$sizes-${want_huge_kib}kB/enabled
    echo madvise >$sizes-512kB/enabled
    expect anon_huge_kib eq 0 huma heap 128 1
    smaller_rc=$?
    echo never >$sizes-512kB/enabled
    echo inherit >$sizes-${want_huge_kib}kB/enabled
    echo "$(($(cat $sizes-512kB/stats/anon_fault_alloc) - before)) pages of 512 KiB"
    [ $smaller_rc = 0 ] && [ $(($(cat $sizes-512kB/stats/anon_fault_alloc) - before)) -ge 192 ]
}
[ ! -e $sizes-512kB/enabled ] || check "mthp of 512 KiB" smaller

# Shared arenas: processes that are killed, come and go, or find what is none; then one instruction
# at a time, where a page is what the stage is made for.
check "shared storm" storm 10
check "shared forks" forks
check "shared hostile" hostile 100 1 30
if [ "$want_page_kib" = 4 ]; then
    check "shared images" images 10
    check "shared apart" apart 250
fi

# All orders of the steps of two threads, one after the other: minutes here, and the same anywhere.
rm /huma/unit/test_remote_orders
shown() {
    cat "/tmp/$1.out"
    return "$(cat "/tmp/$1.rc")"
}
cd /huma/unit || finish
for test in *; do echo "$test"; done |
    xargs -n 1 -P 2 sh -c './"$0" >"/tmp/$0.out" 2>&1; echo $? >"/tmp/$0.rc"'
for test in *; do
    check "$test" shown "$test"
done
finish
