#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# grow.sh - blocks that realloc makes longer and shorter keep their bytes, lie on huge pages, and
# take no more memory than they need.
. "$(dirname "$0")/../programs/lib.sh"

least_kib=$((1 << 20))
[ "$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo)" -ge "$least_kib" ] ||
    skip "less than $least_kib kB of memory is available"
under huma grow "$helpers/grow"
cat "$tmp/grow.huma/out" "$tmp/grow.huma/err"
[ "$(status grow huma)" = 0 ] || fail "grow: see above"
