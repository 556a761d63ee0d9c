#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# coverage.sh - a touched heap lies on huge pages and takes hardly more than under glibc, whatever
# the size of the blocks and whichever thread allocates; also after most of it was freed at random
# and allocated again.
. "$(dirname "$0")/../programs/lib.sh"

least_kib=$((1 << 20))
[ "$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo)" -ge "$least_kib" ] ||
    skip "less than $least_kib kB of memory is available"

# judge NAME: the lines of both runs side by side; status 1 if a figure is missed. Of the whole
# process: coverage in thousandths at least, RSS against glibc's at most.
judge() {
    paste "$tmp/$1.glibc/out" "$tmp/$1.huma/out" | awk -v name="$1" '
        BEGIN { least["fresh"] = 980; most["fresh"] = 1.06; least["again"] = 950; most["again"] = 1.10 }
        {
            ratio = $9 / $3
            bad = $8 < least[$7] || ratio > most[$7]
            printf "%-22s %s: coverage %5.1f %%, RSS %.3f x glibc, %s x touched%s\n", name, $7,
                $8 / 10, ratio, $10, bad ? "  MISSED" : ""
            missed += bad
        }
        END { exit missed > 0 || NR != 2 }'
}

# measure COUNT SIZE THREAD: under both; status 1 if a figure is missed.
measure() {
    local which name=$1x$2-$3
    for which in huma glibc; do
        under "$which" "$name" "$helpers/coverage" "$@"
        [ "$(status "$name" "$which")" = 0 ] && continue
        show "$name" "$which"
        exit "$(status "$name" "$which")"
    done
    judge "$name"
}

# The first regions are collapsed in a share of the process's time: where others keep the machine
# busy, that may come late, so what is missed is measured again.
rc=0
for thread in main thread; do
    for blocks in '300000 1000' '64 4194304' '256 1048576' '120 2202010' '400 614400' \
        '410000 16-4096' '6400 64-409600'; do
        read -r count size <<<"$blocks"
        measure "$count" "$size" "$thread" || measure "$count" "$size" "$thread" ||
            measure "$count" "$size" "$thread" || rc=1
    done
done
[ "$rc" = 0 ] || fail "fresh: coverage 98 %, RSS 1.06 x; again: 95 %, 1.10 x"
