#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# foreign.sh - blocks of glibc's malloc are handed to ours; what is neither's stays misuse.
. "$(dirname "$0")/../programs/lib.sh"

compile -shared -fPIC "$here/foreign_plugin.c" -o "$tmp/plugin.so"
compile "$here/foreign.c" -o "$tmp/foreign" -ldl
compile "$here/foreign_misuse.c" -o "$tmp/misuse"
ulimit -c 0

# The numbers of blocks freed, moved and leaked, as the library counted them.
counted() { # NAME
    local field
    for field in free realloc leak; do
        sed -n "s/.*\"foreign_${field}_count\": \([0-9]*\).*/\1/p" "$tmp/stats/$1".*.json
    done | xargs
}

# The program's own numbers are the library's.
agree() { # WHICH NAME
    local told
    told=$(tail -n 1 "$tmp/$2.$1/out")
    huma_was_used "$2"
    [ "$(counted "$2")" = "$told" ] ||
        fail "$2: freed, moved, leaked: $told; counted: $(counted "$2")"
}

agrees() { # NAME CMD ARG...
    passes huma "$@"
    agree huma "$1"
}

# The program must end by SIGABRT, after one line.
aborts() { # WHICH NAME LINE CMD ARG...
    local which=$1 name=$2 line=$3
    shift 3
    { under "$which" "$name" "$@"; } 2>/dev/null # bash tells of signals
    if [ "$(status "$name" "$which")" != 134 ] || [ "$(wc -l <"$tmp/$name.$which/err")" != 1 ] ||
        ! grep -qxE "$line" "$tmp/$name.$which/err"; then
        show "$name" "$which"
        fail "$name: expected SIGABRT and the line: $line"
    fi
    echo "$name: $(cat "$tmp/$name.$which/err")"
}

# glibc alone frees all that glibc made; but the blocks of a second libc it cannot.
for name in deep threads; do
    passes glibc "$name" "$tmp/foreign" "$name" "$tmp/plugin.so" >/dev/null
    agrees "$name" "$tmp/foreign" "$name" "$tmp/plugin.so"
done
agrees own-libc "$tmp/foreign" own-libc "$tmp/plugin.so"
agrees no-descriptors "$tmp/foreign" no-descriptors "$tmp/plugin.so"

# Not preloaded, but loaded by the program, which by then has a brk heap.
for name in late late-apart; do
    LATE_LIBRARY=$huma_lib HUMA_STATS=$tmp/stats/$name.%p.json \
        passes glibc $name "$tmp/foreign" $name "$tmp/plugin.so"
    agree glibc $name
done

# Told to take huge pages, whether it finds any or not, glibc leaves brk alone and aligns its arenas
# to four of them.
GLIBC_TUNABLES=glibc.malloc.hugetlb=2 agrees no-brk "$tmp/foreign" no-brk "$tmp/plugin.so"

# Twice is glibc's business. So is a block of ours that the plugin frees.
aborts huma twice 'free\(\): double free detected in tcache 2' "$tmp/foreign" twice "$tmp/plugin.so"
aborts huma by-plugin 'free\(\): invalid (pointer|size)' "$tmp/foreign" by-plugin "$tmp/plugin.so"

lie='invalid pointer 0x[0-9a-f]+: no live block starts there; pass what malloc returned, and only once'
for name in $("$tmp/misuse"); do
    aborts huma "$name" "huma: free\(\): $lie" "$tmp/misuse" "$name" free
done
aborts huma realloc "huma: realloc\(\): $lie" "$tmp/misuse" stack realloc
aborts huma usable-size "huma: malloc_usable_size\(\): $lie" "$tmp/misuse" stack usable-size
