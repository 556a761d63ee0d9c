#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# map-count.sh - where vm.max_map_count is used up, the heap goes on in the address space it holds.
#
# Problem  Opening a part of a reserved range parts a mapping in two, which the kernel refuses then;
#          glibc's heap grows by brk, which needs no new mapping.
# Idea     A program with a heap of 20 MiB uses all mappings up, then takes blocks of one size until
#          malloc says no, frees all, and takes some again once there are mappings.
. "$(dirname "$0")/lib.sh"
need_built "$smoke"
max_count=$(cat /proc/sys/vm/max_map_count)
[ "$max_count" -le 1000000 ] || skip "vm.max_map_count is $max_count: too many mappings to use up"
want_mib=200
# What the heap held when the mappings ran out: the rest of its 32 MiB, less what was in use.
held_mib=6

# crowd LIB BYTES OUT
crowd() { under "$1" "$smoke" crowd "$want_mib" "$2" >"$3" 2>&1; }

for block_bytes in 100 1000 20000 100000 1000000 40000000; do
    crowd glibc "$block_bytes" "$work_dir/glibc" ||
        { cat "$work_dir/glibc"; broken "blocks of $block_bytes: exit status $? under glibc"; }
    crowd "$huma_lib" "$block_bytes" "$work_dir/huma" ||
        { cat "$work_dir/huma"; fail "blocks of $block_bytes: exit status $?"; }
    least_mib=$held_mib
    [ "$block_bytes" -lt $((held_mib << 20)) ] || least_mib=0
    expect "blocks of $block_bytes (glibc $(value_of got_mib "$work_dir/glibc") MiB)" \
        "$work_dir/huma" got_mib ge "$least_mib"
done
