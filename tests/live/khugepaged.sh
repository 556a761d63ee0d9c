#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# khugepaged.sh - what was given back in parts of huge pages is not filled up again behind our back.
#
# Problem  khugepaged joins base pages of advised memory, holes included: a heap that gave memory
#          back would get it back, unasked.
# Idea     Let it run without pause. A bait of advised base pages shows that it works at all.
. "$(dirname "$0")/lib.sh"
heal=$build_dir/tests/preload/heal
need_built "$heal"
own_machine
set_machine "$thp_enabled" madvise
for setting in "scan_sleep_millisecs 1" "alloc_sleep_millisecs 1" "pages_to_scan 65536" \
    "max_ptes_none 511" "defrag 1"; do
    set_machine "/sys/kernel/mm/transparent_hugepage/khugepaged/${setting% *}" "${setting#* }"
done

rc=0
under "$huma_lib" "$heal" refill >"$work_dir/out" 2>&1 || rc=$?
cat "$work_dir/out"
[ "$rc" != 77 ] || skip "$(tail -n 1 "$work_dir/out")"
[ "$rc" = 0 ] || fail "memory that was given back is resident again (exit status $rc)"
