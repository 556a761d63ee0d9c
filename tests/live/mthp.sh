#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# mthp.sh - huge pages of PMD size are off and those of 64 KiB are on: the heap takes these, the
# report says why it has no others, and nothing is collapsed; a small process takes none.
. "$(dirname "$0")/lib.sh"
need_built "$smoke"
own_machine
sizes=/sys/kernel/mm/transparent_hugepage/hugepages
set_machine "$thp_enabled" madvise
pmd_kib=$(($(cat /sys/kernel/mm/transparent_hugepage/hpage_pmd_size) / 1024))
set_machine "$sizes-${pmd_kib}kB/enabled" never
set_machine "$sizes-64kB/enabled" madvise
counter=$sizes-64kB/stats/anon_fault_alloc
[ -r "$counter" ] || skip "this kernel does not count huge pages by size"

# taken ARG...: run the smoke program; prints how many pages of 64 KiB the machine gave meanwhile.
taken() {
    local before
    before=$(cat "$counter")
    under "$huma_lib" env HUMA_STATS="$work_dir/stats.json" "$smoke" "$@" >"$work_dir/heap" ||
        fail "exit status $?"
    echo "mthp_pages $(($(cat "$counter") - before))" >"$work_dir/taken"
}

taken heap 128 2
expect "128 MiB" "$work_dir/heap" anon_huge_kib eq 0
expect "128 MiB" "$work_dir/taken" mthp_pages ge 1536
expect_reason thp-never "$work_dir/stats.json"
# Of a small process the counter tells nothing: others may take some meanwhile.
taken small
expect_reason heap-small "$work_dir/stats.json"
grep -q '"mthp": *0' "$work_dir/stats.json" || fail "a small process has smaller huge pages"
