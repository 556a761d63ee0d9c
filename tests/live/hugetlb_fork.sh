#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# hugetlb_fork.sh - fork() while every hugetlb page of the pool is in use.
#
# Problem  A child that shares hugetlb pages is ended by SIGBUS when the pool has no page for a copy.
# Idea     See pool_fork.c. HUMA_FORK=keep shows that the kernel does so here; then it must not
#          happen, the parent's pages must stay where they are, and go back in the end.
. "$(dirname "$0")/lib.sh"
prog=$build_dir/tests/live/pool_fork
libc_prog=$build_dir/tests/live/pool_fork_libc
need_built "$prog"
arena_prog=$build_dir/tests/live/pool_arena
need_built "$libc_prog"
need_built "$arena_prog"
own_machine
own_pool 24
set_machine "$thp_enabled" madvise

# run FORK CHAIN MODE MIB
run() {
    under "$huma_lib" env HUMA_FORK="$1" HUMA_BACKING="$2" HUMA_STATS="$work_dir/stats.json" \
        "$prog" "$3" "$4" >"$work_dir/out" 2>&1
}

! run keep hugetlb,thp,4k orders 60 || skip "the kernel does not end children here"
grep -q 'ended by signal 7' "$work_dir/out" || { cat "$work_dir/out"; fail "keep: not by SIGBUS"; }

for mode in orders threads handed signals protected exec; do
    run safe hugetlb,thp,4k $mode 60 || { cat "$work_dir/out"; fail "$mode"; }
    expect "$mode" "$work_dir/out" hugetlb_kib ge $((22 * 2048))
    expect "$mode" "$work_dir/out" after_kib ge $((22 * 2048))
    [ "$(cat "$pool/free_hugepages")" = 24 ] || fail "$mode: pages are missing in the pool"
done
for mode in masks streams stack handler; do
    under "$huma_lib" env HUMA_BACKING=hugetlb,thp,4k "$libc_prog" $mode 8 >"$work_dir/out" 2>&1 ||
        { cat "$work_dir/out"; fail "$mode"; }
    [ "$(cat "$pool/free_hugepages")" = 24 ] || fail "$mode: pages are missing in the pool"
done
# Arenas, without the preload library, and with it on the same pool.
for lib in glibc "$huma_lib"; do
    under "$lib" env HUMA_BACKING=hugetlb,thp,4k "$arena_prog" 66 >"$work_dir/out" 2>&1 ||
        { cat "$work_dir/out"; fail "arenas, $lib"; }
    expect "arenas" "$work_dir/out" hugetlb_kib ge $((15 * 2048))
    [ "$(cat "$pool/free_hugepages")" = 24 ] || fail "arenas: pages are missing in the pool"
done
! under glibc env HUMA_FORK=keep "$arena_prog" 66 >"$work_dir/out" 2>&1 ||
    fail "arenas, keep: the kernel ended no child"
run safe hugetlb exec 40 || { cat "$work_dir/out"; fail "exec, hugetlb required"; }

# No room for the copy: the fork goes on without, nobody is killed for memory, and the report says so.
make_group $((24 << 20))
in_group run safe hugetlb,thp,4k exec 40 || { cat "$work_dir/out"; fail "exec, little room"; }
expect_reason fork-room "$work_dir/stats.json"
remove_group
