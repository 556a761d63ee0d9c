#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# address-limit.sh - under ulimit -v a program gets most of the room, then NULL and ENOMEM.
. "$(dirname "$0")/lib.sh"
need_built "$smoke"
limit_mib=512

# grow LIB BYTES OUT: blocks of BYTES until the limit; its exit status is in rc.
grow() {
    rc=0
    (ulimit -v $((limit_mib << 10)) && under "$1" "$smoke" grow 4096 "$2") >"$3" 2>&1 || rc=$?
    [ "$rc" = 0 ] || cat "$3"
}

for block_bytes in 1000 40000 1048576; do
    grow glibc "$block_bytes" "$work_dir/glibc"
    [ "$rc" = 0 ] || broken "blocks of $block_bytes: exit status $rc under glibc"
    grow "$huma_lib" "$block_bytes" "$work_dir/huma"
    [ "$rc" = 0 ] || fail "blocks of $block_bytes: exit status $rc"
    glibc_mib=$(value_of got_mib "$work_dir/glibc")
    [ "$(value_of refused "$work_dir/huma")" = yes ] ||
        fail "the limit of $limit_mib MiB did not hold"
    expect "blocks of $block_bytes (glibc $glibc_mib MiB)" "$work_dir/huma" \
        got_mib ge $((glibc_mib * 3 / 4))
done
