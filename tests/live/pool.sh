# SPDX-License-Identifier: MIT
# pool.sh - a pool of hugetlb pages of our own, and pool.c on it. Sourced by tests/live.
# shellcheck shell=bash

. "${BASH_SOURCE[0]%/*}/lib.sh"
pool_prog=$build_dir/tests/live/pool
need_built "$pool_prog"
own_machine
own_pool 0
set_machine "$thp_enabled" madvise

# pages COUNT: so many in the pool.
pages() {
    echo "$1" >"$pool/nr_hugepages"
    [ "$(cat "$pool/nr_hugepages")" = "$1" ] || skip "the machine has no $1 hugetlb pages to spare"
}

# run NAME CHAIN STEP...: the output goes to $work_dir/NAME, the report to NAME.json. No reason may
# be told twice, and no hugetlb page be mapped that is not promised.
run() {
    local name=$1 chain=$2 rc=0 twice
    shift 2
    rm -f "$work_dir/$name.json"
    under "$huma_lib" env HUMA_BACKING="$chain" HUMA_VERBOSE=1 HUMA_STATS="$work_dir/$name.json" \
        "$pool_prog" "$@" >"$work_dir/$name" 2>"$work_dir/$name.err" || rc=$?
    [ "$rc" = "${expected_rc:-0}" ] ||
        { cat "$work_dir/$name" "$work_dir/$name.err"; fail "$name: exit status $rc"; }
    twice=$(sed -n 's/^huma: fell back (\([^)]*\)).*/\1/p' "$work_dir/$name.err" | sort | uniq -d)
    [ -z "$twice" ] || fail "$name: said twice: $twice"
    ! grep '_unpromised [1-9]' "$work_dir/$name" || fail "$name: pages that are not promised"
}

# all_free NAME: every page is in the pool again.
all_free() {
    [ "$(cat "$pool/free_hugepages")" = "$(cat "$pool/nr_hugepages")" ] &&
        [ "$(cat "$pool/resv_hugepages")" = 0 ] ||
        { head "$pool"/*_hugepages; fail "$1: pages are missing in the pool"; }
    echo "$1: all $(cat "$pool/nr_hugepages") pages are back"
}

# one_line NAME TEXT: HUMA_VERBOSE says this, once.
one_line() {
    [ "$(grep -cF "$2" "$work_dir/$1.err")" = 1 ] ||
        { cat "$work_dir/$1.err"; fail "$1: not said once: $2"; }
}

# json_of NAME MEMBER: a number in the report.
json_of() { tr -d ' \n' <"$work_dir/$1.json" | sed -n "s/.*\"$2\":\([0-9]*\)[,}].*/\1/p"; }

# told NAME LOOK: the report counts as many hugetlb pages as the kernel did at that look.
told() {
    local told_kib=$(($(json_of "$1" hugetlb) >> 10))
    [ "$told_kib" = "$(value_of "$2_hugetlb_kib" "$work_dir/$1")" ] ||
        { cat "$work_dir/$1"; fail "$1: the report says $told_kib KiB on hugetlb pages"; }
}
