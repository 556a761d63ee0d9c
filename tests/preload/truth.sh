#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# truth.sh - what huma says of its memory is what the kernel says: resident and huge bytes at any
# time, by the ioctl and by smaps, and the reasons, counted in regions.
. "$(dirname "$0")/../programs/lib.sh"

# settle NAME: skip where the program could not do what it is for; show what failed.
settle() {
    case $(status "$1" huma) in
        0) ;;
        77) skip "$1: not to be had here" ;;
        *) show "$1" huma; fail "$1" ;;
    esac
}

# json NAME KEY: a number of the report that was written at exit, the first of that name.
json() {
    cat "$tmp/stats/$1".*.json | tr -d ' \n' | grep -oE "\"$2\":[0-9]+" | head -n 1 | cut -d: -f2
}

# close NAME KEY NUMBER: the report's number differs by a huge page for each mapping at most.
close() {
    local told=$(($(json "$1" "$2"))) off
    off=$((told > $3 ? told - $3 : $3 - told))
    [ "$off" -le $((maps * (2 << 20))) ] || fail "$1: $2 is $told, smaps says $3 in $maps mappings"
}

for setting in HUMA_BACKING=thp,4k HUMA_BACKING=4k HUMA_HUGE_START=0; do
    for way in ioctl no-ioctl; do
        name=play-$setting-$way
        args=(play 7)
        [ "$way" = ioctl ] || args+=(no-ioctl)
        rm -f "$tmp/stats/$name".*
        under huma "$name" env "$setting" "$helpers/truth" "${args[@]}"
        settle "$name"
        read -r _ rss huge maps < <(grep '^end ' "$tmp/$name.huma/out")
        # The parent is the one that ended by itself; its children leave no report.
        close "$name" resident_bytes "$rss"
        close "$name" huge_bytes "$huge"
        echo "$name: $(grep -c smaps "$tmp/$name.huma/out") looks; at exit $((rss >> 10)) KiB, $((huge >> 10)) huge"
    done
done

# number NAME TEXT: what stands behind TEXT in the output, 0 if it is not there.
number() {
    local text
    text=$(grep -F "$2" "$tmp/$1.huma/out") || { echo 0; return; }
    text=${text#*"$2"}
    echo "${text%%[!0-9]*}"
}
reason() { number "$1" "<reason code=\"$2\" count=\""; }

# fill NAME SETTING WHAT CODE: WHAT is refused; then CODE, with heap-small before it, is the reason of
# each region on base pages, of which `rest` were collapsed.
fill() {
    local name=$1 small told base
    rm -f "$tmp/stats/$name".*
    # shellcheck disable=SC2086 # none or one word
    under huma "$name" env "$2" "$helpers/truth" fill $3
    settle "$name"
    small=$(reason "$name" heap-small)
    told=$(reason "$name" "$4")
    [ "$4" != heap-small ] || small=0
    base=$(number "$name" '<backing type="4k" size="')
    rest=$((small + told - base / hpage))
    echo "$name: heap-small $small, $4 $told regions; on base pages $((base / hpage))"
    [ $((base % hpage)) = 0 ] && [ "$told" -gt 0 ] ||
        { show "$name" huma; fail "$name: $4 is no reason for $base bytes"; }
}

# all NAME: none was collapsed.
all() { [ "$rest" = 0 ] || { show "$1" huma; fail "$1: the count is off by $rest"; }; }

hpage=$(cat /sys/kernel/mm/transparent_hugepage/hpage_pmd_size 2>/dev/null || echo 0)
grep -qE '\[(always|madvise)\]' /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null ||
    skip "transparent huge pages are switched off here"
fill small HUMA_BACKING=thp,4k '' heap-small
# Some may have been collapsed between the look and the exit.
collapsed=$(json small collapse_count)
[ "$rest" -le "$collapsed" ] && [ "$collapsed" -le "$(reason small heap-small)" ] ||
    fail "small: $rest regions, not the $collapsed collapsed"
fill chain HUMA_BACKING=4k '' not-in-chain && all chain
fill only HUMA_ONLY=other '' not-selected && all only
fill advice HUMA_BACKING=thp,4k no-advice advice-failed && all advice
fill prctl HUMA_BACKING=thp,4k no-thp thp-prctl && all prctl
fill collapse HUMA_BACKING=thp,4k no-collapse heap-small && all collapse
[ "$(reason collapse collapse-failed)" -gt 0 ] || fail "collapse: no region was refused"
fill commit HUMA_BACKING=thp,4k no-commit commit-failed
[ "$(reason commit commit-failed)" = "$(number commit 'refused ')" ] ||
    fail "commit: $(number commit 'refused ') were refused"
