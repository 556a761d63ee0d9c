#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# shared_limits.sh - shared arenas where memory is short: limits of control groups, a pool without
# enough pages, a full file system.
#
# Problem  Under a limit on hugetlb pages mmap succeeds, and a touch ends the process with SIGBUS; so
#          does one in a sparse file when the file system is full. Other limits kill.
# Idea     Each is set up so that it bites before the arena is made, or after. The arena is made of
#          what there is, or the call fails with a sentence; nobody is ended by a signal.
. "$(dirname "$0")/lib.sh"
prog=$build_dir/tests/live/shared_pool
need_built "$prog" "$build_dir"/tests/live/shared_{full,sparse}
own_machine
own_pool 0
set_machine "$thp_enabled" madvise

# run NAME PAGES COMMAND...: with a pool of so many pages, all of which are free afterwards.
run() {
    local name=$1 pages=$2 status=0
    shift 2
    echo "$pages" >"$pool/nr_hugepages"
    [ "$(cat "$pool/nr_hugepages")" = "$pages" ] ||
        skip "the machine has no $pages hugetlb pages to spare"
    in_group under glibc "$@" >"$work_dir/$name" 2>&1 || status=$?
    [ $status = 0 ] || { cat "$work_dir/$name"; fail "$name: exit status $status"; }
    [ "$(cat "$pool/free_hugepages")" = "$pages" ] || fail "$name: pages are missing at the end"
}

figure() { expect "$1" "$work_dir/$1" "${@:2}"; }

refused() { # NAME
    figure "$1" refused eq 12
    grep -q '^said huma_shared_create(): .* pages ' "$work_dir/$1" ||
        { cat "$work_dir/$1"; fail "$1: no sentence"; }
}

# 16 MiB of data, and what they need besides, are nine pages.
for pages in 0 1 8; do
    run "pool-$pages" "$pages" "$prog" hugetlb,thp,4k 16
    figure "pool-$pages" page_kib eq 4
    run "only-$pages" "$pages" "$prog" hugetlb 16
    refused "only-$pages"
done
run pool-9 9 "$prog" hugetlb,thp,4k 16
figure pool-9 page_kib eq 2048
figure pool-9 free_pages eq 0

# A stranger's file that has less than it says, small and large.
for gib in 1 64; do
    run "sparse-$gib" 1 "$build_dir/tests/live/shared_sparse" "$gib"
    grep '^said ' "$work_dir/sparse-$gib" || { cat "$work_dir/sparse-$gib"; fail "sparse-$gib: no sentence"; }
done

# Pages enough, and a limit of two.
if make_pool_group; then
    for limit_file in "$pool_max" "${pool_max/2MB.max/2MB.rsvd.max}"; do
        limit=$(basename "$limit_file")
        [ -e "$limit_file" ] || continue
        echo $((4 << 20)) >"$limit_file"
        run "$limit" 32 "$prog" hugetlb,thp,4k 16
        figure "$limit" page_kib eq 4
        figure "$limit" free_pages eq 32
        run "$limit-only" 32 "$prog" hugetlb 16
        refused "$limit-only"
        echo $((32 << 20)) >"$limit_file"
        run "$limit-enough" 32 "$prog" hugetlb,thp,4k 16
        figure "$limit-enough" page_kib eq 2048
        case $limit in *limit_in_bytes) echo -1 ;; *) echo max ;; esac >"$limit_file"
    done
    remove_group
else
    echo "no hugetlb controller that can be used here: its limits are not tried"
fi

# Less memory than the arena may grow to: the call that finds none says so.
make_group $((12 << 20))
for chain in 4k thp,4k; do
    run "memory-$chain" 0 "$build_dir/tests/live/shared_full" "$chain" 64
    figure "memory-$chain" got_mib ge 1
    figure "memory-$chain" errno eq 12
done
remove_group

# A file system of 1 MiB, one that is full, and one that has room for some of the arena.
[ "$(unshare -m echo yes 2>/dev/null)" = yes ] || skip "may not make a mount namespace"
mkdir "$work_dir/mnt"
for size in 8k 1m 5m; do
    # shellcheck disable=SC2016 # for the other shell
    run "tmpfs-$size" 0 unshare -m sh -c \
        'mount -t tmpfs -o "size=$1" tmpfs "$2" && "$3" 4k 64 "$2/arena"' \
        sh "$size" "$work_dir/mnt" "$build_dir/tests/live/shared_full"
done
figure tmpfs-8k refused eq 12
grep -q "^said .*no room on the file system" "$work_dir/tmpfs-8k" || fail "tmpfs-8k: no sentence"
figure tmpfs-1m got_mib eq 0
figure tmpfs-1m errno eq 12
figure tmpfs-5m got_mib ge 1
figure tmpfs-5m errno eq 12
