#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# info.sh - parsers written for glibc's malloc_info and malloc_stats find all that they look for.
# The same runs under glibc, which shows that the parser asks for no more than glibc tells.
. "$(dirname "$0")/../programs/lib.sh"
need python3

for which in glibc huma; do
    passes "$which" info "$helpers/info" info.xml
    python3 "$here/info.py" "$tmp/info.$which/files/info.xml" "$tmp/info.$which/err" ||
        { cat "$tmp/info.$which/files/info.xml" "$tmp/info.$which/err"; fail "info under $which"; }
done
huma_was_used info
grep -q '<huma>' "$tmp/info.huma/files/info.xml" || [ "$standin" = 1 ] || fail "huma adds nothing"
