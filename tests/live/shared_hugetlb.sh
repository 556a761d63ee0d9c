#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# shared_hugetlb.sh - shared arenas on the pool of hugetlb pages: enough of them, too few, none.
#
# Problem  A shared arena takes all of its pages from the pool at once or none, and all must be free
#          again when its processes have ended, however they did.
# Idea     64 MiB, of which two processes fill a half each, with pools of 40 pages (32 for the data,
#          the rest for its state) and of 20.
. "$(dirname "$0")/lib.sh"
prog=$build_dir/tests/live/shared_pool
need_built "$prog"
own_machine
own_pool 0
set_machine "$thp_enabled" madvise

# run NAME PAGES CHAIN [kill]
run() {
    local name=$1 pages=$2 status=0
    shift 2
    echo "$pages" >"$pool/nr_hugepages"
    [ "$(cat "$pool/nr_hugepages")" = "$pages" ] ||
        skip "the machine has no $pages hugetlb pages to spare"
    under glibc "$prog" "$1" 64 ${2:+"$2"} >"$work_dir/$name" 2>&1 || status=$?
    [ $status = 0 ] || [ "$status:${2:-}" = 137:kill ] || { cat "$work_dir/$name"; fail "$name: $status"; }
    [ "$(cat "$pool/free_hugepages")" = "$pages" ] || fail "$name: pages are missing at the end"
}

figure() { expect "$1" "$work_dir/$1" "${@:2}"; }

run enough 40 hugetlb,thp,4k
figure enough page_kib eq 2048
figure enough huge_kib ge $((64 * 1024))
figure enough free_pages le 5

run killed 40 hugetlb,thp,4k kill
figure killed page_kib eq 2048

# What the pool cannot give whole, the next serves.
run few 20 hugetlb,thp,4k
figure few page_kib eq 4
figure few free_pages eq 20
figure few huge_kib ge $((64 * 1024))

run required 20 hugetlb
figure required refused eq 12
grep -q '^said huma_shared_create(): .* pages ' "$work_dir/required" ||
    { cat "$work_dir/required"; fail "required: no sentence"; }

run base 0 4k kill
figure base huge_kib eq 0
