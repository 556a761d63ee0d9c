#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# cutoff.sh - the mmap cutoff is glibc's, to the byte: each rule of cutoff.c says the same under
# glibc and under huma. Each runs in a process of its own, with the environment that it asks for.
. "$(dirname "$0")/../programs/lib.sh"

rules_at_least=220

version=$(getconf GNU_LIBC_VERSION 2>/dev/null) || skip "the cutoff is that of glibc; this is another libc"
version=${version#glibc 2.}
[ "${version%%.*}" -ge 35 ] && [ "${version%%.*}" -lt 38 ] ||
    skip "glibc 2.$version: chunk sizes and return codes are compared with those of 2.35 to 2.37"

# verdict PRELOAD RULE SETTING...
verdict() {
    local preload=$1 rule=$2
    shift 2
    timeout -k 5 "$limit_s" env "$@" LD_PRELOAD="$preload" "$helpers/cutoff" "$rule" 2>&1 ||
        echo "$rule: exit status $?"
}

"$helpers/cutoff" >"$tmp/rules" || broken "cutoff cannot list its rules"
count=0
different=0
while IFS=$'\t' read -r rule settings; do
    IFS='|' read -ra setting <<<"$settings"
    verdict "$reference_preload" "$rule" "${setting[@]}" >"$tmp/glibc"
    verdict "$huma_lib" "$rule" "${setting[@]}" >"$tmp/huma"
    count=$((count + 1))
    if grep -q 'exit status' "$tmp/glibc" || [ ! -s "$tmp/glibc" ]; then
        cat "$tmp/glibc"
        broken "rule $rule does not run under glibc"
    fi
    if ! diff "$tmp/glibc" "$tmp/huma" >"$tmp/diff"; then
        different=$((different + 1))
        echo "rule $rule, glibc (<) and huma (>):"
        cat "$tmp/diff"
    fi
done <"$tmp/rules"
echo "$count rules compared, $different different"
[ "$different" = 0 ] || fail "the cutoff is not glibc's"
[ "$count" -ge "$rules_at_least" ] || fail "only $count rules ran, there are at least $rules_at_least"
