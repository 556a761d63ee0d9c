#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# coverage.sh - a freshly touched heap lies on huge pages, whatever the size of the blocks and
# whichever thread allocates.
. "$(dirname "$0")/../programs/lib.sh"

least_kib=$((1 << 20))
[ "$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo)" -ge "$least_kib" ] ||
    skip "less than $least_kib kB of memory is available"
rc=0
for thread in main thread; do
    for blocks in '300000 1000' '64 4194304' '256 1048576'; do
        # shellcheck disable=SC2086 # two words: count and size
        under huma coverage "$helpers/coverage" $blocks "$thread"
        cat "$tmp/coverage.huma/out" "$tmp/coverage.huma/err"
        status=$(status coverage huma)
        [ "$status" != 77 ] || exit 77
        [ "$status" = 0 ] || rc=1
    done
done
[ "$rc" = 0 ] || fail "coverage below 95 %"
