#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# grow.sh - blocks that realloc makes longer and shorter keep their bytes, lie on huge pages, and
# take no more memory than they need.
. "$(dirname "$0")/../programs/lib.sh"

least_kib=$((1 << 20))
[ "$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo)" -ge "$least_kib" ] ||
    skip "less than $least_kib kB of memory is available"
# A program that swings may keep what it swings by; not so if it shall be kept for no time.
under huma grow env HUMA_PURGE_DELAY_MS=0 "$helpers/grow"
cat "$tmp/grow.huma/out" "$tmp/grow.huma/err"
[ "$(status grow huma)" = 0 ] || fail "grow: see above"
