#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# pool.sh - the long random run (soak.c) on a pool of hugetlb pages that is never the same twice.
#
# Problem  What a pool can give changes between any two calls: a neighbour takes pages, a limit falls
#          below what is in use. A page that is then not there ends a program by a signal.
# Idea     The run in a memory cgroup and one for hugetlb pages, with HUMA_FORK=safe. A neighbour takes
#          and gives pages of the pool, and both limits move, at random. Neither is ever so low that
#          somebody must be killed: hugetlb pages are asked for before they are used, and the memory
#          limit leaves room for the blocks, for what two children at once write to, and their copies.
#          In the end all pages are back in the pool, and the report names what was short.
# Needs    root. SOAK_SECONDS (30) and SOAK_SEED pass through.
. "$(dirname "$0")/../live/lib.sh"
soak=$build_dir/tests/soak/soak
neighbour=$build_dir/tests/soak/neighbour
need_built "$soak" "$neighbour"
available_kib=$(value_of MemAvailable /proc/meminfo)
[ "$available_kib" -ge $((3 << 20)) ] ||
    skip "needs 3 GiB of memory; $((available_kib >> 10)) MiB are available"
own_machine
own_pool 96
low_mib=1280
make_group $((2 * low_mib << 20))
make_pool_group || echo "no hugetlb controller that can be used here: only memory has a limit"

report=$work_dir/stats.json
export SOAK_LIVE_MIB=256 SOAK_CHILDREN=2
"$neighbour" 64 "$RANDOM" >"$work_dir/neighbour" 2>&1 9>&- &
neighbour_pid=$!
{ enter_group && exec env LD_PRELOAD="$huma_lib" HUMA_BACKING=hugetlb,thp,4k HUMA_STATS="$report" \
    "$soak"; } 9>&- &
soak_pid=$!

# A limit that the kernel refuses to set, since it is too low just then, stays as it was.
moved=0
while kill -0 "$soak_pid" 2>/dev/null; do
    [ -z "$pool_group_dir" ] || echo $((RANDOM % 96 << 21)) 2>/dev/null >"$pool_max" || :
    echo $((low_mib + RANDOM % low_mib << 20)) 2>/dev/null >"$group_limit" || :
    moved=$((moved + 1))
    sleep "0.$((RANDOM % 3 + 1))"
done
rc=0
wait "$soak_pid" || rc=$?
[ "$rc" = 0 ] || fail "exit status $rc (over 128: a signal)"
kill "$neighbour_pid"
wait "$neighbour_pid" || { cat "$work_dir/neighbour"; fail "the neighbour's exit status is $?"; }
cat "$work_dir/neighbour"
echo "limits: moved $moved times"

expect_reason pool-empty "$report"
[ -z "$pool_group_dir" ] || expect_reason pool-max "$report"
! tr -d ' \n' <"$report" | grep -q '"fork-room":[1-9]' || fail "the memory limit was too low for a copy"
# Programs of other tests, which run at the same time, may have some for a moment.
is_whole() { [ "$(cat "$pool/free_hugepages")" = 96 ] && [ "$(cat "$pool/resv_hugepages")" = 0 ]; }
for ((i = 0; i < 200; i++)); do
    is_whole && break
    sleep 0.1
done
is_whole || { head "$pool"/*_hugepages; fail "pages are missing in the pool"; }
