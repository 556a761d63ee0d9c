#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# thp-never.sh - the administrator says never: no huge page, no crash, and the report says why.
. "$(dirname "$0")/lib.sh"
need_built "$smoke"
own_machine
set_machine "$thp_enabled" never

under "$huma_lib" env HUMA_STATS="$work_dir/stats.json" "$smoke" heap 128 2 >"$work_dir/heap" ||
    fail "exit status $?"
expect "128 MiB" "$work_dir/heap" anon_huge_kib eq 0
expect_reason thp-never "$work_dir/stats.json"
