#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# cutoff.sh - the rules of tests/preload/cutoff.sh on an arena with default options: glibc's malloc
# and arena_malloc.c say the same. Left out are rules that set something, by mallopt or in the
# environment: an arena has cutoff_bytes for that.
. "$(dirname "$0")/../programs/lib.sh"

rules_at_least=88

version=$(getconf GNU_LIBC_VERSION 2>/dev/null) || skip "the cutoff is that of glibc; this is another libc"
version=${version#glibc 2.}
[ "${version%%.*}" -ge 35 ] && [ "${version%%.*}" -lt 38 ] ||
    skip "glibc 2.$version: chunk sizes and return codes are compared with those of 2.35 to 2.37"

read -ra numa < <(sed -n 's/^NUMA_LIBS = //p' "$huma_build/Makefile")
# shellcheck disable=SC2086 # CC and HM_CFLAGS have flags
$CC $HM_CFLAGS -ftls-model=initial-exec -fvisibility=hidden -fPIC -shared \
    "$here/arena_malloc.c" "$huma_build/.libs/libhumaapi.a" "$huma_build/.libs/libhumacore.a" \
    "${numa[@]}" -o "$tmp/arena_malloc.so" || broken "arena_malloc.c cannot be compiled"

# verdict PRELOAD RULE
verdict() {
    timeout -k 5 "$limit_s" env LD_PRELOAD="$1" "$helpers/cutoff" "$2" 2>&1 ||
        echo "$2: exit status $?"
}

cutoff=$helpers/cutoff
"$cutoff" >"$tmp/rules" || broken "cutoff cannot list its rules"
count=0
different=0
left_out=0
while IFS=$'\t' read -r rule settings; do
    verdict "$tmp/arena_malloc.so" "$rule" >"$tmp/arena"
    if [ -n "$settings" ] || grep -q 'exit status 77' "$tmp/arena"; then
        left_out=$((left_out + 1))
        continue
    fi
    verdict "$reference_preload" "$rule" >"$tmp/glibc"
    count=$((count + 1))
    [ -s "$tmp/glibc" ] && ! grep -q 'exit status' "$tmp/glibc" ||
        broken "rule $rule does not run under glibc"
    if ! diff "$tmp/glibc" "$tmp/arena" >"$tmp/diff"; then
        different=$((different + 1))
        echo "rule $rule, glibc (<) and an arena (>):"
        cat "$tmp/diff"
    fi
done <"$tmp/rules"
echo "$count rules compared, $different different; $left_out set something"
[ "$different" = 0 ] || fail "the cutoff of an arena is not glibc's"
[ "$count" -ge "$rules_at_least" ] || fail "only $count rules ran, there are at least $rules_at_least"
