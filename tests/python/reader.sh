#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# reader.sh - python/reader.py, which knows only docs/shared-layout.md, reads what a program in C and
# one in Python have published, and refuses what is no arena.
. "$(dirname "$0")/lib.sh"

# shellcheck disable=SC2086 # CC and HM_CFLAGS have flags
${CC:-cc} ${HM_CFLAGS:--std=gnu11} -I"$srcdir/include" "$here/writer.c" -L"$builddir/.libs" -lhuma \
    -Wl,-rpath,"$builddir/.libs" -o "$tmp/writer" || { echo "writer.c cannot be compiled"; exit 99; }
run "$tmp/writer" "$tmp/c.huma"
run "$python" "$here/reads.py" "$srcdir/python/reader.py" "$tmp"
