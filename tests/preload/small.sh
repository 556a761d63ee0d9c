#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# small.sh - small processes stay small: no huge page, and hardly more memory than under glibc.
#
# Each program is looked at when it exits, eleven times each way in turn; medians are compared. Rss as
# a whole cannot be held to 128 KiB: how many pages of libc's and the program's files the kernel maps
# at a fault depends on its page cache, and swings by as much. What the library itself adds can:
# anonymous memory, and pages of its own file. Where the machine gives huge pages to everybody (THP
# always), the stack may lie on one: then huge pages are compared with glibc's.
. "$(dirname "$0")/../programs/lib.sh"
need awk
round_count=11

thp_file=/sys/kernel/mm/transparent_hugepage/enabled
thp=$(sed 's/.*\[\(.*\)\].*/\1/' "$thp_file" 2>/dev/null || echo absent)

# ask PRELOAD CMD ARG...: prints "Rss Own AnonHugePages" in kB, Own being anonymous or the library's.
ask() {
    local preload=$1 rc=0
    shift
    "$helpers/small_exit" env LD_PRELOAD="$preload" "$@" >"$tmp/smaps" || rc=$?
    [ "$rc" != 77 ] || skip "processes cannot be traced here"
    [ "$rc" = 0 ] || broken "$*: exit status $rc with LD_PRELOAD=$preload"
    awk '
        /^[0-9a-f]+-[0-9a-f]+ / { is_own = /libhuma_preload/ }
        /^Rss:/ { rss += $2; if (is_own) own += $2 }
        /^Anonymous:/ && !is_own { own += $2 }
        /^AnonHugePages:/ { huge += $2 }
        END { print rss + 0, own + 0, huge + 0 }' "$tmp/smaps"
}
median() { sort -n | sed -n "$((round_count / 2 + 1))p"; }

# measure LIBRARY CMD ARG...: whether it is as small as promised.
measure() {
    local lib=$1 key which i figures=()
    shift
    rm -f "$tmp/glibc" "$tmp/huma"
    for ((i = 0; i < round_count; i++)); do
        ask '' "$@" >>"$tmp/glibc"
        ask "$lib" "$@" >>"$tmp/huma"
    done
    for key in 1 2 3; do
        for which in glibc huma; do
            figures+=("$(awk -v key="$key" '{ print $key }' "$tmp/$which" | median)")
        done
    done
    local limit=$((figures[2] + figures[0] * 5 / 100 + 128)) huge_limit=0
    [ "$thp" != always ] || huge_limit=${figures[4]}
    echo "$*: Rss ${figures[1]} kB, glibc ${figures[0]}; anonymous and own ${figures[3]} kB," \
        "glibc ${figures[2]}, limit $limit; AnonHugePages ${figures[5]} kB"
    ((figures[5] <= huge_limit && figures[3] <= limit))
}

# judge CMD ARG...: how many pages of the library's file are mapped at a fault swings by 30 kB with how
# the kernel has cached that file. So a copy, which is cached anew, has another chance.
judge() {
    local copy
    command -v "$1" >/dev/null || { echo "$1 is not installed"; return; }
    measure "$huma_lib" "$@" && return
    for copy in 1 2; do
        mkdir -p "$tmp/$copy"
        cp "$huma_lib" "$tmp/$copy/libhuma_preload.so"
        measure "$tmp/$copy/libhuma_preload.so" "$@" && return
    done
    failed="$failed; $1 is too large, or has huge pages"
}

failed=
mkdir "$tmp/work"
cd "$tmp/work"
if command -v git >/dev/null; then
    export GIT_CONFIG_NOSYSTEM=1 HOME=$tmp
    git init -q .
    for ((i = 0; i < 100; i++)); do echo "$i" >"file$i"; done
    git add .
fi
# A script that stands for a program (pyenv) would be looked at in its place.
python3=/usr/bin/python3
[ -x "$python3" ] || python3=$(command -v python3 || echo python3)
judge true
judge cat /proc/self/status
judge bash -c :
judge git status
judge "$python3" -c pass
[ -z "$failed" ] || fail "${failed#; }"
