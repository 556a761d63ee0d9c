#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# only.sh - HUMA_ONLY: of what a script starts, the named executables alone have huge pages.
#
# The same program under several names, all children of a preloaded shell. It prints what the
# kernel says; the reason is in its report. Where THP is switched off, nobody has huge pages, and
# the reason is told all the same.
. "$(dirname "$0")/../programs/lib.sh"
[ "$standin" != 1 ] || skip "a stand-in has no HUMA_ONLY"

smoke=$huma_build/tests/support/smoke
[ -x "$smoke" ] || broken "no $smoke; run make check"
mkdir "$tmp/bin" "$tmp/reports"
cp "$smoke" "$tmp/bin/meant"
cp "$smoke" "$tmp/bin/other"
ln -s meant "$tmp/bin/alias"

# start PATTERNS: the report of each program is in $tmp/reports/NAME.
start() {
    rm -f "$tmp"/reports/*
    # shellcheck disable=SC2016
    LD_PRELOAD=$huma_lib HUMA_ONLY=$1 bash -c '
        for name in meant other alias; do
            HUMA_STATS=$1/reports/$name $1/bin/$name dense 40 1 0 >"$1/reports/$name.out" || exit 1
        done' bash "$tmp" 2>"$tmp/err" || fail "HUMA_ONLY=$1: exit status $?: $(cat "$tmp/err")"
}
huge_kib() { sed -n 's/^anon_huge_kib //p' "$tmp/reports/$1.out"; }
figure() { sed -n "s/.*\"$2\": \([0-9]*\).*/\1/p" "$tmp/reports/$1"; }

# expect_only PATTERNS NAME...: these are served as by default, the others as by HUMA_BACKING=4k.
expect_only() {
    local patterns=$1 name
    shift
    start "$patterns"
    for name in meant other alias; do
        case " $* " in
            *" $name "*)
                [ "$(figure $name not-selected)" = 0 ] ||
                    fail "HUMA_ONLY=$patterns: $name is passed over"
                [ "$thp" = no ] || [ "$(huge_kib $name)" -gt $((16 << 10)) ] ||
                    fail "HUMA_ONLY=$patterns: $name has no huge pages" ;;
            *)
                [ "$(figure $name not-selected)" -gt 0 ] ||
                    fail "HUMA_ONLY=$patterns: $name is not passed over"
                [ "$(huge_kib $name)" = 0 ] || fail "HUMA_ONLY=$patterns: $name has huge pages" ;;
        esac
    done
}

thp=no
grep -qs '\[never\]' /sys/kernel/mm/transparent_hugepage/enabled || thp=yes
[ -r /sys/kernel/mm/transparent_hugepage/enabled ] || thp=no

expect_only '*' meant other alias
expect_only 'meant' meant alias
expect_only 'me[a-z]nt:no-such' meant alias
expect_only "$tmp/bin/oth*" other
expect_only "no-such" # nobody
expect_only '' meant other alias
start '[oops'
grep -q 'HUMA_ONLY=\[oops is ignored' "$tmp/err" || fail "a wrong pattern is not told"
[ "$(figure other not-selected)" = 0 ] || fail "a wrong pattern is not ignored"

# With HUMA_VERBOSE, once, and only from those that would have had huge pages.
export HUMA_ONLY=meant HUMA_VERBOSE=1
LD_PRELOAD=$huma_lib "$tmp/bin/other" dense 40 1 0 >/dev/null 2>"$tmp/err"
[ "$(grep -c 'HUMA_ONLY does not name this executable; cure: ' "$tmp/err")" = 1 ] ||
    fail "HUMA_VERBOSE=1 does not tell it once: $(cat "$tmp/err")"
LD_PRELOAD=$huma_lib "$tmp/bin/other" small >/dev/null 2>"$tmp/err"
[ ! -s "$tmp/err" ] || fail "a small program says: $(cat "$tmp/err")"
echo "HUMA_ONLY tells who has huge pages"
