#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# thp-always.sh - THP for everyone: large heaps are covered, small processes still get no huge page.
. "$(dirname "$0")/lib.sh"
need_built "$smoke"
own_machine
set_machine "$thp_enabled" always

# A program that shows its own figures, so that there is no race with its end.
under "$huma_lib" cat /proc/self/smaps_rollup >"$work_dir/cat"
expect "cat" "$work_dir/cat" AnonHugePages eq 0
# shellcheck disable=SC2016
under "$huma_lib" bash -c 'while read -r line; do echo "$line"; done </proc/self/smaps_rollup' \
    >"$work_dir/bash"
expect "bash" "$work_dir/bash" AnonHugePages eq 0
under "$huma_lib" "$smoke" small >"$work_dir/small"
expect "small heap" "$work_dir/small" anon_huge_kib eq 0

under "$huma_lib" "$smoke" heap 256 1 >"$work_dir/one" || fail "one thread: exit status $?"
expect "256 MiB, 1 thread" "$work_dir/one" coverage_pct ge 95
under "$huma_lib" "$smoke" heap 256 4 >"$work_dir/four" || fail "four threads: exit status $?"
expect "256 MiB, 4 threads" "$work_dir/four" coverage_pct ge 90
