#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# thp-prctl.sh - a process that may not have huge pages (PR_SET_THP_DISABLE, inherited by exec).
. "$(dirname "$0")/lib.sh"
need_built "$smoke"

own_machine
set_machine "$thp_enabled" madvise
under "$huma_lib" env HUMA_STATS="$work_dir/stats.json" "$smoke" nothp "$smoke" heap 128 2 \
    >"$work_dir/heap" || fail "exit status $?"
expect "128 MiB" "$work_dir/heap" anon_huge_kib eq 0
expect_reason thp-prctl "$work_dir/stats.json"
