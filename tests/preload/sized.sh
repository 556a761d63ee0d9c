#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# sized.sh - sizes told to delete and free: right ones count nothing, each wrong one counts once, and
# none ends the program.
. "$(dirname "$0")/../programs/lib.sh"

for what in right wrong; do
    told=$(LD_PRELOAD=$huma_lib HUMA_STATS=$tmp/$what.json "$helpers/sized" $what)
    counted=$(sed -n 's/.*"sized_free_mismatch_count": \([0-9]*\).*/\1/p' "$tmp/$what.json")
    echo "$what sizes: $told are wrong, the report in JSON says ${counted:-nothing}"
    [ "$told" = "$counted" ] || fail "$what sizes: the counts differ"
done
[ "$told" -gt 100 ] || fail "only $told wrong sizes were tried"
# Where all blocks are direct, they have pages, and the same sizes are right.
MALLOC_MMAP_THRESHOLD_=0 LD_PRELOAD=$huma_lib HUMA_STATS=$tmp/direct.json "$helpers/sized" right
grep -qE '"sized_free_mismatch_count": 0\b' "$tmp/direct.json" || fail "direct blocks of right sizes"
LD_PRELOAD=$huma_lib HUMA_STATS=1 "$helpers/sized" wrong 2>"$tmp/text" >/dev/null
grep -qE "^huma: +wrong sizes +$told " "$tmp/text" || fail "the text of the report: $(cat "$tmp/text")"
