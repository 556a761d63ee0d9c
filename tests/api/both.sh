#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# both.sh - libhuma.so beside glibc's malloc, and beside libhuma_preload.so: two copies of huma.
. "$(dirname "$0")/../programs/lib.sh"

so=$huma_build/.libs/libhuma.so
# shellcheck disable=SC2086 # CC and HM_CFLAGS have flags
$CC $HM_CFLAGS -fno-builtin "$here/both.c" -L"$huma_build/.libs" -lhuma -Wl,-rpath,"$huma_build/.libs" \
    -ldl -o "$tmp/both" || broken "both.c cannot be compiled"
# shellcheck disable=SC2086
$CC $HM_CFLAGS -fno-builtin "$here/late.c" -ldl -o "$tmp/late" || broken "late.c cannot be compiled"

# ends NAME PATTERN PRELOAD ARGUMENT: the process says this, and aborts.
ends() {
    local rc=0
    timeout -k 5 "$limit_s" env LD_PRELOAD="$3" "$tmp/both" "$4" >"$tmp/out" 2>&1 || rc=$?
    cat "$tmp/out"
    [ $rc = 134 ] && grep -qE "$2" "$tmp/out" || fail "$1: exit status $rc, expected 134 and: $2"
}

for preload in "$reference_preload" "$huma_lib"; do
    timeout -k 5 "$limit_s" env LD_PRELOAD="$preload" "$tmp/both" || fail "LD_PRELOAD=$preload: $?"
    timeout -k 5 "$limit_s" env LD_PRELOAD="$preload" "$tmp/late" "$so" ||
        fail "late, LD_PRELOAD=$preload: $?"
    ends "malloc to arena" '^huma: huma_free\(\): invalid pointer 0x[0-9a-f]+: .*any arena' \
        "$preload" malloc-to-arena
done
ends "arena to malloc" '^huma: free\(\): invalid pointer 0x' "$huma_lib" arena-to-malloc
