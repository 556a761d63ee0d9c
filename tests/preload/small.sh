#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# small.sh - small processes stay small: no huge page, and hardly more memory than under glibc.
#
# A process is asked for its own smaps, or a child of it asks, five times each way in turn; medians
# are compared. Rss as a whole cannot be held to 128 KiB: how many pages of libc's and the program's
# files the kernel maps at a fault depends on its page cache, and swings by as much. What the library
# itself adds can: anonymous memory, and pages of its own file. Where the machine gives huge pages to
# everybody (THP always), the stack may lie on one: then huge pages are compared with glibc's.
. "$(dirname "$0")/../programs/lib.sh"
need awk
round_count=5

thp_file=/sys/kernel/mm/transparent_hugepage/enabled
thp=$(sed 's/.*\[\(.*\)\].*/\1/' "$thp_file" 2>/dev/null || echo absent)

# ask PRELOAD CMD ARG...: prints "Rss Own AnonHugePages" in kB, Own being anonymous or the library's.
ask() {
    local preload=$1
    shift
    LD_PRELOAD=$preload "$@" | awk '
        /^[0-9a-f]+-[0-9a-f]+ / { is_own = /libhuma_preload/ }
        /^Rss:/ { rss += $2; if (is_own) own += $2 }
        /^Anonymous:/ && !is_own { own += $2 }
        /^AnonHugePages:/ { huge += $2 }
        END { print rss + 0, own + 0, huge + 0 }'
}
median() { sort -n | sed -n "$((round_count / 2 + 1))p"; }

# measure NAME CMD ARG...
measure() {
    local name=$1 key which i figures=()
    shift
    rm -f "$tmp/glibc" "$tmp/huma"
    for ((i = 0; i < round_count; i++)); do
        ask '' "$@" >>"$tmp/glibc"
        ask "$huma_lib" "$@" >>"$tmp/huma"
    done
    for key in 1 2 3; do
        for which in glibc huma; do
            figures+=("$(awk -v key="$key" '{ print $key }' "$tmp/$which" | median)")
        done
    done
    local limit=$((figures[2] + figures[0] * 5 / 100 + 128)) huge_limit=0
    [ "$thp" != always ] || huge_limit=${figures[4]}
    echo "$name: Rss ${figures[1]} kB, glibc ${figures[0]}; anonymous and own ${figures[3]} kB," \
        "glibc ${figures[2]}, limit $limit; AnonHugePages ${figures[5]} kB"
    ((figures[5] <= huge_limit)) || failed="$failed; $name has huge pages"
    ((figures[3] <= limit)) || failed="$failed; $name is too large"
}

failed=
measure cat cat /proc/self/smaps
measure 'bash -c :' bash -c 'cat /proc/$$/smaps; :'
[ -z "$failed" ] || fail "${failed#; }"
