#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# hugetlb.sh - a heap on the pool of hugetlb pages: empty, short, drained, grown.
#
# Problem  A hugetlb page that is not there ends a program by a signal, long after malloc.
# Idea     Each way in which a pool can be short, with a program that writes to all it gets and
#          checks it; the report must name the cause. Then count the pages of the pool: all must be
#          back after malloc_trim, after exit, and after SIGKILL. Limits: hugetlb_limits.sh.
. "$(dirname "$0")/pool.sh"

# until_said NAME TEXT: a program in the background has come so far.
until_said() {
    local try
    for ((try = 0; try < 1200; try++)); do
        ! grep -q "$2" "$work_dir/$1" 2>/dev/null || return 0
        sleep 0.05
    done
    fail "$1 has not said $2 within a minute"
}

# No pool at all: the next backing, or, if it is required, ENOMEM from the first block on.
run empty hugetlb,thp,4k fill 256 look full check
expect empty "$work_dir/empty" full_hugetlb_kib eq 0
expect empty "$work_dir/empty" full_coverage_pct ge 90
expect_reason pool-empty "$work_dir/empty.json"
one_line empty "cure: raise nr_hugepages"
run nothing hugetlb want 1 want 100
one_line nothing "the pool of hugetlb pages has too few"
set_machine "$thp_enabled" never
run nothing hugetlb,thp want 1 want 100
one_line nothing "transparent huge pages are switched off on this machine"
set_machine "$thp_enabled" madvise

# The pool is filled while the program runs.
run late hugetlb,thp,4k fill 16 look before wait "$work_dir/filled" fill 64 look after check free &
late=$!
until_said late before_coverage
pages 64
sleep 1.1 # the longest that a pool is left alone
touch "$work_dir/filled"
wait "$late" || { cat "$work_dir/late"*; fail "late"; }
expect late "$work_dir/late" before_hugetlb_kib eq 0
expect late "$work_dir/late" after_hugetlb_kib ge $((28 * 2048))
all_free late

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
    told short trimmed
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

# A heap smaller than a page of 1 GiB leaves such to others, whether there are some or not.
run two-sizes hugetlb:1G,hugetlb:2M,thp,4k fill 100 look full check info "$work_dir/info"
expect two-sizes "$work_dir/two-sizes" full_hugetlb_kib ge $((50 * 2048))
expect_reason pool-large "$work_dir/two-sizes.json"
one_line two-sizes "cure: name a smaller size behind it, such as hugetlb:2M"
told two-sizes full
grep -q '<reason code="pool-large" count="[1-9]' "$work_dir/info" &&
    grep -q "<backing type=\"hugetlb\" size=\"$(json_of two-sizes hugetlb)\"/>" "$work_dir/info" ||
    { cat "$work_dir/info"; fail "two-sizes: malloc_info lacks counts"; }
run nothing hugetlb:1G want 1

# Surplus pages: made on demand, counted, and gone again.
pages 16
echo 64 >"$pool/nr_overcommit_hugepages"
run surplus hugetlb,thp,4k fill 200 look full check info "$work_dir/info"
expect surplus "$work_dir/surplus" full_hugetlb_kib eq $((80 * 2048))
expect_reason pool-empty "$work_dir/surplus.json"
[ "$(json_of surplus pool_surplus_bytes)" = $((64 << 21)) ] &&
    grep -q "<pool type=\"surplus\" size=\"$((64 << 21))\"/>" "$work_dir/info" ||
    { cat "$work_dir/info"; fail "surplus pages are not counted"; }
[ "$(cat "$pool/surplus_hugepages")" = 0 ] || fail "surplus pages stay after exit"
run surplus hugetlb,thp,4k fill 200 free trim look trimmed wait "$work_dir/seen" &
surplus=$!
until_said surplus trimmed_unpromised
left=$(cat "$pool/surplus_hugepages")
touch "$work_dir/seen"
wait "$surplus" || fail "surplus"
[ "$left" = 0 ] || fail "surplus pages stay after malloc_trim"
echo "surplus: 64 pages used and given back"
echo 0 >"$pool/nr_overcommit_hugepages"
all_free surplus

# A neighbour takes what is left while the heap grows, and gives it back: it is used again.
pages 128
run drained hugetlb,thp,4k fill 64 look before wait "$work_dir/taken" fill 64 look short \
    wait "$work_dir/given" fill 8 look still fill 64 look after check free &
drained=$!
until_said drained before_coverage
env LD_PRELOAD="$huma_lib" HUMA_BACKING=hugetlb "$pool_prog" fill 180 look full \
    wait "$work_dir/give" >"$work_dir/neighbour" 2>&1 9>&- &
neighbour=$!
until_said neighbour full_coverage
touch "$work_dir/taken"
until_said drained short_coverage
touch "$work_dir/give"
wait "$neighbour" || { cat "$work_dir/neighbour"; fail "the neighbour's exit status is $?"; }
sleep 1.1
touch "$work_dir/given"
wait "$drained" || fail "drained"
expect drained "$work_dir/drained" short_hugetlb_kib lt $((60 * 2048))
expect drained "$work_dir/drained" after_hugetlb_kib gt $((60 * 2048))
expect_reason pool-empty "$work_dir/drained.json"
all_free drained

# Three take from one pool and give back, all at the same time.
pages 24
for name in one two three; do
    run $name hugetlb,thp,4k turns 40 &
done
wait -n && wait -n && wait -n || fail "three on one pool: see above"
all_free "three on one pool"
