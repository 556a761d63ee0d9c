#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# hugetlb.sh - a heap on the pool of hugetlb pages: empty, short, limited, drained, grown.
#
# Problem  A hugetlb page that is not there ends a program by a signal, long after malloc.
# Idea     Each way in which a pool can be short, with a program that writes to all it gets and
#          checks it; the report must name the cause. Then count the pages of the pool: all must be
#          back after malloc_trim, after exit, and after SIGKILL.
. "$(dirname "$0")/lib.sh"
pool_prog=$build_dir/tests/live/pool
need_built "$pool_prog"
own_machine
size_kib=$(awk '/^Hugepagesize:/ { print $2 }' /proc/meminfo)
pool=/sys/kernel/mm/hugepages/hugepages-${size_kib:-none}kB
[ "$size_kib" = 2048 ] || skip "the kernel's default hugetlb page is not of 2 MiB"
[ "$(cat "$pool/nr_hugepages")" = 0 ] && [ "$(cat "$pool/surplus_hugepages")" = 0 ] ||
    skip "somebody else has hugetlb pages here"
case $(uname -r) in
    [0-4].* | 5.[0-9].* | 5.1[0-5].*) skip "hugetlb pages are not used before Linux 5.16" ;;
esac
set_machine "$thp_enabled" madvise
set_machine "$pool/nr_overcommit_hugepages" 0
set_machine "$pool/nr_hugepages" 0

# pages COUNT: so many in the pool.
pages() {
    echo "$1" >"$pool/nr_hugepages"
    [ "$(cat "$pool/nr_hugepages")" = "$1" ] || skip "the machine has no $1 hugetlb pages to spare"
}

# run NAME CHAIN STEP...: the output goes to $work_dir/NAME, the report to NAME.json.
run() {
    local name=$1 chain=$2 rc=0
    shift 2
    rm -f "$work_dir/$name.json"
    under "$huma_lib" env HUMA_BACKING="$chain" HUMA_VERBOSE=1 HUMA_STATS="$work_dir/$name.json" \
        "$pool_prog" "$@" >"$work_dir/$name" 2>"$work_dir/$name.err" || rc=$?
    [ "$rc" = "${expected_rc:-0}" ] ||
        { cat "$work_dir/$name" "$work_dir/$name.err"; fail "$name: exit status $rc"; }
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

# No pool at all.
run empty hugetlb,thp,4k fill 64 look full check
expect empty "$work_dir/empty" full_hugetlb_kib eq 0
expect_reason pool-empty "$work_dir/empty.json"
one_line empty "cure: raise vm.nr_hugepages"

# A pool for two thirds of the heap: used to the last page, and the rest is THP.
pages 256
for what in "fill 768" "one 768"; do
    # shellcheck disable=SC2086
    run short hugetlb,thp,4k $what look full check free look freed trim look trimmed
    expect "short, $what" "$work_dir/short" full_hugetlb_kib eq $((256 * 2048))
    expect "short, $what" "$work_dir/short" full_coverage_pct ge 98
    expect "short, $what" "$work_dir/short" freed_hugetlb_kib le $((8 * 2048))
    expect "short, $what" "$work_dir/short" trimmed_hugetlb_kib le 2048
    expect_reason pool-empty "$work_dir/short.json"
    all_free "short, $what, after exit"
done
expected_rc=137 run killed hugetlb,thp,4k fill 600 look full die
expect killed "$work_dir/killed" full_hugetlb_kib eq $((256 * 2048))
all_free "after SIGKILL"
run grown hugetlb,thp,4k one 300 grow 400 grow 700 check half fill 100 check free
all_free "realloc"

# Required: ENOMEM and a reason, and what was there before still serves.
run required hugetlb:2M fill 400 look full want 200 check free fill 400 check
expect required "$work_dir/required" full_hugetlb_kib ge $((200 * 2048))
one_line required "the pool of hugetlb pages has too few"
all_free required
run two-sizes hugetlb:1G,hugetlb:2M,thp,4k fill 100 look full check
expect two-sizes "$work_dir/two-sizes" full_hugetlb_kib ge $((50 * 2048))

# Surplus pages.
pages 16
echo 64 >"$pool/nr_overcommit_hugepages"
run surplus hugetlb,thp,4k fill 200 look full check free trim
expect surplus "$work_dir/surplus" full_hugetlb_kib eq $((80 * 2048))
expect_reason pool-empty "$work_dir/surplus.json"
[ "$(cat "$pool/surplus_hugepages")" = 0 ] || fail "surplus pages stay"
echo 0 >"$pool/nr_overcommit_hugepages"

# A neighbour takes what is left while the heap grows, and gives it back: it is used again.
pages 128
run_drained() {
    run drained hugetlb,thp,4k fill 64 look before wait "$work_dir/taken" fill 64 look short \
        wait "$work_dir/given" fill 8 look still fill 64 look after check free
}
run_drained &
drained=$!
until grep -q before_coverage "$work_dir/drained" 2>/dev/null; do sleep 0.05; done
env LD_PRELOAD="$huma_lib" HUMA_BACKING=hugetlb "$pool_prog" fill 180 look full \
    wait "$work_dir/give" >"$work_dir/neighbour" 2>&1 9>&- &
neighbour=$!
until grep -q full_coverage "$work_dir/neighbour" 2>/dev/null; do sleep 0.05; done
touch "$work_dir/taken"
until grep -q short_coverage "$work_dir/drained" 2>/dev/null; do sleep 0.05; done
touch "$work_dir/give"
wait "$neighbour" || { cat "$work_dir/neighbour"; fail "the neighbour's exit status is $?"; }
sleep 1.1
touch "$work_dir/given"
wait "$drained" || fail "drained"
expect drained "$work_dir/drained" short_hugetlb_kib lt $((60 * 2048))
expect drained "$work_dir/drained" after_hugetlb_kib gt $((60 * 2048))
expect_reason pool-empty "$work_dir/drained.json"
all_free drained

# Limits of a control group: on pages in use, where mmap succeeds and a touch would kill; and on
# pages promised.
pages 64
if make_pool_group && [ -e "$pool_group_dir/hugetlb.2MB.max" ]; then
    for limit in max rsvd.max; do
        echo $((20 << 21)) >"$pool_group_dir/hugetlb.2MB.$limit"
        in_group run limit hugetlb,thp,4k fill 120 look full check free
        expect "hugetlb.2MB.$limit" "$work_dir/limit" full_hugetlb_kib eq $((20 * 2048))
        expect "hugetlb.2MB.$limit" "$work_dir/limit" full_coverage_pct ge 90
        expect_reason "pool-${limit/rsvd.max/rsvd-max}" "$work_dir/limit.json"
        one_line limit "hugetlb.2MB.$limit: $((20 << 21)))"
        echo max >"$pool_group_dir/hugetlb.2MB.$limit"
        all_free "hugetlb.2MB.$limit"
    done
    remove_group
else
    echo "no hugetlb controller of version 2 that can be used here: limits are not tried"
fi
