#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# address-limit.sh - under ulimit -v a program gets most of the room, then NULL and ENOMEM; what was
# freed is to be had in other sizes; and what the heap has in reserve is not lacking where the program
# maps something itself.
. "$(dirname "$0")/lib.sh"
need_built "$smoke"

# What huma may hold beyond glibc: the page map, its other metadata, a region that is not full.
spent_mib=10

# grow LIB LIMIT_MIB BYTES OUT: blocks of BYTES until the limit; its exit status is in rc.
grow() {
    rc=0
    (ulimit -v $(($2 << 10)) && under "$1" "$smoke" grow 4096 "$3") >"$4" 2>&1 || rc=$?
    [ "$rc" = 0 ] || cat "$4"
}

for limit_mib in 512 64 32; do
    for block_bytes in 1000 40000 1048576; do
        name="$limit_mib MiB, blocks of $block_bytes"
        grow glibc $limit_mib $block_bytes "$work_dir/glibc"
        [ "$rc" = 0 ] || broken "$name: exit status $rc under glibc"
        grow "$huma_lib" $limit_mib $block_bytes "$work_dir/huma"
        [ "$rc" = 0 ] || fail "$name: exit status $rc"
        glibc_mib=$(value_of got_mib "$work_dir/glibc")
        [ "$(value_of refused "$work_dir/huma")" = yes ] || fail "$name: the limit did not hold"
        expect "$name (glibc $glibc_mib MiB)" "$work_dir/huma" \
            got_mib ge $((glibc_mib - spent_mib - glibc_mib / 20))
    done
done

# What small blocks had, one that wants a mapping of its own gets, again and again.
for block_bytes in 64 1000 40000 1048576; do
    name="64 MiB, blocks of $block_bytes, then one of 40 MiB"
    (ulimit -v $((64 << 10)) && under glibc "$smoke" turns 20 "$block_bytes" 40) \
        >"$work_dir/glibc" 2>&1 || { cat "$work_dir/glibc"; broken "$name: not under glibc"; }
    rc=0
    (ulimit -v $((64 << 10)) && under "$huma_lib" "$smoke" turns 20 "$block_bytes" 40) \
        >"$work_dir/huma" 2>&1 || rc=$?
    [ "$rc" = 0 ] || { cat "$work_dir/huma"; fail "$name: exit status $rc"; }
    first_mib=$(value_of got_mib "$work_dir/huma")
    last_mib=$(awk '$1 == "got_mib" { last = $2 } END { print last }' "$work_dir/huma")
    [ "$last_mib" -ge $((first_mib - 4)) ] || # structs for extents of one more size
        fail "$name: $first_mib MiB of small blocks the first time, $last_mib the last"
    echo "$name: works, 20 times"
done

# So little that the heap itself may not fit: malloc says no, and nothing else happens.
for limit_mib in 16 12 10 8 6 5; do
    (ulimit -v $((limit_mib << 10)) && under glibc "$smoke" grow 4096 1000) >/dev/null 2>&1 || break
    rc=0
    (ulimit -v $((limit_mib << 10)) && under "$huma_lib" "$smoke" grow 4096 1000) \
        >"$work_dir/huma" 2>&1 || rc=$?
    [ "$rc" -le 127 ] || { cat "$work_dir/huma"; fail "$limit_mib MiB: exit status $rc"; }
    echo "$limit_mib MiB: exit status $rc, got_mib $(value_of got_mib "$work_dir/huma")"
done

# A thread's stack is 8 MiB, and mapped when the heap is there: as many as under glibc, less what
# the page map takes.
(ulimit -v $((96 << 10)) && under "$huma_lib" "$smoke" heap 8 4) >"$work_dir/huma" 2>&1 ||
    { cat "$work_dir/huma"; fail "four threads in 96 MiB: exit status $?"; }
echo "four threads in 96 MiB: work"
